"""Clients for load and chaos tests: real WebSocket clients that check the delivery contract from outside.

They use the public protocol only.
"""
