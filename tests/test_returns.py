"""Advantages: the two ends of lambda, truncation against termination, and nothing across episodes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tutelage.learning.returns import gae

GAMMA = 0.9


def random_episodes(seed: int, truncation: bool, agents: tuple[int, ...] = (), t: int = 12, b: int = 5):
    """Rewards, discounts, values, valid and last of B streams of episodes; `last` is followed by a first step."""
    rng = np.random.default_rng(seed)
    last = np.zeros((t + 1, b), bool)
    for i in range(1, t + 1):
        last[i] = ~last[i - 1] & (rng.random(b) < 0.3)
    valid = ~last[:-1]
    reward = np.where(valid, rng.normal(size=(t, b)), 0.0)
    discount = np.where(last[1:] & (not truncation), 0.0, 1.0)
    value = rng.normal(size=(t + 1, b, *agents))
    return *(jnp.asarray(x, jnp.float32) for x in (reward, discount, value)), jnp.asarray(valid), last


def brute_force_return(reward, discount, value, last, t, b):
    """Discounted reward from step t to the episode's (or the rollout's) end, plus what the end is worth."""
    total, factor = 0.0, 1.0
    for i in range(t, len(reward)):
        total += factor * reward[i, b]
        factor *= GAMMA * discount[i, b]
        if last[i + 1, b] or i + 1 == len(reward):
            return total + factor * value[i + 1, b]
    raise AssertionError


def test_hand_computed_advantages():
    reward, value = jnp.array([[1.0], [2.0]]), jnp.array([[0.5], [1.0], [4.0]])
    going, valid = jnp.ones((2, 1)), jnp.ones((2, 1), bool)
    delta = [1 + 0.9 * 1.0 - 0.5, 2 + 0.9 * 4 - 1.0]
    np.testing.assert_allclose(
        gae(reward, going, value, valid, 0.9, 0.5)[:, 0], [delta[0] + 0.9 * 0.5 * delta[1], delta[1]], rtol=1e-6
    )


@pytest.mark.parametrize(("discount", "worth"), [(1.0, 2 + 0.9 * 4 - 1), (0.0, 2 - 1)], ids=["truncated", "terminal"])
def test_a_truncated_episode_keeps_its_bootstrap_and_a_terminal_one_loses_it(discount, worth):
    reward, value = jnp.array([[2.0], [0.0]]), jnp.array([[1.0], [4.0], [100.0]])
    advantage = gae(reward, jnp.array([[discount], [1.0]]), value, jnp.array([[True], [False]]), 0.9, 0.95)
    np.testing.assert_allclose(advantage[:, 0], [worth, 0.0], rtol=1e-6)


@pytest.mark.parametrize("truncation", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_lambda_0_is_the_td_error(seed, truncation):
    reward, discount, value, valid, _ = random_episodes(seed, truncation)
    td = reward + GAMMA * discount * value[1:] - value[:-1]
    np.testing.assert_allclose(gae(reward, discount, value, valid, GAMMA, 0.0), jnp.where(valid, td, 0), rtol=1e-5)


@pytest.mark.parametrize("truncation", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_lambda_1_is_the_return_minus_the_value(seed, truncation):
    reward, discount, value, valid, last = random_episodes(seed, truncation)
    advantage = gae(reward, discount, value, valid, GAMMA, 1.0)
    r, d, v = (np.asarray(x, float) for x in (reward, discount, value))
    for t, b in np.ndindex(*reward.shape):
        expected = brute_force_return(r, d, v, last, t, b) - v[t, b] if valid[t, b] else 0.0
        np.testing.assert_allclose(advantage[t, b], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("truncation", [True, False])
def test_values_per_agent_are_each_agents_own_advantage(truncation):
    reward, discount, value, valid, _ = random_episodes(0, truncation, agents=(3,))
    together = gae(reward, discount, value, valid, GAMMA, 0.95)
    for agent in range(3):
        np.testing.assert_allclose(
            together[..., agent], gae(reward, discount, value[..., agent], valid, GAMMA, 0.95), rtol=1e-6
        )


@pytest.mark.parametrize("truncation", [True, False])
def test_nothing_flows_back_from_the_next_episode(truncation):
    reward, discount, value, valid, last = random_episodes(1, truncation)
    before = gae(reward, discount, value, valid, GAMMA, 0.95)
    for b in range(reward.shape[1]):
        ends = np.flatnonzero(last[:-1, b])
        if not ends.size:
            continue
        end = ends[0]  # the step at which the first episode closed: everything after it is poisoned
        poisoned = gae(
            reward.at[end:, b].set(1e6), discount.at[end:, b].set(1.0), value.at[end + 1 :, b].set(-1e6),
            valid, GAMMA, 0.95,
        )  # fmt: skip
        np.testing.assert_array_equal(poisoned[:end, b], before[:end, b])
        assert poisoned[end, b] == 0


def test_the_gradient_to_the_values_of_other_episodes_is_zero():
    reward, discount, value, valid, last = random_episodes(2, truncation=True)
    b = int(np.flatnonzero(last[1:-1].any(0))[0])
    end = int(np.flatnonzero(last[:-1, b])[0])
    grad = jax.grad(lambda v: gae(reward, discount, v, valid, GAMMA, 0.95)[:end, b].sum())(value)
    assert (np.asarray(grad[end + 1 :, b]) == 0).all() and (np.asarray(grad[: end + 1, b]) != 0).any()
