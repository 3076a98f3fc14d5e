"""Running the rows of a plan that have no current result, in order of priority. A sweep can be stopped and resumed."""

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
from tutelage.experiment.commands import run_job
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.files import read_json, write_json
from tutelage.experiment.find_teacher import user_factory
from tutelage.experiment.job import Job
from tutelage.experiment.plan import FLOORS, Row, Rows, fingerprint, fit_config, read_plan
from tutelage.experiment.records import check_field_types, read_metrics
from tutelage.experiment.run_directory import LoadedRun, device
from tutelage.experiment.run_lock import LOCK, remove_stale_locks, try_lock
from tutelage.experiment.shape_check import check_rows
from tutelage.experiment.sinks import Display
from tutelage.experiment.trust import user_code
from tutelage.machine import check_machine
from tutelage.policies.acting import greedy, random_policy, sample
from tutelage.policies.cost import Cost, team_cost
from tutelage.registry import method_config, method_row

WAIT_SECONDS = 2.0
"""Seconds between two checks of what other sweeps have finished."""


@dataclass(frozen=True, kw_only=True)
class RowJob(Job):
    """row.json: the job of a row, and the fingerprint of the row at the time."""

    fingerprint: str


@dataclass(frozen=True)
class SweepPaths:
    """The directories of a sweep: results to commit, unfinished runs, and the zoo of trained teams."""

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


def is_current(path: Path, row_fingerprint: str) -> bool:
    """Whether a result exists and has the fingerprint that the row has now."""
    return path.exists() and read_or_empty(path).get("fingerprint") == row_fingerprint


def read_or_empty(path: Path) -> dict[str, Any]:
    """The content of a JSON file; an empty dict where it is missing or damaged."""
    try:
        content = read_json(path)
    except Fault:
        return {}
    return content if isinstance(content, dict) else {}


def missing_results(rows: Rows, paths: SweepPaths, only: str, seeds: int | None = None) -> Iterator[tuple[Row, int]]:
    """Pairs (row, seed) without a current result: by priority, then seed by seed, then in the order of the plan.

    Args:
        only: shell patterns of row names, separated by commas.
        seeds: at most this many seeds of every row.
    """
    chosen: dict[str, Row] = {}
    for pattern in only.split(","):
        matching = {name: row for name, row in rows.items() if fnmatch.fnmatch(name, pattern.strip())}
        if not matching:
            raise unknown("row", pattern.strip(), rows)
        chosen |= matching
    fingerprints = {name: fingerprint(row, rows) for name, row in chosen.items()}
    position = {name: i for i, name in enumerate(rows)}
    pairs = [(row.priority, k, position[name]) for name, row in chosen.items() for k in range(row.seeds)[:seeds]]
    listed = list(rows.values())
    for _, k, i in sorted(pairs):
        row, seed = listed[i], listed[i].all_seeds[k]
        if not is_current(paths.result(row, seed), fingerprints[row.name]):
            yield row, seed


def estimate(plan: Path, paths: SweepPaths, only: str, seeds: int | None) -> tuple[int, float]:
    """How many results are missing, and the sum of the minutes that the plan expects; see `missing_results`."""
    rows = read_plan(plan)
    missing = [row for row, _ in missing_results(rows, paths, only, seeds)]
    return len(missing), sum(row.minutes for row in missing)


def teacher_chain(row: Row, rows: Rows) -> list[Row]:
    """A row, its teacher's row, that row's teacher's, ..."""
    return [row, *(teacher_chain(rows[row.teacher], rows) if row.teacher in rows else [])]


def needed_runs(row: Row, seed: int, rows: Rows, paths: SweepPaths) -> list[Path]:
    """The run directories that are written for a result: the row's own, and those of teachers not trained yet."""
    directories = [paths.run(row, seed)]
    for teacher in teacher_chain(row, rows)[1:]:
        run = paths.run(teacher, seed)
        if not ((run / "eval.json").exists() and is_current(run / "row.json", fingerprint(teacher, rows))):
            directories.append(run)
    return directories


