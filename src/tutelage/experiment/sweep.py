"""Running the rows of a plan: what is missing, in order of priority, unattended, in slices, resumable."""

from __future__ import annotations

import _thread
import fnmatch
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from tutelage.configs.experiment import FitConfig
from tutelage.envs.build import make
from tutelage.errors import BadInput, Fault, Interrupted, NotWritten, unknown
from tutelage.experiment.commands import finish
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.files import read_json, write_json
from tutelage.experiment.find_teacher import factory_of
from tutelage.experiment.job import Job
from tutelage.experiment.plan import FLOORS, Row, Rows, fingerprint, fit_config, read_plan
from tutelage.experiment.records import check_kinds, read_metrics
from tutelage.experiment.run_directory import LoadedRun, device
from tutelage.experiment.run_lock import LOCK, claimed, free
from tutelage.experiment.shape_check import check_rows
from tutelage.experiment.sinks import Display
from tutelage.experiment.trust import own
from tutelage.machine import check_machine
from tutelage.policies.acting import greedy, random_policy, sample
from tutelage.policies.cost import Cost, team_cost
from tutelage.registry import method_config, method_row

WAIT = 2.0
"""Seconds between two looks at what other sweeps have finished."""


@dataclass(frozen=True, kw_only=True)
class RowJob(Job):
    """row.json: the job of a row, and the fingerprint that it had."""

    fingerprint: str


@dataclass(frozen=True)
class Places:
    """Where a sweep keeps things: results to commit, runs to resume from, the zoo."""

    results: Path
    runs: Path
    zoo: Path

    def result(self, row: Row, seed: int) -> Path:
        return self.results / row.name / f"seed-{seed}.json"

    def run(self, row: Row, seed: int) -> Path:
        return self.runs / row.name / f"seed-{seed}"

    def zoo_of(self, row: Row) -> Path:
        """zoo/METHOD/ENV-ID-WITH-DASHES, with the rest of the row's name where it has more than two parts."""
        extra = "-".join(row.name.split("/")[2:])
        name = row.env.replace("/", "-") + (f"-{extra}" if extra else "")
        return self.zoo / row.name.split("/")[0] / name


def is_current(path: Path, mark: str) -> bool:
    """Whether a result exists and belongs to the row as it is now."""
    return path.exists() and kept(path).get("fingerprint") == mark


def kept(path: Path) -> dict[str, Any]:
    """What a file of a sweep holds; nothing where it is missing or damaged."""
    try:
        content = read_json(path)
    except Fault:
        return {}
    return content if isinstance(content, dict) else {}


def todo(rows: Rows, places: Places, only: str, seeds: int | None = None) -> Iterator[tuple[Row, int]]:
    """Missing (row, seed) pairs: by priority, then seed by seed, then as the plan lists them.

    Args:
        only: shell patterns of row names, with commas between them.
        seeds: of every row no more than its first so many seeds.
    """
    picked: dict[str, Row] = {}
    for pattern in only.split(","):
        found = {name: row for name, row in rows.items() if fnmatch.fnmatch(name, pattern.strip())}
        if not found:
            raise unknown("row", pattern.strip(), rows)
        picked |= found
    marks = {name: fingerprint(row, rows) for name, row in picked.items()}
    place = {name: i for i, name in enumerate(rows)}
    pairs = [(row.priority, k, place[name]) for name, row in picked.items() for k in range(row.seeds)[:seeds]]
    listed = list(rows.values())
    for _, k, i in sorted(pairs):
        row, seed = listed[i], listed[i].all_seeds[k]
        if not is_current(places.result(row, seed), marks[row.name]):
            yield row, seed


def outlook(plan: Path, places: Places, only: str, seeds: int | None) -> tuple[int, float]:
    """How many results are missing, and the minutes that the plan gives them in all; see `todo`."""
    rows = read_plan(plan)
    missing = [row for row, _ in todo(rows, places, only, seeds)]
    return len(missing), sum(row.minutes for row in missing)


def taught_by(row: Row, rows: Rows) -> list[Row]:
    """A row, its teacher's row, that row's teacher's, ..."""
    return [row, *(taught_by(rows[row.teacher], rows) if row.teacher in rows else [])]


def needed(row: Row, seed: int, rows: Rows, places: Places) -> list[Path]:
    """The run directories that making a result writes to: the row's own, and those of teachers not yet trained."""
    writes = [places.run(row, seed)]
    for teacher in taught_by(row, rows)[1:]:
        run = places.run(teacher, seed)
        if not ((run / "eval.json").exists() and is_current(run / "row.json", fingerprint(teacher, rows))):
            writes.append(run)
    return writes


