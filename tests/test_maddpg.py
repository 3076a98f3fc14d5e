"""MADDPG: known optima, the straight-through gradient, and what each critic and actor reads."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, assert_close, build, make_steps, random_params, rows, run_stage
from tutelage import BadInput, make
from tutelage.methods import maddpg as M
from tutelage.methods.off_policy import Sequences, gradient_steps, sample_replay
from tutelage.networks.critics import joint_action_critic_net
from tutelage.registry import method_config

SMALL = dict(
    core="mlp", size="width=16", critic_width=16, chunk=8, burn_in=0, envs=16, batch=32, updates=4, warm_up=256,
             steps=16_000, capacity_steps=20_000, lr=3e-3, target_rate=0.05)  # fmt: skip


@pytest.mark.parametrize("name", rows([], ["coordination", "action"]))
def test_the_team_finds_what_pays(name, tmp_path):
    run = tutelage.train("maddpg", f"probe/{name}", out=tmp_path / "run", quiet=True, fit=QUICK, **SMALL)[0]
    assert run.test["success_rate"] == 1


@pytest.mark.rows  # sequences with memory are read as in Q-learning, whose test runs by default
def test_a_recurrent_team_remembers(tmp_path):
    settings = {**SMALL, "core": "gru", "chunk": 12, "steps": 25_000}
    run = tutelage.train("maddpg", "probe/memory", out=tmp_path / "run", quiet=True, fit=QUICK, **settings)[0]
    assert run.test["success_rate"] >= 0.95


@cache
def delayed():
    """Networks and the state after training on probe/delayed."""
    env = make("probe/delayed")
    settings = {**SMALL, "gamma": 0.9, "reward_scale": 3.0}
    state, _ = run_stage(env, build("maddpg", env, **settings))
    return M.make_networks(env, method_config("maddpg", **settings)), state


def test_values_are_the_discounted_returns():
    """probe/delayed pays 1 on its second step whatever is done: Q is gamma, then 1, times the reward's scale."""
    networks, state = delayed()

    @jax.jit
    def read(state):
        data = sample_replay(networks, state.replay, jax.random.key(0))
        taken = M.one_hot_actions(data, make("probe/delayed").spec.n_actions)
        return data, networks.critic.apply(state.learning.critic.params, data.steps.state[:-1], taken, taken)

    data, value = jax.device_get(read(state))
    where = np.asarray(data.counts)
    target_values = np.where(np.asarray(data.steps.first[:-1]), 3 * 0.9, 3.0)
    assert np.abs(value - target_values[..., None])[where].max() < 0.25


def test_a_sample_is_one_hot_and_its_gradient_is_soft():
    logits = np.float32([[0.3, -0.2, -1e9], [1.0, 2.0, 0.5]])
    weight = np.float32([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3]])

    @jax.jit
    def read(logits):
        key = jax.random.key(3)
        noise = jax.random.gumbel(key, logits.shape)
        hard = jax.grad(lambda x: (weight * M.gumbel_softmax(x, key, 0.7)).sum())(logits)
        soft = jax.grad(lambda x: (weight * jax.nn.softmax((x + noise) / 0.7)).sum())(logits)
        many = M.gumbel_softmax(jnp.broadcast_to(logits[1], (20_000, 3)), key, 0.7).mean(0)
        return M.gumbel_softmax(logits, key, 0.7), hard, soft, many

    drawn, hard, soft, many = jax.device_get(read(logits))
    assert_close(drawn, np.eye(3)[drawn.argmax(-1)])
    assert drawn[0, 2] == 0
    assert_close(hard, soft)
    assert_close(many, np.exp(logits[1]) / np.exp(logits[1]).sum(), 0.02)


def test_each_critic_reads_its_own_agents_action_instead():
    """The corrected first layer is the layer at the corrected joint action; other agents' replacements are not read."""
    critic = joint_action_critic_net(4, 3, 5, 8)
    params, rng = random_params(critic), np.random.default_rng(1)
    state = rng.normal(size=(7, 4)).astype(np.float32)
    taken, own = (np.eye(5, dtype=np.float32)[rng.integers(0, 5, (7, 3))] for _ in range(2))
    apply = jax.jit(lambda *x: critic.apply(params, state, *x))
    value = apply(taken, own)
    for i in range(3):
        replaced = taken.copy()
        replaced[:, i] = own[:, i]
        assert_close(value[:, i], apply(replaced, replaced)[:, i], 1e-5)
    assert not np.allclose(value, apply(taken, taken))


def problem():
    env = make("probe/coordination")
    networks = M.make_networks(env, method_config("maddpg", **SMALL))
    steps = make_steps(env.spec, (6, 4))
    last, discount = np.array(steps.last), np.array(steps.discount)
    last[3, 1], discount[3, 1] = True, 0.0
    data = Sequences(steps._replace(last=last, discount=discount), (), ~last[:-1])
    return networks, data


