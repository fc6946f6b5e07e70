"""Nothing is kept of which the README does not say how much and how long."""

from __future__ import annotations

from collections import Counter

from app.data_folder import OURS, PRIVATE
from app.store.tables import METADATA
from ops.kept import kept


def test_every_table_of_the_store_is_there_once() -> None:
    named = Counter(table for row in kept() for table in row.tables)
    assert named == Counter(table for group in METADATA.values() for table in group.tables)


def test_every_file_of_the_data_folder_is_there_once() -> None:
    named = Counter(file for row in kept() for file in row.files)
    assert named == Counter({*PRIVATE, *OURS})


def test_everything_has_a_bound_and_an_end() -> None:
    rows = kept()
    assert all(row.what and row.most and row.until for row in rows)
    assert len({row.what for row in rows}) == len(rows)
