"""The options of a run of the demo, and the times of its steps, which follow from the seed. Without I/O."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

Fault: TypeAlias = Literal["crash", "none"]
FAULTS: tuple[str, ...] = get_args(Fault)
SEEDS = 10_000
CLIENTS = 300
MINUTES = 10.0
PERCENTAGES = (10, 50, 100)


class BadSetting(Exception):
    """An environment variable of the demo has a value that is not allowed; the text says which."""


@dataclass(frozen=True, slots=True)
class Script:
    """Times in seconds."""

    seed: int
    fault: Fault = "crash"
    clients: int = CLIENTS
    warm_s: float = 6.0
    """Seconds for which everybody is on v2."""
    earliest_s: float = 4.0
    latest_s: float = 18.0
    """The fault comes at a moment between these, in seconds after `start 10`."""
    calm_s: float = 4.0
    """Seconds between the verified rollback and the fix."""
    hold_s: float = 6.0
    """Seconds for which each percentage is held."""
    slack_s: float = 15.0
    """Seconds for steps without a fixed time, such as loads, deaths, restarts."""
    plays_out: bool = True
    """Whether the rest of the slack is spent at 100 %; if not, the clients stop once everybody is there."""

    @property
    def fault_after_s(self) -> float:
        """The random moment, the same for the same seed."""
        return random.Random(self.seed).uniform(self.earliest_s, self.latest_s)

    @property
    def talk_s(self) -> float:
        """Seconds for which the clients send."""
        steps = self.warm_s + self.hold_s * len(PERCENTAGES) + self.slack_s
        return steps if self.fault == "none" else steps + self.fault_after_s + self.calm_s


def read_script(environ: Mapping[str, str], chance: random.Random) -> Script:
    """The script that `SEED`, `FAULT`, `MINUTES` and `CLIENTS` ask for. Raises `BadSetting`."""
    fault = environ.get("FAULT") or "crash"
    if fault not in FAULTS:
        raise BadSetting(f"FAULT={fault!r}: allowed are {', '.join(FAULTS)}")
    seed = _number(environ, "SEED", chance.randrange(SEEDS), least=0, whole=True)
    clients = _number(environ, "CLIENTS", CLIENTS, least=20, whole=True)
    minutes = _number(environ, "MINUTES", MINUTES, least=0.5, whole=False)
    script = Script(int(seed), cast(Fault, fault), int(clients))
    if fault == "crash":
        return script
    hold_s = (minutes * 60 - script.warm_s - script.slack_s) / len(PERCENTAGES)
    return Script(int(seed), cast(Fault, fault), int(clients), hold_s=hold_s)


def _number(environ: Mapping[str, str], name: str, default: float, *, least: float, whole: bool) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(int(text) if whole else float(text))
    except ValueError:
        value = -1.0
    if not least <= value < float("inf"):
        kind = "a whole number" if whole else "a number"
        raise BadSetting(f"{name}={text!r}: allowed is {kind} from {least:g} on")
    return value
