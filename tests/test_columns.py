"""Every column of an observation has a name and a unit, and holds what they say; names are kept and checked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import ROOT
from helpers import make_spec
from played import OTHERS, changed
from tutelage import BadInput, Fault, make
from tutelage.envs.parts import Segment, blocks
from tutelage.envs.user_env import check_spec
from tutelage.experiment.plain import from_plain, to_plain
from tutelage.experiment.read_roles import read_role
from tutelage.registry import ENVIRONMENTS
from tutelage.types import Block, Spec

NAME = re.compile(r"[^][:]+: [^][]+ \[[^][]+\]")


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in ENVIRONMENTS), *OTHERS])
def test_every_column_has_a_name_and_a_unit(name, options):
    spec = make(name, **options).spec
    assert spec.layout[-1].stop == spec.obs_width
    for agent, width in enumerate(spec.obs_widths):
        names = spec.column_names(agent)
        assert len(names) == spec.obs_width and set(names[width:]) <= {"padding [always 0]"}
        for text in names[:width]:
            assert NAME.fullmatch(text), text
        used = [text for text in names if not text.endswith("[always 0]")]
        assert len(set(used)) == len(used), "no two columns are the same"


def observed(name: str, agent: int = 0, options: dict | None = None, **state: list) -> dict[str, float]:
    """What an agent sees by the columns' names, without units, in a state that is changed by hand."""
    env, state_by_hand = changed(name, options, **state)
    row = np.asarray(env.sense(state_by_hand).obs)[agent]
    names = [text.split(" [")[0] for text in env.spec.column_names(agent)]
    return dict(zip(names, row.tolist(), strict=True))


