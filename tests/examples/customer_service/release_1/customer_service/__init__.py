"""A small customer service, release 1: an example of a package that brings its own supervisors."""
