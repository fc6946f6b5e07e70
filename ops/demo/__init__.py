"""`make demo`: a real service, 300 real clients and a release of v3 that dies, told line by line.

It speaks to the service as its users do; it must not know the service's code beyond its declared views.
"""
