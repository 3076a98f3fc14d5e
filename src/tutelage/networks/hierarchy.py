"""A coordinator that scores pairs of agents and goals, executors and values that read a goal."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from tutelage.networks.cores import Net, dense, mask_logits, named_layers
from tutelage.types import Params

HEAD = 8
"""Width of an attention's queries and keys."""


def attend(run: Any, params: Params, name: str, x: Array, where: Array | None) -> Array:
    """Self-attention over the second to last axis of x (..., n, H), with a residual; `where` (..., n) may be read."""
    query, key = run(params, f"{name}_query", x), run(params, f"{name}_key", x)
    score = jnp.einsum("...ih,...jh->...ij", query, key) / HEAD**0.5
    if where is not None:
        score = jnp.where(where[..., None, :], score, -1e9)
    return x + jnp.einsum("...ij,...jh->...ih", jax.nn.softmax(score), x)


def coordinator(features: int, state: int, n_agents: int, width: int) -> Net:
    """`apply(params, features (..., N, M, F), valid (..., N, M), state (..., S))` -> masked logits (..., N, M + 1).

    Every pair of agent and goal is embedded and attends first to the agent's other goals, then to the other agents with
    the same goal (never to all pairs at once). The last column is no goal at all, always possible.

    Reference:
        Xu et al. 2020 (HiT-MAC) for pairs and attention; the two axes are ours.
    """
    attention = {
        f"{axis}_{part}": (dense(HEAD, 1.0), width) for axis in ("goals", "agents") for part in ("query", "key")
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
        score = jnp.where(valid, run(params, "score", x)[..., 0], -1e9)  # there is always the goal none
        pooled = jnp.where(valid[..., None], x, 0.0).sum(-2) / jnp.maximum(valid.sum(-1, keepdims=True), 1)
        return jnp.concatenate([score, run(params, "none", pooled)], -1)

    return Net(init, apply)


def executor(inputs: int, goal: int, width: int, n_actions: int) -> Net:
    """`apply(params, x (..., D), goal (..., [M,] G), avail (..., [M,] A))` -> masked logits.

    With an axis M more in `goal` than in `x`, the logits under every goal: what is seen is encoded once.
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
        seen = run(params, "see", x)
        many = goal.ndim > x.ndim
        x = nn.relu((seen[..., None, :] if many else seen) + run(params, "goal", goal))
        logits = run(params, "head", nn.relu(run(params, "hidden", x)))
        return mask_logits(logits, avail[..., None, :] if many else avail)

    return Net(init, apply)


def goal_value(state: int, inputs: int, goal: int, width: int) -> Net:
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
