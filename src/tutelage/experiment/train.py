"""Train, resume: the path from names and numbers to a run directory."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax

from tutelage.configs.experiment import FitConfig
from tutelage.envs.build import make
from tutelage.errors import BadInput, Fault, Interrupted
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.files import read_json, write_json
from tutelage.experiment.fit import Result, fit
from tutelage.experiment.recorder import RunRecorder, load_status
from tutelage.experiment.run import (
    LoadedRun,
    Record,
    abstract_teacher,
    load,
    load_role,
    make_record,
    read_record,
    rebuild,
    recorded_policies,
    save_role,
    seeds_of,
)
from tutelage.experiment.sinks import Display
from tutelage.experiment.teacher import find_teacher
from tutelage.policies.acting import RULES
from tutelage.registry import method_config, method_row, resolve
from tutelage.types import Environment, Frozen, Method


@dataclass(frozen=True)
class Job:
    """What a user asked for, as kept in plan.json of the output directory: enough to carry on after a kill."""

    method: str
    env: str
    env_options: dict[str, Any]
    config: dict[str, Any]
    fit: dict[str, Any]
    seed: int
    seeds: int
    teacher: str | None
    teacher_config: dict[str, Any]

    def method_config(self) -> Any:
        return method_config(self.method, **self.config)

    def teacher_job(self, seed: int) -> Job:
        """The training of this job's own teacher."""
        name = method_row(self.method).teacher
        assert name is not None
        return replace(self, method=name, config=self.teacher_config, seed=seed, seeds=1, teacher=None)


def run_fit(
    path: Path, env: Environment, method: Method, config: FitConfig, seed: int, display: Display, going: bool = False
) -> Result:
    """Fit into a run directory, from the beginning or from its checkpoint; Ctrl-C stops between chunks."""
    status, offset = load_status(path, env, method) if going else (None, None)
    recorder = RunRecorder(path, config, display, offset)
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, recorder.stop) if main else None
    try:
        result = fit(env, method, config, seed, recorder, status)
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
        recorder.close()
    for role, params in result.params.items():
        save_role(path, role, params)
    test = {**result.test.as_dict(), "seed": seed, "steps": result.steps, "seconds": round(result.seconds, 2)}

    def tested(role: str, act: str) -> dict[str, Any]:
        policy, params = method.roles[role], result.params[role]
        return evaluate(env, policy, params, config.test_episodes, seed, RULES[act]).as_dict()

    if method.beside:
        test["beside"] = {role: tested(role, config.act) for role in method.beside}
    if config.act != "greedy":
        test["greedy"] = tested(method.actor, "greedy")
    write_json(path / "eval.json", test)
    for leftover in path.glob("checkpoint*.safetensors"):
        leftover.unlink()
    return result


def begin_run(job: Job, seed: int, path: Path, teacher: tuple[Frozen, Record] | None, display: Display) -> None:
    """Make one run from its beginning. What can be refused is refused before anything is written."""
    env = make(job.env, **job.env_options)
    frozen, told = teacher or (None, None)
    config = job.method_config()
    method = resolve(method_row(job.method).factory)(env, config, frozen)
    for note in method.notes:
        display.say(note)
    fit_config = FitConfig(**job.fit)
    record = make_record(job.method, job.env, env, job.env_options, config, fit_config, seed, told)
    for role, params in frozen_roles(frozen).items() if frozen else ():
        save_role(path, role, params)
    write_json(path / "config.json", record)  # last: a directory with it can be resumed
    run_fit(path, env, method, fit_config, seed, display)


def frozen_roles(frozen: Frozen) -> dict[str, Any]:
    """A teacher's parameters by the roles they have in the student's run."""
    return {("teacher" if role == frozen.actor else role): params for role, params in frozen.params.items()}


def resume_run(path: Path, display: Display) -> None:
    """Go on with one run; of a finished one nothing is left to do."""
    record = read_record(path)
    if (path / "eval.json").exists():
        return
    teacher = None
    if record["teacher"]:
        teacher = abstract_teacher(record["teacher"])
        roles, _ = recorded_policies(record["teacher"])
        saved = {r: load_role(path, "teacher" if r == teacher.actor else r, policy) for r, policy in roles.items()}
        teacher = teacher._replace(params=saved)
    env, method = rebuild(record, teacher)
    going = (path / "checkpoint.safetensors").exists()
    run_fit(path, env, method, FitConfig(**record["fit"]), record["seed"], display, going)


def carry_on(job: Job, folder: Path, display: Display) -> list[LoadedRun]:
    """Do what is not done yet: every seed, each preceded by its own teacher where none was named.

    Raises:
        Interrupted: stopped by Ctrl-C; says how to go on.
    """
    try:
        return finish(job, folder, display)
    except Interrupted:
        raise Interrupted(f"stopped and saved; go on with `tutelage resume {folder}`") from None


