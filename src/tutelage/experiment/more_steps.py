"""More steps for a run (`resume --steps N`): trained in a run directory inside of it, which takes its place at the end.

So whatever happens on the way, the run stays as it is, and plain `resume` goes on with what has begun.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tutelage.configs.experiment import FitConfig
from tutelage.data.experience import is_experience
from tutelage.errors import BadInput, Fault
from tutelage.experiment.arrays import read_meta
from tutelage.experiment.checkpoint import (
    CHECKPOINT,
    LAST,
    identity,
    identity_of,
    load_last,
    load_status,
    read_checkpoint_meta,
    read_kept_meta,
    save_status,
)
from tutelage.experiment.checkpoint_meta import LastMeta
from tutelage.experiment.files import read_lines, write_bytes, write_json
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.manifest import MANIFEST, check_files, is_finished
from tutelage.experiment.pieces import cadence, count_due_evaluations
from tutelage.experiment.rebuild import rebuild_run
from tutelage.experiment.records import Record
from tutelage.experiment.role_files import load_role, roles_and_critic
from tutelage.experiment.run_lock import LOCK
from tutelage.experiment.run_record import read_settings, read_test
from tutelage.experiment.sinks import Display
from tutelage.experiment.stage_loop import check_step_counts, nominal_updates, stage_loop, unshared
from tutelage.experiment.status import Best, Status
from tutelage.experiment.train_run import INIT, remove_leftovers
from tutelage.experiment.trust import Trust
from tutelage.registry import method_config
from tutelage.types import Environment, Method, Stage

EXTENSION = "extension"
"""Directory inside a run in which it is extended."""


class Place(NamedTuple):
    """How far a run has come.

    Attributes:
        stage: index of its stage. earlier: environment steps of earlier stages.
        update, steps: updates and environment steps of this stage.
        best: success and return of its best evaluation.
    """

    stage: int
    earlier: int
    update: int
    steps: int
    best: tuple[float, float] | None


class Extension(NamedTuple):
    """An extension that can begin, of a run at `path` from where it stands.

    Attributes:
        record: config.json with the new total. method: of that; before: as it was.
    """

    path: Path
    record: Record
    env: Environment
    method: Method
    before: Method
    place: Place


# ---- what is asked, and whether it can be ----------------------------------------------------------------------------
def extend_runs(paths: Sequence[Path], steps: int, display: Display, trust: Trust) -> None:
    """Begin to extend runs to so many steps in total, those of which nothing is done yet included.

    Raises:
        BadInput: one of them cannot be extended, or all have done as many steps already. Nothing is written.
    """
    planned = [plan_extension(path, steps, trust) for path in paths if (path / "config.json").exists()]
    if planned and all(plan == "finished" for plan in planned):
        raise BadInput(f"steps = {steps}: {paths[0]} has done as many already; name more")
    for plan in planned:
        if isinstance(plan, Extension):
            begin(plan, display)


def plan_extension(path: Path, steps: int, trust: Trust) -> Extension | str:
    """The extension of a run to so many steps; `finished` or `begun` where it is a run of so many already.

    Raises:
        BadInput: it cannot be extended, or has done more.
    """
    record = read_settings(path, trust)
    if (path / "row.json").exists():
        raise BadInput(f"{path} was made by a sweep, whose plan says its steps: change them there")
    if has_begun(path):
        goal = read_settings(path / EXTENSION, trust)["config"]["steps"]
        if goal != steps:
            raise BadInput(f"{path} is being extended to {goal:,} steps: first `tutelage resume {path}`")
        return "begun"
    if "steps" not in record["config"]:
        raise BadInput(
            f"steps = {steps}: {record['method']} has no setting steps; `train --init {path}` goes on from it"
        )
    same = record["config"]["steps"] == steps
    if same and not is_finished(path):
        return "begun"
    config = asdict(method_config(record["method"], **{**record["config"], "steps": steps}))
    extended = [*record.get("extended", ()), *([] if same else [record["config"]["steps"]])]
    longer = {**record, "config": config, "extended": extended}
    (_, before), (env, method) = rebuild_run(path, record), rebuild_run(path, longer)
    check_step_counts(method.stages)
    place = place_of(path, record, before)
    if same and place.steps >= method.stages[place.stage].budget:  # else it was recovered
        return "finished"
    if is_finished(path) and not (path / LAST).exists() and method.with_params is None:
        raise BadInput(f"{path} has no {LAST}, and its method no with_params (tutelage.types.Method): one is needed")
    if not same:
        check_budgets(path, steps, before.stages, method.stages, place)
    return Extension(path, longer, env, method, before, place)


def check_budgets(path: Path, steps: int, old: Sequence[Stage], new: Sequence[Stage], place: Place) -> None:
    """Raise BadInput where more steps do not lengthen what a run has still to do, or where it has done as many."""
    changed = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a.budget != b.budget]
    if not changed:
        raise BadInput(f"steps = {steps}: the stages of {path} do not depend on it")
    if min(changed) < place.stage:
        over = f"the stage {new[min(changed)].name} of {path}, which would be longer, is over"
        raise BadInput(f"steps = {steps}: {over}; `train --init {path}` goes on from its weights")
    if place.stage in changed and new[place.stage].budget <= place.steps:
        raise BadInput(f"steps = {steps}: {path} has done {place.earlier + place.steps:,} already; name more")


def place_of(path: Path, record: Record, method: Method) -> Place:
    """How far a run has come; raises Fault where its files are damaged."""
    if is_finished(path):
        check_files(path)
        if (path / LAST).exists():
            last = read_kept_meta(path / LAST, LastMeta)
            return Place(last.stage, last.earlier, last.update, last.steps, last.best)
        return place_of_test(path, read_test(path / "eval.json", record), method)
    if not (path / CHECKPOINT).exists():
        return Place(0, 0, 0, 0, None)
    saved = read_checkpoint_meta(path / CHECKPOINT, method)
    return Place(saved.stage, saved.steps, 0, saved.total_steps - saved.steps, saved.best)


def place_of_test(path: Path, test: Record, method: Method) -> Place:
    """How far a finished run has come that kept no last state, from its test and its log."""
    index, stage = len(method.stages) - 1, method.stages[-1]
    earlier = sum(part.budget for part in method.stages[:-1] if part.unit == "steps")
    steps = max(0, test["steps"] - earlier)
    lines = logged(path)
    update = lines[-1]["update"] if lines else nominal_updates(stage._replace(budget=steps))
    return Place(index, earlier, update, steps, (test["success_rate"], test["return_mean"]))


def logged(path: Path) -> list[Record]:
    """The lines of metrics in a run's log, where it has one."""
    log = path / "metrics.jsonl"
    return [line for line in (read_lines(log) if log.exists() else []) if line.get("kind") == "metrics"]


