"""HAPPO: known optima, and that each agent is told how far the agents before it went."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import TINY, assert_close, assert_same, build, one_rollout, rows, run_stage
from tutelage import BadInput, make
from tutelage.data.collect import unroll
from tutelage.learning.losses import log_prob_of
from tutelage.learning.optim import clipped_adam, descend
from tutelage.methods import happo as H
from tutelage.methods.ppo import PpoState, make_batch
from tutelage.registry import method_config

LEARNS = {**TINY, "critic_width": 16, "envs": 32, "epochs": 4, "lr": 1e-2, "steps": 12_000}


@pytest.mark.parametrize(
    ("name", "best", "core"), rows([("memory", None, "gru")], [("coordination", 0, "mlp"), ("action", 1, "mlp")])
)
def test_the_team_finds_what_pays(name, best, core):
    env = make(f"probe/{name}")
    settings = {**LEARNS, "core": core, **({"chunk": TINY["rollout"]} if core == "gru" else {})}
    method = build("happo", env, **settings)
    state, metrics = run_stage(env, method)
    assert all(np.isfinite(x).all() for x in metrics.values())
    rollout = one_rollout(env, method.stages[0].behaviours["actor"], state)
    steps = rollout.steps
    ended = np.asarray(steps.last[1:] & rollout.valid)
    assert np.asarray(steps.success[1:])[ended].mean() > 0.85
    if best is not None:
        read = jax.jit(lambda p, steps: unroll(method.roles["student"], p, (), steps, steps.first).scores)
        scores = read(method.params(state)["student"], steps)
        assert (np.asarray(scores.argmax(-1))[np.asarray(steps.first)] == best).all()


@cache
def before_and_after(lr):
    env = make("probe/coordination")
    config = method_config("happo", **{**LEARNS, "anneal": False})
    networks, method = H.make_networks(env, config), H.happo(env, config)
    state = jax.jit(method.init)(jax.random.key(0))
    rollout = one_rollout(env, method.stages[0].behaviours["actor"], state)
    ppo_state = PpoState(H.Learner(H.unstack_agents(networks, state.actors.params), ()), state.critic, state.returns)
    batch = jax.jit(lambda s, r: make_batch(networks.ppo, s, r)[1])(ppo_state, rollout)
    actors, factor, _ = jax.jit(lambda a, b: H.update_actors(networks, a, b, jax.random.key(1), lr))(
        state.actors, batch
    )
    return networks, state, batch, actors, factor


def test_the_factor_is_the_product_of_all_agents_ratios():
    networks, state, batch, actors, factor = before_and_after(0.01)
    params = H.unstack_agents(networks, actors.params)
    scores = jax.jit(lambda p, x: unroll(networks.ppo.actor, p, (), x, x.first).scores)(params, batch.inputs)
    log_ratio = jnp.where(batch.alive, log_prob_of(scores, batch.action) - batch.log_prob, 0.0).sum(-1)
    assert_close(factor, jnp.exp(log_ratio), 1e-4)
    assert float(jnp.abs(log_ratio).max()) > 0.01
    gaps = jax.tree.map(
        lambda new, old: jnp.abs(new - old).reshape(len(new), -1).max(1), actors.params, state.actors.params
    )
    assert (np.max(jax.tree.leaves(gaps), 0) > 0).all(), "everybody was improved"


def test_who_does_not_move_leaves_the_factor_at_one():
    _, state, _, actors, factor = before_and_after(0.0)
    assert_close(factor, jnp.ones(factor.shape), 1e-5)
    assert_same(actors.params, state.actors.params)


def test_the_second_agents_step_is_weighed_by_how_far_the_first_went():
    env = make("probe/coordination")
    changes = dict(epochs=1, minibatches=1, anneal=False)
    networks, state, batch, _, _ = before_and_after(0.0)
    config = method_config("happo", **{**LEARNS, **changes})
    networks = H.make_networks(env, config)
    key, lr = jax.random.key(1), 0.1
    update = jax.jit(lambda a, b, lr: H.update_actors(networks, a, b, key, lr)[0])
    # Adam's first step has no size: a step of length zero, the other way, comes before.
    start = update(state.actors, batch._replace(advantage=-batch.advantage), 0.0)
    actors = update(start, batch, lr)
    first, second = map(int, jax.random.permutation(jax.random.split(key)[0], 2))

    @jax.jit
    def improved(i, factor):
        mine = H.agent_batch(batch, i)
        loss = lambda p: H.agent_loss(networks, p, mine, factor)
        after = descend(clipped_adam(config.grad_clip), H.take_agent(start, i), loss, lr)[0].params
        log_ratio = log_prob_of(H.logits_of(networks, after, mine), mine.action) - mine.log_prob
        return after, jnp.exp(jnp.where(mine.alive, log_ratio, 0.0))[..., 0]

    one = np.ones(batch.log_prob.shape[:2], np.float32)
    _, factor = improved(first, one)
    gap = lambda params: max(
        float(np.abs(np.asarray(x)[second] - y).max())
        for x, y in zip(*map(jax.tree.leaves, (actors.params, params)), strict=True)
    )
    weighed, alone = improved(second, factor)[0], improved(second, one)[0]
    assert gap(weighed) < 1e-5 < 1e-3 < gap(alone)


def test_agents_before_weigh_the_loss():
    """Twice the factor, twice the policy's part of the loss; an agent's own slice is all it reads."""
    networks, state, batch, _, _ = before_and_after(0.0)
    mine, params = jax.device_get((H.agent_batch(batch, np.asarray(1)), H.take_agent(state.actors.params, 1)))
    one = np.ones(mine.log_prob.shape[:2], np.float32)
    policy = jax.jit(lambda mine, factor: H.agent_loss(networks, params, mine, factor)[1]["policy"])
    skewed = mine._replace(advantage=mine.advantage + 1)
    assert_close(policy(skewed, 2 * one), 2 * (policy(mine, one) - 1), 1e-4)
    assert mine.inputs.obs.shape[2] == 1
    assert_same(mine.action[..., 0], batch.action[..., 1])


def test_unequal_agents_are_refused():
    with pytest.raises(BadInput, match="one width"):
        build("happo", make("probe/action"), **{**LEARNS, "size": "tiers=0:8;1:16"})
