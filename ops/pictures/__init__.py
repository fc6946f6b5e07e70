"""Pictures of the pages for the README, taken from a real service: `take` takes them, `stage` is the service."""