# ---- beginning -------------------------------------------------------------------------------------------------------
def begin(plan: Extension, display: Display) -> None:
    """Make the run directory in which a run is extended; config.json is written last, and with it it has begun."""
    path, record, method, place = plan.path, plan.record, plan.method, plan.place
    folder = path / EXTENSION
    remove_halfmade(path)
    status, offset, notes = starting_status(plan)
    for name in roles_and_critic(method):
        copy_files(path, folder, (f"{name}.json", f"{name}.safetensors"))
    copy_files(path, folder, (INIT,))
    if offset:
        write_bytes(folder / "metrics.jsonl", (path / "metrics.jsonl").read_bytes()[:offset])
    if status is not None:
        save_status(folder, status, method.stages[status.stage].fixed, True, offset, identity(record))
    write_json(folder / "config.json", record)
    stage, config = method.stages[place.stage], record["config"]
    line = f"{path}: goes on from {place.earlier + place.steps:,} to {config['steps']:,} steps in total{notes}"
    if config.get("anneal") and stage.unit == "steps":
        line += (
            f"; the learning rate goes on at {1 - place.steps / stage.budget:.0%} of {config['lr']:g} and falls to 0"
        )
    display.say(line)


def copy_files(path: Path, folder: Path, names: Sequence[str]) -> None:
    """Copy those files that there are."""
    for name in names:
        if (path / name).exists():
            write_bytes(folder / name, (path / name).read_bytes())


