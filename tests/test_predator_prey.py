"""The stag hunt: each rule by itself, on boards set up by hand."""

from __future__ import annotations

from collections import Counter
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import assert_same
from played import compiled
from tutelage import BadInput, make
from tutelage.envs.parts import ranks
from tutelage.envs.predator_prey.rules import CATCH, STAY, Hunt, advance, init_hunt, step_noise_size
from tutelage.policies.acting import random_policy, sample

RIGHT, DOWN, LEFT, UP = range(4)


@cache
def in_order(env):
    """A compiled step of one game in which hunters and prey move in the order of their numbers."""
    rules, n, m = env.rules, env.spec.n_agents, env.rules.prey

    def step(state, action):
        order = jnp.concatenate([jnp.arange(n) / n, jnp.arange(m) / m])[:, None]
        luck = jax.random.uniform(jax.random.key(0), (step_noise_size(rules), 1)).at[: n + m].set(order)
        lifted = jax.tree.map(lambda x: x[..., None], state)
        return jax.tree.map(lambda x: x[..., 0], advance(rules, lifted, action[:, None], luck))

    return jax.jit(step)


class Board:
    """Hunters and stags in given cells; hunters act in the order of their numbers."""

    def __init__(self, hunters, stags, hares=(), name="punish2", **options):
        self.env = compiled(
            f"predator_prey/{name}", n_agents=len(hunters), n_stags=len(stags), n_hares=len(hares), **options
        )
        self.rules, self.units = self.env.rules, [*hunters, *stags, *hares]
        x, y = np.array(self.units, np.int32).T
        zero = np.zeros((), np.int32)
        self.state = Hunt(x, y, np.ones(len(x), bool), zero, zero)
        self.n = len(hunters)

    def ends(self, seeds):
        """Where the first prey may be after a step in which nobody acts, and after how many of so many seeds."""

        @jax.jit
        def go(state):
            luck = jax.random.uniform(jax.random.key(0), (step_noise_size(self.rules), seeds))
            many = jax.tree.map(lambda x: jnp.broadcast_to(x[..., None], (*x.shape, seeds)), state)
            return advance(self.rules, many, jnp.full((self.n, seeds), STAY), luck)[0]

        after = go(self.state)
        return Counter(zip(np.asarray(after.x)[self.n].tolist(), np.asarray(after.y)[self.n].tolist(), strict=True))

    def play(self, *action):
        """One step, in which hunters and prey move in the order of their numbers."""
        self.state, self.outcome = jax.device_get(in_order(self.env)(self.state, np.array(action)))
        return self

    def cells(self):
        return list(zip(np.asarray(self.state.x).tolist(), np.asarray(self.state.y).tolist(), strict=True))

    @property
    def avail(self):
        return np.asarray(self.env.sense(self.state).avail)

    @property
    def obs(self):
        return np.asarray(self.env.sense(self.state).obs).reshape(self.n, 3, -1)


def test_hunters_move_right_down_left_up_or_stay():
    b = Board([(2, 2), (4, 4), (6, 6), (8, 8), (1, 8)], [(9, 0)]).play(RIGHT, DOWN, LEFT, UP, STAY)
    assert b.cells()[:5] == [(3, 2), (4, 3), (5, 6), (8, 9), (1, 8)]
    assert b.outcome.reward == 0 and not b.outcome.over


def test_moves_off_the_board_are_unavailable():
    b = Board([(0, 0), (9, 9), (5, 5)], [(5, 0)])
    np.testing.assert_array_equal(b.avail[:, :5], [
        [True, False, False, True, True], [False, True, True, False, True], [True] * 5])  # fmt: skip
    assert b.play(DOWN, RIGHT, STAY).cells()[:2] == [(0, 0), (9, 9)], "and do nothing if taken all the same"


def test_a_move_into_an_occupied_cell_fails_silently_and_who_goes_first_counts():
    b = Board([(2, 2), (3, 2)], [(9, 9)]).play(RIGHT, RIGHT)
    assert b.cells()[:2] == [(2, 2), (4, 2)], "the first found the second still there"
    b = Board([(3, 2), (2, 2)], [(9, 9)]).play(RIGHT, RIGHT)
    assert b.cells()[:2] == [(4, 2), (3, 2)], "the second could follow"
    b = Board([(2, 2), (4, 2)], [(9, 9)]).play(RIGHT, LEFT)
    assert b.cells()[:2] == [(3, 2), (4, 2)], "never two in one cell"


def test_orders_are_random_and_each_as_likely():
    luck = jax.random.uniform(jax.random.key(0), (3, 6000))
    order = np.asarray(ranks(luck))
    assert (np.sort(order, 0) == np.arange(3)[:, None]).all()
    counts = np.unique(order[0] * 9 + order[1] * 3 + order[2], return_counts=True)[1]
    assert len(counts) == 6 and (abs(counts - 1000) < 150).all()
    assert (np.sort(np.asarray(ranks(jnp.zeros((4, 1)))), 0)[:, 0] == np.arange(4)).all(), (
        "equal numbers are an order too"
    )


