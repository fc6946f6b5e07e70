"""The table of roles: who may do what at all, who where less is at stake, and in which words the others are refused."""

from __future__ import annotations

import pytest

from rollout.errors import NotAllowed, NotInPhase
from rollout.events import Actor
from rollout.names import ROLES, TOKEN_ROLES, Action, Phase, TokenRole
from rollout.permissions import RULES, check_load, lowest_role, require, role_for, suffices
from tests.rollout.steps import in_phase

# Role that may in every case, and the one that suffices where less is at stake.
NEEDED: dict[Action, tuple[TokenRole, TokenRole]] = {
    "start": ("manager", "manager"),
    "set": ("manager", "oncall"),
    "promote": ("manager", "manager"),
    "pause": ("oncall", "oncall"),
    "resume": ("manager", "manager"),
    "rollback": ("oncall", "oncall"),
    "undo": ("manager", "oncall"),
    "unlock": ("manager", "manager"),
    "plan": ("manager", "manager"),
    "look": ("viewer", "viewer"),
    "note": ("oncall", "oncall"),
    "pin": ("manager", "manager"),
    "load": ("manager", "manager"),
    "forget": ("manager", "manager"),
}


def test_a_role_may_what_those_below_it_may() -> None:
    assert ROLES == ("viewer", "oncall", "manager", "system")
    for role in ROLES:
        assert [needed for needed in ROLES if suffices(role, needed)] == list(ROLES[: ROLES.index(role) + 1])


def test_the_table_is_whole() -> None:
    assert RULES.keys() == NEEDED.keys()


@pytest.mark.parametrize("action", NEEDED)
def test_who_may_do_it(action: Action) -> None:
    whole, mild = NEEDED[action]
    assert (role_for(action), role_for(action, mild=True), lowest_role(action)) == (whole, mild, mild)
    for role in TOKEN_ROLES:
        for is_mild, needed in ((False, whole), (True, mild)):
            actor = Actor("ada", role)
            if suffices(role, needed):
                require(actor, action, mild=is_mild)
                continue
            with pytest.raises(NotAllowed, match=rf"ada \({role}\) may not .*: it needs the role {needed}$"):
                require(actor, action, mild=is_mild)


def test_whoever_is_refused_reads_what_they_wanted() -> None:
    viewer = Actor("vic", "viewer")
    with pytest.raises(NotAllowed, match=r"may not lower the percentage: it needs the role oncall"):
        require(viewer, "set", mild=True)
    with pytest.raises(NotAllowed, match=r"may not raise the percentage: it needs the role manager"):
        require(viewer, "set")


@pytest.mark.parametrize(
    ("phase", "users", "live", "passes"),
    [
        ("idle", 7, False, True),
        ("progressing", 0, False, True),
        ("progressing", 1, False, False),
        ("progressing", 1, True, True),
        ("completed", 7, False, False),
        ("rolled_back", 0, False, True),
    ],
)
def test_when_another_build_may_be_loaded(phase: Phase, users: int, live: bool, passes: bool) -> None:
    if passes:
        check_load(in_phase(phase), users_on_v3=users, live=live)
        return
    with pytest.raises(NotInPhase, match="on v3; set 0 % first, or say --live"):
        check_load(in_phase(phase), users_on_v3=users, live=live)