def train_row(row: Row, seed: int, rows: Rows, paths: SweepPaths, display: Display) -> LoadedRun:
    """Train one row with one seed, after its teacher; an unfinished run is continued."""
    teacher = row.teacher
    if teacher in rows:
        assert teacher is not None
        train_row(rows[teacher], seed, rows, paths, display)
        teacher = str(paths.run(rows[teacher], seed))
    default_teacher = method_row(row.method).teacher
    job = Job(
        method=row.method,
        env=row.env,
        env_options=row.env_options,
        config=asdict(method_config(row.method, row.preset, **row.config)),
        fit=asdict(fit_config(row)),
        seed=seed,
        seeds=1,
        teacher=teacher,
        teacher_config=asdict(method_config(default_teacher)) if default_teacher else {},
    )
    folder = paths.run(row, seed)
    row_fingerprint = fingerprint(row, rows)
    if not is_current(folder / "row.json", row_fingerprint):
        remove_stale_run(folder)
        write_json(folder / "row.json", {"fingerprint": row_fingerprint, **asdict(job)})
    check_field_types(folder / "row.json", RowJob)
    allowed_code = user_code(
        name for plan_row in rows.values() for name in (plan_row.method, plan_row.env, user_factory(plan_row.teacher))
    )
    return run_job(job, folder, display, allowed_code)[0]


SWEEP_FILES = re.compile(
    r"(row|plan|config)\.json|metrics\.jsonl|[a-z_]+(-stage\d+)?\.safetensors|events\..*|\..*\.(tmp|lock)"
)
"""Names of the files of an unfinished run, which `remove_stale_run` may delete."""


def remove_stale_run(folder: Path) -> None:
    """Remove an unfinished run that a sweep made under other settings; its lock must be held.

    Raises:
        Fault: it holds a finished run or a file that no sweep made, which is named. Nothing is removed.
    """
    files = [file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink()]
    if not [file for file in files if not file.name.startswith(".")]:
        return
    if "fingerprint" not in read_or_empty(folder / "row.json"):
        raise Fault(f"{folder} was made by no sweep, its row.json is missing or damaged: move it away")
    for file in files:
        if file.name == "eval.json":
            raise Fault(f"{file.parent} is a finished run of other settings than the plan has now: move it away")
        if file.is_symlink() or not SWEEP_FILES.fullmatch(file.name):
            raise Fault(f"{file} was made by no sweep: move it away")
    for item in folder.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != LOCK:
            item.unlink()


def result_from_run(row: Row, seed: int, run: LoadedRun, row_fingerprint: str, seconds: float) -> dict[str, Any]:
    """The result of a run: everything that tables and curves need, see `sweep_result.RowResult`."""
    lines = read_metrics(run.path / "metrics.jsonl")
    names = ("total_steps", "seconds", "update", "success_rate", "return_mean")
    teacher = run.record["teacher"]
    return {
        "row": row.name,
        "method": row.method,
        "env": row.env,
        "env_version": run.record["env_version"],
        "measure": run.env.spec.measure,
        "variant": row.variant,
        "seed": seed,
        "fingerprint": row_fingerprint,
        "config": run.record["config"],
        "env_options": row.env_options,
        "test": run.test,
        "teacher": {"name": row.teacher, "test": teacher["test"]} if teacher else None,
        "curve": [{k: line[k] for k in names} for line in lines if line["kind"] == "evaluation"],
        "cost": {role: as_dict(team_cost(p)) for role, p in run.frozen.roles.items() if p.groups},
        "widths": [group.agent.width for group in run.policy(run.frozen.actor).groups],
        "wall_seconds": round(seconds, 1),
        "device": run.record["device"],
        "versions": run.record["versions"],
    }


def floor_result(row: Row, seed: int, row_fingerprint: str) -> dict[str, Any]:
    """The result of random or scripted play, on the episodes of the final test."""
    started = time.monotonic()
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
        "fingerprint": row_fingerprint,
        "env_options": row.env_options,
        "test": {**test, "steps": 0, "seconds": 0.0},
        "teacher": None,
        "curve": [],
        "cost": {},
        "widths": [],
        "wall_seconds": round(time.monotonic() - started, 1),
        "device": device(),
    }


def as_dict(cost: Cost | None) -> dict[str, int] | None:
    """A team's cost per joint decision."""
    if cost is None:
        return None
    return {"macs": cost.macs, "flops": cost.products, "flops_total": cost.flops, "params": cost.params}


