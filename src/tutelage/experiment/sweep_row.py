"""The result of one row of a plan with one seed: training it, or playing at random or by script, and telling of it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.configs.experiment import FitConfig
from tutelage.configs.term import named_code
from tutelage.envs.build import make
from tutelage.errors import Fault, NotWritten
from tutelage.experiment.commands import run_job
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.files import write_json
from tutelage.experiment.find_teacher import user_factory
from tutelage.experiment.init_source import find_init, with_settings_of
from tutelage.experiment.job import Job
from tutelage.experiment.make_record import device
from tutelage.experiment.manifest import MANIFEST, read_manifest
from tutelage.experiment.plan import FLOORS, Row, Rows, fingerprint, fit_config, row_and_role
from tutelage.experiment.read_records import check_field_types, read_metrics
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.run_lock import LOCK
from tutelage.experiment.sinks import Display
from tutelage.experiment.sweep_paths import SweepPaths, is_current, read_or_empty
from tutelage.experiment.trust import user_code
from tutelage.policies.acting import greedy, random_policy, sample
from tutelage.policies.cost import Cost, blueprint_cost, widths
from tutelage.registry import method_config, method_row


@dataclass(frozen=True, kw_only=True)
class RowJob(Job):
    """row.json: the job of a row, and the fingerprint of the row at the time."""

    fingerprint: str


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


def train_row(row: Row, seed: int, rows: Rows, paths: SweepPaths, display: Display) -> LoadedRun:
    """Train one row with one seed, after its teacher and what it starts from; an unfinished run is continued."""
    allowed_code = user_code(
        name
        for plan_row in rows.values()
        for name in (plan_row.method, plan_row.env, user_factory(plan_row.teacher), *named_code(plan_row.config))
    )
    teacher, init, settings = row.teacher, None, row.config
    if teacher in rows:
        assert teacher is not None
        train_row(rows[teacher], seed, rows, paths, display)
        teacher = str(paths.run(rows[teacher], seed))
    if row.init:
        source_row, role = row_and_role(row, rows)
        path = train_row(source_row, seed, rows, paths, display).path
        init = f"{path}@{role}" if role else str(path)
        settings = with_settings_of(find_init(init, seed, allowed_code)[0], row.method, row.config, row.preset)
    default_teacher = method_row(row.method).teacher
    job = Job(
        method=row.method,
        env=row.env,
        env_options=row.env_options,
        config=asdict(method_config(row.method, row.preset, **settings)),
        fit=asdict(fit_config(row)),
        seed=seed,
        seeds=1,
        teacher=teacher,
        init=init,
        teacher_config=asdict(method_config(default_teacher)) if default_teacher else {},
    )
    folder = paths.run(row, seed)
    row_fingerprint = fingerprint(row, rows)
    if not is_current(folder / "row.json", row_fingerprint):
        remove_stale_run(folder)
        write_json(folder / "row.json", {"fingerprint": row_fingerprint, **asdict(job)})
    check_field_types(folder / "row.json", RowJob)
    return run_job(job, folder, display, allowed_code)[0]


SWEEP_FILES = re.compile(r"[a-z_]+\.json|metrics\.jsonl|[a-z_]+(-stage\d+)?\.safetensors|events\..*|\..*\.(tmp|lock)")
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
        if file.name in (MANIFEST, "eval.json"):  # an earlier version had no manifest
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
    teacher, init = run.record["teacher"], run.record.get("init")
    return {
        "row": row.name,
        "method": row.method,
        "env": row.env,
        "env_version": run.record["env_version"],
        "measure": run.spec.measure,
        "variant": row.variant,
        "seed": seed,
        "fingerprint": row_fingerprint,
        "config": run.record["config"],
        "env_options": row.env_options,
        "test": run.test,
        "teacher": {"name": row.teacher, "test": teacher["test"]} if teacher else None,
        **({"init": {"name": row.init, "test": init["test"]}} if init else {}),
        "curve": [{k: line[k] for k in names} for line in lines if line["kind"] == "evaluation"],
        "cost": {name: as_dict(cost) for name, role in run.roles.items() if (cost := blueprint_cost(role.made_of))},
        "widths": widths(run.roles[run.actor].made_of),
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
        for name in (*read_manifest(run.path).files, MANIFEST):
            shutil.copy(run.path / name, temporary / name)
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise NotWritten(f"cannot write {place}: {error.strerror or error}") from error
