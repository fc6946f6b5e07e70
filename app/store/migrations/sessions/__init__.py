"""Migrations of the sessions group, in the order of their numbers."""
