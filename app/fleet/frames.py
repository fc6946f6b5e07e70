"""What passes between the parent and a cell: posts from cell to cell, which the parent does not read, and who is there.

The frames are arrays of msgpack, in batches as on a worker's link.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Post(Struct, frozen=True, array_like=True, tag="P"):
    """One cell's message to another, or (`to` empty) to all others."""

    sender: str
    to: str
    body: bytes
    must: bool
    """False: the next one replaces it, so a cell that does not read may miss it."""


class Present(Struct, frozen=True, array_like=True, tag="C"):
    """The cells that serve; sent on every change and once a second, so a cell that hears nothing has lost the bus."""

    names: list[str]


class Serving(Struct, frozen=True, array_like=True, tag="S"):
    """This cell has put the record in force, and accepts sockets."""


class Greet(Struct, frozen=True, array_like=True, tag="G"):
    """All cells serve: this one tells whoever started the service where to look."""


ToCell: TypeAlias = Post | Present | Greet
ToParent: TypeAlias = Post | Serving
