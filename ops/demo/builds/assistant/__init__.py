"""A small assistant in four releases, as a package of somebody's own: 2.9 serves v2, the others are builds of v3."""