def make_run(row: Row, seed: int, rows: Rows, places: Places, display: Display) -> LoadedRun:
    """Train one row with one seed, after its teacher; go on where a kill left it."""
    teacher = row.teacher
    if teacher in rows:
        assert teacher is not None
        make_run(rows[teacher], seed, rows, places, display)
        teacher = str(places.run(rows[teacher], seed))
    usual = method_row(row.method).teacher
    job = Job(
        method=row.method,
        env=row.env,
        env_options=row.env_options,
        config=asdict(method_config(row.method, row.preset, **row.config)),
        fit=asdict(fit_config(row)),
        seed=seed,
        seeds=1,
        teacher=teacher,
        teacher_config=asdict(method_config(usual)) if usual else {},
    )
    folder = places.run(row, seed)
    mark = fingerprint(row, rows)
    if not is_current(folder / "row.json", mark):
        clear(folder)
        write_json(folder / "row.json", {"fingerprint": mark, **asdict(job)})
    check_kinds(folder / "row.json", RowJob)
    said = own(name for each in rows.values() for name in (each.method, each.env, factory_of(each.teacher)))
    return finish(job, folder, display, said)[0]


OURS = re.compile(
    r"(row|plan|config)\.json|metrics\.jsonl|[a-z_]+(-stage\d+)?\.safetensors|events\..*|\..*\.(tmp|lock)"
)
"""Files that a sweep makes of a run which is not finished."""


def clear(folder: Path) -> None:
    """Remove an unfinished run that a sweep made under other settings; it must be claimed.

    Raises:
        Fault: a run in it is finished, or something in it was made by no sweep: that is named and stays.
    """
    found = [file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink()]
    if not [file for file in found if not file.name.startswith(".")]:
        return
    if "fingerprint" not in kept(folder / "row.json"):
        raise Fault(f"{folder} was made by no sweep, its row.json is missing or damaged: move it away")
    for file in found:
        if file.name == "eval.json":
            raise Fault(f"{file.parent} is a finished run of other settings than the plan has now: move it away")
        if file.is_symlink() or not OURS.fullmatch(file.name):
            raise Fault(f"{file} was made by no sweep: move it away")
    for item in folder.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != LOCK:
            item.unlink()


def result_of(row: Row, seed: int, run: LoadedRun, mark: str, seconds: float) -> dict[str, Any]:
    """What is kept of a run: everything a table or curve needs."""
    lines = read_metrics(run.path / "metrics.jsonl")
    keep = ("total_steps", "seconds", "update", "success_rate", "return_mean")
    teacher = run.record["teacher"]
    return {
        "row": row.name,
        "method": row.method,
        "env": row.env,
        "env_version": run.record["env_version"],
        "measure": run.env.spec.measure,
        "variant": row.variant,
        "seed": seed,
        "fingerprint": mark,
        "config": run.record["config"],
        "env_options": row.env_options,
        "test": run.test,
        "teacher": {"name": row.teacher, "test": teacher["test"]} if teacher else None,
        "curve": [{k: line[k] for k in keep} for line in lines if line["kind"] == "evaluation"],
        "cost": {role: as_dict(team_cost(p)) for role, p in run.frozen.roles.items() if p.groups},
        "widths": [group.agent.width for group in run.policy(run.frozen.actor).groups],
        "wall_seconds": round(seconds, 1),
        "device": run.record["device"],
        "versions": run.record["versions"],
    }


def floor_result(row: Row, seed: int, mark: str) -> dict[str, Any]:
    """What is kept of a floor: random or scripted play on the final test's episodes."""
    began = time.monotonic()
    env = make(row.env, **row.env_options)
    policy, act = (random_policy(), sample) if row.method == "random" else (env.scripted(), greedy)
    test = evaluate(env, policy, (), FitConfig().test_episodes, seed, act).as_dict()
    return {
        "row": row.name,
        "method": row.method,
        "env": row.env,
        "env_version": env.spec.version,
        "measure": env.spec.measure,
        "variant": row.variant,
        "seed": seed,
        "fingerprint": mark,
        "env_options": row.env_options,
        "test": {**test, "steps": 0, "seconds": 0.0},
        "teacher": None,
        "curve": [],
        "cost": {},
        "widths": [],
        "wall_seconds": round(time.monotonic() - began, 1),
        "device": device(),
    }


