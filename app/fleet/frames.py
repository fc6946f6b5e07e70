"""What passes between the parent and a cell: the cells' own posts, which the parent does not read, and who is there.

Arrays of msgpack, in batches as on a worker's link; must not know what a post says.
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
    """False: the next one says it again, so a cell that does not read need not get this one."""


class Present(Struct, frozen=True, array_like=True, tag="C"):
    """The cells that serve, said on every change and once a second: a cell that hears nothing has lost the bus."""

    names: list[str]


class Serving(Struct, frozen=True, array_like=True, tag="S"):
    """This cell accepts sockets, and has put in force what there was to be put in force."""


class Greet(Struct, frozen=True, array_like=True, tag="G"):
    """All cells serve: tell whoever started the service where to look."""


ToCell: TypeAlias = Post | Present | Greet
ToParent: TypeAlias = Post | Serving
