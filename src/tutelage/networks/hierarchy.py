"""Networks of a hierarchical teacher: the coordinator's, executors', and a critic that reads goals."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from tutelage.networks.cores import Net, dense, mask_logits, named_layers
from tutelage.types import Params

HEAD_WIDTH = 8
"""Width of the attention's queries and keys."""


def attend(run: Any, params: Params, name: str, x: Array, where: Array | None) -> Array:
    """Self-attention with a residual, over the second to last axis of x (..., n, H), to entries of `where` (..., n)."""
    query, key = run(params, f"{name}_query", x), run(params, f"{name}_key", x)
    score = jnp.einsum("...ih,...jh->...ij", query, key) / HEAD_WIDTH**0.5
    if where is not None:
        score = jnp.where(where[..., None, :], score, -1e9)
    return x + jnp.einsum("...ij,...jh->...ih", jax.nn.softmax(score), x)


def coordinator_net(features: int, state: int, n_agents: int, width: int) -> Net:
    """`apply(params, features (..., N, M, F), valid (..., N, M), state (..., S))` -> masked logits (..., N, M + 1).

    Every pair of agent and goal is embedded and attends first to the agent's other goals, then to the other agents with
    the same goal (never to all pairs at once). The last column stands for no goal, which is always valid.

    Reference:
        Xu et al. 2020 (HiT-MAC) for pairs and attention; the two axes are ours.
    """
    attention = {
        f"{axis}_{part}": (dense(HEAD_WIDTH, 1.0), width) for axis in ("goals", "agents") for part in ("query", "key")
    }
    init, run = named_layers(
        {
            "pair": (dense(width), features),
            "world": (dense(width), state),
            "number": (dense(width, 1.0), n_agents),
            "hidden": (dense(width), width),
            **attention,
            "score": (dense(1, 0.01), width),
            "none": (dense(1, 0.01), width),
        }
    )

    def apply(params: Params, features: Array, valid: Array, state: Array) -> Array:
        agent = run(params, "number", jnp.eye(n_agents)) + run(params, "world", state)[..., None, :]
        x = nn.relu(run(params, "pair", features) + agent[..., None, :])
        x = attend(run, params, "goals", x, valid)
        x = jnp.swapaxes(attend(run, params, "agents", jnp.swapaxes(x, -2, -3), jnp.swapaxes(valid, -1, -2)), -2, -3)
        x = nn.relu(run(params, "hidden", x))
        score = jnp.where(valid, run(params, "score", x)[..., 0], -1e9)  # no goal is always valid
        pooled = jnp.where(valid[..., None], x, 0.0).sum(-2) / jnp.maximum(valid.sum(-1, keepdims=True), 1)
        return jnp.concatenate([score, run(params, "none", pooled)], -1)

    return Net(init, apply)


def executor_net(inputs: int, goal: int, width: int, n_actions: int) -> Net:
    """`apply(params, x (..., D), goal (..., [M,] G), avail (..., [M,] A))` -> masked logits.

    Where `goal` has an axis M more than `x`, these are the logits for every goal; `x` is encoded once for all.
    """
    init, run = named_layers(
        {
            "see": (dense(width), inputs),
            "goal": (dense(width), goal),
            "hidden": (dense(width), width),
            "head": (dense(n_actions, 0.01), width),
        }
    )

    def apply(params: Params, x: Array, goal: Array, avail: Array) -> Array:
        encoded = run(params, "see", x)
        several = goal.ndim > x.ndim
        x = nn.relu((encoded[..., None, :] if several else encoded) + run(params, "goal", goal))
        logits = run(params, "head", nn.relu(run(params, "hidden", x)))
        return mask_logits(logits, avail[..., None, :] if several else avail)

    return Net(init, apply)


def goal_value_net(state: int, inputs: int, goal: int, width: int) -> Net:
    """`apply(params, state (..., S), x (..., N, D), goal (..., N, G))` -> two values per agent (..., N, 2)."""
    init, run = named_layers(
        {
            "world": (dense(width), state),
            "see": (dense(width), inputs),
            "goal": (dense(width), goal),
            "hidden": (dense(width), width),
            "head": (dense(2, 1.0), width),
        }
    )

    def apply(params: Params, state: Array, x: Array, goal: Array) -> Array:
        both = run(params, "world", state)[..., None, :] + run(params, "see", x) + run(params, "goal", goal)
        return run(params, "head", nn.relu(run(params, "hidden", nn.relu(both))))

    return Net(init, apply)
