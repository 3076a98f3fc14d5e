"""Steps that a trained team played, and exported agents that go through them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from tutelage.data.collect import collect, init_collector
from tutelage.data.vector import make_vector_env
from tutelage.deploy.backends import DeployedAgent, python_backend
from tutelage.deploy.contract import Contract
from tutelage.experiment.run_directory import LoadedRun
from tutelage.policies.acting import RULES
from tutelage.types import Policy, TimeStep

ROWS, SIDE_BY_SIDE = 10_000, 8
"""Decisions that are recorded, and in how many environments."""


class Recorded(NamedTuple):
    """Steps that the team itself played: what its agents saw and remembered, and what it made of it; (T, B, ...).

    Attributes:
        steps: T + 1 timesteps. scores, actions: of the team.
        memory, heard: (T, B, N, ...) entering each step, of each agent; no columns where there is none.
    """

    steps: TimeStep
    scores: np.ndarray
    actions: np.ndarray
    memory: list[Any]
    heard: np.ndarray


def record(run: LoadedRun, contract: Contract) -> Recorded:
    """About ROWS decisions of the team itself, in episodes one after another."""
    rule, role = RULES[contract["act"]["rule"]], contract["role"]
    policy, params = run.policy(role), run.params(role)
    vector = make_vector_env(run.env, SIDE_BY_SIDE, policy.goals)
    steps = -(-ROWS // (SIDE_BY_SIDE * run.spec.n_agents))

    @jax.jit
    def play_steps(params: Any, key: Array) -> Any:
        begin, key = jax.random.split(key)
        start = init_collector(vector, policy, begin)
        keep = lambda timestep, carry, out: (out.scores, carry)
        return collect(vector, policy, params, rule, start, key, steps, keep)[1]

    rollout = jax.device_get(play_steps(params, jax.random.key(7)))
    scores, carry = rollout.out
    talks = policy.groups[0].agent.network.hears > 0
    memory, heard = carry if talks else (carry, np.zeros((*scores.shape[:3], 0), np.float32))
    return Recorded(rollout.steps, scores, rollout.steps.action[1:], agent_memories(policy, memory), heard)


def agent_memories(policy: Policy, carry: Any) -> list[np.ndarray]:
    """Each agent's memory (T, B, H) from that of its group, which may be of several networks in a row."""
    memories: list[Any] = [None] * sum(len(group.agents) for group in policy.groups)
    for i, group in enumerate(policy.groups):
        parts = jax.tree.leaves(carry[i]) if carry else []
        for place, agent in enumerate(group.agents):
            memories[agent] = np.concatenate([part[:, :, place] for part in parts], -1) if parts else None
    return memories


def replay(agents: Sequence[Any], recorded: Recorded, b: int, follow_memory: bool) -> tuple[np.ndarray, float]:
    """Scores (T, N, A) of exported agents on the recorded steps of one environment, and how far their memories differ.

    Args:
        follow_memory: every step begins with the memory that the team had; otherwise with the agents' own.
    """
    steps, scores, furthest = recorded.steps, [], 0.0
    for t in range(len(recorded.scores)):
        for i, agent in enumerate(agents):
            if steps.first[t, b]:
                agent.reset()
            elif follow_memory:
                furthest = max(furthest, *follow(agent, recorded, t, b, i))
        scores.append([agent.scores(steps.obs[t, b, i]) for i, agent in enumerate(agents)])
        for i, agent in enumerate(agents):
            agent.last = int(recorded.actions[t, b, i])
        if agents[0].talks:
            listen(agents, steps.links[t, b])
    return np.array(scores), furthest


def follow(agent: Any, recorded: Recorded, t: int, b: int, i: int) -> tuple[float, float]:
    """Give an agent the memory that the team's own had; returns how far its own memory, and what it heard, were off."""
    difference = lambda own, theirs: float(np.abs(own - theirs).max(initial=0))
    memory, heard = recorded.memory[i], recorded.heard[t, b, i]
    off = 0.0 if memory is None else difference(agent.memory, memory[t, b]), difference(agent.heard, heard)
    agent.heard = heard
    if memory is not None:
        agent.memory = memory[t, b].copy()
    return off


def listen(agents: Sequence[DeployedAgent], links: np.ndarray) -> None:
    """Every agent hears those whom it is linked to."""
    for i, agent in enumerate(agents):
        agent.hear([other.message for j, other in enumerate(agents) if links[i, j]])


def recorded_rows(contract: Contract, recorded: Recorded) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every network the rows (R, D) that its agents read on the recorded steps, and the memories (R, H)."""
    rows: list[tuple[list[Any], list[Any]]] = [([], []) for _ in contract["networks"]]

    def keeps(index: int, network: Contract) -> Any:
        silent = {name: np.zeros(width, np.float32) for name, width in network["sends"]}

        def run(row: np.ndarray, memory: np.ndarray) -> Any:
            rows[index][0].append(row.copy())
            rows[index][1].append(memory.copy())
            return np.zeros(network["outputs"], np.float32), memory, silent

        return run

    keeping = python_backend(contract, [keeps(i, network) for i, network in enumerate(contract["networks"])])
    agents = [keeping.agent(i) for i in range(len(contract["agents"]))]
    for b in range(recorded.scores.shape[1]):
        replay(agents, recorded, b, follow_memory=True)
    return [(np.array(x), np.array(memory)) for x, memory in rows]


EXAMPLE_STEPS = 5


def worked_examples(recorded: Recorded) -> dict[str, Any]:
    """The first steps of an episode of the team itself, as rows with which a deployment tests itself."""
    rows = []
    for t in range(min(EXAMPLE_STEPS, len(recorded.scores))):
        parts: dict[str, Any] = {
            "observations": recorded.steps.obs,
            "available": recorded.steps.avail,
            "actions": recorded.actions,
        }
        row: dict[str, Any] = {name: x[t, 0].tolist() for name, x in parts.items()}
        if len(recorded.steps.links):
            row["links"] = recorded.steps.links[t, 0].tolist()
        row["scores"] = recorded.scores[t, 0].tolist()
        rows.append(row)
    return {
        "about": "The first steps of an episode, from an empty memory: what each agent observed, which actions it "
        "might take, its scores (-1e9: not available) and the action that it took.",
        "steps": rows,
    }
