"""Which build a host serves: the loaded one, until its own setting is changed to something else."""

from __future__ import annotations

import pytest

from rollout.builds import (
    HOSTS_KEPT,
    BuildSource,
    HostSetting,
    LoadedBuild,
    Served,
    load,
    of_path,
    see,
    served_on,
    with_path,
)

OLD, OTHER, FURTHER = BuildSource("shop.v3:create"), BuildSource("shop.v4:create"), BuildSource("shop.v5:create")
NEW = BuildSource("shop.fixed:create", "/opt/shop/bin/python")
LOADED = LoadedBuild("v3", NEW, "d1g357", named=False)
THE_LOADED_ONE = Served(NEW)


def loaded_on(**settings: BuildSource) -> LoadedBuild:
    """`NEW`, loaded while these hosts had these settings."""
    return load(None, LOADED, settings)


def starts(loaded: LoadedBuild, host: str, *settings: BuildSource) -> LoadedBuild:
    """The host is started with each of these settings, one after the other."""
    for setting in settings:
        loaded = see(loaded, host, setting)
    return loaded


@pytest.mark.parametrize(
    ("settings", "served"),
    [
        ((OLD,), THE_LOADED_ONE),
        ((OLD, OLD), THE_LOADED_ONE),
        ((OTHER,), Served(OTHER)),
        ((OTHER, OTHER), Served(OTHER)),
        ((OTHER, FURTHER), Served(FURTHER)),
        ((OTHER, OLD), THE_LOADED_ONE),
        ((OTHER, OLD, OTHER), Served(OTHER)),
        ((NEW,), THE_LOADED_ONE),
        ((OTHER, NEW), THE_LOADED_ONE),
        ((NEW, OLD), THE_LOADED_ONE),
        ((NEW, OTHER), Served(OTHER)),
        ((BuildSource(NEW.factory),), Served(BuildSource(NEW.factory))),
        ((BuildSource(OLD.factory, "/opt/shop/bin/python"),), Served(BuildSource(OLD.factory, "/opt/shop/bin/python"))),
    ],
    ids=[
        "the same", "the same again", "changed", "changed once", "changed twice", "changed back",
        "changed back and forth", "names the loaded build", "changed, then names it", "named it, then as before",
        "named it, then changed", "names its factory in another interpreter", "only the interpreter is changed",
    ],
)  # fmt: skip
def test_what_a_host_serves_after_starts_with_these_settings(settings: tuple[BuildSource, ...], served: Served) -> None:
    *before, last = settings
    known = starts(loaded_on(one=OLD), "one", *before)
    assert served_on(known, "one", last) == served
    assert served_on(see(known, "one", last), "one", last) == served, "written down or not"


@pytest.mark.parametrize("settings", [(OLD,), (NEW,), (NEW, OLD), (OLD, NEW, OLD)])
def test_what_is_no_change_is_not_written_down(settings: tuple[BuildSource, ...]) -> None:
    loaded = loaded_on(one=OLD)
    assert starts(loaded, "one", *settings) is loaded


def test_without_a_load_the_setting_is_served() -> None:
    assert served_on(None, "one", OLD) == Served(OLD)


def test_an_id_that_a_person_gave_is_given_again_and_a_digest_is_made_again() -> None:
    named = load(None, LoadedBuild("v3", NEW, "release 7", named=True), {"one": OLD})
    assert served_on(named, "one", OLD) == Served(NEW, "release 7")
    assert served_on(loaded_on(one=OLD), "one", OLD) == Served(NEW, None)


def test_a_changed_setting_wins_on_its_host_only() -> None:
    loaded = starts(loaded_on(one=OLD, two=OLD), "two", OTHER)
    assert served_on(loaded, "two", OTHER) == Served(OTHER)
    assert served_on(loaded, "one", OLD) == THE_LOADED_ONE


