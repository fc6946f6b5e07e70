"""Drives a real service with real clients, faults and signals, for the chaos tests and the switching benchmark.

It uses the service as any client or operator does.
"""