def test_catching_is_available_next_to_a_prey_only():
    b = Board([(4, 5), (5, 4), (4, 4), (7, 5)], [(5, 5)])
    np.testing.assert_array_equal(b.avail[:, CATCH], [True, True, False, False])


def test_two_beside_a_stag_catch_it_and_both_freeze():
    b = Board([(4, 5), (6, 5), (5, 6), (0, 0)], [(5, 5), (9, 9)]).play(CATCH, CATCH, STAY, STAY)
    assert b.outcome.reward == 10 and int(b.state.stags) == 1
    np.testing.assert_array_equal(b.state.free, [False, False, True, True, False, True])
    np.testing.assert_array_equal(b.avail[0], [False, False, False, False, True, False])
    assert not b.obs[0].any() and b.obs[2].any(), "the frozen see nothing"
    assert not np.asarray(b.env.sense(b.state).alive)[0]
    assert b.play(RIGHT, STAY, STAY, STAY).cells()[0] == (4, 5), "and cannot move"


def test_the_frozen_and_the_caught_leave_the_board():
    b = Board([(4, 5), (6, 5), (3, 5)], [(5, 5)], hares=[(0, 9)]).play(CATCH, CATCH, STAY)
    assert b.play(STAY, STAY, RIGHT).play(STAY, STAY, RIGHT).cells()[2] == (5, 5)


def test_one_alone_is_punished_and_the_stag_moves_on():
    b = Board([(4, 5), (6, 5)], [(5, 5)]).play(CATCH, STAY)
    assert b.outcome.reward == -2 and b.state.free.all()
    assert b.cells()[2] in [(5, 4), (5, 6)]
    assert Board([(4, 5), (6, 5)], [(5, 5)], name="punish0").play(CATCH, STAY).outcome.reward == 0


def test_one_catcher_is_punished_for_every_prey_beside_it():
    b = Board([(5, 5)], [(4, 5), (6, 5), (0, 0)]).play(CATCH)
    assert b.outcome.reward == -4


def test_a_catcher_that_froze_does_not_help_with_the_next_prey():
    b = Board([(5, 5), (3, 5), (7, 5)], [(4, 5), (6, 5)]).play(CATCH, CATCH, CATCH)
    assert b.outcome.reward == 10 - 2, "the second stag was caught at by one alone"
    np.testing.assert_array_equal(b.state.free, [False, False, True, False, True])


def test_a_hare_is_caught_by_one():
    b = Board([(5, 5), (0, 0)], [(9, 9)], hares=[(5, 6)]).play(CATCH, STAY)
    assert b.outcome.reward == 1 and int(b.state.stags) == 0 and not b.state.free[0]


def test_prey_goes_to_free_neighbours_each_as_likely_and_stays_on_the_board():
    ends = Board([(9, 9), (1, 0)], [(0, 0)]).ends(200)
    assert set(ends) == {(0, 1)}, "in the corner, with a hunter beside it, there is one way"
    ends = Board([(9, 9), (5, 6)], [(5, 5)]).ends(4000)
    assert set(ends) == {(4, 5), (6, 5), (5, 4)} and all(abs(n - 4000 / 3) < 150 for n in ends.values())


def test_a_surrounded_prey_stays():
    b = Board([(0, 1), (1, 0)], [(0, 0)]).play(STAY, STAY)
    assert b.cells()[2] == (0, 0)


def test_windows_show_who_is_near_and_oneself():
    b = Board([(5, 5), (6, 7), (9, 9)], [(3, 3)], hares=[(5, 6)])
    side = lambda dx, dy: (dy + 2) * 5 + dx + 2
    hunters, stags, hares = b.obs[0]
    assert set(np.flatnonzero(hunters)) == {side(0, 0), side(1, 2)}
    assert set(np.flatnonzero(stags)) == {side(-2, -2)} and set(np.flatnonzero(hares)) == {side(0, 1)}
    whole = np.asarray(b.env.sense(b.state).state).reshape(3, 10, 10)
    assert set(zip(*np.nonzero(whole[0].T), strict=True)) == {(5, 5), (6, 7), (9, 9)}
    assert whole[1, 3, 3] == 1 and whole[2, 6, 5] == 1 and whole.sum() == 5


def test_the_game_is_over_when_all_hunters_are_frozen_or_all_prey_is_caught():
    b = Board([(4, 5), (6, 5)], [(5, 5), (0, 0)]).play(CATCH, CATCH)
    assert b.outcome.over and b.outcome.won, "one pair cannot catch more than one stag"
    b = Board([(4, 5), (6, 5), (5, 6), (0, 9)], [(5, 5), (0, 0)]).play(CATCH, CATCH, CATCH, STAY)
    assert not b.outcome.over and not b.outcome.won, "three froze at one stag: only one hunter is left"
    assert not Board([(4, 5)], [(5, 5)]).play(CATCH).outcome.won, "and one alone cannot win"


