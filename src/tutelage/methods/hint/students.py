"""Updates of HINT's students: distillation on the stored iterations, PPO, and their value function.

Reference: HINT (arXiv 2601.05407) for DAgger, KL and entropy; all sizes are our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.data.collect import settled, unroll
from tutelage.data.minibatches import epochs, take_sequences
from tutelage.data.transitions import transitions
from tutelage.learning.losses import clipped_surrogate, entropy, kl_divergence, log_prob_of, normalise
from tutelage.learning.normaliser import Normaliser
from tutelage.learning.optim import Learner, descend
from tutelage.methods.hint.experience import Experience, HintNetworks
from tutelage.methods.hint.labels import LabelledExperience, advantage_of_students, student_inputs
from tutelage.methods.hint.teacher import team_value, team_value_loss
from tutelage.types import Carry, Metrics, Params, Policy, TimeStep


class StudentExperience(NamedTuple):
    """Students' own rollout for the PPO term, leaves (T, B, ...).

    Attributes:
        steps, carry: as in `LabelledExperience`.
        action, log_prob, advantage, counts: (T, B, N).
    """

    steps: TimeStep
    carry: Carry
    action: Int[Array, "T B N"]
    log_prob: Float[Array, "T B N"]
    advantage: Float[Array, "T B N"]
    counts: Bool[Array, "T B N"]


def make_student_experience(
    config: HintConfig,
    experience: Experience,
    student_value: Float[Array, "T1 B"],
    log_prob: Float[Array, "T1-1 B N"],
    carry: Carry,
) -> StudentExperience:
    """Students' own experience for PPO. `student_value`: their expected return from each step on."""
    data = transitions(experience)
    counts = data.counts
    advantage = normalise(
        jnp.broadcast_to(advantage_of_students(config, experience, student_value)[..., None], counts.shape), counts
    )
    return StudentExperience(student_inputs(data.now), carry, data.action, log_prob, advantage, counts)


def expected_return(networks: HintNetworks, students: Params, returns: Normaliser, experience: Experience) -> Array:
    """The students' expected return from each step on, (T+1, B), in raw reward units."""
    return team_value(networks, students, returns, experience.steps.state)


def update_student_value(
    networks: HintNetworks,
    returns: Normaliser,
    learner: Learner,
    experience: Experience,
    value: Float[Array, "T1 B"],
    key: PRNGKeyArray,
    lr: Any,
) -> tuple[Learner, Metrics]:
    """Update the students' value function on their own episodes.

    It gets as many epochs as the teacher's, as the two are compared.

    Args:
        returns: moments of the teacher's returns, the units of both value functions from now on.
        value: its values of these steps before the update.
    """
    config, now = networks.config, transitions(experience).now
    target = advantage_of_students(config, experience, value) + value[:-1]

    def loss(params: Params, batch: tuple[Array, Array, Array]) -> tuple[Array, Metrics]:
        squared_error = team_value_loss(networks, params, returns, *batch)
        return squared_error, {"student_value": squared_error}

    data = now.state, target, experience.valid
    step = lambda state, batch: descend(networks.tx, state, lambda p: loss(p, batch), lr)
    return epochs(step, learner, data, key, config.epochs, config.minibatches)


def store_iteration(store: LabelledExperience, new: LabelledExperience, index: Array) -> LabelledExperience:
    """Write an iteration into the store, leaves (R, ...), at an index: over the oldest."""
    return jax.tree.map(lambda old, x: old.at[index].set(x), store, new)


def student_loss(
    config: HintConfig, student: Policy, params: Params, batch: LabelledExperience
) -> tuple[Array, Metrics]:
    """The distillation loss: KL from the teacher's distributions to the students', less an entropy bonus."""
    steps = batch.steps
    scores = unroll(student, params, batch.carry, steps, steps.first).scores
    assert scores is not None
    kl = kl_divergence(batch.label, scores, steps.avail, batch.keep)
    policy_entropy = entropy(scores, batch.keep)
    return kl - config.student_entropy * policy_entropy, {"student_kl": kl, "student_entropy": policy_entropy}


def student_ppo_loss(
    config: HintConfig, student: Policy, params: Params, batch: StudentExperience
) -> tuple[Array, Metrics]:
    """PPO's clipped surrogate on the students' own rollout, weighted by the setting `rl`."""
    scores = unroll(student, params, batch.carry, batch.steps, batch.steps.first).scores
    assert scores is not None
    log_prob = log_prob_of(scores, batch.action)
    loss = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, batch.counts, config.clip)
    return config.rl * loss, {"student_rl": loss}


def update_student(
    networks: HintNetworks,
    student: Policy,
    learner: Learner,
    store: LabelledExperience,
    iteration: Array,
    latest: StudentExperience | None,
    key: PRNGKeyArray,
    lr: Any,
) -> tuple[Learner, Metrics]:
    """Update the students: gradient steps on sequences sampled from the store.

    Args:
        iteration: number of the latest iteration, from 0.
        latest: the students' own rollout, from which the PPO term samples; None without that term.
    """
    config, tx = networks.config, networks.tx
    filled = jnp.minimum(iteration + 1, config.store)

    def step(state: Learner, key: PRNGKeyArray) -> tuple[Learner, Metrics]:
        keys = jax.random.split(key, 3)
        which = jax.random.randint(keys[0], (config.batch,), 0, filled)
        column = jax.random.randint(keys[1], (config.batch,), 0, store.keep.shape[2])
        batch = jax.tree.map(lambda x: jnp.moveaxis(x[which, :, column], 0, 1), store._replace(carry=()))
        batch = batch._replace(carry=jax.tree.map(lambda x: x[which, column], store.carry))
        batch = batch._replace(keep=batch.keep & settled(batch.steps.first, batch.carry))
        if latest is None:
            return descend(tx, state, lambda p: student_loss(config, student, p, batch), lr)
        columns = latest.counts.shape[1]
        # As many epochs as the teacher's, spread over all gradient steps.
        index = jax.random.randint(keys[2], (max(1, config.epochs * columns // config.distil),), 0, columns)
        own = take_sequences(latest._replace(carry=()), index)._replace(carry=take_sequences(latest.carry, index, 0))

        def loss(params: Params) -> tuple[Array, Metrics]:
            distillation_loss, metrics = student_loss(config, student, params, batch)
            ppo_loss, ppo_metrics = student_ppo_loss(config, student, params, own)
            return distillation_loss + ppo_loss, metrics | ppo_metrics

        return descend(tx, state, loss, lr)

    learner, metrics = jax.lax.scan(step, learner, jax.random.split(key, config.distil))
    return learner, jax.tree.map(jnp.mean, metrics)
