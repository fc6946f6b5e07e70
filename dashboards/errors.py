"""Errors by group and path; those seen only on v3 come first."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Response, get
from msgspec import Struct, structs

from dashboards.base.page import LivePage, chrome, not_heard, top
from dashboards.base.person import Person
from dashboards.base.visit import TheVisit, Visit, answer
from rollout import formats
from rollout.views import ErrorGroup, ErrorsView, RolloutView


class ErrorRow(Struct, frozen=True):
    code: str
    fingerprint: str
    path: str
    only_on_v3: bool
    count: str
    users: str
    first: str
    first_iso: str
    last: str
    last_iso: str
    reference: str


class ErrorsSection(Struct, frozen=True):
    rows: list[ErrorRow]
    more: str
    """How many groups are not shown; empty: all are."""
    title: str = "Errors"
    empty: str = "No errors since the service started."
    missing: str = ""
    """Whose errors are not among these."""


class ErrorsPage(LivePage, frozen=True, kw_only=True):
    template = "errors.html"
    sections = ("top", "errors")
    errors: ErrorsSection


def errors_page(view: RolloutView, found: ErrorsView, person: Person, csrf_token: str) -> ErrorsPage:
    return ErrorsPage(
        chrome=chrome(view, "Errors", "errors", person, "/sections/errors"),
        csrf_token=csrf_token,
        top=top(view),
        errors=heard_errors(found, view.now),
    )


def heard_errors(found: ErrorsView, now: float, limit: int | None = None) -> ErrorsSection:
    """The errors of all cells that were heard."""
    return structs.replace(errors(found.items, now, limit), missing=not_heard(found.missing_cells))


def errors(groups: Sequence[ErrorGroup], now: float, limit: int | None = None) -> ErrorsSection:
    """In the order of the service, which puts those seen only on v3 first."""
    rows = [
        ErrorRow(
            code=group.code,
            fingerprint=group.fingerprint,
            path=group.path,
            only_on_v3=group.only_on_v3,
            count=formats.count(group.count),
            users=formats.plural(group.users, "user"),
            first=formats.moment(group.first_at, now),
            first_iso=formats.iso(group.first_at),
            last=formats.moment(group.last_at, now),
            last_iso=formats.iso(group.last_at),
            reference=group.reference,
        )
        for group in groups[:limit]
    ]
    left = len(groups) - len(rows)
    return ErrorsSection(rows, f"{left} more" if left else "")


async def show_errors(visit: Visit) -> ErrorsPage:
    found = await visit.source.errors()
    return errors_page(await visit.source.rollout(), found, visit.person, visit.csrf)


@get("/errors")
async def get_errors(visit: TheVisit) -> Response[str]:
    return answer(await show_errors(visit))


ROUTES = (get_errors,)
