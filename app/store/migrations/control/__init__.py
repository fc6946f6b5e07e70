"""Migrations of the control group, in the order of their numbers."""
