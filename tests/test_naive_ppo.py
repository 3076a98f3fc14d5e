"""PPO and its relatives against a naive NumPy reading of them: the total loss, and an update of two gradient steps.

Every weight differs from 0 and 1, the learning rate is at half of its fall, and the gradient is clipped so short that
Adam's direction tells the sizes of its entries, not only their signs.
"""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_same
from reference import goals, nets, ppo, scene
from reference.maths import Descent, Scale, mean
from reference.watching import SEEN, assert_moved, begun, found, learners, update
from tutelage.learning.normaliser import Normaliser
from tutelage.registry import method_config

T = 5
SETTINGS = dict(
    core="mlp", size="width=3", critic_width=2, envs=2, rollout=T, chunk=1, epochs=2, minibatches=1, steps=1000,
    lr=0.04, anneal=True, gamma=0.83, lam=0.7, clip=0.15, entropy=0.3, grad_clip=3e-5,
)  # fmt: skip
LR = SETTINGS["lr"] * 0.5
OLD = scene.log_probs(T)


def settings(method, **changes):
    given = {**SETTINGS, **changes}
    return given, SimpleNamespace(**vars(method_config(method, **given)))


def seen():
    return Scale(*map(float, SEEN))


def state_and_goals(steps):
    """What a critic of goals reads: every pair's features and whether there is such a goal, after the state."""
    valid = steps["goals"]["valid"]
    real = np.concatenate([steps["goals"]["features"], np.ones((*valid.shape, 1))], -1) * valid[..., None]
    return np.concatenate([steps["state"], real.reshape(*steps["state"].shape[:-1], -1)], -1)


def state_per_agent(steps):
    """What a critic per agent reads; of the dead the number alone."""
    state = np.broadcast_to(steps["state"][:, :, None], (T + 1, 2, scene.N, 2))
    read = np.concatenate([state, steps["obs"]], -1) * steps["alive"][..., None]
    return np.concatenate([read, nets.numbers(steps)], -1)


def nearer(steps, c):
    """Mean progress to the most promising goal."""
    return goals.goal_progress(steps, goals.most_promising(steps["goals"])[:-1], c.gamma).mean(-1)


CASES = {
    "mappo": ("mappo", {}, lambda steps: steps["state"]),
    "mappo of goals": ("mappo", dict(critic="goals", critic_width=4, shaping=0.6), state_and_goals),
    "mappo per agent": ("mappo", dict(critic="per_agent", critic_width=3), state_per_agent),
    "ippo": ("ippo", dict(value_clip=0.05, value_loss="huber", anneal=False), nets.local),
}


def check(got, before, after, found, lr):
    """Each learner's total loss, and where it went."""
    for old, new, naive in zip(before, after, found, strict=True):
        np.testing.assert_allclose(got.total(old), np.mean(naive.totals), rtol=1e-4)
        assert_moved(old, new, naive.params, lr)


@pytest.mark.parametrize("case", CASES)
def test_two_steps_are_the_naive_ones(case):
    name, changes, read = CASES[case]
    given, c = settings(name, **changes)
    steps = scene.steps(T, goals=bool(c.shaping))
    method, state = begun(name, scene.Scene(), **given)
    got = update(method, state, {"actor": scene.rollout(steps, OLD)})

    (actor,), critic = learners(state)
    paid = c.shaping * nearer(steps, c) if c.shaping else 0.0
    data = ppo.Rollout(c, steps, read(steps), critic, seen(), paid)
    rows = nets.local(steps)[:-1]
    naive = ppo.learn(c, data, OLD, actor, critic, lambda p: nets.agent(p, rows, steps["avail"][:-1]), 0.5)
    check(got, [actor, critic], learners(got.state), naive, LR if c.anneal else 2 * LR)
    scale = found(got.state, Normaliser)[0]
    np.testing.assert_allclose(scale, list(vars(data.seen).values()), rtol=1e-5)


def test_agents_are_improved_one_after_another(monkeypatch):
    monkeypatch.setattr(jax.random, "permutation", lambda key, n: jnp.arange(n)[::-1])
    given, c = settings("happo", lr=1.0)
    steps = scene.steps(T)
    method, state = begun("happo", scene.Scene(), **given)
    got = update(method, state, {"actor": scene.rollout(steps, OLD)})

    actors, critic = learners(state)
    actors = [jax.tree.map(lambda x, i=i: x[i], actors) for i in range(scene.N)]
    data = ppo.Rollout(c, steps, steps["state"], critic, seen())
    logits = lambda p, i: nets.agent(p, steps["obs"][:-1, :, i], steps["avail"][:-1, :, i])
    naive, factor = ppo.one_after_another(c, data, OLD, actors, logits, (1, 0), 0.5)
    np.testing.assert_allclose(got.total(actors[0]), np.mean([x.totals for x in naive]), rtol=1e-4)
    np.testing.assert_allclose(got.metrics["factor"], factor.mean(), rtol=1e-4)
    after, critic_after = learners(got.state)
    for i, (before, one) in enumerate(zip(actors, naive, strict=True)):
        assert_moved(before, jax.tree.map(lambda x, i=i: x[i], after), one.params, 0.5)
    values = Descent(critic, c)
    for _ in range(2):
        values.step(data.critic_loss, 0.5)
    assert_moved(critic, critic_after, values.params, 0.5)
    np.testing.assert_allclose(got.total(critic), np.mean(values.totals), rtol=1e-4)