def finish(job: Job, folder: Path, display: Display) -> list[LoadedRun]:
    """`carry_on` without its advice."""
    runs = []
    for index in range(job.seeds):
        seed = job.seed + index
        path = folder if job.seeds == 1 else folder / f"seed-{seed}"
        if (path / "config.json").exists():
            resume_run(path, display)
        else:
            teacher = None
            if method_row(job.method).teacher is not None:
                if job.teacher is None:
                    finish(job.teacher_job(seed), path / "teacher", display)
                name = job.teacher or str(path / "teacher")
                teacher = find_teacher(name, job.env, make(job.env, **job.env_options), job.env_options, index)
            begin_run(job, seed, path, teacher, display)
        runs.append(load(path))
    return runs


def resume(path: str | Path, quiet: bool = False) -> list[LoadedRun]:
    """Go on with what was stopped or killed: one run, or all seeds of a parent directory.

    Raises:
        BadInput: not a run. Fault: damaged files.
    """
    path = Path(path)
    display = Display(quiet)
    if (path / "plan.json").exists():
        try:
            job = Job(**read_json(path / "plan.json"))
        except TypeError as error:
            raise Fault(f"{path}/plan.json is damaged: {error}") from None
        return carry_on(job, path, display)
    for run in seeds_of(path):
        try:
            resume_run(run, display)
        except Interrupted:
            raise Interrupted(f"stopped and saved; go on with `tutelage resume {path}`") from None
    return [load(run) for run in seeds_of(path)]


def check(job: Job) -> None:
    """Refuse what is impossible before hours are spent: the method is begun, with a teacher of the right shape."""
    row, env = method_row(job.method), make(job.env, **job.env_options)
    frozen = None
    if row.teacher is not None and job.teacher is not None:
        frozen, _ = find_teacher(job.teacher, job.env, env, job.env_options)
    elif row.teacher is not None:
        teacher = job.teacher_job(job.seed)
        draft = resolve(method_row(teacher.method).factory)(env, teacher.method_config(), None)
        params = {role: jax.eval_shape(p.init, jax.random.key(0)) for role, p in draft.roles.items()}
        frozen = Frozen(draft.roles, params, frozenset({"logits", "features", "critic"}), {})
    jax.eval_shape(resolve(row.factory)(env, job.method_config(), frozen).init, jax.random.key(0))


def train(
    method: str,
    env: str,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    seeds: int = 1,
    preset: str | None = None,
    teacher: str | Path | None = None,
    teacher_config: dict[str, Any] | None = None,
    env_options: dict[str, Any] | None = None,
    fit: FitConfig | None = None,
    quiet: bool = False,
    **settings: Any,
) -> list[LoadedRun]:
    """Train a method on an environment.

    Args:
        method, env: names from `tutelage list`, e.g. `"kd_marl"`, `"smax/3s_vs_5z"`; env may be `module:factory`.
        out: directory to create; default `runs/METHOD-ENV-seedN`.
        seed, seeds: first seed and how many; with several, one sub-run per seed.
        preset: named settings of the method.
        teacher: run directory, `scripted:NAME` or `module:factory`. A method that needs one and is given none
            trains its usual teacher first, as the run OUT/teacher.
        teacher_config: settings of that teacher's training.
        env_options: options of the environment.
        fit: evaluation and checkpointing.
        quiet: no progress on standard error.
        **settings: fields of the method's config.

    Returns:
        The finished runs, one per seed.

    Raises:
        BadInput: anything unknown or impossible; nothing is written. Fault: the run broke.
    """
    row = method_row(method)
    if seeds < 1:
        raise BadInput(f"seeds = {seeds}: must be at least 1")
    if teacher is not None and row.teacher is None:
        raise BadInput(f"teacher = {str(teacher)!r}: {method} learns by itself and takes none")
    if teacher_config and (row.teacher is None or teacher is not None):
        raise BadInput("teacher_config: only used where a teacher is trained first")
    teacher_settings = asdict(method_config(row.teacher, **(teacher_config or {}))) if row.teacher else {}
    job = Job(
        method=method,
        env=env,
        env_options=dict(env_options or {}),
        config=asdict(method_config(method, preset, **settings)),
        fit=asdict(fit or FitConfig()),
        seed=seed,
        seeds=seeds,
        teacher=str(teacher) if teacher is not None else None,
        teacher_config=teacher_settings,
    )
    folder = Path(out) if out else Path("runs") / f"{method}-{env.replace('/', '-').replace(':', '-')}-seed{seed}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"out = {folder}: exists already; resume it with `tutelage resume {folder}` or name another")
    check(job)
    write_json(folder / "plan.json", asdict(job))
    return carry_on(job, folder, Display(quiet))
