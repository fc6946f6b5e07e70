"""The command line: what operators type, and the entry point `crossfade`.

It speaks to a running service by its public API only; it must not know the gateway, the paths or the store's insides.
"""

from app.cli.root import main

__all__ = ["main"]
