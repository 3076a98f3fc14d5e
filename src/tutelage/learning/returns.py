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


def vtrace(
    reward: Float[Array, "T B *N"],
    discount: Float[Array, "T B ..."],
    value: Float[Array, "T+1 B *N"],
    ratio: Float[Array, "T B *N"],
    valid: Bool[Array, "T B"],
    gamma: float,
    lam: float,
) -> tuple[Float[Array, "T B *N"], Float[Array, "T B *N"]]:
    """Off-policy advantages and targets: v_t = V_t + rho_t delta_t + g d c_t (v' - V'), c_t = l min(1, ratio).

    Args:
        as in `gae`; `reward` and `discount` may be one per agent.
        ratio: pi(a|s) / mu(a|s) of the policy that is valued to the one that acted; 1 gives `gae` and its target.

    Returns:
        The advantage A_t = r + g d [l v' + (1 - l) V'] - V_t (to be weighted by min(1, ratio) in a loss), and v_t.

    Reference:
        Espeholt et al. 2018 (IMPALA), with lambda; with both clips at 1.
    """
    reward, discount, valid = (expand_like(x, value) for x in (reward, discount, valid))
    rho = jnp.minimum(ratio, 1.0)
    ahead = gamma * discount
    delta = reward + ahead * value[1:] - value[:-1]

    def backward(gap: Array, step: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        delta, ahead, rho, valid = step  # gap: v' - V'
        advantage = jnp.where(valid, delta + ahead * lam * gap, 0.0)
        now = jnp.where(valid, rho * delta + ahead * lam * rho * gap, 0.0)
        return now, (advantage, now)

    same = lambda x: jnp.broadcast_to(x, delta.shape)
    steps = delta, same(ahead), same(rho), same(valid)
    _, (advantage, gap) = jax.lax.scan(backward, jnp.zeros_like(delta[0]), steps, reverse=True)
    return advantage, value[:-1] + gap


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