def test_an_end_is_terminal_and_the_limit_a_truncation():
    env = compiled("predator_prey/punish0", max_steps=1)
    state, ts = jax.jit(env.reset)(jax.random.key(0))
    _, ts = jax.jit(env.step)(jax.random.key(0), state, jnp.full(8, STAY))
    assert ts.last and ts.discount == 1 and not ts.success
    b = Board([(4, 5), (6, 5)], [(5, 5)])
    _, ts = b.env.step(jax.random.key(0), b.state, jnp.array([CATCH, CATCH]))
    assert ts.last and ts.discount == 0 and ts.success and ts.reward == 10


def test_many_games_side_by_side_are_as_many_single_games():
    """Also where episodes end and new ones begin, which does not happen to all at the same time."""
    env, n, key = make("predator_prey/punish2", max_steps=5, size=3, n_agents=2, n_stags=1), 8, jax.random.key(1)
    vector, units, needed = env.vector(n), 3, step_noise_size(env.rules)
    state, ts = jax.device_get(jax.jit(vector.reset)(key))
    column = lambda tree, i: jax.tree.map(lambda x: x[..., i : i + 1], tree)
    began, ended = 0, 0

    @jax.jit
    def step(key, state, ts):
        scores = jnp.where(ts.avail, 9.0 * (jnp.arange(6) == CATCH), -jnp.inf)
        action = jax.random.categorical(jax.random.split(key)[0], scores)
        return *vector.step(key, state, ts, action), action, jax.random.uniform(key, (units + needed, n))

    begin_one = jax.jit(lambda luck: init_hunt(env.rules, luck))
    step_one = jax.jit(lambda *x: advance(env.rules, *x))
    sense_one = jax.jit(lambda lone: env.sense(jax.tree.map(lambda x: x[..., 0], lone)))
    for t in range(12):
        after, following, action, luck = jax.device_get(step(jax.random.key(100 + t), state, ts))
        for i in range(n):
            if ts.last[i]:
                lone, began = jax.device_get(begin_one(column(luck[:units], i))), began + 1
                assert following.first[i] and following.reward[i] == 0 and not following.last[i]
            else:
                parts = column(state, i), action[i][:, None], column(luck[units:], i)
                lone, result = jax.device_get(step_one(*parts))
                assert not following.first[i] and following.reward[i] == result.reward[0]
                assert following.last[i] == (result.over[0] | (lone.time[0] >= 5))
                assert following.discount[i] == 1 - result.over[0]
                ended += int(result.over[0])
            assert_same(column(after, i), lone)
            sensed = sense_one(lone)
            assert_same([following.obs[i], following.state[i], following.avail[i], following.alive[i]],
                        [sensed.obs, sensed.state, sensed.avail, sensed.alive])  # fmt: skip
        state, ts = after, following
    assert began > n and ended > 0


def test_everybody_starts_in_a_cell_of_its_own():
    env = make("predator_prey/punish2")
    state = jax.jit(jax.vmap(lambda k: env.reset(k)[0]))(jax.random.split(jax.random.key(0), 64))
    cells = np.asarray(state.y * 10 + state.x)
    assert all(len(set(row)) == 16 for row in cells) and cells.min() >= 0 and cells.max() < 100
    assert np.std(cells.mean(0)) < 15, "nobody has a place of its own"


@pytest.mark.rows  # each rule by itself is tested above
def test_the_script_catches_and_chance_is_punished():
    env = make("predator_prey/punish2")  # measured .45, 34; random -93
    scripted = tutelage.evaluate(env, env.scripted(), (), 64)
    assert scripted.success_rate > 0.25 and 28 < scripted.return_mean <= 40
    assert tutelage.evaluate(env, random_policy(), (), 32, act=sample).return_mean < -40


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (dict(size=3), "do not fit"),
        (dict(n_agents=0), "n_agents = 0"),
        (dict(n_hares=-1), "n_hares = -1"),
        (dict(vision=100), "vision = 100"),
    ],
)
def test_impossible_games_are_refused(options, names):
    with pytest.raises(BadInput, match=names):
        make("predator_prey/punish2", **options)


def test_all_boards_are_as_likely():
    """Three units on four cells: 24 ordered boards."""
    rules = make("predator_prey/punish2", size=2, n_agents=2, n_stags=1).rules
    state = jax.jit(lambda key: init_hunt(rules, jax.random.uniform(key, (3, 24_000))))(jax.random.key(0))
    cell = np.asarray(state.y * 2 + state.x)
    counts = np.unique(cell[0] * 16 + cell[1] * 4 + cell[2], return_counts=True)[1]
    assert len(counts) == 24 and (abs(counts - 1000) < 150).all()
