"""A package, so that its fixtures end with its last test: while the browser lives, no asynchronous test can run."""
