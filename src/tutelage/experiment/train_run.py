"""Training into run directories: one seed, or all seeds of a job together."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tutelage.configs.experiment import FitConfig
from tutelage.data.collect import CollectorState
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment.arrays import load_tree, save_tree
from tutelage.experiment.checkpoint import BEST, load_status
from tutelage.experiment.evaluate import evaluate_together
from tutelage.experiment.files import read_json, write_json
from tutelage.experiment.fit import fit_together
from tutelage.experiment.init_source import Source, Taken, take
from tutelage.experiment.job import Job
from tutelage.experiment.make_record import make_record
from tutelage.experiment.manifest import write_manifest
from tutelage.experiment.read_records import read_metrics
from tutelage.experiment.recorder import RunRecorder
from tutelage.experiment.records import Record
from tutelage.experiment.role_files import roles_and_critic, save_params, write_roles
from tutelage.experiment.sinks import Display
from tutelage.experiment.status import FitResult, Status
from tutelage.experiment.trust import code_named_in, command_for
from tutelage.policies.acting import RULES
from tutelage.types import Environment, Frozen, Method, Params

INIT = "init.safetensors"
"""File of the weights that a run begins with, where they are another run's."""
ON_ACCELERATOR = (
    "warning: evaluations on an accelerator have been wrong; check what comes of this on a CPU, with "
    '`JAX_PLATFORMS=cpu tutelage eval RUN` (docs/faq.md, "Does an accelerator help?")'
)