def starting_status(plan: Extension) -> tuple[Status | None, int, str]:
    """The state from which a run is extended (None: the beginning), how much of its log belongs to it, and a note."""
    if is_finished(plan.path):
        return finished_status(plan)
    if not (plan.path / CHECKPOINT).exists():
        return None, 0, ""
    status, offset = load_status(plan.path, plan.env, plan.before)
    if status.unlogged:
        stage, fit = plan.method.stages[status.stage], FitConfig(**plan.record["fit"])
        due = count_due_evaluations(stage, status.loop, cadence(stage, fit)[1], fit.evaluations)
        status = status._replace(unlogged=status.unlogged._replace(due_before=due))
    return status, offset, ""


def finished_status(plan: Extension) -> tuple[Status, int, str]:
    """The last state of a finished run; where it kept none, its best parameters with new optimisers."""
    path, record, method, place = plan.path, plan.record, plan.method, plan.place
    root = jax.random.key(record["seed"])
    params = {name: load_role(path, name, part) for name, part in roles_and_critic(method).items()}
    fresh = jit_unoptimised(method.init)(jax.random.fold_in(root, 0x1417))
    if (path / LAST).exists():
        state, note = load_last(path / LAST, fresh), ""
    else:
        assert method.with_params is not None
        state = unshared(method.copy_targets(method.with_params(fresh, params)))
        note = ", from its best parameters with new optimisers"
    if any(map(is_experience, jax.tree.leaves(fresh, is_leaf=is_experience))):
        note += ", and gathers experience anew"
    runner = stage_loop(plan.env, method.stages[place.stage], place.stage, 1)
    count = lambda x: jnp.asarray(x, jnp.int32)
    loop = runner.init_state(state, root)._replace(update=count(place.update), steps=count(place.steps))
    assert place.best is not None
    test = read_test(path / "eval.json", record)  # whose seconds are rounded
    seconds = max(line["seconds"] for line in (test, *logged(path)))
    log = path / "metrics.jsonl"
    status = Status(place.stage, loop, place.earlier, Best(*place.best, params), seconds)
    return status, log.stat().st_size if log.exists() else 0, note


# ---- going on, and taking the run's place ----------------------------------------------------------------------------
def has_begun(path: Path) -> bool:
    """Whether a run is being extended; raises Fault where a link lies in the place of its directory."""
    folder = path / EXTENSION
    if folder.is_symlink():
        raise Fault(f"{folder} is a link: nothing is written through it; take it away")
    return (folder / "config.json").exists() or is_finished(folder)


def remove_halfmade(path: Path) -> None:
    """Remove the directory of an extension that was killed while it was made, or when it had taken the run's place."""
    if (path / EXTENSION).is_dir() and not has_begun(path):
        shutil.rmtree(path / EXTENSION)


def take_place(path: Path) -> None:
    """Put a finished extension in the place of its run. After a kill in between, it is called again and goes on."""
    folder = path / EXTENSION
    (path / MANIFEST).unlink(missing_ok=True)  # what is half replaced is no finished run
    remove_leftovers(path)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name not in (MANIFEST, LOCK):
            target = path / file.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            os.replace(file, target)
    if (path / LAST).exists() and read_meta(path / LAST).get("run") != identity_of(path):
        (path / LAST).unlink()  # of before; one that was recovered has no other
    os.replace(folder / MANIFEST, path / MANIFEST)
    remove_halfmade(path)