def copy_to_zoo(run: LoadedRun, place: Path) -> None:
    """Copy the files that `load` needs to the zoo; the team that is there stays until all are copied.

    Raises:
        Fault: another row's team is there. NotWritten: the files cannot be written.
    """
    temporary = place.with_name(f".{place.name}.tmp")
    present = read_or_empty(place / "config.json")
    if place.exists() and any(present.get(k) != run.record[k] for k in ("method", "env", "seed")):
        raise Fault(f"{place} is there and was not made by this row: move it away")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for file in [run.path / "config.json", run.path / "eval.json", *run.path.glob("*.safetensors")]:
            shutil.copy(file, temporary / file.name)
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise NotWritten(f"cannot write {place}: {error.strerror or error}") from error


def make_result(
    row: Row,
    seed: int,
    rows: Rows,
    paths: SweepPaths,
    display: Display,
    extra: Callable[[Row, LoadedRun], dict[str, Any]],
) -> dict[str, Any]:
    """Train or evaluate one row with one seed."""
    row_fingerprint = fingerprint(row, rows)
    if row.method in FLOORS:
        return floor_result(row, seed, row_fingerprint)
    started = time.monotonic()
    run = train_row(row, seed, rows, paths, display)
    result = result_from_run(row, seed, run, row_fingerprint, time.monotonic() - started) | extra(row, run)
    if row.zoo and seed == row.first_seed:
        copy_to_zoo(run, paths.zoo_of(row))
    return result


def sweep(
    plan: Path,
    paths: SweepPaths,
    only: str = "*",
    minutes: float | None = None,
    seeds: int | None = None,
    display: Display | None = None,
    extra: Callable[[Row, LoadedRun], dict[str, Any]] = lambda row, run: {},
) -> tuple[int, int]:
    """Run everything without a current result. Several processes may sweep the same plan and share the work.

    Args:
        plan: the TOML file.
        paths: where results, runs and the zoo are.
        only: shell patterns of row names, separated by commas.
        minutes: stop after so long; the run in progress is saved and resumed by the next sweep.
        seeds: at most this many seeds of every row.
        extra: (row, run) -> further entries of the result, e.g. measured latencies.

    Returns:
        How many results were made, and how many are still missing.

    Raises:
        BadInput: the plan cannot be read. NotWritten: the disk is full, read-only, ... Fault: some runs could not be
        made, e.g. because of a non-finite loss or a damaged file; all others were made first.
    """
    check_machine(training=True)
    rows, display = read_plan(plan), display or Display()
    done, failed, waiting = 0, dict[tuple[str, int], Exception](), False
    check_rows({row.name for row, _ in missing_results(rows, paths, only, seeds)}, rows)
    remove_stale_locks(paths.run(row, seed) for row in rows.values() for seed in row.all_seeds)
    timer = threading.Timer(minutes * 60, _thread.interrupt_main) if minutes else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        while missing := [x for x in missing_results(rows, paths, only, seeds) if (x[0].name, x[1]) not in failed]:
            for row, seed in missing:
                with try_lock(needed_runs(row, seed, rows, paths)) as acquired:
                    if not acquired or is_current(paths.result(row, seed), fingerprint(row, rows)):
                        continue
                    left = sum(r.minutes for r, _ in missing)
                    display.say(f"== {row.name} seed {seed} ({len(missing)} left, about {left:.0f} min)")
                    try:
                        write_json(paths.result(row, seed), make_result(row, seed, rows, paths, display, extra))
                        done += 1
                    except NotWritten:
                        raise
                    except (BadInput, Fault) as error:
                        failed[row.name, seed] = error
                        display.say(f"{row.name} seed {seed} has no result: {error}")
                jax.clear_caches()
                break
            else:
                if not waiting:
                    display.say("other sweeps are at all that is left; waiting for them")
                waiting = True
                time.sleep(WAIT_SECONDS)
    except (Interrupted, KeyboardInterrupt):
        if timer is None or timer.is_alive():
            raise Interrupted("stopped and saved; the same sweep goes on from there") from None
    finally:
        if timer:
            timer.cancel()
    if failed:
        failures = "; ".join(f"{name} seed {seed}: {error}" for (name, seed), error in failed.items())
        raise Fault(f"{done} results made, {len(failed)} runs broke: {failures}")
    return done, len(list(missing_results(rows, paths, only, seeds)))
