"""Refuses what would tie two sessions together: a dependency that is global or already another session's.

It must not know what dependencies are for; it keeps weak references and ids only, nothing of a user.
"""

from __future__ import annotations

import weakref
from types import FunctionType, MethodType, ModuleType

from app.supervisor.errors import SharedDependency


class _Claim(weakref.ref[object]):
    __slots__ = ("key",)

    def __init__(self, thing: object, callback: object) -> None:
        super().__init__(thing, callback)  # type: ignore[call-arg]
        self.key = id(thing)


_claims: dict[int, _Claim] = {}


def _forget(claim: _Claim) -> None:
    if _claims.get(claim.key) is claim:
        del _claims[claim.key]


def claim(thing: object) -> None:
    """Make `thing` the own of one session for as long as it lives. Raises `SharedDependency`.

    A function without a closure is code, not state: all sessions may share it. What cannot be weakly referenced
    (a class with `__slots__`) cannot be followed; for a factory's product the loader compares two of them at start.
    """
    thing = subject(thing)
    if isinstance(thing, (ModuleType, type)):
        raise SharedDependency(f"{_name(thing)} is global; a session's dependencies are made for it alone")
    if is_code(thing):
        return
    known = _claims.get(id(thing))
    if known is not None and known() is thing:
        raise SharedDependency(f"{_name(thing)} belongs to another session; make one for each")
    try:
        _claims[id(thing)] = _Claim(thing, _forget)
    except TypeError:
        return


def subject(thing: object) -> object:
    """What holds the state: the object of a bound method, else the thing itself."""
    return thing.__self__ if isinstance(thing, MethodType) else thing


def is_code(thing: object) -> bool:
    """Whether `thing` is a function that closes over nothing."""
    return isinstance(thing, FunctionType) and thing.__closure__ is None


def _name(thing: object) -> str:
    if isinstance(thing, (ModuleType, type, FunctionType)):
        return thing.__name__
    return f"an object of {type(thing).__qualname__}"
