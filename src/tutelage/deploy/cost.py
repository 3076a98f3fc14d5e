"""What a run's teacher and students cost: exact counts, and measured latency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.deploy.latency import measure_latency
from tutelage.experiment.weights import parameter_count
from tutelage.policies.blueprint import Members, Role
from tutelage.policies.cost import network_cost, team_of

if TYPE_CHECKING:
    from tutelage.experiment.read_roles import FinishedRun
    from tutelage.experiment.run_directory import LoadedRun

CONVENTION = (
    "per decision of one agent, actor only: 1 multiply-add (MAC) = 2 FLOPs, `flops` counts matrix products, "
    "`flops_total` adds every other arithmetic operation on an element, latency is at batch 1 on one thread; team "
    "figures are sums over agents, each with a copy of its weights (latency: medians in turn); ratios are "
    "teacher team / student team"
)
"""How the figures are to be read."""

Report = dict[str, Any]
BYTES = 4
"""Of a parameter."""
SUMMED = ("macs", "flops", "flops_total", "params", "bytes")


def cost_report(run: LoadedRun | FinishedRun, latency: bool = True) -> Report:
    """Cost of each tier of a run and of its teams, and the ratio between the teams.

    Args:
        run: from `load`, or `read_finished`, which needs no jax.
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
    latencies, roles = measure_latency(run.path) if latency else {}, run.roles
    teacher, students = (tiers(roles.get(name), latencies.get(name)) for name in ("teacher", "student"))
    teacher_team = team_totals(teacher) or joint_totals(run.path, roles.get("teacher"))
    team = team_totals(students) or joint_totals(run.path, roles.get("student"))
    return {
        "teacher": {"tiers": teacher, "team": teacher_team} if teacher_team else None,
        "students": students,
        "team": team,
        "ratio": ratios(teacher_team, team),
        "convention": CONVENTION,
    }


def tiers(role: Role | None, latencies: list[Report] | None) -> list[Report]:
    """One entry per group of agents; none for a role that is missing or not made of agents."""
    team = team_of(role.made_of) if role else None
    if team is None or role is None:
        return []
    types = role.spec.agent_types
    return [tier(group, types, latencies[i] if latencies else None) for i, group in enumerate(team.groups)]


def tier(group: Members, types: tuple[str, ...], latency: Report | None) -> Report:
    """Figures of one agent of a group.

    Args:
        group: the agents.
        types: of all agents of the team.
        latency: of one of them, None if not measured.
    """
    network, cost = group.network, network_cost(group.network)
    return {
        "agents": list(group.agents),
        "types": sorted({types[i] for i in group.agents}),
        "core": network.label,
        "width": network.width,
        "inputs": network.inputs,
        "actions": network.outputs,
        "macs": cost.macs,
        "flops": cost.products,
        "flops_total": cost.flops,
        "params": cost.params,
        "bytes": BYTES * cost.params,
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


def joint_totals(path: Path, role: Role | None) -> Report | None:
    """Cost of a role that is one network for the whole team, or agents with a network of the user's own.

    Matrix products of a joint decision are counted, and the parameters that its file holds.

    Other operations are not counted and it is not timed. None for a role without networks.
    """
    if role is None or role.macs is None:
        return None
    params = parameter_count(path / f"{role.role}.safetensors")
    counts = {"macs": role.macs, "flops": 2 * role.macs, "flops_total": None}
    return {
        "agents": role.spec.n_agents,
        **counts,
        "params": params,
        "bytes": BYTES * params,
        "latency_us": None,
    }


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