def assert_shows(seen: dict[str, float], expected: dict[str, float]) -> None:
    assert {name: seen[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_columns_of_battles_hold_what_they_are_called():
    seen = observed(
        "smax/2s_vs_1sc", x=[10, 12, 15], y=[16, 16, 20], health=[40, 80, 150], shield=[20, 80, 0],
        cooldown=[0.67, 0, 0.33], move_x=[0, 1, 0], attack=[0, 0, 6],
    )  # fmt: skip
    own = {"health": 0.5, "position x": 10 / 32, "position y": 0.5, "weapon cooldown left": 0.5, "shield": 0.25}
    ally = {"health": 1, "relative x": 0.2, "relative y": 0, "last move x": 1, "last attack, 0 for none": 0}
    enemy = {"health": 0.5, "relative x": 0.5, "relative y": 0.4, "weapon cooldown left": 0.25, "shield": 0}
    for who, columns in (("own", own), ("ally 0", ally), ("enemy 0", enemy)):
        assert_shows(seen, {f"{who}: {name}": value for name, value in columns.items()})
    assert seen["enemy 0: last attack, 0 for none"] == 1, "6 of 6"
    kinds = {name for name, value in seen.items() if ": type is " in name and value == 1}
    stalker = "type is shielded_stalker"
    assert kinds == {f"own: {stalker}", f"ally 0: {stalker}", "enemy 0: type is spine_crawler"}


def test_columns_of_healers_and_of_hidden_actions_hold_what_they_are_called():
    seen = observed("smax/MMM2", agent=9)
    waits = "weapon cooldown left, or a healer's energy"
    assert_shows(seen, {f"own: {waits}": 50 / 200, "own: type is medivac": 1, "own: type is marine": 0})
    assert_shows(seen, {"ally 7: type is marauder": 1, "ally 6: type is marine": 1})
    hidden = make("smax/3m", see_enemy_actions=False).spec.column_names(0)
    assert [i for i, text in enumerate(hidden) if "nothing" in text] == [29, 30, 31, 42, 43, 44, 55, 56, 57]


def test_columns_of_particles_hold_what_they_are_called():
    place = [[0, 0], [0.5, 0], [0, 0.5], [-1, -1], [0.25, 0.75], [1, 1]]
    hunt = dict(place=place, velocity=[[0.1, 0.2], [0, 0], [0, 0], [0.3, 0.4]], options=dict(prey="learns"))
    predator = {"own velocity: velocity y": 0.2, "own position: position x": 0.5, "obstacle 0: relative y": 0.75}
    assert_shows(observed("mpe/simple_tag", 1, **hunt), predator | {"own velocity: velocity y": 0})
    assert_shows(observed("mpe/simple_tag", 1, **hunt), {"agent 0: relative x": -0.5, "agent 1: relative y": 0.5})
    assert_shows(observed("mpe/simple_tag", 1, **hunt), {"prey: relative x": -1.5, "prey: velocity y": 0.4})
    prey = {"own velocity: velocity x": 0.3, "obstacle 1: relative x": 2, "agent 2: relative y": 1.5}
    assert_shows(observed("mpe/simple_tag", 3, **hunt), prey)
    told = dict(place=[[0, 0], [1, 0], [0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], goal=2, said=[0, 1, 0])
    speaker = observed("mpe/simple_speaker_listener", 0, **told)
    assert_shows(speaker, {f"goal of the listener: is landmark {i}": v for i, v in enumerate((0.15, 0.15, 0.65))})
    assert len(speaker) == 4, "and padding"
    listener = {"landmark 1: relative x": -0.7, "landmark 1: relative y": 0.4, "heard: word 1 was said last": 1}
    assert_shows(observed("mpe/simple_speaker_listener", 1, **told), listener)
    talk = observed("mpe/simple_reference", 0, goal=[0, 1], said=np.eye(10)[[3, 7]])
    assert_shows(talk, {"goal of the other: is landmark 1": 0.75, "goal of the other: is landmark 0": 0.25})
    assert_shows(talk, {"heard: word 7 was said last": 1, "heard: word 3 was said last": 0})
    spread = observed("mpe/simple_spread", 1, place=[[0, 0], [0.5, 0], [0, 1], [-1, -1], [0.25, 0.75], [1, 1]])
    assert_shows(spread, {"own position: position x": 0.5, "landmark 2: relative y": 1, "agent 0: relative x": -0.5})
    assert_shows(spread, {"agent 1: relative y": 1, "said: nothing": 0})


def test_columns_of_the_hunt_hold_what_they_are_called():
    x, y = np.full(16, 9), np.full(16, 9)
    (x[0], y[0]), (x[1], y[1]), (x[8], y[8]) = (4, 4), (5, 4), (2, 6)
    seen = observed("predator_prey/punish2", x=x, y=y)
    shown = {name for name, value in seen.items() if value}
    assert shown == {"hunter map: hunter at (0, 0)", "hunter map: hunter at (1, 0)", "stag map: stag at (-2, 2)"}


def test_columns_of_fires_hold_what_they_are_called():
    known = np.zeros((5, 100))
    known[:, 0] = 2 * 1 + 1  # the cell at the bottom left burned at the start
    burning = np.zeros(100)
    cell = make("fire_commander/easy").rules.number[1 * 10 + 2]
    burning[cell] = 1  # nobody has looked yet
    seen = observed(
        "fire_commander/easy", x=[3, 2, 0, 4, 9], y=[2, 2, 0, 1, 9], known=known, burning=burning, time=8
    )  # fmt: skip
    assert_shows(seen, {"own position: position x": 2 * 3 / 9 - 1, "own position: position y": 2 * 2 / 9 - 1})
    cells = np.diff(make("fire_commander/easy").rules.spans[0])[0]
    first = {"cells known to burn": 0.25, "freshness of its cells, mean, 0 for one never seen": (1 - 8 / 80) / cells}
    assert_shows(seen, {f"region 0: {name}": value for name, value in first.items()})
    way = {"x to the nearest known fire, 0 if none": -0.3, "y to the nearest known fire, 0 if none": -0.2}
    assert_shows(seen, {f"region 0: {name}": value for name, value in way.items()})
    window = {name for name, value in seen.items() if name.startswith("window") and value}
    ours = {"perception agent at (0, 0)", "perception agent at (-1, 0)", "action agent at (1, -1)", "fire at (-1, -1)"}
    assert window == {f"window: {name}" for name in ours}
    border = observed("fire_commander/easy", agent=2, x=[3, 2, 0, 4, 9], y=[2, 2, 0, 1, 9])
    outside = {name for name, value in border.items() if "outside" in name and value}
    assert outside == {
        f"window: outside of the map at ({x}, {y})" for x, y in ((-1, -1), (0, -1), (1, -1), (-1, 0), (-1, 1))
    }


def test_columns_of_ships_hold_what_they_are_called():
    state = dict(x=[8, 0, 0, 9, 4, 9], y=[5, 0, 1, 6, 8, 5], goal=[4, 4, 4], gauge=[6, 5, 4])
    seen = observed("marine/easy_raid", **state)
    bits = lambda name: sum(int(seen[key]) << int(key[-1]) for key in seen if key.startswith(f"own: {name}"))
    assert bits("cell y * 10 + x") == 58 and bits("destination cell") == 49 and bits("fuel a step ago") == 6
    raider = {"ship 0: reported": 1, "ship 0: relative x": 0.1, "ship 0: class": -1, "ship 1: class": 0}
    assert_shows(seen, raider | {"ship 1: reported": 1, "ship 1: relative y": 0.1, "ship 2: reported": 0})
    window = {name[8:] for name, value in seen.items() if name.startswith("window") and value and "sea" not in name}
    assert window == {
        "routing ship 0 at (0, 0)",
        "logistics ship 3 at (1, 1)",
        "raider at (1, 0)",
        "destination at (1, -1)",
    }
    other = observed("marine/easy_raid", agent=3, **state)
    tank = {"ship 1: fuel a step ago, 0 unless routing": 0.6}
    assert_shows(other, tank | {"ship 1: row of its destination, from the bottom, 0 unless routing": 0.4})
    assert_shows(other, {"own: fuel a step ago, 0 unless routing, bit 1": 0, "window: outside of the map at (1, 0)": 1})


def test_columns_of_probes_hold_what_they_are_called():
    assert observed("probe/delayed", t=1) == {"shown: time": 1}
    assert observed("probe/observation", cue=0) == {"shown: cue": -1}
    assert observed("probe/memory", cue=1, t=0) == {"shown: cue, 0 after the first step": 1}
    assert observed("probe/value", cue=1) == {"shown: nothing": 0}


# ---- where they come from, and what is refused ---------------------------------------------------------------------
def test_another_number_of_names_than_of_columns_is_refused():
    with pytest.raises(BadInput, match=r"^layout: block 'own' has 3 columns, names of 2$"):
        blocks(("heard", 2), Segment("own", 3, columns=("x [m]", "y [m]")))
    assert blocks(("own", 3))[0].columns == ()


FAULTS = {
    "number": (Block("own", 0, 3, None, ("x [m]",)), r"block 'own' has 3 columns, names of 1"),
    "text": (Block("own", 0, 3, None, "xyz"), r"columns of block 'own' are 'xyz', must be texts"),  # type: ignore[arg-type]
    "kinds": (Block("own", 0, 1, None, (1,)), r"columns of block 'own' are \(1,\), must be texts"),  # type: ignore[arg-type]
}


def check(**changes: object) -> Spec:
    """A spec of one's own, as it is read."""
    return check_spec("mine:Mine", SimpleNamespace(spec=replace(make_spec(), **changes)))


@pytest.mark.parametrize("fault", FAULTS)
def test_names_of_ones_own_environment_are_counted(fault):
    block, says = FAULTS[fault]
    with pytest.raises(BadInput, match=f"^mine:Mine: spec.layout: {says}$"):
        check(layout=(block,))
    with pytest.raises(BadInput, match=f"^mine:Mine: spec.own_layouts: {says}$"):
        check(own_layouts=((), (block,), ()))


def test_ones_own_environment_may_leave_names_away_or_give_them():
    assert check(layout=[Block("own", 0, 4, None)]).column_names(0) == ("",) * 4
    named = check(layout=[Block("own", 0, 1, None, ["x [m]"])])
    assert hash(named) and named.column_names(2) == ("own: x [m]", "", "", "")
    told = check(action_names=list("abcde"), notes=["It is a game."])
    assert hash(told) and (told.action_names, told.notes) == (tuple("abcde"), ("It is a game.",))
    wrong: dict[str, tuple] = {
        "action_names": (("up", "down"), "updow", (1, 2, 3, 4, 5)),
        "notes": ("It is a game.", (1,)),
    }
    says = {"action_names": r"n_actions = 5 texts, or \(\)", "notes": "texts"}
    for field, value in [(name, value) for name, values in wrong.items() for value in values]:
        with pytest.raises(BadInput, match=rf"^mine:Mine: spec.{field} is .*, must be {says[field]}$"):
            check(**{field: value})
    with pytest.raises(BadInput, match=r"spec.own_layouts is .*, must be n_agents = 3 layouts"):
        check(own_layouts=((),))


def test_blocks_of_older_files_are_read_and_new_ones_come_back():
    assert from_plain(Block, ["own", 0, 2, None], "layout") == Block("own", 0, 2)
    named = Block("own", 0, 2, 0, ("x [m]", "y [m]"))
    assert from_plain(Block, json.loads(json.dumps(named)), "layout") == named
    spec = make("mpe/simple_speaker_listener").spec
    assert from_plain(Spec, json.loads(json.dumps(to_plain(spec)))) == spec
    for value in (["own", 0], [*named, 1], ["own", 0, 2, None, [1, 2]]):
        with pytest.raises(BadInput, match="layout"):
            from_plain(Block, value, "layout")


def test_roles_are_read_without_names_and_refused_with_too_few(tmp_path):
    role = json.loads((ROOT / "zoo" / "kd_marl" / "smax-3m" / "student.json").read_text())
    read = lambda: (tmp_path / "student.json").write_text(json.dumps(role)) and read_role(tmp_path, "student")
    assert read().spec == make("smax/3m").spec
    role["spec"]["action_names"].pop()
    with pytest.raises(Fault, match=r"spec: n_actions = 8, action_names of 7"):
        read()
    del role["spec"]["action_names"], role["spec"]["notes"]
    assert (read().spec.action_names, read().spec.notes) == ((), ())
    role["spec"]["layout"][5][4].pop()
    with pytest.raises(Fault, match=r"spec.layout: block 'own' has 10 columns, names of 9"):
        read()
    role["spec"]["layout"] = [block[:4] for block in role["spec"]["layout"]]
    del role["spec"]["own_layouts"]
    assert read().spec.layout[5] == Block("own", 65, 75)
