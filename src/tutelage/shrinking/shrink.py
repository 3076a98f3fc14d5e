"""`shrink`: from a finished run to the smallest student that keeps a share of it, as a run of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tutelage.configs.checks import check_seeds
from tutelage.configs.experiment import FitConfig
from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.deploy.latency import measure_networks
from tutelage.errors import BadInput, unknown
from tutelage.experiment.commands import check_unused
from tutelage.experiment.files import write_json
from tutelage.experiment.find_teacher import find_teacher, run_and_role
from tutelage.experiment.memory_check import check_instances, check_training
from tutelage.experiment.records import Record
from tutelage.experiment.run_directory import LoadedRun, load
from tutelage.experiment.run_lock import exclusive
from tutelage.experiment.sinks import Display
from tutelage.experiment.trust import Trust
from tutelage.machine import check_machine
from tutelage.methods.kd_marl.components import macs_of, make_student
from tutelage.methods.kd_marl.method import kd_marl
from tutelage.methods.normalising import with_normalising
from tutelage.policies.acting import RULES
from tutelage.policies.blueprint import Core, Network
from tutelage.registry import method_config
from tutelage.shrinking.from_scratch import train_from_scratch
from tutelage.shrinking.search import find_best, find_smallest, nearest
from tutelage.shrinking.sizes import LARGEST, Budget, Costs, Size, parse_budget, widest
from tutelage.shrinking.trials import Trials
from tutelage.shrinking.write import JSON, describe, draw_or_say, test_chosen, write_run
from tutelage.types import Environment, Frozen, Method

DISTIL: dict[str, Any] = {"adv": 0.0, "rel": 0.0, "role": 0.0}
"""Settings of KD-MARL that differ from its defaults: the terms that were not shown to earn anything are left out, as a
step then takes less than half of the time."""


class Task(NamedTuple):
    """What is to be shrunk: a frozen teacher in its environment."""

    name: str
    run: LoadedRun
    env: Environment
    teacher: Frozen
    record: Record


@dataclass(frozen=True)
class Question:
    """What is asked: the share to keep, the budget if there is one, cores in turn, how to distil, and the seed."""

    keep: float
    budget: Budget | None
    cores: tuple[Core, ...]
    config: KdMarlConfig
    seed: int


class Shrunk(NamedTuple):
    """The run of the student that was found, and the content of shrink.json."""

    run: LoadedRun
    report: dict[str, Any]


def shrink(
    run: str | Path,
    *,
    keep: float = 0.95,
    within: str | None = None,
    out: str | Path | None = None,
    cores: Sequence[Core] = ("mlp", "gru"),
    seed: int = 0,
    against: Literal["scratch"] | None = None,
    trust: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Shrunk:
    """Find the smallest student that keeps a share of its teacher, or the best one within a budget.

    Args:
        run: run directory, whose acting role is the teacher, or `RUN@ROLE`.
        keep: the share of the teacher's score to keep, in (0, 1].
        within: a budget for each agent: `flops=20k`, `params=5k`, `bytes=8k`, `latency=20us`, or `ratio=100`. The best
            student within it is found then.
        out: directory to create; default `runs/shrink-ENV-seedN`.
        cores: networks of students, in the order in which they are tried.
        seed: of everything.
        against: `scratch` trains MAPPO at the sizes about the student's as well, which takes far longer.
        trust: import code that the run names and that is not built in.
        quiet: no progress on standard error.
        **settings: of the distillation, fields of KD-MARL's config; `normalise` is by default as the teacher's.

    Returns:
        The student's run, and what was tried.

    Raises:
        BadInput: anything unknown or impossible, and a budget that no network meets; nothing is written.
    """
    check_machine(training=True)
    question = check_arguments(keep, within, cores, seed, against, settings)
    display = Display(quiet)
    task = open_task(str(run), trust)
    if "normalise" not in settings:
        question = replace(question, config=replace(question.config, normalise=learned_normalised(task)))
    folder = (
        Path(out)
        if out
        else Path("runs") / f"shrink-{task.run.record['env'].replace('/', '-').replace(':', '-')}-seed{seed}"
    )
    check_unused(folder, ())
    costs = costs_of(task, question.config)
    tops = allowed_sizes(task, costs, question)
    check_instances(task.env, "envs", question.config.envs)
    # In long episodes students with memory do not learn from a sequence's first steps; then no student does.
    core: Core = "gru" if "gru" in cores else "mlp"
    narrow = replace(question.config, core=core, size="width=1")
    method = with_normalising(kd_marl(task.env, narrow, task.teacher), task.env, narrow)
    check_training(task.env, method, FitConfig())
    with exclusive([folder]):
        check_unused(folder, ())
        report = search(task, question, method, costs, tops, folder, display)
        if against:
            report |= {"scratch": train_from_scratch(task.run, task.teacher, report, folder, display)}
            write_json(folder / JSON, report)
            draw_or_say(folder, report, display)
    display.close()
    return Shrunk(load(folder, trust), report)


def check_arguments(
    keep: float, within: str | None, cores: Sequence[str], seed: int, against: str | None, settings: dict[str, Any]
) -> Question:
    """What is asked; raises BadInput for what cannot be."""
    if not isinstance(keep, float | int) or not 0 < keep <= 1:
        raise BadInput(f"keep = {keep!r}: must be greater than 0 and at most 1")
    if not cores or len(set(cores)) != len(cores):
        raise BadInput(f"cores = {', '.join(cores) or 'none'}: must name mlp, gru or both, each once")
    for core in cores:
        if core not in ("mlp", "gru"):
            raise unknown("core", core, ("mlp", "gru"))
    check_seeds(seed)
    if against not in (None, "scratch"):
        raise unknown("against", str(against), ("scratch",))
    for name in ("size", "core"):
        if name in settings:
            raise BadInput(f"{name} = {settings[name]!r}: it is what shrink looks for; `within` and `cores` limit it")
    config = method_config("kd_marl", **{**DISTIL, **settings})
    for name, value in (("capacity", "equal"), ("messages", "none"), ("data", "offline")):
        if getattr(config, name) != value:
            raise BadInput(f"{name} = {getattr(config, name)!r}: shrink needs {value!r}")
    budget = parse_budget(within) if within is not None else None
    return Question(keep, budget, tuple(cores), config, seed)  # type: ignore[arg-type]


def open_task(name: str, trust: Trust) -> Task:
    """Load a run and its role that teaches; raises BadInput where there is none."""
    path, role = run_and_role(name) or (Path(name), None)
    run = load(path, trust)
    env, where = run.env, (run.record["env"], run.record["env_options"])
    teacher, record = find_teacher(f"{path}@{role}" if role else str(path), where[0], env, where[1], None, trust)
    return Task(name, run, env, teacher, record)


def learned_normalised(task: Task) -> bool:
    """Whether the run that teaches was trained on normalised inputs."""
    return (task.record.get("record") or {"config": {}})["config"].get("normalise", False)


def costs_of(task: Task, config: KdMarlConfig) -> Costs:
    """What students cost; raises BadInput for a sight that this environment cannot have."""
    narrow = make_student(task.env.spec, replace(config, size="width=1"), None)
    inputs = {i: group.agent.inputs for group in narrow.groups for i in group.agents}
    macs = macs_of(task.teacher.roles[task.teacher.actor], task.env)
    return Costs(tuple(inputs[i] for i in sorted(inputs)), task.env.spec.n_actions, macs, config.normalise)


def allowed_sizes(task: Task, costs: Costs, question: Question) -> dict[Core, int]:
    """The widest student of each core that is smaller than the teacher and within the budget; 0 where none is.

    Raises:
        BadInput: there is none of any core; it says what the smallest one costs.
    """
    budget, cores = question.budget, question.cores
    latency = latencies(costs, cores) if budget and budget.kind == "latency" else {}
    if budget and budget.kind == "ratio" and costs.reference is None:
        raise budget.refusal(f"{task.name} has no network to which a ratio could refer")
    within = lambda size: costs.smaller(size) and (budget is None or budget.fits(size, costs, latency))
    tops = {core: widest(core, within) for core in cores}
    if any(tops.values()):
        return tops
    least = Size(min(cores, key=lambda core: costs.team(Size(core, 1)).macs), 1)
    if budget is None:
        raise BadInput(f"{task.name}: it is as small as the smallest student, {least}")
    raise budget.refusal(
        f"cannot be met; the smallest student, {least}, has {least_cost(budget, least, costs, latency)}"
    )


def least_cost(budget: Budget, least: Size, costs: Costs, latency: dict[Size, float]) -> str:
    """What the smallest student has of what a budget limits, as text."""
    if budget.kind == "latency":
        return f"{min(latency.values()):.1f} us"
    if budget.kind == "ratio":
        return f"ratio {costs.ratio(least):.1f}"
    return f"{costs.agent(least, budget.kind):g} {'FLOPs' if budget.kind == 'flops' else budget.kind}"


def latencies(costs: Costs, cores: Sequence[Core]) -> dict[Size, float]:
    """Median latency of one decision in microseconds, compiled, of some sizes of each core."""
    widths = [2**i for i in range(LARGEST.bit_length())]
    sizes = [size for core in cores for width in widths if costs.smaller(size := Size(core, width))]
    each = lambda size: Network(size.core, max(costs.inputs), size.width, costs.n_actions, normalised=costs.normalised)
    networks = [each(size) for size in sizes]
    measured = measure_networks(networks, rounds=10)
    return {size: each["compiled"]["median"] for size, each in zip(sizes, measured, strict=True)}


def search(
    task: Task,
    question: Question,
    method: Method,
    costs: Costs,
    tops: dict[Core, int],
    folder: Path,
    display: Display,
) -> dict[str, Any]:
    """Gather, distil, decide, test and write the run of the student that was found; returns the report.

    Args:
        method: a distillation of the teacher, whose first stage gathers. tops: of each core the widest student allowed.
    """
    started, cpu = time.perf_counter(), time.process_time()
    rule, unlimited = RULES[task.run.roles[task.teacher.actor].act], question.budget is None
    trials = Trials(task.env, task.teacher, rule, question.config, question.seed, display)
    check_teacher_scores(task, trials)
    trials.gather(method)
    judge = lambda core, widths: trials.judge(core, widths, question.keep, looks=unlimited)
    allowed = lambda size: size.width <= tops[size.core]
    judged, found = (find_smallest if unlimited else find_best)(judge, question.cores, allowed, costs.team)
    chosen = found or nearest(judged, costs.team)
    test, fresh = test_chosen(trials, chosen.size, question.seed)
    seconds = trials.seconds | {"total": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    report = {
        "teacher": task.name,
        "env": task.run.record["env"],
        "env_options": task.run.record["env_options"],
        "measure": trials.measure,
        "floor": trials.floor,
        "keep": question.keep,
        "within": question.budget.text if question.budget else None,
        "seed": question.seed,
        "teacher_score": trials.teacher_scores.mean(trials.measure),
        "teacher_flops": None if costs.reference is None else 2 * costs.reference / len(costs.inputs),
        "students": [describe(each, costs) for each in judged],
        "chosen": describe(chosen, costs),
        "test": fresh,
        "settings": asdict(question.config),
        "steps": trials.steps,
        "seconds": {name: round(each, 2) for name, each in seconds.items()},
    }
    write_run(folder, trials, chosen.size, test, task.record, report, display)
    return report


def check_teacher_scores(task: Task, trials: Trials) -> None:
    """Raise BadInput where the teacher does no better than random play, so that there is no share to keep."""
    score, episodes = trials.teacher_scores.mean(trials.measure), len(trials.teacher_scores.success)
    if score <= trials.floor:
        versus = f"{score:.2f} to {trials.floor:.2f} of random play"
        what = "it never succeeds" if trials.measure == "success" else f"its return is no better, {versus},"
        raise BadInput(f"{task.name}: there is no share to keep: {what} in {episodes} episodes")
