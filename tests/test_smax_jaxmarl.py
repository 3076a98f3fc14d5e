"""SMAX: equal to jaxmarl's own step, with the ending step kept, a bounded world state, and a success flag."""

from __future__ import annotations

import importlib
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import JAXMARL
from played import SHORT, played
from tutelage import make

pytestmark = JAXMARL
LIMIT, ALLIES = SHORT, 5


@cache
def battles():
    """2s3z, both sides on the same script: steps 1..T of every battle."""
    result = played("smax-jaxmarl/2s3z")
    counts = result.until_last()[1:]
    steps = jax.tree.map(lambda x: x[1:], result.steps)
    raw = jax.tree.map(lambda x: x[1:], result.states.state)
    return SimpleNamespace(steps=steps, theirs=result.theirs, raw=raw, counts=counts, last=steps.last & counts)


def test_observation_reward_and_end_are_jaxmarls_own():
    """Except that jaxmarl looks at the clock before it counts the step, and so plays one too many."""
    b = battles()
    obs, reward, done = b.theirs
    np.testing.assert_array_equal(b.steps.last[b.counts], (done | (b.raw.step >= LIMIT))[b.counts])
    for agent in range(ALLIES):
        # Not bit for bit: on one core the compiler rounds some differently.
        np.testing.assert_allclose(b.steps.obs[b.counts][:, agent], obs[agent][b.counts], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(b.steps.reward[b.counts], reward[agent][b.counts])


def test_the_ending_step_shows_the_battlefield_that_ended_it():
    b = battles()
    early = b.last & (b.raw.step < LIMIT)  # ended by elimination
    assert early.any()
    won, lost = early & b.steps.success, early & ~b.steps.success
    assert won.any() and lost.any(), "both outcomes must occur, or this test says nothing"
    assert not b.raw.unit_alive[won][:, 5:].any() and not b.raw.unit_alive[lost][:, :5].any()
    assert not b.steps.alive[lost].any(), "not the units of the next battle"
    world = b.steps.state[won][:, :-1].reshape(-1, 10, 10)
    assert (world[:, 5:, 0] == 0).all() and (world[:, :5, 0].max(1) > 0).all(), "health in the world state"


def test_success_means_every_enemy_dead_and_an_ally_alive():
    b = battles()
    enemies, allies = b.raw.unit_alive[..., 5:].any(-1), b.raw.unit_alive[..., :5].any(-1)
    np.testing.assert_array_equal(b.steps.success[b.counts], (~enemies & allies)[b.counts])
    assert (b.steps.reward[b.steps.success & b.last] >= 1).all(), "a win pays 1"


def test_killing_each_other_is_no_success():
    """Three battles at their end: everybody dead, only enemies dead, only allies dead."""
    env = make("smax-jaxmarl/3m")
    alive = np.array([[0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], bool)

    def end(key, alive):
        state, ts = env.reset(key)
        raw = state.state
        raw = raw.replace(unit_alive=alive, unit_health=raw.unit_health * alive)
        return env.step(key, state.replace(state=raw), jnp.full(ts.action.shape, 4))[1]

    ts = jax.jit(jax.vmap(end))(jax.random.split(jax.random.key(0), 3), alive)
    assert ts.success.tolist() == [False, True, False] and ts.last.all() and (np.asarray(ts.discount) == 0).all()


def test_running_out_of_time_is_a_terminal_loss():
    b = battles()
    out_of_time = b.last & b.raw.unit_alive[..., 5:].any(-1) & b.raw.unit_alive[..., :5].any(-1)
    assert out_of_time.any()
    assert (b.raw.step[out_of_time] == LIMIT).all()
    assert (b.steps.discount[out_of_time] == 0).all() and not b.steps.success[out_of_time].any()


def test_the_world_state_is_of_unit_size_and_ends_with_the_time():
    result = played("smax-jaxmarl/2s3z")
    counts, raw = result.until_last(), result.states.state
    states = result.steps.state[counts]
    units = states[:, :-1].reshape(-1, 10, 10)  # unit, (health, x, y, cooldown, type ...)
    np.testing.assert_allclose(states[:, -1], raw.step[counts] / LIMIT, rtol=1e-6)
    np.testing.assert_allclose((units[..., 1:3] * 32)[raw.unit_alive[counts]],
                               raw.unit_positions[counts][raw.unit_alive[counts]], rtol=1e-5, atol=1e-4)  # fmt: skip
    assert (units[..., 4:].sum(-1) == raw.unit_alive[counts]).all(), "one type per living unit"
    names = ("health", "x", "y", "cooldown")
    for name, column in zip((*names, *["type"] * 6), np.moveaxis(units, -1, 0), strict=True):
        assert column.min() >= -0.05 and column.max() <= 1.5, f"{name} is {column.min()} to {column.max()}"
    assert states[:, -1].max() <= 1


def test_the_dead_are_not_alive_and_can_only_stop():
    b = battles()
    np.testing.assert_array_equal(b.steps.alive[b.counts], b.raw.unit_alive[..., :5][b.counts])
    dead = ~b.steps.alive & b.counts[..., None]
    assert dead.any() and (b.steps.avail[dead].sum(-1) == 1).all()


def test_agent_types_are_the_maps_units():
    assert make("smax-jaxmarl/2s3z").spec.agent_types == ("stalker", "stalker", "zealot", "zealot", "zealot")
    assert set(make("smax-jaxmarl/smacv2_5_units").spec.agent_types) == {"random"}


def test_another_jaxmarl_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.import_module("jaxmarl"), "__version__", "0.1.0")
    with pytest.raises(
        tutelage.BadInput, match=r"needs jaxmarl 0\.2\.0, not 0\.1\.0: pip install 'tutelage\[jaxmarl\]'"
    ):
        make("smax-jaxmarl/3m")


def test_options_reach_the_game():
    assert make("smax-jaxmarl/3m", max_steps=7).game.max_steps == 7
    blind, seeing = (make("smax-jaxmarl/3m", see_enemy_actions=x) for x in (False, True))
    assert (blind.game.see_enemy_actions, seeing.game.see_enemy_actions) == (False, True)
    assert not make("smax-jaxmarl/3m", walls_cause_death=False).game.walls_cause_death
    shapes = [jax.eval_shape(env.reset, jax.random.key(0))[1] for env in (blind, seeing)]
    assert shapes[0].obs.shape[-1] == blind.spec.obs_width and shapes[1].obs.shape[-1] == seeing.spec.obs_width