def test_each_host_is_compared_with_its_own_setting() -> None:
    loaded = loaded_on(one=OLD, two=OTHER)
    assert served_on(loaded, "two", OTHER) == THE_LOADED_ONE
    assert served_on(loaded, "one", OTHER) == Served(OTHER)
    assert served_on(loaded, "two", OLD) == Served(OLD)


@pytest.mark.parametrize(
    ("setting", "served"),
    [(OLD, THE_LOADED_ONE), (OTHER, THE_LOADED_ONE), (NEW, THE_LOADED_ONE), (FURTHER, Served(FURTHER))],
)
def test_a_host_that_was_not_there_is_compared_with_those_that_were(setting: BuildSource, served: Served) -> None:
    loaded = loaded_on(one=OLD, two=OTHER)
    assert served_on(loaded, "three", setting) == served
    seen = see(loaded, "three", setting)
    assert (seen is loaded) == (served == THE_LOADED_ONE)
    assert served_on(see(seen, "three", OLD), "three", OLD) == THE_LOADED_ONE


def test_a_new_load_comes_after_every_change_that_is_known() -> None:
    before = starts(loaded_on(one=OLD, two=OLD), "two", OTHER)
    newer = load(before, LoadedBuild("v3", FURTHER, "f", named=False), {"one": OLD})
    assert served_on(newer, "one", OLD) == Served(FURTHER)
    assert served_on(newer, "two", OTHER) == Served(FURTHER), "its setting has not changed since"
    assert served_on(newer, "two", OLD) == Served(OLD), "but now it has"


def test_a_new_load_replaces_the_settings_of_the_hosts_that_are_there() -> None:
    newer = load(loaded_on(one=OLD), LoadedBuild("v3", FURTHER, "f", named=False), {"one": NEW})
    assert newer.hosts == (HostSetting("one", NEW),)
    assert served_on(newer, "one", NEW) == Served(FURTHER), "it named the build that was loaded before"
    assert served_on(newer, "one", OLD) == Served(OLD)


def test_a_host_that_came_back_to_what_others_had_is_not_remembered_after_the_next_load() -> None:
    gone = starts(loaded_on(one=OLD), "two", OTHER, OLD)
    assert gone.setting_of("two") == HostSetting("two", None)
    assert load(gone, LOADED, {"one": OLD}).setting_of("two") is None


def test_only_so_many_hosts_are_remembered_and_the_newest_stay() -> None:
    loaded = loaded_on(one=OLD)
    for number in range(HOSTS_KEPT + 5):
        loaded = see(loaded, f"pod-{number}", OTHER)
    assert len(loaded.hosts) == HOSTS_KEPT
    assert loaded.hosts[-1].host == f"pod-{HOSTS_KEPT + 4}"
    assert loaded.setting_of("pod-5") is None
    assert loaded.setting_of("one") is not None, "whoever comes is compared with it"


def test_of_many_loads_the_hosts_of_the_last_one_stay() -> None:
    loaded = loaded_on(one=OLD)
    for number in range(HOSTS_KEPT + 5):
        loaded = load(loaded, LOADED, {f"pod-{number}": OTHER})
    assert len(loaded.hosts) == HOSTS_KEPT
    assert loaded.hosts[-1] == HostSetting(f"pod-{HOSTS_KEPT + 4}", OTHER)


def test_a_build_of_one_path_leaves_the_other_one_alone() -> None:
    stable = LoadedBuild("v2", OLD, "s", named=True)
    builds = with_path(with_path((), stable), LOADED)
    newer = LoadedBuild("v3", OTHER, "o", named=True)
    assert with_path(builds, newer) == (stable, newer)
    assert of_path(builds, "v2") is stable
    assert of_path((), "v3") is None


def test_a_source_names_its_interpreter_unless_it_is_the_services_own() -> None:
    assert (str(OLD), str(NEW)) == ("shop.v3:create", "shop.fixed:create (/opt/shop/bin/python)")
