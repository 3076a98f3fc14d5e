"""Particle environments: truncated after exactly 25 steps, with a team reward, a world state and a success flag."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import tutelage
from played import B, build, played
from tutelage import make
from tutelage.policies.acting import random_policy

NAMES = ["mpe/simple_spread", "mpe/simple_reference", "mpe/simple_speaker_listener", "mpe/simple_tag"]


@cache
def episodes(name):
    """Steps 1..25 of every episode, and the final positions of agents and landmarks."""
    result = played(name)
    steps = jax.tree.map(lambda x: x[1:], result.steps)
    end = jax.tree.map(lambda x: x[-1], result.states)
    each = jax.jit(jax.vmap(jax.vmap(build(name).rewards)))(jax.tree.map(lambda x: x[1:], result.states))
    return SimpleNamespace(steps=steps, end=end, rewards=np.asarray(each))


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
    if name == "mpe/simple_spread":  # in the others all agents of the team earn the same
        assert (e.rewards.std(-1) > 0).any(), "some agents must differ, or a single agent's reward would pass"


@pytest.mark.parametrize("name", NAMES)
def test_the_world_state_is_all_observations_side_by_side(name):
    steps, widths = episodes(name).steps, make(name).spec.obs_widths
    parts = [steps.obs[..., i, :width] for i, width in enumerate(widths)]
    np.testing.assert_array_equal(steps.state, np.concatenate(parts, -1))
    assert all(not steps.obs[..., i, width:].any() for i, width in enumerate(widths)), "padding must be zero"


def test_spread_succeeds_when_every_landmark_is_covered_at_the_end():
    e = episodes("mpe/simple_spread")
    agents, landmarks = e.end.place[:, :3], e.end.place[:, 3:]
    gap = np.linalg.norm(landmarks[:, :, None] - agents[:, None], axis=-1).min(-1)
    expected = (gap < 0.1).all(-1)
    np.testing.assert_array_equal(e.steps.success[-1], expected)
    assert 0 < expected.sum() < B, "both outcomes must occur, or this test says nothing"
    assert not e.steps.success[:-1].any()


def test_reference_succeeds_when_both_are_at_their_landmark_at_the_end():
    e = episodes("mpe/simple_reference")
    goal = np.take_along_axis(e.end.place[:, 2:], e.end.goal[..., None], 1)
    expected = (np.linalg.norm(e.end.place[:, :2] - goal, axis=-1) < 0.1).all(-1)
    np.testing.assert_array_equal(e.steps.success[-1], expected)
    assert 0 < expected.sum() < B


def test_the_listener_succeeds_when_at_its_landmark_at_the_end():
    e = episodes("mpe/simple_speaker_listener")
    goal = e.end.place[np.arange(B), 2 + e.end.goal]
    expected = np.linalg.norm(e.end.place[:, 1] - goal, axis=-1) < 0.1
    np.testing.assert_array_equal(e.steps.success[-1], expected)
    assert 0 < expected.sum() < B


def test_the_speaker_may_only_speak_and_the_listener_only_move():
    spec = make("mpe/simple_speaker_listener").spec
    avail = episodes("mpe/simple_speaker_listener").steps.avail
    assert spec.action_counts == (3, 5) and spec.agent_types == ("speaker", "listener")
    assert (avail == [[True] * 3 + [False] * 2, [True] * 5]).all()


def test_predators_succeed_when_one_touched_the_prey_at_any_step():
    result = played("mpe/simple_tag")
    places = result.states.place[1:]  # after each of the 25 steps: predators 0.075 wide, the prey 0.05
    touched = (np.linalg.norm(places[:, :, :3] - places[:, :, 3:4], axis=-1) < 0.125).any((0, 2))
    np.testing.assert_array_equal(result.steps.success[-1], touched)
    assert 0 < touched.sum() < B
    assert (touched & (np.linalg.norm(places[-1, :, :3] - places[-1, :, 3:4], axis=-1) > 0.125).all(-1)).any(), (
        "some must have escaped again, or looking at the last step alone would pass"
    )


def test_a_prey_that_learns_is_the_fourth_agent():
    env = make("mpe/simple_tag", prey="learns")
    assert env.spec.agent_types == ("predator",) * 3 + ("prey",)
    assert env.spec.obs_widths == (16, 16, 16, 14)
    result = tutelage.evaluate(env, env.scripted(), (), 256)
    alone = make("mpe/simple_tag")
    scripted = tutelage.evaluate(alone, alone.scripted(), (), 256)
    assert abs(result.success_rate - scripted.success_rate) < 0.02, "the same prey, whoever moves it"


@pytest.mark.parametrize("value", ["runs", ""])
def test_an_unknown_prey_is_refused(value):
    with pytest.raises(tutelage.BadInput, match=f"unknown prey {value!r}"):
        make("mpe/simple_tag", prey=value)


@pytest.mark.parametrize(("name", "floor", "chance"), [
    ("mpe/simple_spread", 0.25, 0.05), ("mpe/simple_reference", 0.35, 0.05),
    ("mpe/simple_speaker_listener", 0.55, 0.05), ("mpe/simple_tag", 0.6, 0.15)])  # fmt: skip
def test_the_local_script_succeeds_often_and_chance_seldom(name, floor, chance):
    env = make(name)  # measured .36-.39, .48-.52, .71, .72
    result = tutelage.evaluate(env, env.scripted(), (), 256)
    assert result.success_rate >= floor and result.length_mean == 25
    assert tutelage.evaluate(env, random_policy(), (), 256).success_rate <= chance


def test_the_team_size_is_an_option():
    env = make("mpe/simple_spread", n_agents=4)
    ts = jax.eval_shape(env.reset, jax.random.key(0))[1]
    assert env.spec.n_agents == 4 and ts.obs.shape == (4, env.spec.obs_width)
    assert env.spec.state_width == 4 * env.spec.obs_width


@pytest.mark.parametrize("name", NAMES)
def test_the_limit_is_an_option_and_stays_a_truncation(name):
    env = make(name, max_steps=1)

    @jax.jit
    def go(key):
        state, ts = env.reset(key)
        return env.step(key, state, ts.action)[1]

    ts = go(jax.random.key(0))
    assert ts.last and ts.discount == 1
