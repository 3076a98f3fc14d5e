"""What a run's teacher and students cost: exact counts, and measured latency."""

from __future__ import annotations

from typing import Any

import jax

from tutelage.data.vector import make_vector_env
from tutelage.deploy.latency import measure_latency
from tutelage.deploy.products import traced_macs
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.trust import code_named_in
from tutelage.policies.agent import Group
from tutelage.policies.cost import agent_cost

CONVENTION = (
    "per decision of one agent, actor only: 1 multiply-add (MAC) = 2 FLOPs, `flops` counts matrix products, "
    "`flops_total` adds every other arithmetic operation on an element, latency is at batch 1 on one thread; team "
    "figures are sums over agents, each with a copy of its weights (latency: medians in turn); ratios are "
    "teacher team / student team"
)
"""How the figures are to be read."""

Report = dict[str, Any]
SUMMED = ("macs", "flops", "flops_total", "params", "bytes")


def cost_report(run: LoadedRun, latency: bool = True) -> Report:
    """Cost of each tier of a run and of its teams, and the ratio between the teams.

    Args:
        run: from `load`.
        latency: measure it as well (starts a child process; some seconds).

    Returns:
        `teacher`: `{"tiers": [...], "team": {...}}`, or None where no teacher network is in the run; a teacher that
        is not made of agents (HINT's, DDN's, PTDE's) has a team and no tiers, see `joint_totals`;
        `students`: one entry per tier: `agents`, `types`, `core`, `width`, `inputs`, `actions`, `macs`, `flops`,
        `flops_total`, `params`, `bytes` and `latency_us` (`{"compiled": {"median", "p95"}, "numpy": ...}`, None if
        not measured), all per agent;
        `team`: the students' sums, None where the run has no student;
        `ratio`: `flops`, `params`, `latency` (compiled), `latency_numpy`; None without both teams;
        `convention`: how to read it.

    Raises:
        Fault: the latency could not be measured.
    """
    latencies = measure_latency(run.path, trust=code_named_in(run.record)) if latency else {}
    teacher, students = (tiers(run, role, latencies.get(role)) for role in ("teacher", "student"))
    teacher_team, team = team_totals(teacher) or joint_totals(run, "teacher"), team_totals(students)
    return {
        "teacher": {"tiers": teacher, "team": teacher_team} if teacher_team else None,
        "students": students,
        "team": team,
        "ratio": ratios(teacher_team, team),
        "convention": CONVENTION,
    }


def tiers(run: LoadedRun, role: str, latencies: list[Report] | None) -> list[Report]:
    """One entry per group of agents; none for a role that is missing or not made of agents."""
    if role not in run.frozen.roles:
        return []
    groups, params = run.frozen.roles[role].groups, run.frozen.params[role]
    types = run.env.spec.agent_types
    return [tier(group, params[i], types, latencies[i] if latencies else None) for i, group in enumerate(groups)]


def tier(group: Group, params: Any, types: tuple[str, ...], latency: Report | None) -> Report:
    """Figures of one agent of a group.

    Args:
        group: the agents.
        params: of their network.
        types: of all agents of the team.
        latency: of one of them, None if not measured.
    """
    cost = agent_cost(group.agent)
    return {
        "agents": list(group.agents),
        "types": sorted({types[i] for i in group.agents}),
        "core": group.agent.kind,
        "width": group.agent.width,
        "inputs": group.agent.inputs,
        "actions": group.agent.n_actions,
        "macs": cost.macs,
        "flops": cost.products,
        "flops_total": cost.flops,
        "params": cost.params,
        "bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(params)),
        "latency_us": latency,
    }


def team_totals(rows: list[Report]) -> Report | None:
    """Sums over agents; None for a team without tiers.

    Agents deployed on separate computers each carry their weights, so shared ones count once per agent.
    """
    if not rows:
        return None
    counts = [len(row["agents"]) for row in rows]
    total = {name: sum(n * row[name] for n, row in zip(counts, rows, strict=True)) for name in SUMMED}
    return {"agents": sum(counts), **total, "latency_us": team_latency(rows, counts)}


def joint_totals(run: LoadedRun, role: str) -> Report | None:
    """Cost of a role that is one network for the whole team: matrix products of a joint decision, and parameters.

    Other operations are not counted and it is not timed. None for a role without networks.
    """
    if role not in run.frozen.roles or not jax.tree.leaves(run.frozen.params[role]):
        return None
    policy, params = run.frozen.roles[role], run.frozen.params[role]
    timestep = jax.eval_shape(make_vector_env(run.env, 1, policy.goals).reset, jax.random.key(0))[1]
    macs = traced_macs(jax.make_jaxpr(policy.step)(params, policy.carry(1), timestep, jax.random.key(0)).jaxpr)
    leaves = jax.tree.leaves(params)
    sizes = {"params": sum(leaf.size for leaf in leaves), "bytes": sum(leaf.nbytes for leaf in leaves)}
    counts = {"macs": macs, "flops": 2 * macs, "flops_total": None, **sizes}
    return {"agents": run.env.spec.n_agents, **counts, "latency_us": None}


def team_latency(rows: list[Report], counts: list[int]) -> Report | None:
    """Sum of the agents' median latencies by implementation; None where not all were measured."""
    if any(row["latency_us"] is None for row in rows):
        return None
    return {
        name: sum(n * row["latency_us"][name]["median"] for n, row in zip(counts, rows, strict=True))
        if all(row["latency_us"][name] for row in rows)
        else None
        for name in ("compiled", "numpy")
    }


def ratios(teacher: Report | None, students: Report | None) -> Report | None:
    """The teacher team's totals divided by the students'; None where one of them is missing."""
    if teacher is None or students is None:
        return None
    teacher_latency, student_latency = teacher["latency_us"] or {}, students["latency_us"] or {}

    def quotient(a: float | None, b: float | None) -> float | None:
        return a / b if a is not None and b is not None else None

    return {
        "flops": teacher["flops"] / students["flops"],
        # One network of a whole team is counted once, what agents share once per agent.
        "params": None if teacher["flops_total"] is None else teacher["params"] / students["params"],
        "latency": quotient(teacher_latency.get("compiled"), student_latency.get("compiled")),
        "latency_numpy": quotient(teacher_latency.get("numpy"), student_latency.get("numpy")),
    }
