"""Load and chaos clients: real WebSocket clients that check the delivery contract from outside.

They know the public protocol only; they must not know the service's code.
"""
