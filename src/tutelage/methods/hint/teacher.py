"""Updates of HINT's teacher, from its own experience and its students', off-policy by V-trace.

Reference: HINT (arXiv 2601.05407). V-trace after Espeholt et al. 2018; the posterior over goals is our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.data.minibatches import epochs
from tutelage.data.transitions import transitions
from tutelage.learning.losses import clipped_surrogate, entropy, log_prob_of, masked_mean, normalise
from tutelage.learning.normaliser import Normaliser, update_normaliser
from tutelage.learning.optim import Learner, descend
from tutelage.learning.returns import vtrace
from tutelage.learning.shaping import goal_progress
from tutelage.methods.hint.experience import (
    Experience,
    HintNetworks,
    at_decisions,
    conditional_log_probs,
    decision_mask,
    goals_at_decisions,
)
from tutelage.policies.hierarchy import coordinate, execute, executor_inputs
from tutelage.types import Goals, Metrics, Params

GOAL_EPOCHS = 2
"""The coordinator's passes over the decisions of each iteration."""


class TeacherState(NamedTuple):
    """The teacher's networks with their optimisers.

    Attributes:
        coordinator, executor: of the policy.
        values: critics {each: V_i(s, g_i) per agent, of the team's reward and of its goal's reward; team: V(s)}.
        returns: moments of the team's returns; the critic `team` is in units of them.
    """

    coordinator: Learner
    executor: Learner
    values: Learner
    returns: Normaliser

    @property
    def params(self) -> Params:
        """Parameters of the teacher as a policy."""
        return {"coordinator": self.coordinator.params, "executor": self.executor.params}


class ActorBatch(NamedTuple):
    """Training data of the executors, leaves (T, B, N, ...).

    Attributes:
        inputs, goal, avail: what an executor reads: its view, features of its goal, available actions.
        action, old_log_prob: actions, and their log-probabilities by the executors before this update.
        weight: of each decision in the loss, min(1, ratio) times that of its source.
        advantage: of the team's reward and the goal's.
        counts: decisions that count.
    """

    inputs: Array
    goal: Array
    avail: Array
    action: Array
    old_log_prob: Array
    weight: Array
    advantage: Array
    counts: Array


class CriticBatch(NamedTuple):
    """Training data of the critics, which also read `inputs` and `goal` of the `ActorBatch`; leaves (T, B, ...).

    Attributes:
        agent_target: (T, B, N, 2) of the values per agent.
        team_target: (T, B) of the team's value, in raw reward units.
    """

    state: Array
    agent_target: Array
    team_target: Array
    valid: Array


class GoalBatch(NamedTuple):
    """Training data of the coordinator, leaves (D, B, ...), one entry per decision.

    Attributes:
        goals, state: what the coordinator reads.
        assigned_goals, goal_posterior: as in `Experience`.
        old_log_probs: (D, B, N, M + 1) log-probabilities of goals before this update, given the assigned ones.
        weight: (D, B, N) of each goal in the loss.
        advantage: (D, B) of the team's reward up to the next decision.
        counts: (D, B, N) goals that count.
    """

    goals: Goals
    state: Array
    assigned_goals: Array
    goal_posterior: Array
    old_log_probs: Array
    weight: Array
    advantage: Array
    counts: Array


class TeacherBatch(NamedTuple):
    """Training data of the teacher, from one source of experience or several."""

    actor: ActorBatch
    critic: CriticBatch
    goal: GoalBatch


def team_value(networks: HintNetworks, net: Params, returns: Normaliser, state: Array) -> Array:
    """V(s) in raw reward units, of the teacher or of the students. `net`: the critic's parameters."""
    return networks.value.apply(net, state) * returns.deviation + returns.mean


def team_value_loss(
    networks: HintNetworks, net: Params, returns: Normaliser, state: Array, target: Array, valid: Array
) -> Float[Array, ""]:
    """Squared error of V(s), in units of the returns' deviation."""
    error = (team_value(networks, net, returns, state) - target) / returns.deviation
    return 0.5 * masked_mean(jnp.square(error), valid)


