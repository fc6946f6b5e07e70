"""Prints the tree with a line a file: `python -m ops.house [FOLDER …]`; how long each is, and what it is for."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rollout", "app", "dashboards")


def purpose_of(file: Path) -> str:
    """The first sentence of a module's docstring; empty: it has none."""
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    first = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return first.partition(". ")[0].rstrip(".")


def rows(root: Path, folders: tuple[str, ...]) -> list[tuple[str, int, str]]:
    """Path below the root, lines and purpose of every Python file in these folders, by path."""
    files = sorted(file for folder in folders for file in (root / folder).rglob("*.py"))
    return [
        (str(file.relative_to(root)), file.read_text("utf-8").count("\n"), purpose_of(file))
        for file in files
        if file.name != "__init__.py" or purpose_of(file)
    ]


def main() -> None:
    found = rows(ROOT, tuple(sys.argv[1:]) or FOLDERS)
    for path, lines, purpose in found:
        print(f"{path:<48} {lines:>4}  {purpose}")
    print(f"{len(found)} files, {sum(lines for _, lines, _ in found)} lines")


if __name__ == "__main__":
    main()
