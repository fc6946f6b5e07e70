"""What every page is built on: who asks, the service behind it, the frame around a page, rendering, the feed."""
