"""The networks, as functions of parameters in nested dicts and lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.maths import Array, softmax


def dense(p: Any, x: Array) -> Array:
    return x @ p["kernel"] + p["bias"]


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def masked(scores: Array, avail: Array) -> Array:
    """Unavailable actions score -1e9; action 0 of who has none scores 0."""
    out = np.where(avail, scores, -1e9)
    out[~avail.any(-1), 0] = 0.0
    return out


def think(p: Any, x: Array) -> tuple[Array, Array]:
    """What the first layer of an agent makes of its row, and the second: its features."""
    first = relu(dense(p["encode"], x))
    return first, relu(dense(p["core"], first))


def agent(p: Any, x: Array, avail: Array) -> Array:
    """Scores."""
    return masked(dense(p["head"], think(p, x)[1]), avail)


def value(p: Any, x: Array) -> Array:
    """A critic's three layers."""
    return dense(p[2], relu(dense(p[1], relu(dense(p[0], x)))))[..., 0]


def hyper(p: Any, x: Array) -> Array:
    """One layer, or two."""
    names = sorted(p)
    return dense(p[names[0]], x) if len(names) == 1 else dense(p[names[1]], relu(dense(p[names[0]], x)))


# ---- what agents read ------------------------------------------------------------------------------------------------
def numbers(steps: Any) -> Array:
    """Every agent's number, one-hot."""
    lead, n = steps["obs"].shape[:-1], steps["obs"].shape[-2]
    return np.broadcast_to(np.eye(n), (*lead, n))


def local(steps: Any) -> Array:
    return np.concatenate([steps["obs"], numbers(steps)], -1)


def history(steps: Any) -> Array:
    """Observation, number and last action, which is none where an episode begins."""
    a = steps["avail"].shape[-1]
    done = np.eye(a)[steps["action"]] * ~steps["first"][..., None, None]
    return np.concatenate([local(steps), done], -1)


def beside_state(steps: Any, rows: Array) -> Array:
    """The world state behind every agent's row."""
    state = steps["state"][..., None, :]
    return np.concatenate([rows, np.broadcast_to(state, (*rows.shape[:-1], state.shape[-1]))], -1)


def personal(p: Any, rows: Array, state: Array) -> Array:
    """The state personalised for every agent: s W_i + B_i with W_i made from its row, as a matrix per agent."""
    z = relu(dense(p["generator"], rows))
    s, g = state.shape[-1], z.shape[-1]
    matrices = p["matrices"]["kernel"].reshape(s, g, -1) / np.sqrt(s)
    offsets = p["matrices"]["bias"].reshape(g, -1) / np.sqrt(s)
    w = np.einsum("...g,sgw->...sw", z, matrices) + p["matrix"]["kernel"]
    b = z @ offsets + p["matrix"]["bias"] + dense(p["offset"], z)
    return np.einsum("...s,...sw->...w", np.broadcast_to(state[..., None, :], (*rows.shape[:-1], s)), w) + b


# ---- mixers ----------------------------------------------------------------------------------------------------------
def mix(kind: str, p: Any, utilities: Any, state: Array, fixed: Any = None) -> Array:
    """The joint value of (utilities of what is done (..., N), the best ones, what is done (..., N, A) one-hot).

    Args:
        held: parameters and utilities that QPLEX's advantages are taken from, through which nothing is learned.
    """
    q, _, chosen = utilities
    if kind == "iql":
        return q
    if kind == "vdn":
        return q.sum(-1)
    lead, n = q.shape[:-1], q.shape[-1]
    if kind == "qmix":
        w1 = np.abs(hyper(p["first"], state)).reshape(*lead, n, -1)
        x = np.einsum("...n,...nw->...w", q, w1) + hyper(p["first_bias"], state)
        x = np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)
        return (x * np.abs(hyper(p["second"], state))).sum(-1) + hyper(p["value"], state)[..., 0]
    scale = lambda p: np.abs(hyper(p["weight"], state)) + 1e-10
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    key = np.abs(hyper(p["keys"], state)) + 1e-10
    state_and_actions = np.concatenate([state, chosen.reshape(*lead, -1)], -1)
    who, what = (
        sigmoid(hyper(p[k], x)).reshape(*lead, -1, n) for k, x in (("agents", state), ("actions", state_and_actions))
    )
    importance = np.einsum("...h,...hn,...hn->...n", key, who, what)
    p0, (q0, best0, _) = fixed or (p, utilities)
    advantage = scale(p0) * (q0 - best0)
    return (scale(p) * q + hyper(p["bias"], state) + advantage * (importance - 1)).sum(-1)


def unrestricted(p: Any, q: Array, state: Array) -> Array:
    """Q*: any function of utilities and state, and a value of the state."""
    x = np.concatenate([q, state], -1)
    layers = [p["body"][name] for name in sorted(p["body"], key=lambda name: int(name.split("_")[1]))]
    for layer in layers[:-1]:
        x = relu(dense(layer, x))
    return dense(layers[-1], x)[..., 0] + hyper(p["value"], state)[..., 0]


def attend(query: Array, key: Array, links: Array) -> Array:
    """How much of what j says agent i takes in, (..., N, N)."""
    score = np.einsum("...ik,...jk->...ij", query, key) / np.sqrt(query.shape[-1])
    return np.where(links, softmax(np.where(links, score, -1e9)), 0.0)
