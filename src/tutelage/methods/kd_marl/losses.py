"""KD-MARL's objective: the terms of the students' loss, and their sum."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from tutelage.data.collect import unroll
from tutelage.learning.losses import (
    advantage_weighted,
    alignment_loss,
    clipped_surrogate,
    cosines,
    cross_entropy,
    entropy,
    kl_divergence,
    log_prob_of,
    prototype_loss,
    relation_loss,
)
from tutelage.methods.kd_marl.components import KdComponents
from tutelage.methods.kd_marl.data import LabelledExperience
from tutelage.methods.terms import TermInput, with_term
from tutelage.policies.agent import in_agent_order
from tutelage.types import Metrics, Out, Params


def output_of(components: KdComponents, params: Params, data: LabelledExperience) -> Out:
    """What the students give on sequences."""
    carry = data.carry or components.student.carry(data.action.shape[1])
    return unroll(components.student, params["net"], carry, data.inputs, data.inputs.first)


def loss_terms(
    components: KdComponents, params: Params, data: LabelledExperience, prototypes: Any, out: Out
) -> dict[str, Array]:
    """The terms of the students' loss that have a weight, by name, before weighting; and the entropy.

    Args:
        out: what the students give.
    """
    weight, config = components.weight, components.config
    logits, alive = out.scores, data.alive
    assert logits is not None
    terms = {"entropy": entropy(logits, alive)}
    if weight["adv"]:
        log_prob = log_prob_of(logits, data.action)
        if config.adv_form == "clip":
            terms["adv"] = clipped_surrogate(log_prob, data.log_prob, data.advantage, alive, config.clip)
        else:
            terms["adv"] = advantage_weighted(log_prob, data.advantage, alive, config.awr_beta)
    if weight["kl"]:
        terms["kl"] = kl_divergence(data.logits, logits, data.inputs.avail, alive, config.temperature)
    if weight["ce"]:
        terms["ce"] = cross_entropy(logits, data.logits.argmax(-1), alive)
    if components.projectors:
        features, projector = columns_by_group(components, out.features), stack_projectors(params["projectors"])
        if weight["rel"]:
            terms["rel"] = relation_loss(data.relations, cosines(features, projector @ projector.T), alive)
        if components.roles_by_prototype:
            terms["role"] = prototype_loss(data.features, features @ projector, prototypes, alive)
        elif weight["role"]:
            terms["role"] = alignment_loss(data.features, features, alive, projector)
    return terms


def columns_by_group(components: KdComponents, features: tuple[Array, ...]) -> Array:
    """Features of all agents as (..., N, C): each group has its own columns, for its features and a 1 for the bias.

    An agent has zeros in the columns of other groups. So one product with `stack_projectors` projects all groups.
    """
    widths = [h.shape[-1] + 1 for h in features]
    padded = []
    for i, h in enumerate(features):
        own = jnp.concatenate([h, jnp.ones((*h.shape[:-1], 1))], -1)
        padded.append(jnp.pad(own, [(0, 0)] * (h.ndim - 1) + [(sum(widths[:i]), sum(widths[i + 1 :]))]))
    return in_agent_order(components.student.groups, padded)


def stack_projectors(projectors: list[Params]) -> Array:
    """The projectors of all groups as one matrix (C, H), for features of `columns_by_group`."""
    return jnp.concatenate([jnp.concatenate([p["kernel"], p["bias"][None]]) for p in projectors])


def student_loss(
    components: KdComponents, params: Params, data: LabelledExperience, prototypes: Any
) -> tuple[Array, Metrics]:
    """The students' loss: weighted sum of the terms, less the entropy bonus."""
    out, config = output_of(components, params, data), components.config
    metrics = loss_terms(components, params, data, prototypes, out)
    total = sum((w * metrics[name] for name, w in components.weight.items() if w), jnp.zeros(()))
    loss = total - config.entropy * metrics["entropy"]
    own = lambda: TermInput(data.inputs, data.action, data.alive, out, data.logits, data.features)
    return with_term(components.term, loss, metrics, own)
