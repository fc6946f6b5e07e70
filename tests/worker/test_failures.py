"""Fingerprints group the same mistake and hold nothing of a user."""

from __future__ import annotations

import json

import pytest

from app.supervisor.errors import UnknownAgent
from app.worker.failures import INTERNAL_TEXT, Failures, fingerprint_of


class SpecialError(Exception):
    """An error of people's own."""


def raised(text: str) -> Exception:
    try:
        json.loads(text)
    except ValueError as error:
        return error
    raise LookupError(text)


def place(error: Exception) -> str:
    return fingerprint_of(error, frozenset({"tests"}))


def test_the_place_is_the_innermost_own_line_not_the_library_below_it() -> None:
    fingerprint = place(raised("private words"))
    assert fingerprint.startswith("json.decoder.JSONDecodeError tests.worker.test_failures:")
    assert fingerprint == place(raised("other words"))


def test_an_error_without_own_frames_still_has_a_name() -> None:
    assert fingerprint_of(SpecialError("x"), frozenset()) == f"{__name__}.SpecialError"
    assert place(KeyError("x")) == "KeyError"


def test_an_exception_never_gives_its_text_away_and_a_refusal_gives_its_own(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    failure = failures.of(SpecialError("private words"))
    assert (failure.code, failure.text) == ("internal", INTERNAL_TEXT)
    assert "private" not in failure.fingerprint
    assert "private words" in caplog.text
    refusal = failures.of(UnknownAgent("payload.agent must be one of: echo, outline"))
    assert (refusal.code, refusal.text, refusal.fingerprint) == (
        "invalid_payload",
        "payload.agent must be one of: echo, outline",
        "UnknownAgent",
    )
    assert failure.reference != refusal.reference
