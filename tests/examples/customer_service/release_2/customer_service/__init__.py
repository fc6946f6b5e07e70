"""A small customer service, release 2: an example of a package that brings its own supervisors."""
