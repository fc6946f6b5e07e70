"""Drives a real service with real clients, faults and signals; the chaos tests and the switching benchmark use it.

It speaks to the service as any client or operator does; it must not know the service's code.
"""
