"""The flag without a server: the rollout record is the truth, and UnleashClient's engine evaluates what it renders to.

The only module that touches private parts of UnleashClient and Yggdrasil, which is why both are pinned and a test fails
loudly when those parts move. Must not know where the record comes from. Make one in each process, after any fork.
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
    """State of one process. UnleashClient's own cache is a file that processes share, and not safely."""

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
    """UnleashClient that is never initialised: it evaluates with no thread and no network."""

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
        """Evaluate by this document from now on; about 0.3 ms.

        The engine refuses a document without a word and keeps its old state, so a new engine tries it first.
        Raises FlagRejected; then the old document holds.
        """
        tried = _try(document)
        self._cache.set(FEATURES_URL, document)
        self._client._store.load_from_cache()
        if json.loads(self._client._engine.get_state()) != tried:
            raise FlagRejected("the flag engine does not hold what it was given")

    def is_enabled(self, flag: str, context: dict[str, Any]) -> bool:
        """Whether a flag is on in an Unleash context; False for one that is unknown. About 20 µs."""
        return bool(self._client.is_enabled(flag, context))

    def get_variant(self, flag: str, context: dict[str, Any]) -> dict[str, Any]:
        """The variant of a flag in an Unleash context."""
        variant: dict[str, Any] = self._client.get_variant(flag, context)
        return variant

    def close(self) -> None:
        """Forget the state. The client's own `destroy` would stop a scheduler that never ran, and complain."""
        self._cache.destroy()


def _try(document: str) -> Any:
    """The state a new engine has after this document. Raises FlagRejected unless it is what the document says."""
    try:
        features = get_features_json(json.loads(document))  # type: ignore[no-untyped-call]
        wanted = {feature["name"]: feature for feature in features}
        engine = UnleashEngine()  # type: ignore[no-untyped-call]
        engine.take_state(document)
    except (ValueError, KeyError, TypeError) as error:
        raise FlagRejected(f"this is no client-features document: {error}") from error
    state = json.loads(engine.get_state())
    taken = {feature["name"]: feature for feature in state["features"]}
    for name, feature in wanted.items():
        if name not in taken:
            raise FlagRejected(f"the flag engine refuses {name}: is a percentage a number instead of text?")
        if (difference := _difference(feature, taken[name])) is not None:
            raise FlagRejected(f"the flag engine reads {name} differently: {difference}")
    return state


def _difference(wanted: dict[str, Any], taken: dict[str, Any]) -> str | None:
    """What decides on or off and was not taken as it stands, or None."""
    if wanted["enabled"] != taken["enabled"]:
        return "enabled"
    asked, has = wanted.get("strategies") or [], taken.get("strategies") or []
    if len(asked) != len(has):
        return "strategies"
    for strategy, other in zip(asked, has, strict=True):
        for part in ("name", "parameters", "segments"):
            if (strategy.get(part) or None) != (other.get(part) or None):
                return part
        if len(strategy.get("constraints") or ()) != len(other.get("constraints") or ()):
            return "constraints"
    return None


class EmbeddedFlags:
    """`Flags` on the embedded engine; never out of date, because the record is rendered at once."""

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