def test_targets_by_hand():
    networks, data = problem()
    target = {"actor": random_params(networks.actor), "critic": random_params(networks.critic, 1)}
    key, config = jax.random.key(2), networks.config

    @jax.jit
    def read(target, data):
        following = M.gumbel_softmax(M.logits_of(networks, target["actor"], data)[1:], key, config.temperature)
        value = networks.critic.apply(target["critic"], data.steps.state[1:], following, following)
        return M.critic_targets(networks, target, data, key), value

    target_values, value = read(target, data)
    reward, discount = np.asarray(data.steps.reward[1:]), np.asarray(data.steps.discount[1:])
    by_hand = networks.scale * reward[..., None] + config.gamma * discount[..., None] * np.asarray(value)
    assert_close(target_values, by_hand, 1e-5)
    assert target_values.shape == data.steps.alive[1:].shape


def test_targets_are_those_of_the_target_networks():
    """A critic's error changes with the target actor and the target critic, and not with the actor that learns."""
    _, state = delayed()
    networks, learning = (
        M.make_networks(make("probe/delayed"), method_config("maddpg", **{**SMALL, "updates": 1})),
        state.learning,
    )
    rng = np.random.default_rng(0)  # a critic that is trained does not care here what is done
    target = jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), learning.target)
    learning = learning._replace(target=target)
    louder = lambda tree: jax.tree.map(lambda x: 3 * x + 0.1, tree)
    critic_error = jax.jit(
        lambda now: gradient_steps(
            networks, partial(M.maddpg_step, networks), 2, state._replace(learning=now), jax.random.key(0), 0.0
        )[1]["critic"]
    )
    error = critic_error(learning)
    assert critic_error(learning._replace(actor=learning.actor._replace(params=louder(learning.actor.params)))) == error
    for part in ("actor", "critic"):
        assert critic_error(learning._replace(target={**target, part: louder(target[part])})) != error


def test_an_actor_follows_its_own_critic_at_what_the_others_did(monkeypatch):
    networks, data = problem()
    monkeypatch.setattr(M, "logits_of", lambda networks, logits, data: logits)
    critic = random_params(networks.critic, 1)
    logits = np.random.default_rng(2).normal(size=data.steps.avail.shape).astype(np.float32)
    first = np.zeros(data.steps.alive[:-1].shape, bool)
    first[..., 0] = True
    loss = jax.jit(lambda logits, data: M.actor_loss(networks, logits, critic, data, first, jax.random.key(3))[0])
    slope = np.abs(np.asarray(jax.jit(jax.grad(loss))(logits, data))).max((0, 1, 3))
    assert slope[0] > 1e-6 and (slope[1:] == 0).all()
    action = np.array(data.steps.action)
    action[..., 1] = 1 - action[..., 1]
    others = data.steps._replace(action=action)
    assert abs(loss(logits, data._replace(steps=others)) - loss(logits, data)) > 1e-6


def test_what_does_not_count_teaches_nothing():
    """Poison behind ended episodes changes neither loss; critics do not move with the actors."""
    networks, data = problem()
    actor, critic = random_params(networks.actor), random_params(networks.critic, 1)
    where = data.counts[..., None] & np.asarray(data.steps.alive)[:-1]
    targets = jax.jit(lambda a, c: M.critic_targets(networks, {"actor": a, "critic": c}, data, jax.random.key(2)))
    target_values = np.asarray(targets(actor, critic))
    spoiled = np.where(where, target_values, np.float32(1e6))
    loss = jax.jit(lambda values: M.critic_loss(networks, critic, values, data, where)[0])
    assert_close(loss(target_values), loss(spoiled))
    assert not where.all() and loss(target_values) > 0
    slope = jax.jit(
        lambda p, where: jax.grad(lambda p: M.actor_loss(networks, p, critic, data, where, jax.random.key(3))[0])(p)
    )
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(slope(actor, np.zeros_like(where))))
    assert max(float(np.abs(x).max()) for x in jax.tree.leaves(slope(actor, where))) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"decay": -1.0}, "decay"),
        ({"burn_in": 64}, "burn_in"),
        ({"target_rate": 1.5}, "target_rate"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(BadInput, match=message):
        method_config("maddpg", **settings)


def test_replay_that_does_not_fit_is_refused():
    env = make("probe/action")
    method = build("maddpg", env, **{**SMALL, "capacity_steps": 50_000_000, "memory_gb": 0.001})
    with pytest.raises(BadInput, match="memory_gb"):
        jax.eval_shape(method.init, jax.random.key(0))
