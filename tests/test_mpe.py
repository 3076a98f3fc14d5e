"""Particle environments: truncated after exactly 25 steps, with a team reward, a world state and a success flag."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import tutelage
from played import B, played
from tutelage import make

NAMES = ["mpe/simple_spread", "mpe/simple_reference"]


def episodes(name):
    """Steps 1..25 of every episode, and the final positions of agents and landmarks."""
    told = played(name)
    steps = jax.tree.map(lambda x: x[1:], told.steps)
    end = jax.tree.map(lambda x: x[-1], told.states)
    return SimpleNamespace(steps=steps, end=end, rewards=np.stack(told.theirs[1], -1))


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_is_exactly_25_steps_and_truncated(name):
    steps = episodes(name).steps
    assert not steps.last[:24].any() and steps.last[24].all()
    assert (steps.discount == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_reward_is_the_mean_over_agents(name):
    e = episodes(name)
    np.testing.assert_allclose(e.steps.reward, e.rewards.mean(-1), rtol=1e-5)
    assert e.steps.reward.std() > 0
    if name == "mpe/simple_spread":
        assert (e.rewards.std(-1) > 0).any(), "some agents must differ, or a single agent's reward would pass"


@pytest.mark.parametrize("name", NAMES)
def test_the_world_state_is_all_observations_side_by_side(name):
    steps = episodes(name).steps
    np.testing.assert_array_equal(steps.state, steps.obs.reshape(*steps.obs.shape[:2], -1))


def test_spread_succeeds_when_every_landmark_is_covered_at_the_end():
    e = episodes("mpe/simple_spread")
    agents, landmarks = e.end.p_pos[:, :3], e.end.p_pos[:, 3:]
    gap = np.linalg.norm(landmarks[:, :, None] - agents[:, None], axis=-1).min(-1)
    expected = (gap < 0.1).all(-1)
    np.testing.assert_array_equal(e.steps.success[-1], expected)
    assert 0 < expected.sum() < B, "both outcomes must occur, or this test says nothing"
    assert not e.steps.success[:-1].any()


def test_reference_succeeds_when_both_are_at_their_landmark_at_the_end():
    e = episodes("mpe/simple_reference")
    goal = np.take_along_axis(e.end.p_pos[:, 2:], e.end.goal[..., None], 1)
    expected = (np.linalg.norm(e.end.p_pos[:, :2] - goal, axis=-1) < 0.1).all(-1)
    np.testing.assert_array_equal(e.steps.success[-1], expected)
    assert 0 < expected.sum() < B


@pytest.mark.parametrize(("name", "floor"), [("mpe/simple_spread", 0.25), ("mpe/simple_reference", 0.35)])
def test_the_local_script_succeeds_often(name, floor):  # measured .36-.39 and .48-.52
    env = make(name)
    result = tutelage.evaluate(env, env.scripted(), (), 256)
    assert result.success_rate >= floor and result.length_mean == 25


def test_the_team_size_is_an_option():
    env = make("mpe/simple_spread", n_agents=4)
    ts = jax.eval_shape(env.reset, jax.random.key(0))[1]
    assert env.spec.n_agents == 4 and ts.obs.shape == (4, env.spec.obs_width)
    assert env.spec.state_width == 4 * env.spec.obs_width


@pytest.mark.parametrize("name", NAMES)
def test_the_limit_is_an_option_and_stays_a_truncation(name):
    env = make(name, max_steps=1)
    state, ts = jax.jit(env.reset)(jax.random.key(0))
    _, ts = jax.jit(env.step)(jax.random.key(0), state, ts.action)
    assert ts.last and ts.discount == 1
