"""The flag without a server: rendered from the rollout record, evaluated by UnleashClient's engine.

This is the only module that uses private parts of UnleashClient and Yggdrasil. Both are therefore pinned, and a test
fails when those parts change. Make one in each process, after any fork.
"""

from __future__ import annotations

import json
from typing import Any

from UnleashClient.cache import BaseCache
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.constants import FEATURES_URL
from UnleashClient.utils import InstanceAllowType
from yggdrasil_engine.custom_strategy import get_features_json
from yggdrasil_engine.engine import UnleashEngine

from app.flags import FlagRejected
from app.flags.document import render, rule_of
from rollout.assign import FlagRule
from rollout.state import Rollout


class MemoryCache(BaseCache):
    """Keeps the state in memory: UnleashClient's own cache is a file that processes share, not safely."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def set(self, key: str, value: Any) -> None:
        self._values[key] = value

    def mset(self, data: dict[str, Any]) -> None:
        self._values.update(data)

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def exists(self, key: str) -> bool:
        return key in self._values

    def destroy(self) -> None:
        self._values.clear()


class EmbeddedEngine:
    """An UnleashClient that is never initialised, so that it evaluates without a thread and without network."""

    def __init__(self) -> None:
        self._cache = MemoryCache()
        self._client = UnleashClient(
            url="http://embedded.invalid",
            app_name="crossfade",
            cache=self._cache,
            disable_metrics=True,
            disable_registration=True,
            multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
        )

    def load(self, document: str) -> None:
        """Evaluate this document from now on; takes about 0.3 ms.

        The engine silently refuses a bad document and keeps its old state, so a new engine tries the document first.
        Raises FlagRejected; then the old document stays.
        """
        expected = _try(document)
        self._cache.set(FEATURES_URL, document)
        self._client._store.load_from_cache()
        if json.loads(self._client._engine.get_state()) != expected:
            raise FlagRejected("the flag engine did not load the document that it was given")

    def is_enabled(self, flag: str, context: dict[str, Any]) -> bool:
        """Whether a flag is on in an Unleash context; False for an unknown flag. Takes about 20 µs."""
        return bool(self._client.is_enabled(flag, context))

    def get_variant(self, flag: str, context: dict[str, Any]) -> dict[str, Any]:
        """The variant of a flag in an Unleash context."""
        variant: dict[str, Any] = self._client.get_variant(flag, context)
        return variant

    def close(self) -> None:
        """Forget the state. The client's own `destroy` fails, because its scheduler never ran."""
        self._cache.destroy()


def _try(document: str) -> Any:
    """The state of a new engine after this document. Raises FlagRejected unless it is what the document says."""
    try:
        features = get_features_json(json.loads(document))  # type: ignore[no-untyped-call]
        wanted = {feature["name"]: feature for feature in features}
        engine = UnleashEngine()  # type: ignore[no-untyped-call]
        engine.take_state(document)
    except (ValueError, KeyError, TypeError) as error:
        raise FlagRejected(f"this is not a client-features document: {error}") from error
    state = json.loads(engine.get_state())
    loaded = {feature["name"]: feature for feature in state["features"]}
    for name, feature in wanted.items():
        if name not in loaded:
            raise FlagRejected(f"the flag engine refuses {name}; perhaps a percentage is a number instead of text")
        if (difference := _difference(feature, loaded[name])) is not None:
            raise FlagRejected(f"the flag engine loaded {name} with a different part: {difference}")
    return state


def _difference(wanted: dict[str, Any], loaded: dict[str, Any]) -> str | None:
    """The part that decides between on and off and was loaded differently; None: there is none."""
    if wanted["enabled"] != loaded["enabled"]:
        return "enabled"
    wanted_strategies, loaded_strategies = wanted.get("strategies") or [], loaded.get("strategies") or []
    if len(wanted_strategies) != len(loaded_strategies):
        return "strategies"
    for strategy, other in zip(wanted_strategies, loaded_strategies, strict=True):
        for part in ("name", "parameters", "segments"):
            if (strategy.get(part) or None) != (other.get(part) or None):
                return part
        if len(strategy.get("constraints") or ()) != len(other.get("constraints") or ()):
            return "constraints"
    return None


class EmbeddedFlags:
    """Implements `Flags` on the embedded engine. It is never out of date, because the record is rendered at once."""

    def __init__(self, flag: str) -> None:
        self._flag = flag
        self._engine = EmbeddedEngine()
        self._rule: FlagRule | None = None

    def rule(self) -> FlagRule | None:
        return self._rule

    def engine_evaluate(self, user: str) -> bool:
        return bool(user) and self._engine.is_enabled(self._flag, {"userId": user})

    def percentage(self) -> int | None:
        rule = self._rule
        if rule is None:
            return None
        if not rule.enabled:
            return 0
        return rule.percentage if rule.bucket_only else None

    def age_s(self, now: float) -> float | None:
        return None if self._rule is None else 0.0

    async def apply(self, rollout: Rollout) -> None:
        document = render(rollout, self._flag)
        self._engine.load(document)
        self._rule = rule_of(document, self._flag, self.engine_evaluate)

    async def close(self) -> None:
        self._engine.close()
        self._rule = None
