"""Virtual environments that are not ours, for workers in tests."""

from __future__ import annotations

import shutil
import sys
import venv
from pathlib import Path

import msgspec

SUPERVISOR = """
import sys

def create(context):
    async def run(message):
        yield f"{VERSION} in {sys.prefix}"
    return run
"""


def make_environment(where: Path, *, with_msgspec: bool) -> Path:
    """A real second environment without Crossfade, with or without the one package that a worker needs; its Python."""
    venv.create(where, with_pip=False)
    packages = where / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    if with_msgspec:
        shutil.copytree(Path(msgspec.__file__).parent, packages / "msgspec")
    (packages / "shop").mkdir()
    (packages / "shop" / "__init__.py").write_text("VERSION = 'release 1'" + SUPERVISOR)
    return where / "bin" / "python"