@contextmanager
def stop_on_signals(recorders: Sequence[RunRecorder]) -> Iterator[Sequence[RunRecorder]]:
    """During the block, Ctrl-C and SIGTERM ask the first recorder to stop, and SIGHUP is ignored; then all are closed.

    Raises:
        Interrupted: a signal came after the training had finished. The run is complete; nothing further is begun.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    stop = recorders[0].stop
    signals: dict[Any, Any] = dict.fromkeys((signal.SIGINT, signal.SIGTERM), stop) if in_main_thread else {}
    if in_main_thread and hasattr(signal, "SIGHUP"):
        signals[signal.SIGHUP] = signal.SIG_IGN
    old_handlers = {number: signal.signal(number, handler) for number, handler in signals.items()}
    try:
        yield recorders
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        for recorder in recorders:
            recorder.close()
    if recorders[0].interrupted():
        raise Interrupted


@contextmanager
def mention_recover(folder: Path, record: Path) -> Iterator[None]:
    """Add to a NonFinite error of the block how to recover the best parameters so far, where there are any.

    Args:
        folder: the directory that the user knows.
        record: the config.json of a run in it.
    """
    try:
        yield
    except NonFinite as error:
        command = command_for(folder, code_named_in(read_json(record)), "recover")
        advice = f"the best parameters so far are kept: `{command}` makes a finished run of them"
        raise NonFinite(f"{error}; {advice}" if [*folder.glob(f"**/{BEST}")] else str(error)) from error


def fit_into(
    folder: Path,
    paths: Sequence[Path],
    env: Environment,
    method: Method,
    config: FitConfig,
    seeds: Sequence[int],
    display: Display,
    resumed: bool = False,
    given: Sequence[Mapping[str, Params]] | None = None,
) -> None:
    """Train into run directories that have their config.json, one per seed; progress is shown for the first one.

    Args:
        folder: the directory that the user knows.
        resumed: go on from the checkpoint, of a single seed, instead of from the beginning.
        given: parameters by role with which each seed begins, in place of new ones.
    """
    status, offset = load_status(paths[0], env, method) if resumed else (None, None)
    if status is not None and env.on_host:
        status = with_ended_episodes(status)
        display.say(f"{folder}: its episodes begin anew: what state the environment was in is not kept")
    if offset:
        read_metrics(paths[0] / "metrics.jsonl", offset)  # what is kept of it must be whole
    displays = [display, *(Display(True, display.listeners) for _ in paths[1:])]
    seed_recorders = [
        RunRecorder(path, config, shown, offset, status) for path, shown in zip(paths, displays, strict=True)
    ]
    with stop_on_signals(seed_recorders) as recorders, mention_recover(folder, paths[0] / "config.json"):
        results = fit_together(env, method, config, seeds, recorders, status, given)
        extra = extra_evaluations(env, method, config, seeds, [result.params for result in results])
        for path, result, seed, tests in zip(paths, results, seeds, extra, strict=True):
            write_finished_run(path, result, seed, tests)


def with_ended_episodes(status: Status) -> Status:
    """A state from which collection begins new episodes: those in progress count as cut off."""

    def ended(collector: CollectorState) -> CollectorState:
        return collector._replace(timestep=collector.timestep._replace(last=jnp.ones_like(collector.timestep.last)))

    collectors = {name: ended(collector) for name, collector in status.loop.collectors.items()}
    return status._replace(loop=status.loop._replace(collectors=collectors))


def extra_evaluations(
    env: Environment, method: Method, config: FitConfig, seeds: Sequence[int], params: Sequence[Mapping[str, Params]]
) -> list[dict[str, Any]]:
    """Evaluations that eval.json holds beside the final test, per seed: of further roles, and with greedy actions."""

    def test(role: str, act: str) -> list[dict[str, Any]]:
        policy, of_role = method.roles[role], [own[role] for own in params]
        found = evaluate_together(env, policy, of_role, config.test_episodes, seeds, RULES[act])
        return [evaluation.as_dict() for evaluation in found]

    beside = {role: test(role, config.act) for role in method.also_tested}
    greedy = test(method.actor, "greedy") if config.act != "greedy" else []
    return [
        ({"beside": {role: tests[i] for role, tests in beside.items()}} if beside else {})
        | ({"greedy": greedy[i]} if greedy else {})
        for i in range(len(seeds))
    ]


def write_finished_run(path: Path, result: FitResult, seed: int, extra: dict[str, Any]) -> None:
    """Write the parameters, eval.json and the manifest of a finished run, and remove its checkpoints."""
    save_params(path, result.params)
    test = {**result.test.as_dict(), "seed": seed, "steps": result.steps, "seconds": round(result.seconds, 2)}
    write_json(path / "eval.json", test | extra)
    write_manifest(path, tuple(result.params))
    remove_leftovers(path)


def leftover_files(path: Path) -> list[Path]:
    """Checkpoints, weights to begin with and temporary files; a kill at the very end leaves them in a finished run."""
    names = re.compile(r"(checkpoint(-stage\d+)?|best|init)\.safetensors|\..*\.tmp")
    return [file for file in path.iterdir() if names.fullmatch(file.name)]


def remove_leftovers(path: Path) -> None:
    """Remove the `leftover_files` of a finished run."""
    for file in leftover_files(path):
        file.unlink(missing_ok=True)


def start_run(
    job: Job,
    seed: int,
    path: Path,
    teacher: tuple[Frozen, Record] | None,
    init: tuple[Source, Record] | None,
    display: Display,
) -> None:
    """Train one run from the beginning. All checks are made before anything is written."""
    frozen = teacher[0] if teacher else None
    env, method, config = job.make(frozen, display)
    taken = take(init[0], job.method, method, env.spec) if init else None
    if frozen is not None:
        save_params(path, teacher_params(frozen))
    write_beginning(job, seed, path, env, method, config, teacher, begin_with(path, init, taken, display))
    fit_into(path, [path], env, method, config, [seed], display, given=[taken.params] if taken else None)


def begin_with(path: Path, init: tuple[Source, Record] | None, taken: Taken | None, display: Display) -> Record | None:
    """Keep the weights that a run begins with, and tell of them; returns their entry in config.json."""
    if init is None or taken is None:
        return None
    for note in taken.notes:
        display.say(note)
    save_tree(path / INIT, taken.params)
    return {**init[1], "taken": [*taken.params]}


def load_beginning(path: Path, record: Record, method: Method) -> list[Params] | None:
    """The weights that a run begins with, for `fit_into`; None where all are new."""
    if not record.get("init"):
        return None
    parts, key = roles_and_critic(method), jax.random.key(0)
    template = {name: jax.eval_shape(parts[name].init, key) for name in record["init"]["taken"]}
    return [load_tree(path / INIT, template)[0]]


def write_beginning(
    job: Job,
    seed: int,
    path: Path,
    env: Environment,
    method: Method,
    config: FitConfig,
    teacher: tuple[Frozen, Record] | None,
    init: Record | None = None,
) -> None:
    """Write what a run's roles are made of, and its config.json last: a directory with it can be resumed."""
    frozen, teacher_record = teacher or (None, None)
    settings = job.env, env, job.env_options, job.method_config(), config, seed
    record = make_record(job.method, *settings, teacher_record, init)
    if job.together:
        record["device"] |= {"together": job.seeds}
    write_roles(path, record, env, method, frozen.provides if frozen else ())
    write_json(path / "config.json", record)


def start_runs_together(job: Job, folder: Path, inits: Sequence[tuple[Source, Record]], display: Display) -> None:
    """Train the runs of all seeds in one program, each from its own source where there are `inits`."""
    env, method, config = job.make(None, display)
    if jax.default_backend() != "cpu":
        display.say(ON_ACCELERATOR)
    seeds = range(job.seed, job.seed + job.seeds)
    paths = [job.path(folder, seed) for seed in seeds]
    each = [take(init[0], job.method, method, env.spec) for init in inits]
    for i, (seed, path) in enumerate(zip(seeds, paths, strict=True)):
        begun = begin_with(path, inits[i], each[i], display) if each else None
        write_beginning(job, seed, path, env, method, config, None, begun)
    fit_into(folder, paths, env, method, config, seeds, display, given=[taken.params for taken in each] or None)


def teacher_params(frozen: Frozen) -> dict[str, Any]:
    """A teacher's parameters by the role names under which the student's run keeps them."""
    return {("teacher" if role == frozen.actor else role): params for role, params in frozen.params.items()}
