"""Q-learning for teams and MADDPG against a naive NumPy reading of them; as in `test_naive_ppo`."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_same
from reference import nets, scene, values
from reference.watching import assert_moved, begun, found, learners, named, update
from tutelage.data.replay import Replay
from tutelage.networks.mixers import unrestricted_mixing_net
from tutelage.registry import method_config

T = 5
SETTINGS = dict(
    core="mlp", size="width=3", envs=2, chunk=T, burn_in=1, capacity_steps=2 * T, batch=2, updates=2, warm_up=10,
    steps=1000, lr=0.05, anneal=True, gamma=0.83, grad_clip=3e-5, reward_scale=2.5, target_every=2, target_rate=0.4,
)  # fmt: skip
Q = dict(lam=0.7, mixer_width=2, hyper_width=2, alpha=0.35)
LR = SETTINGS["lr"] * 0.5
CASES = {
    "iql": dict(double=False, time_limit="terminal", optimiser="rmsprop"),
    "vdn": dict(target_every=1, anneal=False),
    "qplex": {},
    "cw_qmix": {},  # QMIX's mixer and all that it is without weights
    "w_vdn": dict(target_every=1),
}


def begin(name, seed=3, **changes):
    given = {**SETTINGS, **changes}
    return *begun(name, scene.Scene(), seed=seed, **given), SimpleNamespace(**vars(method_config(name, **given)))


def played(steps, carry=()):
    return {"actor": scene.rollout(steps, scene.log_probs(T), carry=carry)}


@pytest.mark.parametrize("name", CASES)
def test_two_steps_are_the_naive_ones(name, monkeypatch):
    monkeypatch.setattr("tutelage.methods.qlearning.unrestricted_mixing_net", partial(unrestricted_mixing_net, width=2))
    method, state, c = begin(name, **Q, **CASES[name])
    steps = scene.steps(T)
    got = update(method, state, played(steps, ((), ()) if c.weighting != "none" else ()))

    (online,), target, rows = learners(state), named(state, "target"), nets.history(steps)
    scores = lambda p: nets.agent(p[0], rows, steps["avail"])
    if c.weighting != "none":
        both = values.Values(c, steps, scores, target).frozen(online)["weight"][values.counting(c, steps)]
        assert set(both) == {1.0, c.alpha}, "weights that are all alike prove nothing"
    lr = LR if c.anneal else 2 * LR
    naive, target = values.learn(c, steps, online, target, scores, lr)
    np.testing.assert_allclose(got.total(online), np.mean(naive.totals), rtol=1e-4)
    assert_moved(online, learners(got.state)[0], naive.params, lr)
    assert_close(jax.tree.leaves(named(got.state, "target")), jax.tree.leaves(target), 2e-4)


def test_nothing_is_learned_before_replay_is_warm():
    method, state, _ = begin("vdn", **Q, warm_up=11)
    got = update(method, state, played(scene.steps(T)))
    assert_same(learners(got.state), learners(state))
    assert found(got.state, Replay)[0].added == 2, "but it is remembered"


def test_exploration_falls_with_progress():
    """Half of the steps that epsilon takes to fall from 0.9 to 0.1 are over: it is 0.5."""
    method, state, _ = begin("vdn", **Q, epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=800)
    policy, plays = method.stages[0].behaviours["actor"][:2]
    timestep = jax.tree.map(lambda x: x[0], scene.as_jax(scene.steps(T)))

    @jax.jit
    def go(state, progress):
        params, act = plays(state, progress)
        out = policy.step(params, policy.carry(2), timestep, jax.random.key(0))[1]
        return out, *act(jax.random.key(0), out, timestep)

    out, action, log_prob = go(state, 0.4)
    best, many = np.asarray(out.scores).argmax(-1), np.maximum(np.asarray(timestep.avail).sum(-1), 1)
    assert_close(np.exp(log_prob), 0.5 / many + 0.5 * (np.asarray(action) == best))


# ---- MADDPG ----------------------------------------------------------------------------------------------------------
NOISE = np.random.default_rng(7).gumbel(size=(T, 2, scene.N, scene.A)).astype(np.float32)


def test_maddpg_takes_the_naive_steps(monkeypatch):
    monkeypatch.setattr(jax.random, "gumbel", lambda key, shape: jnp.asarray(NOISE))
    method, state, c = begin(
        "maddpg", seed=0, critic_width=3, share="team", temperature=1.7, decay=0.25, target_every=1
    )
    steps = scene.steps(T)
    got = update(method, state, played(steps))

    actor, critic = learners(state)
    naive = values.learn_maddpg(c, steps, actor, critic, named(state, "target"), NOISE, LR)
    for before, after, one in zip((actor, critic), learners(got.state), naive[:2], strict=True):
        np.testing.assert_allclose(got.total(before), np.mean(one.totals), rtol=1e-4)
        assert_moved(before, after, one.params, LR)
    assert_close(jax.tree.leaves(named(got.state, "target")), jax.tree.leaves(naive[2]), 2e-4)


# ---- COMA ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rollouts", [3, 4])
def test_coma_takes_the_naive_steps_and_copies_its_critic_on_time(rollouts):
    given = dict(
        core="mlp", size="width=3", critic_width=3, envs=2, rollout=T, steps=1000, lr=0.04, gamma=0.83, lam=0.7,
        entropy=0.3, grad_clip=3e-5, critic_steps=2, target_every=5,
    )  # fmt: skip
    method, state = begun("coma", scene.Scene(), **given)
    state = state._replace(rollouts=jnp.asarray(rollouts, jnp.int32))
    steps, c = scene.steps(T), SimpleNamespace(**vars(method_config("coma", **given)))
    got = update(method, state, {"actor": scene.rollout(steps, scene.log_probs(T))})

    actor, critic = learners(state)
    naive = values.learn_coma(c, steps, actor, critic, named(state, "target"), 0.02)
    after = learners(got.state)
    for before, now, one in zip((actor, critic), after, naive, strict=True):
        np.testing.assert_allclose(got.total(before), np.mean(one.totals), rtol=1e-4)
        assert_moved(before, now, one.params, 0.02)
    assert_close(named(got.state, "target"), after[1] if rollouts == 4 else named(state, "target"))
