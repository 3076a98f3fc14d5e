"""Training into run directories: one seed, or all seeds of a job together, from the beginning or a checkpoint."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax

from tutelage.configs.experiment import FitConfig
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment.checkpoint import BEST, load_status
from tutelage.experiment.evaluate import Evaluation, evaluate
from tutelage.experiment.files import read_json, write_json
from tutelage.experiment.fit import fit
from tutelage.experiment.fit_together import evaluate_together, fit_together
from tutelage.experiment.job import Job
from tutelage.experiment.recorder import RunRecorder
from tutelage.experiment.records import Record, read_metrics
from tutelage.experiment.run_directory import make_record, save_role
from tutelage.experiment.sinks import Display
from tutelage.experiment.status import Result
from tutelage.experiment.trust import again, named_in
from tutelage.policies.acting import RULES
from tutelage.types import Environment, Frozen, Method, Params

ON_ACCELERATOR = (
    "warning: evaluations on an accelerator have been wrong; check what comes of this on a CPU, with "
    '`JAX_PLATFORMS=cpu tutelage eval RUN` (docs/faq.md, "Does an accelerator help?")'
)


@contextmanager
def stoppable(recorders: Sequence[RunRecorder]) -> Iterator[Sequence[RunRecorder]]:
    """Ctrl-C, and what ends a job in a queue (SIGTERM), is heard by the first recorder; at the end all are closed.
    A terminal that goes (SIGHUP) stops nothing.

    Raises:
        Interrupted: it came when there was nothing left to stop; the run is done, what would follow is not begun.
    """
    main = threading.current_thread() is threading.main_thread()
    signals: dict[Any, Any] = dict.fromkeys((signal.SIGINT, signal.SIGTERM), recorders[0].stop) if main else {}
    if main and hasattr(signal, "SIGHUP"):
        signals[signal.SIGHUP] = signal.SIG_IGN
    before = {which: signal.signal(which, handler) for which, handler in signals.items()}
    try:
        yield recorders
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
        for recorder in recorders:
            recorder.close()
    if recorders[0].interrupted():
        raise Interrupted


@contextmanager
def recoverable(folder: Path, record: Path) -> Iterator[None]:
    """Where a training ends with a number that is none, its error also says what can be made of it.

    Args:
        record: the config.json of a run in the folder.
    """
    try:
        yield
    except NonFinite as error:
        command = again(folder, named_in(read_json(record)), "recover")
        way = f"the best parameters so far are kept: `{command}` makes a finished run of them"
        raise NonFinite(f"{error}; {way}" if [*folder.glob(f"**/{BEST}")] else str(error)) from error


def run_fit(
    path: Path, env: Environment, method: Method, config: FitConfig, seed: int, display: Display, going: bool = False
) -> Result:
    """Fit into a run directory, from the beginning or from its checkpoint; Ctrl-C stops between pieces of a chunk."""
    status, offset = load_status(path, env, method) if going else (None, None)
    if offset:
        read_metrics(path / "metrics.jsonl", offset)  # what is kept of it must be whole
    recorder = RunRecorder(path, config, display, offset, status)
    with stoppable([recorder]), recoverable(path, path / "config.json"):
        result = fit(env, method, config, seed, recorder, status)
        end_run(path, result, seed, also(method, config, played(env, method, config, seed, result.params)))
    return result


def played(
    env: Environment, method: Method, config: FitConfig, seed: int, params: Mapping[str, Params]
) -> Callable[[str, str], Evaluation]:
    """(role, how it acts) -> its final test."""
    return lambda role, act: evaluate(env, method.roles[role], params[role], config.test_episodes, seed, RULES[act])


def also(method: Method, config: FitConfig, played: Callable[[str, str], Evaluation]) -> dict[str, Any]:
    """What is evaluated beside the final test, by role and by how it acts."""
    told: dict[str, Any] = {}
    if method.also_tested:
        told["beside"] = {role: played(role, config.act).as_dict() for role in method.also_tested}
    if config.act != "greedy":
        told["greedy"] = played(method.actor, "greedy").as_dict()
    return told


def end_run(path: Path, result: Result, seed: int, more: dict[str, Any]) -> None:
    """Write what a finished run is known by."""
    for role, params in result.params.items():
        save_role(path, role, params)
    test = {**result.test.as_dict(), "seed": seed, "steps": result.steps, "seconds": round(result.seconds, 2)}
    write_json(path / "eval.json", test | more)
    tidy(path)


def leftovers(path: Path) -> list[Path]:
    """Files of a training that a finished run has no use for; a kill at the very end leaves them."""
    names = re.compile(r"(checkpoint(-stage\d+)?|best)\.safetensors|\..*\.tmp")
    return [file for file in path.iterdir() if names.fullmatch(file.name)]


def tidy(path: Path) -> None:
    """Remove them."""
    for file in leftovers(path):
        file.unlink(missing_ok=True)


def begin_run(job: Job, seed: int, path: Path, teacher: tuple[Frozen, Record] | None, display: Display) -> None:
    """Make one run from its beginning. What can be refused is refused before anything is written."""
    frozen, told = teacher or (None, None)
    env, method, config = job.made(frozen, display)
    for role, params in frozen_roles(frozen).items() if frozen else ():
        save_role(path, role, params)
    write_record(job, seed, path, env, config, told)  # last: a directory with it can be resumed
    run_fit(path, env, method, config, seed, display)


def write_record(job: Job, seed: int, path: Path, env: Environment, config: FitConfig, teacher: Record | None) -> None:
    """Write a run's config.json."""
    record = make_record(job.method, job.env, env, job.env_options, job.method_config(), config, seed, teacher)
    if job.together:
        record["device"] |= {"together": job.seeds}
    write_json(path / "config.json", record)


def begin_together(job: Job, folder: Path, display: Display) -> None:
    """Make the runs of all seeds in one program. Progress is told of the first one."""
    env, method, config = job.made(None, display)
    if jax.default_backend() != "cpu":
        display.say(ON_ACCELERATOR)
    seeds = range(job.seed, job.seed + job.seeds)
    paths = [job.path(folder, seed) for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        write_record(job, seed, path, env, config, None)
    voices = [display, *(Display(quiet=True) for _ in paths[1:])]
    made = [RunRecorder(path, config, voice) for path, voice in zip(paths, voices, strict=True)]
    with stoppable(made) as recorders, recoverable(folder, paths[0] / "config.json"):
        results = fit_together(env, method, config, seeds, recorders)

        @cache
        def all_played(role: str, act: str) -> list[Evaluation]:
            params = [result.params[role] for result in results]
            return evaluate_together(env, method.roles[role], params, config.test_episodes, seeds, RULES[act])

        def one_of(index: int, role: str, act: str) -> Evaluation:
            return all_played(role, act)[index]

        for i, (path, result, seed) in enumerate(zip(paths, results, seeds, strict=True)):
            end_run(path, result, seed, also(method, config, partial(one_of, i)))


def frozen_roles(frozen: Frozen) -> dict[str, Any]:
    """A teacher's parameters by the roles they have in the student's run."""
    return {("teacher" if role == frozen.actor else role): params for role, params in frozen.params.items()}
