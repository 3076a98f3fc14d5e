"""Going on with an unfinished run, or making a finished run of its best parameters so far."""

from __future__ import annotations

from pathlib import Path

from tutelage.configs.experiment import FitConfig
from tutelage.errors import BadInput
from tutelage.experiment.checkpoint import BEST, CHECKPOINT, load_best, read_best
from tutelage.experiment.fit import Evaluator
from tutelage.experiment.records import Record
from tutelage.experiment.run_directory import (
    abstract_teacher,
    device,
    load_role,
    read_record,
    rebuild,
    versions,
)
from tutelage.experiment.sinks import Display
from tutelage.experiment.status import Result
from tutelage.experiment.train_run import also, end_run, played, run_fit, tidy
from tutelage.experiment.trust import Trust, again, named_in
from tutelage.types import Environment, Method


def reopened(record: Record, path: Path) -> tuple[Environment, Method]:
    """The environment and method of a run that is not finished, with the teacher that it keeps."""
    teacher = None
    if record["teacher"]:
        teacher = abstract_teacher(record["teacher"])
        kept_as = lambda role: "teacher" if role == teacher.actor else role
        saved = {role: load_role(path, kept_as(role), policy) for role, policy in teacher.roles.items()}
        teacher = teacher._replace(params=saved)
    return rebuild(record, teacher)


def resume_run(path: Path, display: Display, trust: Trust = False) -> None:
    """Go on with one run; of a finished one nothing is left to do."""
    record = read_record(path, trust)
    if (path / "eval.json").exists():
        tidy(path)
        return
    for warning in (*moved(record), *stopped_before(path, record)):
        display.say(f"{path}: {warning}")
    env, method = reopened(record, path)
    going = (path / CHECKPOINT).exists()
    run_fit(path, env, method, FitConfig(**record["fit"]), record["seed"], display, going)


def moved(record: Record) -> list[str]:
    """What a resumed run is told where its numbers will round otherwise than until now."""
    now, then = {**device(), **versions()}, {**record["device"], **record["versions"]}
    names = {"kind": "device", "machine": "processor", "used": "cores", "jax": "jax", "jaxlib": "jaxlib"}
    changes = [f"{told} {then[key]}, now {now[key]}" for key, told in names.items() if then.get(key) != now[key]]
    same = "the same numbers, bit for bit, come of the same machine and as many cores alone"
    return [f"begun with {'; '.join(changes)}: {same}"] if changes else []


def stopped_before(path: Path, record: Record) -> list[str]:
    """What a run is told that a number ended which was none."""
    if not (path / BEST).exists():
        return []
    error = read_best(path / BEST).error
    way = f"`{again(path, named_in(record), 'recover')}` makes a finished run of the best so far"
    return [f"it was stopped, as {error}; on the same machine the same numbers come again; {way}"]


def recover_run(path: Path, display: Display, trust: Trust = False) -> None:
    """Make a finished run of the best parameters so far, tested.

    Raises:
        BadInput: it is finished, or nothing of it was ever evaluated.
    """
    record = read_record(path, trust)
    if (path / "eval.json").exists():
        raise BadInput(f"{path} is finished: there is nothing to recover")
    env, method = reopened(record, path)
    config, seed = FitConfig(**record["fit"]), record["seed"]
    found = load_best(path, method)
    if found is None:
        raise BadInput(f"{path} was stopped before its first evaluation: there is nothing to recover, train it again")
    best, about = found
    display.say(f"{path}: the best evaluation had success {best.success_rate:.3f}; it is tested now")
    test = Evaluator(env, method, method.actor, config, seed).test(best.params)
    more = also(method, config, played(env, method, config, seed, best.params))
    result = Result(best.params, test, about.seconds, about.total_steps)
    end_run(path, result, seed, more | {"recovered": {"error": about.error}})
