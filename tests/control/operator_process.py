"""An operator in a process of its own, who commands a real service over its API, and is told when to look and to act.

Run as `python -m tests.control.operator_process URL CELL NAME` with CROSSFADE_TOKEN; does what each line of its input
says (`look`, `act`, `go N`) and answers with a line of JSON. It judges nothing of what it is told by the service.
"""

from __future__ import annotations

import os
import sys
from random import Random
from typing import Final

import httpx
import msgspec

TRIES: Final = 400
"""Which cell accepts a connection is chance."""
FREELY: Final = {"start": 3, "set": 6, "promote": 2, "pause": 2, "resume": 2, "rollback": 1, "undo": 2, "unlock": 2}
"""How often each verb is chosen, of those that are allowed."""
EXEMPT: Final = ("rollback", "unlock")
"""Not for a meeting: a rollback needs no revision, and an unlock may be refused until the flag reads 0 %."""


class Outcome(msgspec.Struct, frozen=True):
    """One command and what became of it."""

    reason: str
    """Told with the command and unlike any other's: the audit has it."""
    verb: str
    percentage: int | None
    based_on: int
    status: int
    revision: int
    """Of the answer's ETag."""
    who: str = ""
    what: str = ""
    at: float = 0.0
    detail: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What an operator reads before a command."""

    revision: int
    allowed: dict[str, str]


class Refusal(msgspec.Struct, frozen=True):
    """What a problem document says of the winner."""

    detail: str
    who: str = ""
    what: str = ""
    at: float = 0.0


class Operator:
    """One person at one cell."""

    def __init__(self, url: str, cell: str, name: str, token: str) -> None:
        self._http = connected(url, cell, token)
        self._name = name
        self._random = Random(name)
        self._number = 0
        self._seen = self.look()

    def look(self) -> Seen:
        answer = self._http.get("/api/rollout")
        self._seen = msgspec.json.decode(answer.raise_for_status().content, type=Seen)
        return self._seen

    def act(self, *without: str) -> Outcome:
        """One of the verbs that were allowed when this operator looked, on the revision of that time."""
        verbs = [verb for verb in FREELY if self._seen.allowed[verb] == "" and verb not in without]
        (verb,) = self._random.choices(verbs, [FREELY[verb] for verb in verbs])
        percentage = self._random.randint(1, 100) if verb in ("start", "set") else None
        self._number += 1
        reason = f"{self._name} {self._number}"
        answer = self._http.post(
            f"/api/rollout/{'percentage' if verb == 'set' else verb}",
            json={"reason": reason} if percentage is None else {"reason": reason, "percentage": percentage},
            headers={} if verb == "rollback" else {"If-Match": f'"{self._seen.revision}"'},
        )
        refusal = Refusal("") if answer.is_success else msgspec.json.decode(answer.content, type=Refusal)
        return Outcome(
            reason, verb, percentage, self._seen.revision, answer.status_code,
            int(answer.headers.get("etag", '"-1"').strip('"')), refusal.who, refusal.what, refusal.at, refusal.detail,
        )  # fmt: skip

    def go(self, commands: int) -> list[Outcome]:
        """So many commands as fast as they go, each on what was seen just before."""
        outcomes = []
        for _ in range(commands):
            self.look()
            outcomes.append(self.act())
        return outcomes


def connected(url: str, cell: str, token: str) -> httpx.Client:
    """A client with a connection to this cell, which stays open."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
    for _ in range(TRIES):
        http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            limits=limits,
            trust_env=False,
            verify=False,  # it is plain HTTP, and to read the system's authorities takes longer than the request
        )
        if http.get("/readyz").json()["cell"] == cell:
            return http
        http.close()
    raise SystemExit(f"no connection reached cell {cell}")


def main() -> None:
    url, cell, name = sys.argv[1:]
    operator = Operator(url, cell, name, os.environ["CROSSFADE_TOKEN"])
    print("ready", flush=True)
    for line in sys.stdin:
        verb, _, count = line.strip().partition(" ")
        answer: object = operator.look().revision if verb == "look" else None
        if verb == "act":
            answer = operator.act(*EXEMPT)
        elif verb == "go":
            answer = operator.go(int(count))
        print(msgspec.json.encode(answer).decode(), flush=True)


if __name__ == "__main__":
    main()
