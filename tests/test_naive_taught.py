"""DDN, IGM-DA and PTDE against a naive NumPy reading of them; as in `test_naive_ppo`."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_same
from reference import nets, scene, taught, values
from reference.maths import Descent, Scale, mean
from reference.watching import SEEN, assert_moved, begun, learners, named, update
from tutelage.networks.curiosity import curiosity_net
from tutelage.registry import method_config

T = 5
SETTINGS = dict(
    core="mlp", size="width=3", envs=2, chunk=T, burn_in=1, capacity_steps=2 * T, batch=2, updates=2, warm_up=10,
    steps=1000, lr=0.05, anneal=True, gamma=0.83, grad_clip=3e-5, reward_scale=2.5, target_every=2, target_rate=0.4,
    lam=0.7, mixer="vdn", generator=2, fusion_width=2,
)  # fmt: skip
LR = SETTINGS["lr"] * 0.5
LEVELS = dict(encoder=0.4, features=0.6, values=0.7, imitate=0.3)
CASES = {  # CTDS is the second with other weights
    "ddn": dict(beta=0.2, adaptive=True, **LEVELS),
    "igm_da": dict(imitate=0.6, values=0.7),
}
MASK = np.arange(2 * T).reshape(T, 2) % 3 > 0


def begin(name, **changes):
    given = {**SETTINGS, **changes}
    return *begun(name, scene.Scene(), **given), SimpleNamespace(**vars(method_config(name, **given)))


def rollout(steps, carry=()):
    return scene.rollout(steps, scene.log_probs(T), carry=carry)


def drawn(key, share, shape):
    assert share == 0.75, "mu is the chance that a bonus is paid"
    return jnp.asarray(MASK)


def check(got, before, after, naive):
    np.testing.assert_allclose(got.total(before), np.mean(naive.totals), rtol=1e-4)
    assert_moved(before, after, naive.params, LR)


@pytest.mark.parametrize("name", CASES)
def test_two_steps_of_teacher_students_and_curiosity_are_the_naive_ones(name, monkeypatch):
    monkeypatch.setattr("tutelage.methods.ddn.curiosity_net", partial(curiosity_net, width=2))
    monkeypatch.setattr(jax.random, "bernoulli", drawn)
    method, state, c = begin(name, **CASES[name])
    state = state._replace(learning=state.learning._replace(success=jnp.asarray(0.2)))
    steps = scene.steps(T)
    got = update(method, state, {"both": rollout(steps, ((), ()))})

    teacher, student, predictor = learners(state)
    # Of two episodes that ended one succeeded: the running rate goes a tenth of the way from 0.2 to a half.
    success = 0.9 * 0.2 + 0.1 * steps["success"].sum() / steps["last"].sum()
    curious = taught.Curiosity(c, steps, predictor, named(state, "frozen"), Scale(*map(float, SEEN)), MASK, success)
    naive = taught.learn(c, steps, teacher, named(state, "target"), student, curious if c.beta else None, LR)
    after = learners(got.state)
    check(got, teacher, after[0], naive[0])
    check(got, student, after[1], naive[2])
    assert_close(jax.tree.leaves(named(got.state, "target")), jax.tree.leaves(naive[1]), 2e-4)
    if c.beta:
        check(got, predictor, after[2], curious.now)
        assert_close(list(named(got.state, "errors")), list(vars(curious.seen).values()))
    np.testing.assert_allclose(got.state.learning.success, success)


@pytest.fixture(scope="module")
def ptde():
    """Its state and what it should have become, after the first stage's update."""
    method, state, c = begin("ptde", size="width=4", predict=4)
    return method, state, c, update(method, state, {"teacher": rollout(scene.steps(T))})


def test_ptde_learns_values_on_personalised_state(ptde):
    _, state, c, got = ptde
    (online, guess), steps = learners(state), scene.steps(T)

    def scores(p):
        return nets.agent(p["team"][0], taught.teacher_rows("beside own", p["fuse"], steps), steps["avail"])

    naive, target = values.learn(c, steps, online, named(state, "target"), scores, LR)
    check(got, online, learners(got.state)[0], naive)
    assert_close(jax.tree.leaves(named(got.state, "target")), jax.tree.leaves(target), 2e-4)
    assert_same(learners(got.state)[1], guess)


def test_ptde_then_predicts_it_from_what_replay_holds(ptde):
    method, _, c, before = ptde
    steps = scene.steps(T)
    online, guess = learners(before.state)
    personalised_state = nets.personal(online["agent"]["fuse"], nets.history(steps), steps["state"])[:-1]
    rows, where = nets.history(steps)[:-1], taught.living(c, steps)
    error = lambda p: ((nets.dense(p[0]["head"], nets.think(p[0], rows)[1]) - personalised_state) ** 2).mean(-1)
    naive, now = Descent(guess, c), before
    for _ in range(2):
        now = update(method, now.state, {}, stage=1)
        naive.step(lambda p: mean(error(p), where), LR)
        np.testing.assert_allclose(now.total(guess), naive.totals[-1], rtol=1e-4)
    assert_moved(guess, learners(now.state)[1], naive.params, LR)
    assert_same(learners(now.state)[0], online)
