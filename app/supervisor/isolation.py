"""Refuses dependencies that two sessions would share: a global object, or one that another session uses.

It keeps weak references and object ids only, nothing of a user.
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
    """Reserve `thing` for one session as long as `thing` exists. Raises `SharedDependency`.

    A function without a closure is code, not state: all sessions may share it. An object that cannot be weakly
    referenced (a class with `__slots__`) is not tracked; for those the loader compares two products of a factory.
    """
    thing = subject(thing)
    if isinstance(thing, (ModuleType, type)):
        raise SharedDependency(f"{_name(thing)} is global; every session needs dependencies of its own")
    if is_code(thing):
        return
    known = _claims.get(id(thing))
    if known is not None and known() is thing:
        raise SharedDependency(f"{_name(thing)} belongs to another session; make one for each session")
    try:
        _claims[id(thing)] = _Claim(thing, _forget)
    except TypeError:
        return


def subject(thing: object) -> object:
    """The object with the state: that of a bound method, else `thing` itself."""
    return thing.__self__ if isinstance(thing, MethodType) else thing


def is_code(thing: object) -> bool:
    """Whether `thing` is a function that closes over nothing."""
    return isinstance(thing, FunctionType) and thing.__closure__ is None


def _name(thing: object) -> str:
    if isinstance(thing, (ModuleType, type, FunctionType)):
        return thing.__name__
    return f"an object of {type(thing).__qualname__}"
