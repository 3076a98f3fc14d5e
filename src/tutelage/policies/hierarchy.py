"""A hierarchical teacher: a coordinator gives every agent a goal for some steps, executors choose actions for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.learning.shaping import at_goal
from tutelage.networks.cores import Net
from tutelage.networks.hierarchy import coordinator_net, executor_net, goal_value_net
from tutelage.policies.blueprint import HierarchicalTeam
from tutelage.policies.columns import View
from tutelage.policies.normalising import GoalRows, Rows, normalised_net, state_rows
from tutelage.policies.views import read_view
from tutelage.types import Carry, Goals, Out, Params, Policy, Spec, TimeStep


class GoalDecision(NamedTuple):
    """A hierarchical teacher's goals in a step, (B, ...), as its behaviour records them.

    Attributes:
        goal: (B, N) number of the goal that each agent holds; M stands for no goal.
        due: (B,) whether the coordinator decided in this step, and gave goals anew.
        logits: (B, N, M + 1) the coordinator's, before any agent has a goal; also in steps without a decision.
    """

    goal: Int[Array, "*T B N"]
    due: Bool[Array, "*T B"]
    logits: Float[Array, "*T B N M1"]


@dataclass(frozen=True)
class Hierarchy:
    """Networks and settings of the teacher. Parameters are {coordinator, executor (one entry per class of agents)}.

    Attributes:
        coordinator, value: networks; see `networks.hierarchy`.
        executors: one per class of agents. members: the numbers of the agents of each class.
        view: what an executor reads beside its goal.
        goals: M.
        blueprint: the same as data.
        every: steps between two decisions of the coordinator.
        spread: what a goal's logit loses for every agent that has it already.
        flat: no agent ever has a goal (an ablation).
    """

    coordinator: Net
    value: Net
    executors: tuple[Net, ...]
    members: tuple[tuple[int, ...], ...]
    view: View
    goals: int
    every: int
    spread: float
    flat: bool
    blueprint: HierarchicalTeam


def members_by_type(spec: Spec) -> tuple[tuple[int, ...], ...]:
    """The numbers of the agents of each type."""
    types = dict.fromkeys(spec.agent_types)
    return tuple(tuple(i for i, t in enumerate(spec.agent_types) if t == kind) for kind in types)


def make_hierarchy(team: HierarchicalTeam) -> Hierarchy:
    """Make the networks of a hierarchy."""
    state, inputs, f, on = team.state, team.view.width, team.features, team.normalised
    world, executor = state_rows(state), executor_net(inputs, f + 1, team.width, team.actions)
    reads = lambda agents: (Rows(team.view, agents), GoalRows(f + 1, agents))
    coordinator = coordinator_net(f, state, team.agents, team.pair_width)
    return Hierarchy(
        coordinator=normalised_net(coordinator, (GoalRows(f), None, world), on),
        value=normalised_net(goal_value_net(state, inputs, f + 1, team.width), (world, *reads(None)), on),
        executors=tuple(normalised_net(executor, (*reads(agents), None), on) for agents in team.members),
        members=team.members,
        view=team.view,
        goals=team.goals,
        every=team.every,
        spread=team.spread,
        flat=team.flat,
        blueprint=team,
    )


def init_executors(hierarchy: Hierarchy, key: PRNGKeyArray) -> Params:
    keys = jax.random.split(key, len(hierarchy.executors))
    return [net.init(k) for net, k in zip(hierarchy.executors, keys, strict=True)]


def all_goal_features(goals: Goals) -> Float[Array, "*b N M1 G"]:
    """Executor inputs for every goal: the pair's features and a 1; zeros for no goal, the last. G = F + 1."""
    lead = goals.features.shape[:-2]
    real = jnp.concatenate([goals.features, jnp.ones((*lead, goals.features.shape[-2], 1))], -1)
    return jnp.concatenate([real, jnp.zeros((*lead, 1, real.shape[-1]))], -2)


def goal_features(goals: Goals, goal: Int[Array, "*b N"]) -> Float[Array, "*b N G"]:
    """Executor inputs for the goal that each agent holds, as in `all_goal_features`."""
    real = (goal < goals.valid.shape[-1])[..., None]
    features = at_goal(goals.features, goal)
    return jnp.where(real, jnp.concatenate([features, jnp.ones_like(features[..., :1])], -1), 0.0)


def valid_goals(goals: Goals) -> Bool[Array, "*b N M1"]:
    """Which goals each agent may hold; no goal, the last, is always valid."""
    return jnp.concatenate([goals.valid, jnp.ones((*goals.valid.shape[:-1], 1), bool)], -1)


def held_goals(goals: Goals, goal: Int[Array, "*b N"]) -> Int[Array, "*b N"]:
    """The goals that agents go on holding: one that is no longer valid becomes no goal (M)."""
    valid = jnp.take_along_axis(valid_goals(goals), goal[..., None], -1)[..., 0]
    return jnp.where(valid, goal, goals.valid.shape[-1])


