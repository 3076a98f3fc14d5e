"""Q-learning for teams, MADDPG and COMA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference import nets
from reference.maths import (
    Array,
    Descent,
    at,
    entropy,
    flat,
    log_softmax,
    mean,
    one_hot,
    shaped,
    softmax,
    td_lambda,
)


def counting(c: Any, steps: Any) -> Array:
    """(T, B) transitions that are learned from: real ones after the burn-in."""
    late = np.arange(len(steps["last"]) - 1) >= c.burn_in
    return ~steps["last"][:-1] & late[:, None]


def ends(c: Any, steps: Any) -> Array:
    """Discounts of transitions; a limit ends an episode truly where the settings say so."""
    return np.where(steps["last"], 0.0, steps["discount"])[1:] if c.time_limit == "terminal" else steps["discount"][1:]


def utilities(scores: Array, action: Array) -> tuple[Array, Array, Array]:
    """Of what is done, the best ones, and what is done."""
    return at(scores, action), scores.max(-1), one_hot(action, scores.shape[-1])


class Values:
    """Losses of a joint value, given how utilities come about: `scores(params) -> (T + 1, B, N, A)`."""

    def __init__(self, c: Any, steps: Any, scores: Callable[[Any], Array], target: Any) -> None:
        self.c, self.steps, self.scores, self.target = c, steps, scores, target
        self.action, self.counts = steps["action"][1:], counting(c, steps)
        self.weighting = getattr(c, "weighting", "none")

    def joint(self, p: Any, u: Any, state: Array, held: Any = None) -> Array:
        return nets.mix(self.c.mixer, p, u, state, held)

    def td_target(self, online: Array, bonus: Any = 0.0) -> Array:
        """TD(lambda) targets of the target network at the greedy actions of the online scores, or of its own."""
        c, steps = self.c, self.steps
        if self.weighting == "none":
            own = self.scores(self.target["agent"])
            best = (online if c.double else own).argmax(-1)
            value = self.joint(self.target["mix"], utilities(own, best), steps["state"])
        else:
            theirs = at(self.scores(self.target["central"]), online.argmax(-1))
            value = nets.unrestricted(self.target["joint"], theirs, steps["state"])
        reward = c.reward_scale * steps["reward"][1:] + bonus
        shape = (slice(None), slice(None), None) if value.ndim == 3 else (slice(None), slice(None))
        wide = lambda x: np.broadcast_to(x[shape], value[:-1].shape)
        return td_lambda(steps, wide(reward), wide(ends(c, steps)), value, c)

    def frozen(self, params: Any, bonus: Any = 0.0, chooser: Array | None = None) -> dict[str, Any]:
        """What no gradient goes through, at these parameters: targets, weights, QPLEX's advantages."""
        c, state = self.c, self.steps["state"][:-1]
        scores = self.scores(params["agent"])
        td_target = self.td_target(scores if chooser is None else chooser, bonus)
        u = utilities(scores[:-1], self.action)
        value = self.joint(params["mix"], u, state)
        weight = np.ones_like(td_target)
        if self.weighting == "ow":
            weight = np.where(value < td_target, 1.0, c.alpha)
        if self.weighting == "cw":
            greedy = scores[:-1].argmax(-1)
            theirs = at(self.scores(self.target["central"])[:-1], greedy)
            best = nets.unrestricted(self.target["joint"], theirs, state)
            weight = np.where((self.action == greedy).all(-1) | (td_target > best), 1.0, c.alpha)
        return dict(td_target=td_target, weight=weight, held=(params["mix"], u))

    def loss(self, params: Any, frozen: Any) -> float:
        """mean w (Q_tot - y)^2, and of WQMIX also that of Q*."""
        state, td_target, where = self.steps["state"][:-1], frozen["td_target"], self.counts
        u = utilities(self.scores(params["agent"])[:-1], self.action)
        value = self.joint(params["mix"], u, state, frozen["held"])
        if value.ndim == 3:
            where = where[..., None] & self.steps["avail"][:-1].any(-1)
        total = mean(frozen["weight"] * (value - td_target) ** 2, where)
        if self.weighting != "none":
            theirs = at(self.scores(params["central"])[:-1], self.action)
            total += mean((nets.unrestricted(params["joint"], theirs, state) - td_target) ** 2, where)
        return total


def follow(c: Any, target: Any, online: Any, step: int) -> Any:
    """The target network after that many gradient steps: every so many it comes nearer to the online one."""
    if step % c.target_every:
        return target
    return shaped(target, flat(target) + c.target_rate * (flat(online) - flat(target)))


def learn(
    c: Any, steps: Any, online: Any, target: Any, scores: Callable[[Any], Array], lr: float
) -> tuple[Descent, Any]:
    """The gradient steps of an update, and the target network after them."""
    now = Descent(online, c, c.optimiser)
    for step in range(1, c.updates + 1):
        values = Values(c, steps, scores, target)
        frozen = values.frozen(now.params)
        now.step(lambda p, values=values, frozen=frozen: values.loss(p, frozen), lr)
        target = follow(c, target, now.params, step)
    return now, target


