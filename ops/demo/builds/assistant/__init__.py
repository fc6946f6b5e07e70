"""A small assistant in four releases, like a custom package: 2.9 serves v2, the others are builds of v3."""
