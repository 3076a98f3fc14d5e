"""Going on with an unfinished run, or making a finished run of its best parameters so far."""

from __future__ import annotations

from pathlib import Path

from tutelage.configs.experiment import FitConfig
from tutelage.errors import BadInput
from tutelage.experiment.checkpoint import BEST, CHECKPOINT, load_best, read_kept_meta
from tutelage.experiment.checkpoint_meta import BestMeta
from tutelage.experiment.evaluator import Evaluator
from tutelage.experiment.make_record import device, versions
from tutelage.experiment.manifest import is_finished
from tutelage.experiment.more_steps import EXTENSION, has_begun, remove_halfmade, take_place
from tutelage.experiment.rebuild import rebuild_run
from tutelage.experiment.records import Record
from tutelage.experiment.run_lock import exclusive
from tutelage.experiment.run_record import read_settings
from tutelage.experiment.sinks import Display
from tutelage.experiment.status import FitResult
from tutelage.experiment.train_run import (
    extra_evaluations,
    fit_into,
    load_beginning,
    remove_leftovers,
    write_finished_run,
)
from tutelage.experiment.trust import Trust, code_named_in, command_for


def resume_run(path: Path, display: Display, trust: Trust = False, folder: Path | None = None) -> None:
    """Continue one run, or its extension, until it is finished; of a finished run only leftover files are removed.

    Args:
        folder: the run that the user knows, where this is its extension.
    """
    if has_begun(path):
        if not is_finished(path / EXTENSION):
            with exclusive([path / EXTENSION]):
                resume_run(path / EXTENSION, display, trust, path)
        take_place(path)
        return
    remove_halfmade(path)
    record = read_settings(path, trust)
    if is_finished(path):
        remove_leftovers(path)
        return
    known = folder or path
    for warning in (*machine_changes(record), *failure_notes(path, known, record)):
        display.say(f"{known}: {warning}")
    env, method = rebuild_run(path, record)
    resumed = (path / CHECKPOINT).exists()
    given = None if resumed else load_beginning(path, record, method)
    fit_into(known, [path], env, method, FitConfig(**record["fit"]), [record["seed"]], display, resumed, given)


def machine_changes(record: Record) -> list[str]:
    """Warnings where machine or packages are not those the run began with, so that results may round differently."""
    now, before = {**device(), **versions()}, {**record["device"], **record["versions"]}
    names = {"kind": "device", "machine": "processor", "used": "cores", "jax": "jax", "jaxlib": "jaxlib"}
    changes = [f"{label} {before[key]}, now {now[key]}" for key, label in names.items() if before.get(key) != now[key]]
    same = "the same numbers, bit for bit, come of the same machine and as many cores alone"
    return [f"begun with {'; '.join(changes)}: {same}"] if changes else []


def failure_notes(path: Path, known: Path, record: Record) -> list[str]:
    """A warning where the run was stopped by a non-finite value. `known`: the directory that the user knows."""
    if not (path / BEST).exists():
        return []
    error = read_kept_meta(path / BEST, BestMeta).error
    advice = f"`{command_for(known, code_named_in(record), 'recover')}` makes a finished run of the best so far"
    return [f"it was stopped, as {error}; on the same machine the same numbers come again; {advice}"]


def recover_run(path: Path, display: Display, trust: Trust = False) -> None:
    """Test the best parameters so far of an unfinished run or extension, and make it a finished one.

    Raises:
        BadInput: it is finished, or was never evaluated.
    """
    if has_begun(path) and not is_finished(path / EXTENSION):
        recover_run(path / EXTENSION, display, trust)
        take_place(path)
        return
    record = read_settings(path, trust)
    if is_finished(path):
        raise BadInput(f"{path} is finished: there is nothing to recover")
    env, method = rebuild_run(path, record)
    config, seed = FitConfig(**record["fit"]), record["seed"]
    best_so_far = load_best(path, method)
    if best_so_far is None:
        raise BadInput(f"{path} was stopped before its first evaluation: there is nothing to recover, train it again")
    best, meta = best_so_far
    display.say(f"{path}: the best evaluation had success {best.success_rate:.3f}; it is tested now")
    (test,) = Evaluator(env, method, config, [seed]).test([best.params])
    (extra,) = extra_evaluations(env, method, config, [seed], [best.params])
    result = FitResult(best.params, test, meta.seconds, meta.total_steps)
    write_finished_run(path, result, seed, extra | {"recovered": {"error": meta.error}})