def as_dict(cost: Cost | None) -> dict[str, int] | None:
    """A team's cost per joint decision."""
    if cost is None:
        return None
    return {"macs": cost.macs, "flops": cost.products, "flops_total": cost.flops, "params": cost.params}


def keep_in_zoo(run: LoadedRun, place: Path) -> None:
    """Copy what `load` needs; the team that was there stays until all of it is. Raises Fault where it cannot."""
    beside = place.with_name(f".{place.name}.tmp")
    there = kept(place / "config.json")
    if place.exists() and any(there.get(k) != run.record[k] for k in ("method", "env", "seed")):
        raise Fault(f"{place} is there and was not made by this row: move it away")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for file in [run.path / "config.json", run.path / "eval.json", *run.path.glob("*.safetensors")]:
            shutil.copy(file, beside / file.name)
        shutil.rmtree(place, ignore_errors=True)
        beside.rename(place)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise NotWritten(f"cannot write {place}: {error.strerror or error}") from error


def make_result(
    row: Row, seed: int, rows: Rows, places: Places, display: Display, extra: Callable[[Row, LoadedRun], dict[str, Any]]
) -> dict[str, Any]:
    """Train or evaluate one row with one seed."""
    mark = fingerprint(row, rows)
    if row.method in FLOORS:
        return floor_result(row, seed, mark)
    began = time.monotonic()
    run = make_run(row, seed, rows, places, display)
    result = result_of(row, seed, run, mark, time.monotonic() - began) | extra(row, run)
    if row.zoo and seed == row.first_seed:
        keep_in_zoo(run, places.zoo_of(row))
    return result


def sweep(
    plan: Path,
    places: Places,
    only: str = "*",
    minutes: float | None = None,
    seeds: int | None = None,
    display: Display | None = None,
    extra: Callable[[Row, LoadedRun], dict[str, Any]] = lambda row, run: {},
) -> tuple[int, int]:
    """Run what is missing. Other processes may sweep the same plan at the same time: what one is at, others leave out.

    Args:
        plan: the TOML file.
        only: shell patterns of row names, with commas between them.
        minutes: stop after so long (the run in progress is saved and resumed next time).
        seeds: of every row no more than its first so many seeds.
        extra: more to keep in a result, e.g. measured latencies.

    Returns:
        How many results were made, and how many are still missing.

    Raises:
        BadInput: the plan cannot be read. NotWritten: the disk is full, read-only, ... Fault: some runs could not be
        made, e.g. as losses stopped being numbers or a file is damaged; all others were made first.
    """
    check_machine(training=True)
    rows, display = read_plan(plan), display or Display()
    done, broken, waits = 0, dict[tuple[str, int], Exception](), False
    check_rows({row.name for row, _ in todo(rows, places, only, seeds)}, rows)
    free(places.run(row, seed) for row in rows.values() for seed in row.all_seeds)
    timer = threading.Timer(minutes * 60, _thread.interrupt_main) if minutes else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        while missing := [x for x in todo(rows, places, only, seeds) if (x[0].name, x[1]) not in broken]:
            for row, seed in missing:
                with claimed(needed(row, seed, rows, places)) as mine:
                    if not mine or is_current(places.result(row, seed), fingerprint(row, rows)):
                        continue
                    left = sum(r.minutes for r, _ in missing)
                    display.say(f"== {row.name} seed {seed} ({len(missing)} left, about {left:.0f} min)")
                    try:
                        write_json(places.result(row, seed), make_result(row, seed, rows, places, display, extra))
                        done += 1
                    except NotWritten:
                        raise
                    except (BadInput, Fault) as error:
                        broken[row.name, seed] = error
                        display.say(f"{row.name} seed {seed} has no result: {error}")
                jax.clear_caches()
                break
            else:
                if not waits:
                    display.say("other sweeps are at all that is left; waiting for them")
                waits = True
                time.sleep(WAIT)
    except (Interrupted, KeyboardInterrupt):
        if timer is None or timer.is_alive():
            raise Interrupted("stopped and saved; the same sweep goes on from there") from None
    finally:
        if timer:
            timer.cancel()
    if broken:
        each = "; ".join(f"{name} seed {seed}: {error}" for (name, seed), error in broken.items())
        raise Fault(f"{done} results made, {len(broken)} runs broke: {each}")
    return done, len(list(todo(rows, places, only, seeds)))
