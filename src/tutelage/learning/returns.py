"""Advantages and returns over (T, B, ...) arrays. Truncation and resets are already in `discount` and `valid`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def expand_like(x: Array, target: Array) -> Array:
    """Append axes to `x` until it broadcasts against `target` from the left."""
    return x.reshape(x.shape + (1,) * (target.ndim - x.ndim))


def gae(
    reward: Float[Array, "T B"],
    discount: Float[Array, "T B"],
    value: Float[Array, "T+1 B *N"],
    valid: Bool[Array, "T B"],
    gamma: float,
    lam: float,
) -> Float[Array, "T B *N"]:
    """Generalised advantage estimate: A_t = w_t (r + g d V' - V + g l d A').

    Args:
        reward, discount: of the transition t -> t+1 (`steps.reward[1:]`, `steps.discount[1:]`).
        value: of steps 0..T, raw reward units; a team value (T+1, B) or one per agent (T+1, B, N).
        valid: w_t; where False (after an ending step) the advantage is 0 and nothing flows back.
        gamma: discount per step. lam: 0 gives the TD error, 1 the return minus the value.

    Returns:
        Advantages, shaped like `value[:-1]`.

    Reference:
        Schulman et al. 2016, equation 16.
    """
    reward, discount, valid = (expand_like(x, value) for x in (reward, discount, valid))
    delta = reward + gamma * discount * value[1:] - value[:-1]

    def backward(following: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        delta, discount, valid = step
        advantage = jnp.where(valid, delta + gamma * lam * discount * following, 0.0)
        return advantage, advantage

    _, advantage = jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, discount, valid), reverse=True)
    return advantage


def td_lambda(
    reward: Float[Array, "T B"],
    discount: Float[Array, "T B"],
    value: Float[Array, "T+1 B *N"],
    valid: Bool[Array, "T B"],
    gamma: float,
    lam: float,
) -> Float[Array, "T B *N"]:
    """Targets of TD(lambda): G_t = r + g d [(1 - l) V' + l G'], where G' is V' at an ending step and at the end.

    Args:
        as in `gae`; `value` of steps 0..T is the value of the greedy action there.

    Returns:
        Targets, shaped like `value[:-1]`; meaningless where not `valid`.

    Reference:
        Sutton and Barto 2018, section 12.1; as used by Foerster et al. 2018 (COMA) for teams.
    """
    reward, discount = expand_like(reward, value[:-1]), expand_like(discount, value[:-1])
    going = expand_like(jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])]), value[:-1])

    def backward(following: Array, step: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, value, going = step
        ahead = jnp.where(going, (1 - lam) * value + lam * following, value)
        target = reward + gamma * discount * ahead
        return target, target

    steps = jnp.broadcast_to(reward, value[:-1].shape), discount, value[1:], going
    return jax.lax.scan(backward, value[-1], steps, reverse=True)[1]
