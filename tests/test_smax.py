"""SMAX: equal to jaxmarl's own step, with the ending step kept, a bounded world state, and a success flag."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same

import tutelage
from tutelage import make

LIMIT, B = 60, 24


@cache
def battles():
    """2s3z, both sides on the same script, with jaxmarl's own answer to the same key, state and action beside ours."""
    env = make("smax/2s3z", max_steps=LIMIT)
    policy = env.scripted()
    agents = env.game.agents

    def oracle(key, state, action):
        joint = {agent: action[i] for i, agent in enumerate(agents)}
        obs, state, reward, done, _ = env.game.step_env(key, state, joint)
        stack = lambda x: jnp.stack([x[agent] for agent in agents])
        return state, stack(obs), stack(reward), done["__all__"]

    def body(carry, key):
        state, ts, memory = carry
        k_policy, k_random, k_step = jax.random.split(key, 3)
        memory, out = policy.step((), memory, ts, k_policy)
        random = jnp.where(ts.avail, jax.random.uniform(k_random, ts.avail.shape), -1).argmax(-1)
        action = jnp.where((jnp.arange(B) < 4)[:, None], random, out.scores.argmax(-1))
        keys = jax.random.split(k_step, B)
        theirs = jax.vmap(oracle)(keys, state, action)
        state, ts = jax.vmap(env.step)(keys, state, action)
        raw = state.state
        kept = SimpleNamespace(alive=raw.unit_alive, health=raw.unit_health, time=raw.step)
        return (state, ts, memory), (ts, theirs[1:], vars(kept), jax.vmap(env.game.get_world_state)(state))

    @jax.jit
    def play(key):
        state, ts = jax.vmap(env.reset)(jax.random.split(key, B))
        return ts, jax.lax.scan(body, (state, ts, policy.carry(B)), jax.random.split(key, LIMIT))[1]

    opening, (steps, theirs, raw, world) = jax.device_get(play(jax.random.key(0)))
    in_episode = np.cumsum(steps.last, 0) - steps.last == 0
    return SimpleNamespace(
        env=env, opening=opening, steps=steps, theirs=theirs, raw=SimpleNamespace(**raw), world=world,
        counts=in_episode, last=steps.last & in_episode,
    )  # fmt: skip


def test_observation_reward_and_end_are_jaxmarls_own():
    b = battles()
    obs, reward, done = b.theirs
    np.testing.assert_array_equal(b.steps.obs[b.counts], obs[b.counts])
    np.testing.assert_array_equal(b.steps.last[b.counts], done[b.counts])
    for agent in range(5):
        np.testing.assert_array_equal(b.steps.reward[b.counts], reward[b.counts][:, agent])


def test_the_ending_step_shows_the_battlefield_that_ended_it():
    b = battles()
    early = b.last & (b.raw.time < LIMIT)  # ended by elimination
    assert early.any()
    won, lost = early & b.steps.success, early & ~b.steps.success
    assert won.any() and lost.any(), "both outcomes must occur, or this test says nothing"
    assert not b.raw.alive[won][:, 5:].any() and not b.raw.alive[lost][:, :5].any()
    assert not b.steps.alive[lost].any(), "not the units of the next battle"
    world = b.steps.state[won][:, :-1].reshape(-1, 10, 10)
    assert (world[:, 5:, 0] == 0).all() and (world[:, :5, 0].max(1) > 0).all(), "health in the world state"


def test_success_means_every_enemy_dead_and_an_ally_alive():
    b = battles()
    enemies, allies = b.raw.alive[..., 5:].any(-1), b.raw.alive[..., :5].any(-1)
    np.testing.assert_array_equal(b.steps.success[b.counts], (~enemies & allies)[b.counts])
    assert (b.steps.reward[b.steps.success & b.last] >= 1).all(), "a win pays 1"


def test_running_out_of_time_is_a_terminal_loss():
    b = battles()
    out_of_time = b.last & b.raw.alive[..., 5:].any(-1) & b.raw.alive[..., :5].any(-1)
    assert out_of_time.any()
    assert (b.raw.time[out_of_time] == LIMIT).all()
    assert (b.steps.discount[out_of_time] == 0).all() and not b.steps.success[out_of_time].any()


def test_the_world_state_is_of_unit_size_and_ends_with_the_time():
    b = battles()
    states = np.concatenate([b.opening.state[None], b.steps.state])
    counts = np.concatenate([np.ones((1, B), bool), b.counts])
    assert states[counts].min() >= -0.05 and states[counts].max() <= 1.1
    np.testing.assert_allclose(b.steps.state[..., -1][b.counts], b.raw.time[b.counts] / LIMIT, rtol=1e-6)
    assert (b.opening.state[:, -1] == 0).all()
    units = b.steps.state[b.counts][:, :-1].reshape(-1, 10, 10)
    theirs = b.world[b.counts][:, :100].reshape(-1, 10, 10)
    np.testing.assert_allclose(units[..., 1:3] * 32, theirs[..., 1:3], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(units[..., 4:], theirs[..., 4:])
    assert units[..., 3].max() > 0.5, "cooldowns are used"


def test_the_dead_are_not_alive_and_can_only_stop():
    b = battles()
    np.testing.assert_array_equal(b.steps.alive[b.counts], b.raw.alive[..., :5][b.counts])
    dead = ~b.steps.alive & b.counts[..., None]
    assert dead.any() and (b.steps.avail[dead].sum(-1) == 1).all()


def test_agent_types_are_the_maps_units():
    assert make("smax/2s3z").spec.agent_types == ("stalker", "stalker", "zealot", "zealot", "zealot")
    assert set(make("smax/smacv2_5_units").spec.agent_types) == {"random"}


@pytest.mark.parametrize(
    ("name", "episodes", "low", "high"), [("smax/2s3z", 256, 0.35, 0.65), ("smax/3s_vs_5z", 64, 0.0, 0.0)]
)
def test_the_local_script_wins_as_often_as_measured(name, episodes, low, high):
    env = make(name)
    result = tutelage.evaluate(env, env.scripted("local"), (), episodes)
    assert low <= result.success_rate <= high and result.episodes == episodes
    assert result.length_mean < env.spec.max_steps


def test_options_reach_the_game():
    assert make("smax/3m", max_steps=7).game.max_steps == 7
    blind, seeing = (make("smax/3m", see_enemy_actions=x) for x in (False, True))
    assert (blind.game.see_enemy_actions, seeing.game.see_enemy_actions) == (False, True)
    assert not make("smax/3m", walls_cause_death=False).game.walls_cause_death
    shapes = [jax.eval_shape(env.reset, jax.random.key(0))[1] for env in (blind, seeing)]
    assert shapes[0].obs.shape[-1] == blind.spec.obs_width and shapes[1].obs.shape[-1] == seeing.spec.obs_width


def test_battles_repeat_under_the_same_key():
    env = make("smax/3m")
    reset = jax.jit(env.reset)
    assert_same(reset(jax.random.key(3)), reset(jax.random.key(3)))
