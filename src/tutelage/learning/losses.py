"""Masked losses. `where` picks the entries that count; a masked entry changes neither value nor gradient.

Logits of unavailable actions are expected to be a large negative number already (see `networks.cores.mask_logits`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def masked_mean(x: Float[Array, ...], where: Bool[Array, ...]) -> Float[Array, ""]:
    """Mean of the entries picked by `where` (broadcast); 0 if there are none."""
    where = jnp.broadcast_to(where, x.shape)
    return jnp.where(where, x, 0.0).sum() / jnp.maximum(where.sum(), 1)


def normalise(x: Float[Array, ...], where: Bool[Array, ...], limit: float | None = None) -> Float[Array, ...]:
    """Zero mean and unit deviation over the picked entries, optionally clipped to +-limit."""
    mean = masked_mean(x, where)
    deviation = jnp.sqrt(masked_mean(jnp.square(x - mean), where))
    y = (x - mean) / (deviation + 1e-8)
    return y if limit is None else jnp.clip(y, -limit, limit)


def log_prob_of(logits: Float[Array, "... A"], action: Int[Array, ...]) -> Float[Array, ...]:
    """Log-probability of `action` under masked `logits`."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]


def entropy(logits: Float[Array, "... A"], where: Bool[Array, ...]) -> Float[Array, ""]:
    """Mean entropy of the masked categorical distributions, nats."""
    log_p = jax.nn.log_softmax(logits)
    return masked_mean(-(jnp.exp(log_p) * log_p).sum(-1), where)


def clipped_surrogate(
    log_prob: Float[Array, ...],
    old_log_prob: Float[Array, ...],
    advantage: Float[Array, ...],
    where: Bool[Array, ...],
    clip: float,
    weight: Float[Array, ...] | float = 1.0,
) -> Float[Array, ""]:
    """PPO's loss: - mean w min(rho A, clip(rho, 1-c, 1+c) A), rho = exp(log_prob - old_log_prob).

    Reference:
        Schulman et al. 2017, equation 7.
    """
    rho = jnp.exp(jnp.where(where, log_prob - old_log_prob, 0.0))
    return -masked_mean(weight * jnp.minimum(rho * advantage, jnp.clip(rho, 1 - clip, 1 + clip) * advantage), where)


def kl_divergence(
    teacher_logits: Float[Array, "... A"],
    student_logits: Float[Array, "... A"],
    avail: Bool[Array, "... A"],
    where: Bool[Array, ...],
    temperature: float = 1.0,
) -> Float[Array, ""]:
    """T^2 KL(softmax(z_T / T) || softmax(z_S / T)) over available actions.

    The mask is applied before the division, and unavailable actions are left out of the sum.

    Reference:
        Hinton et al. 2015, section 2 (the T^2 factor); masking is ours.
    """
    log_t, log_s = (
        jax.nn.log_softmax(jnp.where(avail, z, -1e9) / temperature) for z in (teacher_logits, student_logits)
    )
    each = jnp.where(avail, jnp.exp(log_t) * (log_t - log_s), 0.0).sum(-1)
    return temperature**2 * masked_mean(each, where)


def cross_entropy(
    student_logits: Float[Array, "... A"], action: Int[Array, ...], where: Bool[Array, ...]
) -> Float[Array, ""]:
    """- mean log pi_S(action)."""
    return -masked_mean(log_prob_of(student_logits, action), where)


def unit(x: Float[Array, "... H"]) -> Float[Array, "... H"]:
    """Scale to length 1; the small constant keeps the gradient finite for a zero vector."""
    return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)


def advantage_weighted(
    log_prob: Float[Array, ...], advantage: Float[Array, ...], where: Bool[Array, ...], beta: float
) -> Float[Array, ""]:
    """- mean w log pi(a), w = min(exp(A / beta), 20) scaled to mean 1 over the picked entries.

    Reference:
        Peng et al. 2019 (advantage-weighted regression), equation 8; the scaling is ours.
    """
    weight = jnp.minimum(jnp.exp(advantage / beta), 20.0)
    weight = weight / jnp.maximum(masked_mean(weight, where), 1e-8)
    return -masked_mean(weight * jnp.where(where, log_prob, 0.0), where)


def length_of(x: Float[Array, "... H"], y: Float[Array, "... H"]) -> Float[Array, ...]:
    """Length of x P where y = x P P^T, or of x where y is x; the small constant as in `unit`."""
    return jnp.sqrt(jnp.maximum((y * x).sum(-1), 0.0) + 1e-6)


def cosines(x: Float[Array, "... N H"], metric: Float[Array, "H H"] | None = None) -> Float[Array, "... N N"]:
    """cos(x_i, x_j) of all pairs of agents; with `metric` = P P^T those of x P, without forming x P."""
    y = x if metric is None else x @ metric
    length = length_of(x, y)
    return jnp.einsum("...ih,...jh->...ij", y, x) / (length[..., :, None] * length[..., None, :])


def relation_loss(
    teacher: Float[Array, "... N N"], student: Float[Array, "... N N"], where: Bool[Array, "... N"]
) -> Float[Array, ""]:
    """Mean Huber distance between the teams' matrices of cosines between agents' features.

    Only pairs of different agents that both count enter. Widths may differ between teacher and student.

    Reference:
        Park et al. 2019 (relational distillation), Tseng et al. 2022; the cosine form is our reconstruction
        (an arccosine has an infinite gradient for equal agents).
    """
    pairs = where[..., :, None] & where[..., None, :] & ~jnp.eye(where.shape[-1], dtype=bool)
    return masked_mean(optax.losses.huber_loss(student, jax.lax.stop_gradient(teacher)), pairs)


def alignment_loss(
    teacher: Float[Array, "... H"],
    student: Float[Array, "... C"],
    where: Bool[Array, ...],
    projector: Float[Array, "C H"] | None = None,
) -> Float[Array, ""]:
    """Mean of 1 - cos(student, teacher) between features of the same agent. Our reconstruction.

    With a projector P the mean of 1 - cos(student P, teacher), without forming student P, which is as wide as the
    teacher.
    """
    teacher = jax.lax.stop_gradient(teacher)
    target, y = (
        (teacher, student) if projector is None else (teacher @ projector.T, student @ (projector @ projector.T))
    )
    lengths = length_of(student, y) * length_of(teacher, teacher)
    return masked_mean(1 - (student * target).sum(-1) / lengths, where)


def prototype_loss(
    teacher: Float[Array, "... H"],
    student: Float[Array, "... H"],
    prototypes: Float[Array, "K H"],
    where: Bool[Array, ...],
    temperature: float = 0.1,
) -> Float[Array, ""]:
    """Mean KL between teacher's and student's soft assignments to prototypes: softmax(cosine / temperature).

    Our reconstruction of role alignment, with clusters of features (roles) in place of features.
    """
    both, centres = (jax.lax.stop_gradient(teacher), student), unit(prototypes)
    log_t, log_s = (jax.nn.log_softmax(unit(x) @ centres.T / temperature) for x in both)
    return masked_mean((jnp.exp(log_t) * (log_t - log_s)).sum(-1), where)
