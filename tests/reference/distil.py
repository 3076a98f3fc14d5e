"""The terms by which a frozen expert teaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import nets
from reference.maths import Array, at, cosine, entropy, gae, log_softmax, mean, normal, softmax
from reference.ppo import surrogate


class Labels:
    """What the expert says of experience: logits, features, advantages; and which decisions count."""

    def __init__(self, c: Any, steps: Any, expert: Any, critic: Any, scale: Any) -> None:
        now = {k: x[:-1] for k, x in steps.items()}
        rows = nets.local(now)
        self.features = nets.think(expert[0], rows)[1]
        self.logits = nets.agent(expert[0], rows, now["avail"])
        self.rows, self.avail, self.action = rows, now["avail"], steps["action"][1:]
        self.counts = ~now["last"][..., None] & now["alive"] & now["avail"].any(-1)
        value = nets.value(critic, steps["state"]) * scale.deviation() + scale.mean
        raw = gae(steps, steps["reward"][1:], value, c)
        self.advantage = np.clip(normal(np.repeat(raw[..., None], self.counts.shape[-1], -1), self.counts), -5, 5)


def terms(c: Any, data: Labels, old: Array, params: Any, prototypes: Any) -> dict[str, float]:
    """Every term, unweighted. `params`: {net, projectors} of one network for all students."""
    (net,), (projector,), where = params["net"], params["projectors"], data.counts
    logits, features = nets.agent(net, data.rows, data.avail), nets.think(net, data.rows)[1]
    log_p, log_prob = log_softmax(logits), at(log_softmax(logits), data.action)
    soft = lambda z: softmax(np.where(data.avail, z / c.temperature, -1e9))
    p, q = soft(data.logits), soft(logits)
    tiny = lambda x: np.log(np.maximum(x, 1e-300))
    kl = np.where(data.avail, p * (tiny(p) - tiny(q)), 0.0).sum(-1)
    weight = np.minimum(np.exp(data.advantage / c.awr_beta), 20.0)
    mine, theirs = nets.dense(projector, features), data.features
    pair = where[..., 0] & where[..., 1]
    gap = np.abs(cosine(mine[..., 0, :], mine[..., 1, :]) - cosine(theirs[..., 0, :], theirs[..., 1, :]))
    direction = theirs / np.sqrt((theirs**2).sum(-1, keepdims=True) + 1e-6)
    return {
        "adv": surrogate(log_prob, old, data.advantage, where, c.clip)
        if c.adv_form == "clip"
        else -mean(weight / mean(weight, where) * log_prob, where),
        "kl": c.temperature**2 * mean(kl, where),
        "ce": -mean(at(log_p, data.logits.argmax(-1)), where),
        "rel": mean(np.where(gap <= 1, 0.5 * gap**2, gap - 0.5), pair),
        "role": mean(1 - cosine(mine, direction), where)
        if c.role_form == "align"
        else mean(assignments(direction, mine, prototypes), where),
        "entropy": mean(entropy(logits), where),
    }


def assignments(theirs: Array, mine: Array, prototypes: Array) -> Array:
    """KL between soft assignments to prototypes, by cosine at temperature 0.1."""
    unit = lambda x: x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6)
    of_teacher, of_student = (log_softmax(unit(x) @ unit(prototypes).T / 0.1) for x in (theirs, mine))
    return (np.exp(of_teacher) * (of_teacher - of_student)).sum(-1)


def objective(c: Any, terms: dict[str, float]) -> float:
    """The weighted sum, less the bonus for entropy."""
    return (
        sum(getattr(c, name) * terms[name] for name in ("adv", "kl", "ce", "rel", "role"))
        - c.entropy * terms["entropy"]
    )
