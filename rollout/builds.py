"""Which build a path is served from on a host: what was loaded, or what the host's own setting says.

A load is part of the record and outlives restarts. A host whose setting is changed afterwards is served from that,
until the next load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rollout.names import PathName

HOSTS_KEPT: Final = 100
"""Where every start of a host has another name, those that are gone must not fill the record."""


@dataclass(frozen=True, slots=True)
class BuildSource:
    """Where supervisors come from: a factory, and the interpreter that runs it; empty: the service's own."""

    factory: str
    python: str = ""

    def __str__(self) -> str:
        return f"{self.factory} ({self.python})" if self.python else self.factory


@dataclass(frozen=True, slots=True)
class HostSetting:
    """A host's own setting of a path for which a build was loaded."""

    host: str
    """Empty: the only host there is."""
    replaced: BuildSource | None
    """What it was when the build was loaded; None: the host was not there."""
    changed: BuildSource | None = None
    """What it was changed to since then: it is served there in place of the loaded build."""


@dataclass(frozen=True, slots=True)
class LoadedBuild:
    """What was loaded onto a path last."""

    path: PathName
    source: BuildSource
    build: str
    """Its id."""
    named: bool
    """Whether a person gave it the id; otherwise it is a digest of the code."""
    hosts: tuple[HostSetting, ...] = ()
    """The hosts that were there, and those where another setting is served; at most `HOSTS_KEPT`."""

    def setting_of(self, host: str) -> HostSetting | None:
        """What is known of a host."""
        return next((setting for setting in self.hosts if setting.host == host), None)


@dataclass(frozen=True, slots=True)
class Served:
    """What a path is started from."""

    source: BuildSource
    build: str | None = None
    """The id to give it; None: it makes one of its code."""


def served_on(loaded: LoadedBuild | None, host: str, setting: BuildSource) -> Served:
    """What a host serves, whose setting is this one now."""
    if loaded is None:
        return Served(setting)
    seen = see(loaded, host, setting).setting_of(host)
    if seen is not None and seen.changed is not None:
        return Served(setting)
    return Served(loaded.source, loaded.build if loaded.named else None)


def see(loaded: LoadedBuild, host: str, setting: BuildSource) -> LoadedBuild:
    """The loaded build, with what this host's setting says by now; the same one when that changes nothing.

    The loaded build is served while the setting is the one that the load replaced, or names the loaded build itself.
    A host that was not there when it was loaded is compared with those that were.
    """
    known = loaded.setting_of(host)
    replaced = None if known is None else known.replaced
    before = None if known is None else known.changed
    compared = [each.replaced for each in loaded.hosts] if replaced is None else [replaced]
    changed = None if setting in (loaded.source, *compared) else setting
    if changed == before:
        return loaded
    return replace(loaded, hosts=_with(loaded.hosts, [HostSetting(host, replaced, changed)]))


def load(before: LoadedBuild | None, loaded: LoadedBuild, settings: Mapping[str, BuildSource]) -> LoadedBuild:
    """A new load, while the hosts that are there have these settings: it comes after every change of them."""
    earlier = () if before is None else before.hosts
    known = [HostSetting(each.host, last) for each in earlier if (last := each.changed or each.replaced) is not None]
    there = [HostSetting(host, setting) for host, setting in settings.items()]
    return replace(loaded, hosts=_with(known, there))


def of_path(builds: Iterable[LoadedBuild], path: PathName) -> LoadedBuild | None:
    """What was loaded onto a path."""
    return next((loaded for loaded in builds if loaded.path == path), None)


def with_path(builds: Iterable[LoadedBuild], loaded: LoadedBuild) -> tuple[LoadedBuild, ...]:
    """The builds of all paths, with this one in place of what its path had."""
    return (*(each for each in builds if each.path != loaded.path), loaded)


def _with(hosts: Iterable[HostSetting], newer: Sequence[HostSetting]) -> tuple[HostSetting, ...]:
    """The hosts with these in place of what was known of them; the oldest are forgotten, absent ones first."""
    names = {each.host for each in newer}
    every = [*(each for each in hosts if each.host not in names), *newer]
    there = [each for each in every if each.replaced is not None][-HOSTS_KEPT:]
    absent = [each for each in every if each.replaced is None]
    return (*there, *absent[max(0, len(there) + len(absent) - HOSTS_KEPT) :])