# ---- agents that talk ------------------------------------------------------------------------------------------------
def talk(steps, groups, of, heard):
    """Scores of agents that hear what was said a step before; agent i is of group `of[i]`."""
    out = np.zeros(steps["avail"][:-1].shape)
    own = nets.local(steps)
    for t in range(T):
        heard = np.where(steps["first"][t][:, None, None], 0.0, heard)
        rows = np.concatenate([own[t], heard], -1)
        said = {name: [] for name in ("query", "key", "words")}
        for i, g in enumerate(of):
            features = nets.think(groups[g], rows[:, i])[1]
            out[t, :, i] = nets.masked(nets.dense(groups[g]["head"], features), steps["avail"][t, :, i])
            for name, each in said.items():
                each.append(nets.dense(groups[g][name], features))
        query, key, words = (np.stack(x, 1) for x in said.values())
        heard = nets.attend(query, key, steps["links"][t]) @ words
    return out


def test_agents_that_talk_learn_what_to_say(monkeypatch):
    """Each class in its own words (`hetgat`); `tarmac` is the same with one class."""
    widths = [(m, name) for m in ("networks.talk", "policies.cost") for name in ("KEY_WIDTH", "MESSAGE_WIDTH")]
    for module, name in (*widths, ("policies.messages", "MESSAGE_WIDTH")):  # narrow words: few parameters
        monkeypatch.setattr(f"tutelage.{module}.{name}", 2)
    given, c = settings("tarmac", messages="hetgat", chunk=T, size="width=2")
    steps = scene.steps(T)
    method, state = begun("tarmac", scene.Scene(), **given)
    heard = np.random.default_rng(5).normal(size=(T, 2, scene.N, 2))
    entered = ((), jnp.asarray(heard, jnp.float32))
    got = update(method, state, {"actor": scene.rollout(steps, OLD, out=entered)})

    actor, critic = learners(state)
    data = ppo.Rollout(c, steps, steps["state"], critic, seen())
    naive = ppo.learn(c, data, OLD, actor, critic, lambda p: talk(steps, p, (0, 1), heard[0]), 0.5)
    check(got, [actor, critic], learners(got.state), naive, LR)


# ---- personalised state ----------------------------------------------------------------------------------------------
PERSONAL = dict(generator=2, fusion_width=2, size="width=4", critic_width=3, predict=500)


def test_ptde_acts_on_personalised_state():
    given, c = settings("ptde_mappo", **PERSONAL)
    steps = scene.steps(T)
    method, state = begun("ptde_mappo", scene.Scene(), **given)
    got = update(method, state, {"teacher": scene.rollout(steps, OLD)})

    actor, critic, guess = learners(state)
    data = ppo.Rollout(c, steps, steps["state"], critic, seen())
    own = nets.local(steps)[:-1]

    def logits(p):
        rows = np.concatenate([own, nets.personal(p["fuse"], own, steps["state"][:-1])], -1)
        return nets.agent(p["team"][0], rows, steps["avail"][:-1])

    naive = ppo.learn(c, data, OLD, actor, critic, logits, 0.5)
    check(got, [actor, critic], learners(got.state)[:2], naive, LR)
    assert_same(learners(got.state)[2], guess)


def test_ptde_then_predicts_it():
    given, c = settings("ptde_mappo", **PERSONAL)
    steps = scene.steps(T)
    method, state = begun("ptde_mappo", scene.Scene(), **given)
    got = update(method, state, {"student": scene.rollout(steps, OLD)}, stage=1)

    actor, critic, guess = learners(state)
    own = nets.local(steps)[:-1]
    personalised_state = nets.personal(actor["fuse"], own, steps["state"][:-1])
    counts = ~steps["last"][:-1, :, None] & steps["alive"][:-1] & steps["avail"][:-1].any(-1)
    error = lambda p: ((nets.dense(p[0]["head"], nets.think(p[0], own)[1]) - personalised_state) ** 2).mean(-1)
    naive = Descent(guess, c)
    for _ in range(2):
        naive.step(lambda p: mean(error(p), counts), LR)
    check(got, [guess], learners(got.state)[2:], [naive], LR)
    assert_same(learners(got.state)[:2], [actor, critic])
