"""PPO for teams, and the agent after agent form of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.maths import Array, Descent, Scale, at, entropy, gae, log_softmax, mean, normal
from reference.nets import value as net_value


def surrogate(log_prob: Array, old: Array, advantage: Array, where: Array, clip: float, weight: Any = 1.0) -> float:
    """- mean w min(u A, clip(u) A)."""
    ratio = np.exp(np.where(where, log_prob - old, 0.0))
    worst = np.minimum(ratio * advantage, np.clip(ratio, 1 - clip, 1 + clip) * advantage)
    return -mean(weight * worst, where)


class Rollout:
    """What is learned from: advantages, targets, who counts."""

    def __init__(self, c: Any, steps: Any, rows: Array, critic: Any, seen: Scale, paid: Any = 0.0) -> None:
        """`rows`: what the critic reads of steps 0..T. `paid`: what is added to rewards."""
        self.c, self.rows = c, rows
        self.valid = ~steps["last"][:-1]
        self.counts = self.valid[..., None] & steps["alive"][:-1] & steps["avail"][:-1].any(-1)
        value = net_value(critic, rows) * seen.deviation() + seen.mean
        raw = gae(steps, steps["reward"][1:] + paid, value, c)
        self.value, self.target = value[:-1], raw + value[:-1]
        each = raw if raw.ndim == 3 else np.repeat(raw[..., None], self.counts.shape[-1], -1)
        self.advantage = normal(each, self.counts)
        self.where = self.valid if raw.ndim == 2 else np.repeat(self.valid[..., None], raw.shape[-1], -1)
        self.seen = seen.after(self.target, self.where)
        self.action = steps["action"][1:]

    def actor_loss(self, logits: Array, old: Array) -> float:
        """The surrogate less the bonus for entropy."""
        log_prob = at(log_softmax(logits), self.action)
        loss = surrogate(log_prob, old, self.advantage, self.counts, self.c.clip)
        return loss - self.c.entropy * mean(entropy(logits), self.counts)

    def critic_loss(self, critic: Any) -> float:
        """Half the squared error in deviations; with a clip range the worse of both; Huber's beyond ten deviations."""
        scale = self.seen.deviation()
        value = net_value(critic, self.rows[:-1]) * scale + self.seen.mean

        def each(value: Array) -> Array:
            e = np.abs(value - self.target) / scale
            return np.where(e > 10, 10 * e - 50, 0.5 * e**2) if self.c.value_loss == "huber" else 0.5 * e**2

        out = each(value)
        if self.c.value_clip:
            near = self.c.value_clip * scale
            out = np.maximum(out, each(self.value + np.clip(value - self.value, -near, near)))
        return mean(out, self.where)


def learn(
    c: Any, data: Rollout, old: Array, actor: Any, critic: Any, logits: Callable[[Any], Array], progress: float
) -> tuple[Descent, Descent]:
    """As many steps of actor and critic as there are epochs, on everything at once."""
    lr = c.lr * (1 - progress) if c.anneal else c.lr
    a, v = Descent(actor, c), Descent(critic, c)
    for _ in range(c.epochs):
        a.step(lambda p: data.actor_loss(logits(p), old), lr)
        v.step(data.critic_loss, lr)
    return a, v


def one_after_another(
    c: Any, data: Rollout, old: Array, actors: list[Any], logits: Callable[[Any, int], Array], order: Any, lr: float
) -> tuple[list[Descent], Array]:
    """HAPPO's agents, and the product of all their ratios: each weighs its loss by that of the agents before it."""
    factor = np.ones(old.shape[:2])
    out: list[Any] = [None] * len(actors)
    for i in order:
        mine = data.counts[..., i]

        def loss(p: Any, i: int = i, mine: Array = mine, factor: Array = factor) -> float:
            z = logits(p, i)
            log_prob = at(log_softmax(z), data.action[..., i])
            went = surrogate(log_prob, old[..., i], data.advantage[..., i], mine, c.clip, factor)
            return went - c.entropy * mean(entropy(z), mine)

        now = out[i] = Descent(actors[i], c)
        for _ in range(c.epochs):
            now.step(loss, lr)
        after = at(log_softmax(logits(now.params, i)), data.action[..., i])
        factor = factor * np.exp(np.where(mine, after - old[..., i], 0.0))
    return out, factor