def make_teacher_batch(
    networks: HintNetworks, teacher: TeacherState, experience: Experience, weight: float
) -> TeacherBatch:
    """Advantages and targets of one source of experience.

    Args:
        weight: of this source in the losses of executors and coordinator.
    """
    config, hierarchy, steps = networks.config, networks.hierarchy, experience.steps
    ratio, decision_steps = experience.ratio, experience.decision_steps
    now, action, reward, discount, valid, counts = transitions(experience)
    inputs, goal = executor_inputs(hierarchy, steps, experience.goal)
    values = teacher.values.params
    agent_value = hierarchy.value.apply(values["each"], steps.state, inputs, goal)
    value = team_value(networks, values["team"], teacher.returns, steps.state)
    due = decision_mask(experience)

    estimate = lambda reward, discount, value: vtrace(reward, discount, value, ratio, valid, config.gamma, config.lam)
    team_reward = jnp.broadcast_to((reward / teacher.returns.deviation)[..., None], ratio.shape)
    goal_reward = goal_progress(steps.goals, experience.goal[:-1], now.first, config.gamma)
    goal_discount = discount[..., None] * goal_goes_on(experience.goal, due, config.every)
    team_advantage, team_part = estimate(team_reward, discount, agent_value[..., 0])
    goal_advantage, goal_part = estimate(goal_reward, goal_discount, agent_value[..., 1])
    # The ratio of the joint action: an action of one agent that the teacher would not take rules all of it out.
    joint = jnp.minimum(ratio, 1.0).prod(-1)
    _, team_target = vtrace(reward, discount, value, joint, valid, config.gamma, config.lam)

    later = jnp.concatenate([config.lam * team_target + (1 - config.lam) * value[:-1], value[-1:]])
    decision_return = return_to_decision(reward, discount, later, due, valid, config.gamma)
    goals, logits = goals_at_decisions(now, decision_steps), at_decisions(decision_steps, experience.coordinator_logits)
    return TeacherBatch(
        ActorBatch(
            inputs=inputs[:-1],
            goal=goal[:-1],
            avail=now.avail,
            action=action,
            old_log_prob=experience.old_log_prob,
            weight=weight * jnp.minimum(ratio, 1.0),
            advantage=team_advantage + config.shaping * goal_advantage,
            counts=counts,
        ),
        CriticBatch(
            state=now.state,
            agent_target=jnp.stack([team_part, goal_part], -1),
            team_target=team_target,
            valid=valid,
        ),
        GoalBatch(
            goals=goals,
            state=at_decisions(decision_steps, now.state),
            assigned_goals=experience.assigned_goals,
            goal_posterior=experience.goal_posterior,
            old_log_probs=conditional_log_probs(hierarchy, goals, logits, experience.assigned_goals),
            weight=weight * experience.coordinator_ratio,
            advantage=at_decisions(decision_steps, decision_return - value[:-1]),
            counts=experience.valid_decisions[..., None] & at_decisions(decision_steps, now.alive),
        ),
    )


def goal_goes_on(goal: Int[Array, "T1 B N"], due: Bool[Array, "T1-1 B"], every: int) -> Bool[Array, "T1-1 B N"]:
    """Whether an agent still has its goal, from the same decision, a step later.

    A goal's value does not bootstrap beyond it: else every new goal would be a further reward, lost on success.
    """
    # Also after the last step, and where an episode ends: a decision is due so many steps after the last.
    time = jnp.arange(len(due))[:, None]
    last = jax.lax.cummax(jnp.where(due, time, -1), 0)
    again = ((last >= 0) & (time + 1 - last >= every)) | jnp.concatenate([due[1:], jnp.zeros_like(due[:1])])
    return (goal[1:] == goal[:-1]) & ~again[..., None]