# ---- MADDPG ----------------------------------------------------------------------------------------------------------
def critic(p: Any, state: Array, taken: Array, own: Array) -> Array:
    """Q_i of agent i's own action where the others do what was taken, (..., N)."""
    n = taken.shape[-2]
    out = []
    for i in range(n):
        joint = taken.copy()
        joint[..., i, :] = own[..., i, :]
        x = nets.dense(p["world"], state) + joint.reshape(*joint.shape[:-2], -1) @ p["actions"]["kernel"]
        x = nets.relu(x + p["number"]["kernel"][i] + p["number"]["bias"])
        out.append(nets.dense(p["head"], nets.relu(nets.dense(p["hidden"], x)))[..., 0])
    return np.stack(out, -1)


def drawn(logits: Array, noise: Array) -> Array:
    """The action that Gumbel noise picks, one-hot."""
    return one_hot((logits + noise).argmax(-1), logits.shape[-1])


def critic_target(c: Any, steps: Any, target: Any, logits: Callable[[Any], Array], noise: Array) -> Array:
    """r + g d Q_i by the target critics, at what the target actors draw."""
    following = drawn(logits(target["actor"])[1:], noise)
    value = critic(target["critic"], steps["state"][1:], following, following)
    return c.reward_scale * steps["reward"][1:, :, None] + c.gamma * ends(c, steps)[..., None] * value


def actor_loss(c: Any, steps: Any, p: Any, q: Any, logits: Callable[[Any], Array], hard: Array, noise: Array) -> float:
    """Less what each critic thinks of its agent's own draw, with a bit of the squares of available logits.

    Args:
        hard: {hard: the draw, soft: its softer form} at the parameters that are learned: the draw moves as the softer
            form does (straight through).
    """
    where = counting(c, steps)[..., None] & steps["alive"][:-1] & steps["avail"][:-1].any(-1)
    z, avail = logits(p)[:-1], steps["avail"][:-1]
    own = hard["hard"] + softmax((z + noise) / c.temperature) - hard["soft"]
    value = critic(q, steps["state"][:-1], one_hot(steps["action"][1:], z.shape[-1]), own)
    large = np.where(avail, z**2, 0.0).sum(-1) / np.maximum(avail.sum(-1), 1)
    return c.decay * mean(large, where) - mean(value, where)


def learn_maddpg(
    c: Any, steps: Any, actor: Any, critics: Any, target: Any, noise: Array, lr: float
) -> tuple[Descent, Descent, Any]:
    """Critics, then actors against the new critics, then targets; and again."""
    rows = nets.history(steps)
    logits = lambda p: nets.agent(p[0], rows, steps["avail"])
    taken = one_hot(steps["action"][1:], steps["avail"].shape[-1])
    a, q = Descent(actor, c), Descent(critics, c)
    for step in range(1, c.updates + 1):
        td_target = critic_target(c, steps, target, logits, noise)
        error = lambda p, td_target=td_target: (critic(p, steps["state"][:-1], taken, taken) - td_target) ** 2
        q.step(lambda p, error=error: mean(error(p), counting(c, steps)[..., None]), lr)
        z = logits(a.params)[:-1]
        hard = dict(hard=drawn(z, noise), soft=softmax((z + noise) / c.temperature))
        a.step(lambda p, hard=hard: actor_loss(c, steps, p, q.params, logits, hard, noise), lr)
        target = follow(c, target, {"actor": a.params, "critic": q.params}, step)
    return a, q, target


# ---- COMA ------------------------------------------------------------------------------------------------------------
def learn_coma(c: Any, steps: Any, actor: Any, critics: Any, target: Any, lr: float) -> tuple[Descent, Descent]:
    """The critic's steps on TD(lambda) targets, then the actor's on what each action is worth beside the usual one."""
    rows, n = nets.history(steps)[:-1], steps["avail"].shape[-1]
    state, taken, real = steps["state"][:-1], one_hot(steps["action"][1:], n), ~steps["last"][:-1]
    known = {k: steps[k][:-1] for k in ("last",)}
    value = critic(target, state, taken, taken)
    goal = td_lambda(known, steps["reward"][1:-1], steps["discount"][1:-1], value, c)
    q, a = Descent(critics, c), Descent(actor, c)
    for _ in range(c.critic_steps):
        q.step(lambda p: mean((critic(p, state, taken, taken)[:-1] - goal) ** 2, real[:-1, :, None]), lr)
    each = np.stack([critic(q.params, state, taken, np.broadcast_to(np.eye(n)[k], taken.shape)) for k in range(n)], -1)
    where = real[..., None] & steps["alive"][:-1] & steps["avail"][:-1].any(-1)
    logits = lambda p: nets.agent(p[0], rows, steps["avail"][:-1])
    usual = (softmax(logits(actor)) * each).sum(-1)
    advantage = at(each, steps["action"][1:]) - usual

    def loss(p: Any) -> float:
        z = logits(p)
        return -mean(advantage * at(log_softmax(z), steps["action"][1:]), where) - c.entropy * mean(entropy(z), where)

    a.step(loss, lr)
    return a, q
