"""FireCommander: each rule by itself, on maps set up by hand; how fire grows; and what agents know."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import rows
from played import compiled
from tutelage import BadInput, evaluate, make
from tutelage.envs.fire_commander import rules as F
from tutelage.envs.fire_commander.levels import LEVELS
from tutelage.envs.fire_commander.senses import belief

UP, DOWN, LEFT, RIGHT, STAY, DOUSE = range(6)


@cache
def moves(rules):
    """Compiled: a new map, what is seen, and a step."""
    uniform, normal = F.start_noise_sizes(rules)
    start = lambda: F.init_blaze(rules, jnp.full((uniform, 1), 0.5), jnp.zeros((normal, 1)))
    step = lambda state, actions: F.advance(rules, state, actions, jnp.full((1, 1), 0.5))
    return jax.jit(start), jax.jit(lambda state: F.look(rules, state)), jax.jit(step)


class Map:
    """One perception agent and one action agent on a 7x7 map with a front at `fire` that moves as told."""

    def __init__(self, sees=(0, 0), pours=(6, 6), fire=(3, 3), drift=(0.0, 0.0), **changes):
        self.rules = replace(F.Rules(size=7, perception=1, action=1, fires=1, vision=1, parts=2), **changes)
        start, look, self.step = moves(self.rules)
        state = jax.device_get(start())
        at = lambda *z: np.array(z, np.int32)[:, None]
        full = lambda shape, value: np.full(shape, value, np.float32)
        state = state._replace(
            x=at(sees[0], pours[0]), y=at(sees[1], pours[1]),
            front_x=full((1, 1), fire[0]), front_y=full((1, 1), fire[1]),
            burning=(np.arange(49) == np.asarray(self.rules.cell(*fire)))[:, None], rate=full((49, 1), 1),
            drift_x=full((7, 1), drift[0]), drift_y=full((7, 1), drift[1]), known=np.zeros((2, 49, 1), np.uint8),
        )  # fmt: skip
        self.state = state._replace(known=np.asarray(look(state)))

    def play(self, *actions):
        self.state, self.outcome = jax.device_get(self.step(self.state, np.array(actions)[:, None]))
        return self

    @property
    def fires(self):
        cells = np.nonzero(np.asarray(self.state.burning)[:, 0])[0]
        return {(int(self.rules.cell_x[c]), int(self.rules.cell_y[c])) for c in cells}

    def knows(self, agent, x, y):
        """(step of the last sight, whether it burned) of a cell; None where never seen."""
        stamp = int(self.state.known[agent, self.rules.cell(x, y), 0])
        return (stamp // 2 - 1, bool(stamp % 2)) if stamp else None


def test_cells_are_numbered_once_and_regions_cover_the_map():
    for rules, _ in LEVELS.values():
        assert len({*zip(rules.cell_x.tolist(), rules.cell_y.tolist(), strict=True)}) == rules.cells
        for a, b in rules.spans:
            box = rules.cell_x[a:b], rules.cell_y[a:b]
            assert np.prod([z.max() - z.min() + 1 for z in box]) == b - a, "a region is a rectangle"
        assert (np.asarray(rules.cell(rules.cell_x, rules.cell_y)) == np.arange(rules.cells)).all()


def test_agents_move_and_stay_on_the_map():
    m = Map(sees=(0, 0), pours=(6, 6)).play(UP, UP)
    assert np.asarray(m.state.x).ravel().tolist() == [0, 6] and np.asarray(m.state.y).ravel().tolist() == [1, 6]
    m.play(RIGHT, LEFT).play(DOWN, DOWN).play(LEFT, STAY)
    assert np.asarray(m.state.x).ravel().tolist() == [0, 5] and np.asarray(m.state.y).ravel().tolist() == [0, 5]


def test_fronts_move_set_alight_what_they_come_to_and_the_old_goes_on_burning():
    m = Map(drift=(1.6, 0.0)).play(STAY, STAY)
    assert m.fires == {(3, 3), (4, 3)} and np.isclose(m.state.front_x[0, 0], 4.6)
    m.play(STAY, STAY)
    assert m.fires == {(3, 3), (4, 3), (6, 3)} and m.state.front_x[0, 0] == 6, "held at the border"
    assert np.isclose(m.outcome.reward[0], -0.2), "paid by what burned before the step"


def test_fuel_is_of_the_rounded_cell_and_burning_of_the_truncated_one():
    m = Map(fire=(3, 3), drift=(1.0, 0.0))
    rate = np.zeros((49, 1), np.float32)
    rate[int(m.rules.cell(4, 3))] = 0.3
    m.state = m.state._replace(front_x=np.full((1, 1), 3.6, np.float32), rate=rate)
    m.play(STAY, STAY)
    assert np.isclose(m.state.front_x[0, 0], 3.9) and m.fires == {(3, 3)}


def test_dousing_puts_out_the_own_cell_and_the_front_that_stands_there():
    m = Map(pours=(3, 3), drift=(1.0, 0.0)).play(STAY, DOUSE)
    assert m.fires == set() and m.outcome.won[0] and not m.state.active[0, 0]
    assert np.isclose(m.outcome.reward[0], -0.1 + 10)
    m = Map(pours=(3, 3), drift=(1.0, 0.0)).play(STAY, STAY).play(STAY, DOUSE)
    assert m.fires == {(4, 3), (5, 3)} and m.state.active[0, 0] and not m.outcome.won[0], "the front had moved on"
    assert np.isclose(m.outcome.reward[0], -0.2)
    assert Map(pours=(3, 3)).play(DOUSE, STAY).fires == {(3, 3)}, "who only sees cannot douse"


def test_a_victory_is_a_true_end_and_the_limit_cuts_off():
    env = compiled("fire_commander/easy", max_steps=5)
    state, _ = env.reset(jax.random.key(0))
    alight = env.rules.cell(4, 4)
    # One front, which stays where it is; agents 3 and 4 can douse.
    state = state._replace(
        burning=jnp.arange(env.rules.cells) == alight, rate=jnp.zeros_like(state.rate), x=state.x.at[4].set(4),
        y=state.y.at[4].set(4), front_x=jnp.full_like(state.front_x, 4.0), front_y=jnp.full_like(state.front_y, 4.0),
    )  # fmt: skip
    stay = jnp.full(5, STAY)
    _, won = env.step(jax.random.key(1), state, stay.at[4].set(DOUSE))
    assert won.last and won.success and won.discount == 0 and np.isclose(won.reward, -0.1 + 10)
    _, ended = env.step(jax.random.key(1), state._replace(time=jnp.asarray(4)), stay)
    assert ended.last and not ended.success and ended.discount == 1


def test_knowledge_is_remembered_told_in_range_and_the_newest_wins():
    m = Map(sees=(2, 3), pours=(6, 6))
    assert m.knows(0, 3, 3) == (0, True) and m.knows(1, 3, 3) is None, "5 > 3.5: out of range"
    assert m.knows(1, 6, 6) == (0, False), "an action agent sees its own cell"
    m.play(STAY, LEFT).play(STAY, LEFT)
    assert m.knows(1, 3, 3) is None
    m.play(STAY, DOWN)
    assert m.knows(1, 3, 3) == (3, True) and m.knows(0, 6, 6) == (0, False)
    m.play(LEFT, STAY).play(LEFT, STAY)
    assert m.knows(0, 3, 3) == (3, True), "no longer seen: what is known grows old"
    assert int(belief(m.rules, m.state, False)[m.rules.cell(3, 3), 0]) == 2 * 4 + 1
    assert int(belief(m.rules, m.state, True)[m.rules.cell(3, 3), 0]) == 2 * 6 + 1


def test_the_log_sums_up_by_region_and_points_to_the_nearest_fire():
    env = compiled("fire_commander/easy")
    state, _ = env.reset(jax.random.key(0))
    rules = env.rules
    burns = [(0, 9), (2, 9), (9, 0)]
    known = jnp.zeros_like(state.known)
    for x, y in burns:
        known = known.at[:, rules.cell(x, y)].set(2 * 1 + 1)
    state = state._replace(x=jnp.full(5, 4), y=jnp.full(5, 9), known=known)
    log = np.asarray(env.sense(state).obs[4, 2:38]).reshape(9, 4)
    top_left, bottom_right = log[6], log[2]
    assert np.allclose(top_left[[0, 2, 3]], [2 / 4, -2 / 10, 0]) and np.isclose(top_left[1], 2 / 9)
    assert np.allclose(bottom_right[[0, 2, 3]], [1 / 4, 5 / 10, -9 / 10])
    assert (log[[0, 1, 3, 4, 5, 7, 8]] == 0).all()
    silent = compiled("fire_commander/easy", radio=False)
    assert silent.spec.obs_width == env.spec.obs_width - 36
    assert (np.asarray(silent.sense(state).obs)[3:, 2:] == 0).all(), "an action agent alone knows its place only"


def test_a_window_shows_agents_fire_and_the_border():
    env = compiled("fire_commander/easy")
    state, _ = env.reset(jax.random.key(0))
    rules = env.rules
    x, y = jnp.array([0, 1, 9, 0, 9]), jnp.array([0, 1, 9, 1, 0])
    state = state._replace(x=x, y=y, burning=jnp.zeros(100, bool).at[rules.cell(1, 0)].set(True))
    sees, pours, fire, outside = np.asarray(env.sense(state).obs[0, -36:]).reshape(4, 3, 3)
    assert sees.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]] and pours.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert fire.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert outside.tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]


def test_the_state_tells_what_the_team_knows_and_an_oracles_state_what_is():
    for knows, expected in (("belief", 0), ("oracle", 1)):
        env = compiled("fire_commander/medium", knows=knows)
        state, _ = env.reset(jax.random.key(1))
        state = state._replace(known=jnp.zeros_like(state.known))
        burns = np.asarray(env.sense(state).state)[14 : 14 + 225]
        assert burns.sum() == expected * np.asarray(state.burning).sum()


@pytest.mark.parametrize(
    ("size", "fires", "expected"),
    rows(
        [(5, 1, (5, 8, 10)), (20, 3, (18, 42, 60))], [(10, 1, (6, 12, 18)), (10, 2, (11, 23, 30)), (20, 1, (6, 14, 22))]
    ),
)
def test_unattended_fire_grows_as_measured_in_the_source(size, fires, expected):
    """Mean burning cells after 10, 40 and 80 steps, within 15 %."""
    rules, n = F.Rules(size, 1, 1, fires, 1, 3), 600
    uniform, normal = F.start_noise_sizes(rules)

    def step(state, key):
        state = F.spread(rules, state, jax.random.uniform(key, (fires, n)))
        return state, state.burning.sum(0).mean()

    @jax.jit
    def go(keys):
        state = F.init_blaze(rules, jax.random.uniform(keys[0], (uniform, n)), jax.random.normal(keys[1], (normal, n)))
        return jax.lax.scan(step, state, jax.random.split(keys[2], 80))[1]

    burning = go(jax.random.split(jax.random.key(0), 3))
    assert np.allclose(np.asarray(burning)[[9, 39, 79]], expected, rtol=0.15)


@pytest.mark.rows  # half of it is three compilations; MARINE's script is ordered by default
def test_the_better_informed_the_script_the_better_it_does():
    """Rungs of `medium`: what one agent hears, what all know, the truth."""
    scores = []
    for name, knows in (("local", "belief"), ("pooled", "belief"), ("omniscient", "oracle")):
        env = make("fire_commander/medium", knows=knows)
        scores.append(evaluate(env, env.scripted(name), episodes=128).success_rate)
    assert 0.45 < scores[0] < scores[1] - 0.1 and scores[1] < 1 and scores[2] > 0.97
    with pytest.raises(BadInput, match="needs 'oracle'"):
        make("fire_commander/medium").scripted("omniscient")


def test_goals_are_regions_with_fire_for_those_who_douse_and_all_regions_for_those_who_see():
    env = compiled("fire_commander/easy")
    state, _ = env.reset(jax.random.key(0))
    rules = env.rules
    known = jnp.zeros_like(state.known).at[0, rules.cell(0, 9)].set(3)
    state = state._replace(x=jnp.full(5, 4), y=jnp.full(5, 9), known=known, time=jnp.asarray(5))
    goals = env.goals(state)
    assert goals.features.shape[:2] == (5, 9) and goals.valid[:3].all()
    assert np.nonzero(np.asarray(goals.valid[3]))[0].tolist() == [6]
    assert np.allclose(goals.features[3, 6, 1:3], [-4 / 10, 0])
    near = state._replace(x=jnp.full(5, 3))
    assert env.goals(near).potential[3, 6] > goals.potential[3, 6]
    out = near._replace(known=near.known.at[:, rules.cell(0, 9)].set(12))
    assert env.goals(out).reached[3, 6] and not goals.reached[3, 6] and not env.goals(out).valid[3, 6]
    seen = env.goals(state._replace(known=jnp.full_like(state.known, 2 * 6)))
    assert seen.reached[0].all() and not goals.reached[0].any() and not seen.valid[0].any()


@pytest.mark.parametrize("options", [{"max_steps": 127}, {"max_steps": 0}, {"knows": "all"}])
def test_impossible_options_are_refused(options):
    with pytest.raises(BadInput, match=next(iter(options))):
        make("fire_commander/easy", **options)