def executor_inputs(
    hierarchy: Hierarchy, steps: TimeStep, goal: Int[Array, "*b N"] | None = None
) -> tuple[Float[Array, "*b N D"], Float[Array, "..."]]:
    """What executors read: their view, and features of the goal that each agent holds, or of every goal (goal = None).

    Returns:
        (*b, N, D), and (*b, N, G) or (*b, N, M + 1, G), see `all_goal_features`.
    """
    features = all_goal_features(steps.goals) if goal is None else goal_features(steps.goals, goal)
    return read_view(hierarchy.view, steps), features


def coordinate(
    hierarchy: Hierarchy, params: Params, goals: Goals, state: Float[Array, "*b S"]
) -> Float[Array, "*b N M1"]:
    """The coordinator's logits of every agent's goals, before any agent has one."""
    if hierarchy.flat:
        return jnp.where(
            jnp.arange(hierarchy.goals + 1) == hierarchy.goals, 0.0, jnp.full(valid_goals(goals).shape, -1e9)
        )
    return hierarchy.coordinator.apply(params, goals.features, goals.valid, state)


def about_same_thing(hierarchy: Hierarchy, goals: Goals, i: int, goal: Int[Array, "*b"]) -> Bool[Array, "*b N M1"]:
    """Which goals of which agents are about the same thing as agent i's goal; no goal is about nothing."""
    thing = at_goal(goals.thing[..., i, :], goal)
    same = (goals.thing == thing[..., None, None]) & (goal < hierarchy.goals)[..., None, None]
    return jnp.pad(same, [(0, 0)] * (same.ndim - 1) + [(0, 1)])


def assign_sequentially(
    hierarchy: Hierarchy, goals: Goals, logits: Float[Array, "*b N M1"], choose: Any
) -> tuple[Int[Array, "*b N"], Float[Array, "*b N M1"]]:
    """Assign goals to one agent after another; a goal's logit falls with every agent that has a goal about its thing.

    Args:
        choose: (agent's number, log-probabilities (..., M + 1)) -> goal (...).

    Returns:
        The goals (..., N), and every agent's log-probabilities (..., N, M + 1) given the goals of agents before it.
    """
    chosen, logs, taken = [], [], jnp.zeros(logits.shape)
    for i in range(logits.shape[-2]):
        log = jax.nn.log_softmax(logits[..., i, :] - hierarchy.spread * taken[..., i, :])
        goal = choose(i, log)
        taken = taken + about_same_thing(hierarchy, goals, i, goal)
        chosen.append(goal)
        logs.append(log)
    return jnp.stack(chosen, -1), jnp.stack(logs, -2)


def execute(
    hierarchy: Hierarchy, params: Params, rows: Float[Array, "*b N D"], goal: Array, avail: Bool[Array, "*b N A"]
) -> Float[Array, "... A"]:
    """Executors' logits (..., N, A) for goals (..., N, G), or (..., N, M, A) for several goals each (..., N, M, G)."""
    axis = rows.ndim - 2
    agents_first = [jnp.moveaxis(x, axis, 0) for x in (rows, goal, avail)]
    outs = [
        net.apply(executor_params, *(x[np.array(members)] for x in agents_first))
        for net, executor_params, members in zip(hierarchy.executors, params, hierarchy.members, strict=True)
    ]
    order = np.argsort([i for members in hierarchy.members for i in members])
    return jnp.moveaxis(jnp.concatenate(outs)[order], 0, axis)


def teacher_policy(hierarchy: Hierarchy, explore: bool, random_goals: bool = False) -> Policy:
    """The teacher as a policy.

    Args:
        explore: goals are sampled, not the most probable ones.
        random_goals: uniformly random valid goals instead of the coordinator's (for pre-training executors).
    """

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key)
        return {"coordinator": hierarchy.coordinator.init(keys[0]), "executor": init_executors(hierarchy, keys[1])}

    def carry(n: int) -> Carry:
        return jnp.full((n, sum(map(len, hierarchy.members))), hierarchy.goals, jnp.int32), jnp.zeros(n, jnp.int32)

    def step(params: Params, carry: Carry, ts: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        goal, clock = carry
        due = clock % hierarchy.every == 0
        if random_goals:
            logits = jnp.where(valid_goals(ts.goals), 0.0, -1e9)
        else:
            logits = coordinate(hierarchy, params["coordinator"], ts.goals, ts.state)
        keys = jax.random.split(key, goal.shape[-1])
        pick = lambda i, log: jax.random.categorical(keys[i], log) if explore else log.argmax(-1)
        assigned, _ = assign_sequentially(hierarchy, ts.goals, logits, pick)
        goal = held_goals(ts.goals, jnp.where(due[:, None], assigned, goal).astype(jnp.int32))
        scores = execute(hierarchy, params["executor"], *executor_inputs(hierarchy, ts, goal), ts.avail)
        return (goal, clock + 1), Out(scores, extra=GoalDecision(goal, due, logits))

    return Policy(init, carry, step, goals=True, blueprint=hierarchy.blueprint)
