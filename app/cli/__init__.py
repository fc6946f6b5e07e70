"""The command line for operators, with the entry point `crossfade`.

All commands but those in `local` and `doctor` use a running service, by its public API only.
"""

from app.cli.root import main

__all__ = ["main"]
