"""The house rules of the imports, read from the source: who may know whom. A rule holds for whatever files exist."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "dashboards", "rollout")
OURS = (*PACKAGES, "ops", "tests")

# Modules of the standard library that neither look at the world nor draw chances.
PURE = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "statistics",
    "tomllib",
    "types",
    "typing",
}
CLOCKS = {"now", "utcnow", "today"}  # of datetime, which is allowed for its calendar


def module_of(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, *, package: bool = False) -> Iterator[str]:
    """Every module that a source may import, wherever the import stands; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + (1 if package else 0)]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def house() -> dict[str, set[str]]:
    """Module to what it imports, for all of ours but ops and tests."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            module = module_of(path)
            found[module] = set(imports(path.read_text("utf-8"), module, package=path.name == "__init__.py"))
    return found


HOUSE = house()


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def breaches(of: tuple[str, ...], never: tuple[str, ...]) -> list[str]:
    """`module → import` for every module of the first packages that imports something of the second."""
    return sorted(
        f"{module} → {name}"
        for module, names in HOUSE.items()
        if within(module, *of)
        for name in names
        if within(name, *never)
    )


WORKER = (*sorted(module for module in HOUSE if module.startswith("app.paths.worker")), "app.supervisor")


@pytest.mark.parametrize(
    ("of", "never"),
    [
        (("rollout",), ("dashboards", "app", "ops", "tests")),
        (("dashboards",), ("app", "ops", "tests")),
        (("app",), ("ops", "tests")),
        (("app.supervisor.core",), ("litestar", "starlette", "uvicorn")),
        (WORKER, ("app.control", "app.gateway", "app.api", "sqlalchemy", "aiosqlite", "asyncpg")),
        (("app.gateway",), ("app.supervisor",)),
    ],
    ids=["rollout is the ground", "dashboards know no service", "nobody imports ops or tests", "the core", "workers",
         "the gateway"],
)  # fmt: skip
def test_nobody_imports_upwards(of: tuple[str, ...], never: tuple[str, ...]) -> None:
    assert breaches(of, never) == []


def test_decisions_stand_on_the_pure_standard_library() -> None:
    foreign = sorted(
        f"{module} → {name}"
        for module, names in HOUSE.items()
        if within(module, "rollout")
        for name in names
        if name.partition(".")[0] not in PURE | {"rollout"}
    )
    assert foreign == []


def test_decisions_read_no_clock() -> None:
    read = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "rollout").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
    ]
    assert read == []


def test_one_module_knows_the_legacy_path() -> None:
    """Removing v2 at the end is deleting one file and one line."""
    knowing = {module for module, names in HOUSE.items() if "app.supervisor.legacy" in names} - {
        "app.supervisor.legacy"
    }
    assert len(knowing) <= 1, knowing


def test_only_the_wiring_picks_adapters() -> None:
    adapters = ("app.control.flags.embedded", "app.control.flags.remote")
    picking = {
        module
        for module, names in HOUSE.items()
        if any(within(name, *adapters) for name in names) and not within(module, "app.control.flags")
    }
    assert picking <= {"app.wiring"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import app.cli as c, os.path", {"app.cli", "os.path"}),
        ("from app import cli", {"app", "app.cli"}),
        ("def f():\n    from app.cli import main", {"app.cli", "app.cli.main"}),
        ("from . import state", {"rollout", "rollout.state"}),
        ("from .state import Lock", {"rollout.state", "rollout.state.Lock"}),
        ("from ..app import cli", {"app", "app.cli"}),
        ("import importlib\nimportlib.import_module('app.supervisor.legacy')", {"importlib", "app.supervisor.legacy"}),
        ("if TYPE_CHECKING:\n    import litestar", {"litestar"}),
    ],
)
def test_the_reader_sees_every_kind_of_import(source: str, expected: set[str]) -> None:
    assert set(imports(source, "rollout.plan")) == expected