def return_to_decision(
    reward: Array, discount: Array, value: Float[Array, "T1 B"], due: Array, valid: Array, gamma: float
) -> Float[Array, "T1-1 B"]:
    """sum_{j<m} g^j r + g^m d V, with m steps to the next decision, the episode's end or the rollout's end."""
    again = jnp.concatenate([due[1:], jnp.ones_like(due[:1])]) | ~jnp.concatenate([valid[1:], valid[:1]])

    def body(after: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, discount, value, again = step
        now = reward + gamma * discount * jnp.where(again, value, after)
        return now, now

    return jax.lax.scan(body, value[-1], (reward, discount, value[1:], again), reverse=True)[1]


def executor_loss(networks: HintNetworks, params: Params, batch: ActorBatch) -> tuple[Array, Metrics]:
    """Clipped surrogate of the agents' actions given their goals, less an entropy bonus."""
    config, logits = networks.config, execute(networks.hierarchy, params, batch.inputs, batch.goal, batch.avail)
    log_prob, where = log_prob_of(logits, batch.action), batch.counts
    loss = clipped_surrogate(log_prob, batch.old_log_prob, batch.advantage, where, config.clip, batch.weight)
    policy_entropy = entropy(logits, where)
    return loss - config.entropy * policy_entropy, {"executor": loss, "executor_entropy": policy_entropy}


def coordinator_loss(networks: HintNetworks, params: Params, batch: GoalBatch) -> tuple[Array, Metrics]:
    """Clipped surrogate of the agents' goals, averaged over the goals' posterior, less an entropy bonus.

    At the parameters before the update its gradient is that of the policy with the goal summed out.
    """
    config, hierarchy, where = networks.config, networks.hierarchy, batch.counts

    def decision_logits(decision: tuple[Goals, Array, Array]) -> Array:
        goals, state, counts = decision
        compute = lambda: coordinate(hierarchy, params, goals, state)
        # There are more entries than decisions in most rollouts: nothing is computed for the empty ones.
        return jax.lax.cond(counts.any(), compute, lambda: jnp.zeros(batch.goal_posterior.shape[1:]))

    logits = jax.lax.map(decision_logits, (batch.goals, batch.state, where))
    log_probs = conditional_log_probs(hierarchy, batch.goals, logits, batch.assigned_goals)
    posterior = batch.goal_posterior
    log_ratio = (posterior * jnp.where(posterior > 0, log_probs - batch.old_log_probs, 0.0)).sum(-1)
    advantage = jnp.broadcast_to(batch.advantage[..., None], log_ratio.shape)
    loss = clipped_surrogate(log_ratio, jnp.zeros(()), advantage, where, config.clip, batch.weight)
    goal_entropy = entropy(log_probs, where)
    return loss - config.goal_entropy * goal_entropy, {"coordinator": loss, "goal_entropy": goal_entropy}


def values_loss(
    networks: HintNetworks, params: Params, returns: Normaliser, actor: ActorBatch, critic: CriticBatch
) -> tuple[Array, Metrics]:
    """Squared errors of the values per agent, and of the team's value in units of the returns' deviation."""
    value = networks.hierarchy.value.apply(params["each"], critic.state, actor.inputs, actor.goal)
    of_each = 0.5 * masked_mean(jnp.square(value - critic.agent_target).sum(-1), critic.valid[..., None])
    of_team = team_value_loss(networks, params["team"], returns, critic.state, critic.team_target, critic.valid)
    return of_each + of_team, {"value": of_each, "team_value": of_team}


def update_teacher(
    networks: HintNetworks, teacher: TeacherState, batches: list[TeacherBatch], key: PRNGKeyArray, lr: Any, goals: bool
) -> tuple[TeacherState, Metrics]:
    """Update the teacher on all sources of experience, for several epochs of shuffled minibatches.

    Args:
        goals: whether the coordinator is updated too.
    """
    config, tx = networks.config, networks.tx
    actor, critic, goal = jax.tree.map(lambda *x: jnp.concatenate(x, 1), *batches)
    actor = actor._replace(advantage=normalise(actor.advantage, actor.counts & (actor.weight > 0)))
    goal = goal._replace(advantage=normalise(goal.advantage, goal.counts.any(-1)))
    returns = update_normaliser(teacher.returns, critic.team_target, critic.valid)
    keys = jax.random.split(key)

    def step(
        learners: tuple[Learner, Learner], minibatch: tuple[ActorBatch, CriticBatch]
    ) -> tuple[tuple[Learner, Learner], Metrics]:
        actor, critic = minibatch
        executor, actor_metrics = descend(tx, learners[0], lambda p: executor_loss(networks, p, actor), lr)
        loss = lambda p: values_loss(networks, p, returns, actor, critic)
        values, critic_metrics = descend(tx, learners[1], loss, lr)
        return (executor, values), actor_metrics | critic_metrics

    def coordinator_step(coordinator: Learner, minibatch: GoalBatch) -> tuple[Learner, Metrics]:
        return descend(tx, coordinator, lambda p: coordinator_loss(networks, p, minibatch), lr)

    learners = teacher.executor, teacher.values
    (executor, values), metrics = epochs(step, learners, (actor, critic), keys[0], config.epochs, config.minibatches)
    coordinator = teacher.coordinator
    if goals:
        coordinator, goal_metrics = epochs(
            coordinator_step, coordinator, goal, keys[1], GOAL_EPOCHS, config.minibatches
        )
        metrics |= goal_metrics
    return TeacherState(coordinator, executor, values, returns), metrics
