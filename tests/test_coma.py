"""COMA: the counterfactual advantage by hand, what the critic leaves out, and that teams learn what pays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import build, random_params, rows, run_stage
from reference import scene
from tutelage import evaluate, make
from tutelage.methods.coma import advantages
from tutelage.networks.critics import action_values, joint_action_critic_net

LEARNS = dict(size="width=16", critic_width=16, envs=32, rollout=8, lr=1e-2, steps=30_000)


def test_an_advantage_is_what_an_action_is_worth_beside_the_usual_one():
    """Probabilities .2, .8: the usual value is .2 x 3 + .8 x 5 = 4.6."""
    logits, values = jnp.log(jnp.array([[0.2, 0.8]])), jnp.array([[3.0, 5.0]])
    for action, advantage in ((0, -1.6), (1, 0.4)):
        taken = jax.nn.one_hot(jnp.array([action]), 2)
        np.testing.assert_allclose(advantages(values, logits, taken), [advantage], rtol=1e-5)


def test_an_action_is_valued_with_what_the_others_did():
    net = joint_action_critic_net(2, 3, 4, 5)
    params, rng = random_params(net), np.random.default_rng(0)
    state, taken = jnp.asarray(rng.normal(size=2), jnp.float32), jax.nn.one_hot(jnp.array([1, 3, 0]), 4)
    values = action_values(net, params, state, taken)
    other = jax.nn.one_hot(jnp.array([1, 2, 0]), 4)  # agent 1 does something else
    np.testing.assert_allclose(net.apply(params, state, other, other)[1], values[1, 2], rtol=1e-5)
    np.testing.assert_allclose(action_values(net, params, state, other)[1], values[1], rtol=1e-5)
    assert abs(action_values(net, params, state, other)[0] - values[0]).max() > 1e-3


def test_the_critic_does_not_learn_from_a_rollouts_last_transition():
    method = build("coma", scene.Scene(), core="mlp", size="width=4", critic_width=4, envs=2, rollout=5, steps=100)
    state = jax.jit(method.init)(jax.random.key(0))
    steps = scene.steps(5)
    other = {**steps, "reward": steps["reward"] + 100.0 * (np.arange(6) == 5)[:, None]}
    update = jax.jit(method.stages[0].update)
    losses = [
        update(state, {"actor": scene.rollout(x, scene.log_probs(5))}, jax.random.key(0), 0.0)[1]["critic"]
        for x in (steps, other)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("name", "core"), rows([("coordination", "mlp")], [("memory", "gru"), ("delayed", "mlp")]))
def test_the_team_finds_what_pays(name, core):
    env = make(f"probe/{name}")
    method = build("coma", env, core=core, **LEARNS)
    state, _ = run_stage(env, method)
    assert evaluate(env, method.roles["student"], method.params(state)["student"], 64).success_rate == 1
