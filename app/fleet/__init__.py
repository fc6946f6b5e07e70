"""Several cells on one host: a parent that binds the socket, keeps cells alive, and carries what they tell each other.

A single cell needs none of it.
"""
