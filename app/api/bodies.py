"""Reads the bodies of commands strictly: no text in place of a number, no unknown field, and errors in plain words.

Litestar decodes them once more afterwards, but leniently, because path and query are always text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, get_args, get_type_hints

import msgspec
from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.exceptions import ClientException
from litestar.params import BodyKwarg
from msgspec import Meta, Struct

from app.api.problems import ProblemRaised
from app.problem import problem_of

SHOWN_CHARACTERS: Final = 60
"""Most characters of a wrong value that the answer repeats."""
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>.*)`", re.DOTALL)


async def check_body(request: Request[Any, Any, Any]) -> None:
    """Check the body before a handler that takes JSON. Raises problems with status 400, 415 and 422."""
    field = request.route_handler.parsed_data_field
    if field is None or not _is_json(field.kwarg_definition):
        return  # the handler takes no body, or a form
    body = await request.body()
    if not body and field.is_optional:
        return
    kind, _ = request.content_type
    if body and kind != "application/json":
        actual = f"as {kind[:SHOWN_CHARACTERS]!r}" if kind else "without one"
        detail = f"send the body with `Content-Type: application/json`; it came {actual}"
        raise ProblemRaised(problem_of(415, detail))
    expected = _struct_of(field.annotation)
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wrong = f"the body is not JSON: {error}" if body else "the body is missing"
        raise ClientException(detail=f"{wrong}; allowed: an object with {', '.join(_allowed(expected))}") from None
    try:
        msgspec.convert(content, field.annotation)
    except msgspec.ValidationError as error:
        place, words = explained(str(error), content, expected)
        errors = [{"source": "body", "key": place, "message": words}]
        raise ProblemRaised(problem_of(422, words), {"errors": errors}) from None


def explained(error: str, content: Any, kind: type[Struct]) -> tuple[str, str]:
    """Which field is wrong, and a sentence with its value and what is allowed."""
    allowed = _allowed(kind)
    match = _PLACE.search(error)
    place = match["place"] if match else ""
    if place and place not in allowed:
        return place, f"{place}: {_PLACE.sub('', error)}"
    if match := _UNKNOWN.search(error):
        return match["field"], f"{match['field']} is not a field; allowed: {', '.join(allowed)}"
    if match := _MISSING.search(error):
        return match["field"], f"{match['field']} is missing; allowed: {allowed.get(match['field'], 'see /schema')}"
    if place:
        return place, f"{place} is {_shown(content[place])}; allowed: {allowed[place]}"
    return "", f"the body is {_shown(content)}; allowed: an object with {', '.join(allowed)}"


def _allowed(kind: type[Struct]) -> Mapping[str, str]:
    """What is allowed in each field, from its description."""
    return {
        name: next((meta.description or "" for meta in get_args(hint)[1:] if isinstance(meta, Meta)), "see /schema")
        for name, hint in get_type_hints(kind, include_extras=True).items()
    }


def _struct_of(annotation: object) -> type[Struct]:
    """The Struct in `Body` or `Body | None`."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, Struct):
            return each
    raise TypeError(f"a body is a Struct, not {annotation!r}")


def _is_json(definition: object) -> bool:
    return isinstance(definition, BodyKwarg) and definition.media_type == RequestEncodingType.JSON


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
