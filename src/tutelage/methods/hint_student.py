"""How HINT's students learn: the teacher's distributions from the last iterations' store, PPO, and their value.

Reference: HINT (arXiv 2601.05407) for DAgger, KL and entropy; all sizes are our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.data.collect import epochs, settled, take_sequences, unroll
from tutelage.learning.losses import clipped_surrogate, entropy, kl_divergence, log_prob_of, masked_mean, normalise
from tutelage.learning.normaliser import Normaliser
from tutelage.learning.optim import Learner, clipped_adam, descend
from tutelage.methods.hint_experience import Parts, Told
from tutelage.methods.hint_labels import Labelled, gained, seen
from tutelage.methods.hint_teacher import team_value
from tutelage.types import Carry, Metrics, Params, Policy, TimeStep


class Acted(NamedTuple):
    """What students did themselves, for the PPO term, leaves (T, B, ...).

    Attributes:
        steps, carry: as in `Labelled`.
        action, log_prob, advantage, counts: (T, B, N).
    """

    steps: TimeStep
    carry: Carry
    action: Int[Array, "T B N"]
    log_prob: Float[Array, "T B N"]
    advantage: Float[Array, "T B N"]
    counts: Bool[Array, "T B N"]


def acted(
    config: HintConfig, told: Told, theirs: Float[Array, "T1 B"], log_prob: Float[Array, "T1-1 B N"], carry: Carry
) -> Acted:
    """Students' own experience as PPO reads it; `theirs`: what they are expected to earn from each step on."""
    counts = told.valid[..., None] & told.steps.acts[:-1]
    every = normalise(jnp.broadcast_to(gained(config, told, theirs)[..., None], counts.shape), counts)
    return Acted(seen(told.steps), carry, told.steps.action[1:], log_prob, every, counts)


def learn_student_value(
    parts: Parts,
    scale: Normaliser,
    learner: Learner,
    told: Told,
    value: Float[Array, "T1 B"],
    key: PRNGKeyArray,
    lr: Any,
) -> tuple[Learner, Metrics]:
    """As many passes for the students' value, along their own episodes, as the teacher's gets: the two are compared.

    Args:
        scale: of the teacher's returns, in units of which both speak from now on.
        value: what it said of these steps before.
    """
    config, steps = parts.config, told.steps
    target = gained(config, told, value) + value[:-1]

    def loss(params: Params, part: tuple[Array, Array, Array]) -> tuple[Array, Metrics]:
        state, target, valid = part
        error = (team_value(parts, params, scale, state) - target) / scale.deviation
        told = 0.5 * masked_mean(jnp.square(error), valid)
        return told, {"student_value": told}

    tx, data = clipped_adam(config.grad_clip), (steps.state[:-1], target, told.valid)
    step = lambda now, part: descend(tx, now, lambda p: loss(p, part), lr)
    return epochs(step, learner, data, key, config.epochs, config.minibatches)


def put(store: Labelled, new: Labelled, index: Array) -> Labelled:
    """Write an iteration over the oldest: leaves (R, ...)."""
    return jax.tree.map(lambda old, x: old.at[index].set(x), store, new)


def student_loss(config: HintConfig, student: Policy, params: Params, part: Labelled) -> tuple[Array, Metrics]:
    """KL from the teacher's distribution to the students', less an entropy bonus, with PPO where it is asked for."""
    steps = part.steps
    scores = unroll(student, params, part.carry, steps, steps.first).scores
    assert scores is not None
    kl = kl_divergence(part.label, scores, steps.avail, part.keep)
    spread = entropy(scores, part.keep)
    return kl - config.student_entropy * spread, {"student_kl": kl, "student_entropy": spread}


def student_rl(config: HintConfig, student: Policy, params: Params, part: Acted) -> tuple[Array, Metrics]:
    """PPO on what the students did themselves."""
    scores = unroll(student, params, part.carry, part.steps, part.steps.first).scores
    assert scores is not None
    acts = log_prob_of(scores, part.action)
    loss = clipped_surrogate(acts, part.log_prob, part.advantage, part.counts, config.clip)
    return config.rl * loss, {"student_rl": loss}


def distil(
    config: HintConfig,
    student: Policy,
    learner: Learner,
    store: Labelled,
    iteration: Array,
    latest: Acted | None,
    key: PRNGKeyArray,
    lr: Any,
) -> tuple[Learner, Metrics]:
    """Gradient steps on sequences drawn from the last iterations.

    Args:
        iteration: number of the latest, from 0.
        latest: the students' own, from which the PPO term has its own draw; None without that term.
    """
    tx, filled = clipped_adam(config.grad_clip), jnp.minimum(iteration + 1, config.store)

    def step(now: Learner, key: PRNGKeyArray) -> tuple[Learner, Metrics]:
        keys = jax.random.split(key, 3)
        which = jax.random.randint(keys[0], (config.batch,), 0, filled)
        column = jax.random.randint(keys[1], (config.batch,), 0, store.keep.shape[2])
        part = jax.tree.map(lambda x: jnp.moveaxis(x[which, :, column], 0, 1), store._replace(carry=()))
        part = part._replace(carry=jax.tree.map(lambda x: x[which, column], store.carry))
        part = part._replace(keep=part.keep & settled(part.steps.first, part.carry))
        if latest is None:
            return descend(tx, now, lambda p: student_loss(config, student, p, part), lr)
        columns = latest.counts.shape[1]
        # As many passes as the teacher makes, spread over all steps.
        mine = jax.random.randint(keys[2], (max(1, config.epochs * columns // config.distil),), 0, columns)
        own = take_sequences(latest._replace(carry=()), mine)._replace(carry=take_sequences(latest.carry, mine, 0))

        def loss(params: Params) -> tuple[Array, Metrics]:
            taught, told = student_loss(config, student, params, part)
            paid, more = student_rl(config, student, params, own)
            return taught + paid, told | more

        return descend(tx, now, loss, lr)

    learner, told = jax.lax.scan(step, learner, jax.random.split(key, config.distil))
    return learner, jax.tree.map(jnp.mean, told)
