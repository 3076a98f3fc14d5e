"""Goals: who may hold which, what they pay, and a coordinator that gives them to one agent after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.maths import Array, log_softmax, softmax
from reference.nets import dense, masked, relu


def of(x: Array, goal: Array) -> Array:
    """x[..., goal[...], ...], the last one where there is no goal."""
    index = np.minimum(goal, x.shape[goal.ndim] - 1)
    return np.array([x[(*i, index[i])] for i in np.ndindex(goal.shape)]).reshape(*goal.shape, *x.shape[goal.ndim + 1 :])


def goal_progress(steps: Any, goal: Array, gamma: float) -> Array:
    """g Phi' - Phi of the goal held (T, B, N), and 1 where it is completed for the first time since it is held."""
    goals, out = steps["goals"], np.zeros(goal.shape)
    most = goals["valid"].shape[-1]
    for b, n in np.ndindex(goal.shape[1:]):
        before, had = None, False
        for t in range(len(goal)):
            held, g = goal[t, b, n], min(goal[t, b, n], most - 1)
            if held != before or steps["first"][t, b]:
                had = False
            before, had = held, had or goals["reached"][t, b, n, g]
            done = goals["reached"][t + 1, b, n, g] and not had
            had = had or done
            if held < most:
                out[t, b, n] = gamma * goals["potential"][t + 1, b, n, g] - goals["potential"][t, b, n, g] + done
    return out


def most_promising(goals: Any) -> Array:
    """The possible goal of the highest potential; M where there is none."""
    best = np.where(goals["valid"], goals["potential"], -np.inf).argmax(-1)
    return np.where(goals["valid"].any(-1), best, goals["valid"].shape[-1])


def valid_goals(goals: Any) -> Array:
    """Which goals may be held (..., M + 1); none, the last, always."""
    return np.concatenate([goals["valid"], np.ones((*goals["valid"].shape[:-1], 1), bool)], -1)


def all_goal_features(goals: Any) -> Array:
    """What is read of every goal (..., M + 1, F + 1): its features and a 1, zeros for none."""
    real = np.concatenate([goals["features"], np.ones((*goals["features"].shape[:-1], 1))], -1)
    return np.concatenate([real, np.zeros_like(real[..., :1, :])], -2)


def attend(p: Any, name: str, x: Array, where: Array) -> Array:
    """x_i + sum_j softmax_j(q_i k_j) x_j over those that are."""
    query, key = dense(p[f"{name}_query"], x), dense(p[f"{name}_key"], x)
    score = np.einsum("...ih,...jh->...ij", query, key) / np.sqrt(query.shape[-1])
    return x + softmax(np.where(where[..., None, :], score, -1e9)) @ x


def coordinate(p: Any, goals: Any, state: Array) -> Array:
    """Logits (..., N, M + 1) before anybody has a goal: attention over an agent's goals, then over a goal's agents."""
    agent = p["number"]["kernel"] + p["number"]["bias"] + dense(p["world"], state)[..., None, :]
    x, valid = relu(dense(p["pair"], goals["features"]) + agent[..., None, :]), goals["valid"]
    x = attend(p, "goals", x, valid)
    x = attend(p, "agents", x.swapaxes(-2, -3), valid.swapaxes(-1, -2)).swapaxes(-2, -3)
    x = relu(dense(p["hidden"], x))
    pooled = (x * valid[..., None]).sum(-2) / np.maximum(valid.sum(-1, keepdims=True), 1)
    score = np.where(valid, dense(p["score"], x)[..., 0], -1e9)
    return np.concatenate([score, dense(p["none"], pooled)], -1)


def assign_sequentially(
    c: Any, thing: Array, logits: Array, choose: Callable[[int, Array], int]
) -> tuple[list[int], Array]:
    """Goals of one decision, and each agent's log-probabilities given what those before it have."""
    taken, chosen, logs = np.zeros(logits.shape), [], []
    for i in range(len(logits)):
        log = log_softmax(logits[i] - c.spread * taken[i])
        goal = choose(i, log)
        if goal < thing.shape[-1]:
            taken[:, :-1] += thing == thing[i, goal]
        chosen.append(goal)
        logs.append(log)
    return chosen, np.stack(logs)


def execute(p: Any, rows: Array, read: Array, avail: Array) -> Array:
    """Logits of agents, each of a class of its own: rows (..., N, D) under goals (..., N, [M + 1,] G)."""
    out = []
    for i, net in enumerate(p):
        see, goal, can = dense(net["see"], rows[..., i, :]), read[:, :, i], avail[..., i, :]
        if goal.ndim == see.ndim + 1:
            see, can = see[..., None, :], np.broadcast_to(can[..., None, :], (*goal.shape[:-1], can.shape[-1]))
        x = relu(dense(net["hidden"], relu(see + dense(net["goal"], goal))))
        out.append(masked(dense(net["head"], x), can))
    return np.stack(out, 2)
