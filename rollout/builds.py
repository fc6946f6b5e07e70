"""Which build a path is served from on a host: what was loaded, or what the host's own setting says.

A load is part of the record and outlives restarts. A host whose setting is changed afterwards is served from that,
until the next load.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rollout.names import PathName


@dataclass(frozen=True, slots=True)
class Source:
    """Where supervisors come from: a factory, and the interpreter that runs it; empty: the service's own."""

    factory: str
    python: str = ""

    def __str__(self) -> str:
        return f"{self.factory} ({self.python})" if self.python else self.factory


@dataclass(frozen=True, slots=True)
class HostSetting:
    """What one host's own settings say of a path for which a build was loaded."""

    host: str
    """Empty: the only host there is."""
    source: Source
    wins: bool = False
    """Whether it was changed after the load, and so is served there in place of the loaded build."""


@dataclass(frozen=True, slots=True)
class LoadedBuild:
    """What was loaded onto a path last."""

    path: PathName
    source: Source
    build: str
    """Its id."""
    named: bool
    """Whether a person gave it the id; otherwise it is a digest of the code."""
    hosts: tuple[HostSetting, ...] = ()
    """The setting that it replaced on each host that has seen it."""

    def setting_of(self, host: str) -> HostSetting | None:
        """What is known of a host."""
        return next((setting for setting in self.hosts if setting.host == host), None)


@dataclass(frozen=True, slots=True)
class Served:
    """What a path is started from."""

    source: Source
    build: str | None = None
    """The id to give it; None: it makes one of its code."""


def served_on(loaded: LoadedBuild | None, host: str, setting: Source) -> Served:
    """What a host serves, whose setting is this one now."""
    if loaded is None:
        return Served(setting)
    seen = see(loaded, host, setting).setting_of(host)
    if seen is not None and seen.wins:
        return Served(setting)
    return Served(loaded.source, loaded.build if loaded.named else None)


def see(loaded: LoadedBuild, host: str, setting: Source) -> LoadedBuild:
    """The loaded build, with what this host's setting says by now.

    A setting that names the loaded build is no change, and neither is one that is seen for the first time.
    """
    known = loaded.setting_of(host)
    wins = known is not None and setting != loaded.source and (known.wins or setting != known.source)
    return replace(loaded, hosts=_with(loaded.hosts, HostSetting(host, setting, wins)))


def load(before: LoadedBuild | None, loaded: LoadedBuild, host: str, setting: Source) -> LoadedBuild:
    """A new load, given to a cell of this host: it comes after every setting that is known by then."""
    known = () if before is None else tuple(replace(each, wins=False) for each in before.hosts)
    return replace(loaded, hosts=_with(known, HostSetting(host, setting)))


def of_path(builds: Iterable[LoadedBuild], path: PathName) -> LoadedBuild | None:
    """What was loaded onto a path."""
    return next((loaded for loaded in builds if loaded.path == path), None)


def with_path(builds: Iterable[LoadedBuild], loaded: LoadedBuild) -> tuple[LoadedBuild, ...]:
    """The builds of all paths, with this one in place of what its path had."""
    return (*(each for each in builds if each.path != loaded.path), loaded)


def _with(hosts: Iterable[HostSetting], setting: HostSetting) -> tuple[HostSetting, ...]:
    return (*(each for each in hosts if each.host != setting.host), setting)
