"""Probe environments: their rules, and that the scripted controller reaches the optimum."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from tutelage import make
from tutelage.envs.probe import PROBES
from tutelage.policies.acting import random_policy, sample

PAYS_ONE = [name for name in PROBES if name != "observation"]


@pytest.mark.parametrize("name", PAYS_ONE)
def test_the_scripted_controller_is_optimal(name):
    env = make(f"probe/{name}")
    result = tutelage.evaluate(env, env.scripted(), (), 32)
    assert result.return_mean == 1 and result.success_rate == 1
    assert result.length_mean == env.spec.max_steps == PROBES[name].length


def test_the_observed_sign_is_what_the_observation_probe_pays():
    env = make("probe/observation")
    for seed in range(8):
        state, ts = env.reset(jax.random.key(seed))
        assert abs(ts.obs[0, 0]) == 1
        assert env.step(jax.random.key(0), state, jnp.zeros(2, jnp.int32))[1].reward == ts.obs[0, 0]


def test_the_coordination_game_has_one_best_joint_action():
    env = make("probe/coordination")
    state, _ = env.reset(jax.random.key(0))
    pays = {
        joint: float(env.step(jax.random.key(0), state, jnp.array(joint))[1].reward)
        for joint in itertools.product(range(3), repeat=2)
    }
    assert pays == {j: (1.0 if j == (0, 0) else float(np.float32(0.6)) if j[0] == j[1] else 0.0) for j in pays}


def test_the_delayed_reward_comes_at_the_second_step_only():
    env = make("probe/delayed")
    state, _ = env.reset(jax.random.key(0))
    state, middle = env.step(jax.random.key(0), state, jnp.zeros(2, jnp.int32))
    _, end = env.step(jax.random.key(0), state, jnp.zeros(2, jnp.int32))
    assert [float(middle.reward), float(end.reward)] == [0, 1] and not middle.last and end.last and end.discount == 0


def test_the_memory_probe_shows_its_cue_once():
    env = make("probe/memory")
    state, opening = env.reset(jax.random.key(0))
    seen = [opening]
    for _ in range(3):
        state, ts = env.step(jax.random.key(0), state, jnp.full(2, state.cue))
        seen.append(ts)
    assert abs(seen[0].obs).min() == 1 and all((ts.obs == 0).all() for ts in seen[1:])
    assert [float(ts.reward) for ts in seen] == [0, 0, 0, 1]


def test_random_play_is_far_from_the_optimum_of_the_action_probe():
    env = make("probe/action")
    result = tutelage.evaluate(env, random_policy(), (), 512, act=sample)
    assert 0.25 < result.return_mean < 0.42  # one action in three
    assert 0.06 < result.success_rate < 0.17  # both agents: one in nine
