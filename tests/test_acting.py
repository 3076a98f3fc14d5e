"""Acting rules: availability, frequencies, and log-probabilities of the distribution that really acted."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import make_spec, make_steps
from tutelage.policies.acting import greedy, random_policy, sample, tempered
from tutelage.types import Out

LOGITS = np.array([0.5, -1.0, 2.0, 0.0, 1.0], np.float32)
MASKS = {
    "all": [1, 1, 1, 1, 1],
    "first missing": [0, 1, 1, 1, 1],
    "last missing": [1, 1, 1, 1, 0],
    "best missing": [1, 1, 0, 1, 1],
    "one left": [0, 0, 0, 1, 0],
}
B = 20_000


def situation(mask: str, masked_logits: bool = True):
    """B teams of two in the same situation."""
    spec = make_spec(n_agents=2)
    avail = jnp.broadcast_to(jnp.array(MASKS[mask], bool), (B, 2, 5))
    ts = jax.tree.map(lambda x: jnp.broadcast_to(x, (B, *x.shape)), make_steps(spec, ()))._replace(avail=avail)
    logits = jnp.broadcast_to(jnp.asarray(LOGITS), avail.shape)
    return Out(jnp.where(avail, logits, -1e9) if masked_logits else logits), ts


def softmax(mask: str, temperature: float = 1.0) -> np.ndarray:
    p = np.where(MASKS[mask], np.exp(LOGITS / temperature), 0)
    return p / p.sum()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("mask", MASKS)
def test_sampling_follows_the_softmax_over_available_actions(mask, temperature):
    out, ts = situation(mask)
    action, log_prob = jax.jit(tempered(temperature))(jax.random.key(0), out, ts)
    expected = softmax(mask, temperature)
    for agent in range(2):
        frequency = np.bincount(action[:, agent], minlength=5) / B
        np.testing.assert_allclose(frequency, expected, atol=0.015)
        assert (frequency[expected == 0] == 0).all()
    np.testing.assert_allclose(log_prob, np.log(expected[action]), rtol=1e-5, atol=1e-6)
    if expected.max() < 1:
        assert (np.asarray(action[:, 0]) != np.asarray(action[:, 1])).any(), "agents draw independently"


def test_sampling_respects_the_mask_even_where_the_logits_do_not():
    out, ts = situation("best missing", masked_logits=False)
    action, log_prob = tempered(2.0)(jax.random.key(0), out, ts)
    assert (np.asarray(action) != 2).all()
    np.testing.assert_allclose(log_prob, np.log(softmax("best missing", 2.0)[action]), rtol=1e-5)


def test_every_environment_can_have_its_own_temperature():
    out, ts = situation("first missing")
    heat = jnp.where(jnp.arange(B) < B // 2, 3.0, 1.0)
    action, log_prob = tempered(heat)(jax.random.key(0), out, ts)
    for half, temperature in ((slice(None, B // 2), 3.0), (slice(B // 2, None), 1.0)):
        expected = softmax("first missing", temperature)
        np.testing.assert_allclose(np.bincount(action[half, 0], minlength=5) / (B // 2), expected, atol=0.02)
        np.testing.assert_allclose(log_prob[half], np.log(expected[action[half]]), rtol=1e-5)


def test_sample_is_the_softmax_at_temperature_1():
    out, ts = situation("all")
    np.testing.assert_array_equal(sample(jax.random.key(3), out, ts)[0], tempered(1.0)(jax.random.key(3), out, ts)[0])


def test_sampling_never_leaves_the_available_actions_of_ragged_masks():
    spec = make_spec(n_agents=3, n_actions=7)
    ts = make_steps(spec, (5000,))
    logits = jnp.where(ts.avail, 20 * jax.random.normal(jax.random.key(0), ts.avail.shape), -1e9)
    action, log_prob = sample(jax.random.key(1), Out(logits), ts)
    assert np.take_along_axis(np.asarray(ts.avail), np.asarray(action)[..., None], -1).all()
    assert np.isfinite(log_prob).all()


@pytest.mark.parametrize("mask", MASKS)
def test_greedy_takes_the_best_available_action(mask):
    action, log_prob = greedy(jax.random.key(0), *situation(mask))
    assert (np.asarray(action) == softmax(mask).argmax()).all() and (np.asarray(log_prob) == 0).all()


@pytest.mark.parametrize("mask", MASKS)
def test_random_play_is_uniform_over_available_actions(mask):
    _, ts = situation(mask)
    policy = random_policy()
    _, out = policy.step((), (), ts, jax.random.key(0))
    action, _ = sample(jax.random.key(1), out, ts)
    expected = np.array(MASKS[mask]) / np.sum(MASKS[mask])
    np.testing.assert_allclose(np.bincount(action[:, 0], minlength=5) / B, expected, atol=0.015)
