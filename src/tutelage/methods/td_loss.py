"""The TD error of a team's joint value, and the networks that enter it.

Reference: Rashid et al. 2018 (QMIX), Rashid et al. 2020 (WQMIX).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tutelage.configs.qlearning import QConfig, QSettings
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import clipped_adam, clipped_rmsprop
from tutelage.learning.returns import expand_like, td_lambda
from tutelage.methods.off_policy import OffPolicyComponents, Reader, Sequences
from tutelage.networks.cores import Net
from tutelage.networks.mixers import Utilities
from tutelage.types import Metrics, Out, Params, Policy


class UnrestrictedQ(NamedTuple):
    """WQMIX's Q*: the value of joint actions by a second team and a mixing network that need not be monotone.

    The second team runs along in play, so that its memory is stored too.

    Attributes:
        config: with the weights.
        team, read: the second team, and the function that computes its outputs on sequences.
        joint: the mixing network.
    """

    config: QConfig
    team: Policy
    read: Reader
    joint: Net


@dataclass(frozen=True)
class QNetworks(OffPolicyComponents):
    """Settings and networks of team Q-learning.

    Attributes:
        agent: the team whose scores are utilities.
        read: (its parameters, sequences) -> its output on them.
        mix: the mixing network, from utilities to the joint value.
        unrestricted_q: Q* of WQMIX; None without weighting.
        scale: factor on rewards.
    """

    config: QSettings
    agent: Policy
    read: Reader
    mix: Net
    unrestricted_q: UnrestrictedQ | None
    scale: float

    def with_team(self, agent: Policy, read: Reader) -> QNetworks:
        """The same networks with another team."""
        return replace(self, agent=agent, read=read)

    @property
    def tx(self) -> optax.GradientTransformation:
        clipped = {"adam": clipped_adam, "rmsprop": clipped_rmsprop}[self.config.optimiser]
        return clipped(self.config.grad_clip)


def chosen_scores(scores: Float[Array, "... N A"], action: Int[Array, "... N"]) -> Float[Array, "... N"]:
    """Scores (..., N) of given actions."""
    return jnp.take_along_axis(scores, action[..., None], -1)[..., 0]


def utilities(scores: Float[Array, "... N A"], action: Int[Array, "... N"]) -> Utilities:
    return Utilities(chosen_scores(scores, action), scores.max(-1), action)


def scores_of(out: Out) -> Float[Array, "T1 C N A"]:
    assert out.scores is not None
    return out.scores


def td_targets(
    networks: QNetworks,
    scores: Float[Array, "T1 C N A"],
    target_params: Params,
    data: Sequences,
    central_scores: Array | None = None,
) -> Array:
    """TD(lambda) targets (T, C), or (T, C, N) for `iql`.

    Args:
        scores: of the online network; their best action is valued.
        central_scores: scores of Q*'s team by the target network; None without weighting.
    """
    config, steps = networks.config, data.steps
    if networks.unrestricted_q is None or central_scores is None:
        target_scores = scores_of(networks.read(target_params["agent"], data))
        best = (scores if config.double else target_scores).argmax(-1)
        value = networks.mix.apply(target_params["mix"], utilities(target_scores, best), steps.state)
    else:
        value = networks.unrestricted_q.joint.apply(
            target_params["joint"], utilities(central_scores, scores.argmax(-1)), steps.state
        )
    reward = networks.scale * steps.reward[1:]
    return td_lambda(reward, steps.discount[1:], value, ~steps.last[:-1], config.gamma, config.lam)


def td_loss(
    networks: QNetworks,
    scores: Array,
    params: Params,
    target_params: Params,
    data: Sequences,
    chooser: Array | None = None,
) -> tuple[Array, Metrics]:
    """Mean squared TD error of the joint value, weighted where the config says so; plus the error of Q* in WQMIX.

    Args:
        scores: of the online team on the sequences.
        chooser: other scores whose best action the target values, instead of these.
    """
    steps, action, unrestricted_q = data.steps, data.steps.action[1:], networks.unrestricted_q
    central_target = scores_of(unrestricted_q.read(target_params["central"], data)) if unrestricted_q else None
    target = jax.lax.stop_gradient(
        td_targets(networks, scores if chooser is None else chooser, target_params, data, central_target)
    )
    chosen = utilities(scores[:-1], action)
    value = networks.mix.apply(params["mix"], chosen, steps.state[:-1])
    error = value - target
    counts = jnp.broadcast_to(expand_like(data.counts, error), error.shape)
    if error.ndim > data.counts.ndim:  # not mixed: an agent without available actions has no utility to learn
        counts &= steps.avail[:-1].any(-1)
    if unrestricted_q is None or central_target is None:
        weight, unrestricted_loss = jnp.ones(()), jnp.zeros(())
    else:
        central = scores_of(unrestricted_q.read(params["central"], data))
        joint = unrestricted_q.joint.apply(params["joint"], utilities(central[:-1], action), steps.state[:-1])
        unrestricted_loss = masked_mean(jnp.square(joint - target), counts)
        greedy = scores[:-1].argmax(-1)
        greedy_value = unrestricted_q.joint.apply(
            target_params["joint"], utilities(central_target[:-1], greedy), steps.state[:-1]
        )
        weight = weights(unrestricted_q.config, value, target, (action == greedy).all(-1), greedy_value)
    loss = masked_mean(weight * jnp.square(error), counts)
    metrics = {"td": loss, "value": masked_mean(value, counts), "target": masked_mean(target, counts)}
    return loss + unrestricted_loss, metrics


def weights(config: QConfig, value: Array, target: Array, greedy: Array, greedy_value: Array) -> Array:
    """WQMIX's weight of every error.

    Args:
        value, target: joint value and TD target of the action.
        greedy: whether it was the greedy joint action.
        greedy_value: Q* of the greedy joint action.

    Reference:
        Rashid et al. 2020, equations 10 (cw, with the practical condition) and 7 (ow).
    """
    full = (greedy | (target > greedy_value)) if config.weighting == "cw" else value < target
    return jax.lax.stop_gradient(jnp.where(full, 1.0, config.alpha))
