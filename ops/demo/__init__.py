"""`make demo`: a real service, 300 real clients and a release of v3 that crashes, shown line by line.

It uses the service as its users do.
"""
