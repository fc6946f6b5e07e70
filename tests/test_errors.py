"""The trees of errors that modules draw in their docstrings are the classes that exist, each below its base."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import app
import dashboards
import rollout

BRANCH = re.compile(r"^ {4}(?P<indent>(?:│   |    )*)[├└]── (?P<name>\w+)", re.MULTILINE)
ROOT = re.compile(r"^ {4}(?P<name>\w+)$", re.MULTILINE)
DRAWN = {
    "app.errors": "CrossfadeError",
    "app.supervisor.errors": "SupervisorError",
    "app.cli.exits": "Ending",
    "rollout.errors": "RolloutError",
}
"""Modules that draw a tree, and the class whose descendants it shows."""


def import_everything() -> None:
    """So that every class of an error is known to its base."""
    for package in (app, rollout, dashboards):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith("app.store.migrations.") and not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def drawn(text: str) -> set[tuple[str, str]]:
    """(base, class) for every line of a drawn tree."""
    root = ROOT.search(text)
    assert root is not None, "no tree is drawn"
    line, edges = [root["name"]], set[tuple[str, str]]()
    for branch in BRANCH.finditer(text):
        depth = len(branch["indent"]) // 4
        line[depth + 1 :] = [branch["name"]]
        edges.add((line[depth], branch["name"]))
    return edges


def existing(base: type[BaseException]) -> Iterator[tuple[str, str]]:
    """(base, class) for every descendant of ours, but not below one whose own module draws what is there."""
    for error in base.__subclasses__():
        if error.__module__.startswith("tests."):
            continue
        yield base.__name__, error.__name__
        if DRAWN.get(error.__module__) != error.__name__:
            yield from existing(error)


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_tree_of_errors_is_the_one_that_exists(name: str) -> None:
    import_everything()
    module = importlib.import_module(name)
    root: type[BaseException] = getattr(module, DRAWN[name])
    above = {(base.__name__, root.__name__) for base in root.__bases__ if base.__module__ in DRAWN}
    assert drawn(module.__doc__ or "") == {*existing(root), *above}
