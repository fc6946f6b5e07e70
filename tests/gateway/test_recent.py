"""The window of recent messages: what counts as a duplicate, and what a client that comes back is told."""

from __future__ import annotations

from app.gateway.recent import RecentMessages


def test_a_retry_that_runs_has_no_outcome_yet() -> None:
    recent = RecentMessages()
    recent.begin("a")
    recent.forget("a")
    assert "a" not in recent
    assert recent.outcomes() == [("a", "interrupted")]
    recent.begin("a")
    assert "a" in recent
    assert recent.outcomes() == []  # a client that resumes now must not take the retry for interrupted
    recent.finish("a", "agent_completed")
    assert recent.outcomes() == [("a", "agent_completed")]
