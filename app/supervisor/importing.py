"""Imports a supervisor factory named `package.module:factory`, or says in one line why that is not possible.

It also makes a digest of the loaded code, for a build's id.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from app.errors import FactoryError

BUILD_DIGEST_BYTES = 6
_SPEC = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def import_factory(spec: str) -> Callable[..., object]:
    """The factory that `spec` names. Raises `FactoryError`: malformed, missing, failing, not callable."""
    if not _SPEC.fullmatch(spec):
        raise FactoryError(f"{spec!r} is not a factory; allowed: `builtin` or `package.module:factory`")
    name, _, attribute = spec.partition(":")
    module = _import(spec, name)
    factory = getattr(module, attribute, None)
    if factory is None:
        raise FactoryError(f"{spec}: {name} has no {attribute!r}; it has: {_callables(module)}")
    if not callable(factory):
        raise FactoryError(f"{spec}: {attribute!r} is of type {type(factory).__qualname__} and cannot be called")
    return factory  # type: ignore[no-any-return]


def build_of_package(spec: str) -> str:
    """A digest of the source files that the factory's package has loaded, as 12 hexadecimal digits."""
    top = spec.partition(":")[0].partition(".")[0]
    loaded = ((name, module) for name, module in list(sys.modules.items()) if name == top or name.startswith(top + "."))
    files = ((name, Path(module.__file__)) for name, module in loaded if module.__file__)
    return digest_of_files(files, top)


def digest_of_files(files: Iterable[tuple[str, Path]], salt: str) -> str:
    """blake2b over `salt`, names and contents; the files' order and folders do not matter."""
    digest = blake2b(salt.encode(), digest_size=BUILD_DIGEST_BYTES)
    for name, path in sorted(files):
        if path.is_file():
            content = path.read_bytes()
            # With the length, so that different names and contents never give the same bytes.
            digest.update(f"\0{name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _import(spec: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(missing + "."):
            raise FactoryError(
                f"{spec}: there is no module {missing!r} in this interpreter ({sys.executable})"
            ) from error
        raise FactoryError(f"{spec}: {name} needs {missing!r}, which this interpreter does not have") from error
    except Exception as error:
        raise FactoryError(f"{spec}: importing {name} failed: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """An exception's name and the first line of its text."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _callables(module: ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return ", ".join(names) or "nothing that can be called"
