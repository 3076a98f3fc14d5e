"""Every action has a name and does what it says; every environment has notes, with the numbers of its rules."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np
import pytest

from played import OTHERS, changed
from tutelage import Map, make, smax
from tutelage.registry import ENVIRONMENTS


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in ENVIRONMENTS), *OTHERS])
def test_every_action_has_a_name_and_every_environment_notes(name, options):
    spec = make(name, **options).spec
    assert len(set(spec.action_names)) == spec.n_actions, "no two actions are the same"
    assert len(spec.notes) >= 3 and len(set(spec.notes)) == len(spec.notes)
    assert any(note.startswith("Success: ") or " Success: " in note for note in spec.notes)
    for note in spec.notes:
        assert note.endswith(".") and note[0] != " " and not re.search(r"  |\.\.|None|inf|nan", note), note


FAR = dict(x=[10, 16, 30], y=[16, 4, 28])
"""Of 2s_vs_1sc: nobody sees anybody."""
MOVES = {
    "smax/2s_vs_1sc": FAR,
    "predator_prey/punish2": dict(x=[4, *[9] * 15], y=[4, *range(8), *range(7)]),
    "fire_commander/easy": dict(x=[4] * 5, y=[4] * 5),
    "marine/easy_raid": dict(x=[4] * 6, y=[4] * 6),
    "mpe/simple_tag": dict(place=[[0, 0], [3, 3], [-3, 3], [-3, -3], [3, -3], [5, 5]]),
    "mpe/simple_reference": {},
}
WAYS = {"up (+y)": (0, 1), "down (-y)": (0, -1), "left (-x)": (-1, 0), "right (+x)": (1, 0), "": (0, 0)}


@pytest.mark.parametrize("name", MOVES)
def test_moves_go_where_their_names_say(name):
    env, state = changed(name, **MOVES[name])
    place = lambda s: np.asarray(s.velocity if name.startswith("mpe") else np.stack([s.x, s.y], -1))[0]
    gone = set()
    for action, text in enumerate(env.spec.action_names[:20]):
        way = next(way for way in WAYS if way in text)
        after = env.step(jax.random.key(1), state, np.array([action] + [env.idle] * (env.spec.n_agents - 1)))[0]
        assert tuple(np.sign(place(after) - place(state))) == WAYS[way], text
        gone.add(way)
    assert gone == set(WAYS)


def after(name: str, actions: dict[int, str], **state: list) -> Any:
    """The state after a step in which some agents do what is named, the others nothing."""
    env, before = changed(name, **state)
    joint = np.full(env.spec.n_agents, env.idle)
    for agent, begins in actions.items():
        (joint[agent],) = (i for i, text in enumerate(env.spec.action_names) if text.startswith(begins))
    assert env.sense(before).avail[np.arange(len(joint)), joint].all()
    return jax.device_get(env.step(jax.random.key(1), before, joint)[0])


def test_actions_do_what_they_are_called():
    fight = after("smax/2s_vs_1sc", {1: "attack enemy 0,"}, x=[4, 20, 25], y=[4, 16, 16])
    assert fight.health[2] == 300 - (13 + 5 - 2) and fight.attack.tolist() == [0, 5, 5 + 2 - 1 - 1], "enemies backwards"
    cells = [[4, 5, 6], [4, 4, 4]]  # the stag is between two hunters
    x, y = ([a, c, *[9] * 6, b, *[0] * 7] for a, b, c in cells)
    y[2:8], y[9:] = range(6), range(7)
    hunt = after("predator_prey/punish2", {0: "catch", 1: "catch"}, x=x, y=y)
    assert hunt.stags == 1 and hunt.free.tolist() == [False, False, *[True] * 6, False, *[True] * 7]
    still = dict(active=[False], burning=np.arange(100) < 2, x=[9, 9, 9, 0, 1], y=[9, 9, 9, 0, 0])
    assert after("fire_commander/easy", {3: "douse"}, **still).burning.sum() == 1
    said = after("mpe/simple_reference", {1: "push up (+y), say word 7"}).said
    assert said[1].argmax() == 7 and said[0].argmax() == 0
    assert after("mpe/simple_speaker_listener", {0: "listener: push left (-x); speaker: say word 1"}).said.argmax() == 1


def test_healers_name_agents_and_attackers_enemies_that_they_can_hit():
    where = np.array([[31.0, 1.0]] * 22)  # in a corner, but agents 3, 7 and 9, and enemies 9 and 11
    for unit in (3, 7, 9, 10 + 9, 10 + 11):
        where[unit] = 16, 16
    env, state = changed("smax/MMM2", x=where[:, 0], y=where[:, 1])
    names, avail = env.spec.action_names, np.asarray(env.sense(state).avail)
    can = lambda agent: [name.split(",")[0] for name, may in zip(names[5:], avail[agent, 5:], strict=True) if may]
    assert can(9) == ["attack enemy 3 (medivac: heal agent 3)", "attack enemy 7 (medivac: heal agent 7)"]
    assert can(7) == ["attack enemy 9 (not medivac)"] and len(can(3)) == 2
    assert names[16] == "attack enemy 11 (not marauder, not medivac), while that unit is alive and in range"
    own = lambda allies, enemies: smax(Map(allies, enemies)).spec.action_names[5:]
    assert own({"marine": 1, "medivac": 1}, {"zealot": 1}) == (
        "attack enemy 0 (medivac: heal agent 0), while that unit is alive and in range",
        "nothing (1), never available",
    )
    assert own({"medivac": 1, "marine": 1}, {"zealot": 1})[1].startswith("heal agent 1 (medivac only), while")


NOTES = {
    "smax/MMM2": (
        "Agents: 0 to 6 marine, 7 to 8 marauder, 9 medivac.", "enemy's is (5 + k) / 16 where it attacked agent 9 - k",
        "after 180 steps", "sight range 11, range 4", "at most 2, or a little more",
    ),
    "smax/5m_vs_6m": ("An agent's last attack is its action number / 10; an enemy's is (5 + k) / 9", "at most 2."),
    "predator_prey/punish2": ("The return is at most 40.", "4 stags caught", "the square of 5 x 5 cells", "costs 2."),
    "fire_commander/hard": (
        "20 x 20 cells", "5 x 5 cells", "at most 10 cells apart", "less than 30.", "0, 5, 10, 15.",
    ),
    "marine/hard": (
        "0 at sea level 0, 4 at sea level 1, 7 at sea level 2, 10 at sea level 3", "at most 5 cells away",
        "is less than 17.", "0, 2, 4 (metres)",
    ),
    "mpe/simple_tag": ("0.125 apart", "at most 750.", "3 for predators and 4 for the prey"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_notes_have_the_numbers_of_the_rules(name):
    text = " ".join(make(name).spec.notes)
    for part in NOTES[name]:
        assert part in text, part


def test_a_lost_agent_is_noted():
    env, plain = make("smax/3m", lost=1, lost_from=4), make("smax/3m")
    assert env.spec.notes == (
        *plain.spec.notes,
        "Agent 1 is lost from step 4 on: its row is all 0, it has no available action, and whatever it is told, its "
        "body does action 4.",
    )
    assert plain.spec.action_names[4] == "stop" and make("smax/3m", noise=0.1).spec == plain.spec
