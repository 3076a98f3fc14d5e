"""The functions that a user calls to make runs: train, resume, recover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tutelage.configs.experiment import FitConfig
from tutelage.configs.term import named_code
from tutelage.envs.build import make
from tutelage.errors import BadInput, Fault, Interrupted
from tutelage.experiment.files import check_no_file_above, write_json
from tutelage.experiment.find_teacher import find_teacher, run_and_role, seed_run
from tutelage.experiment.init_source import Source, find_init, take, with_settings_of
from tutelage.experiment.job import Job, new_job, read_job, run_paths
from tutelage.experiment.listeners import Listener, Listeners
from tutelage.experiment.manifest import is_finished
from tutelage.experiment.memory_check import check_instances, check_training
from tutelage.experiment.more_steps import EXTENSION, extend_runs
from tutelage.experiment.prepare import make_env_and_method
from tutelage.experiment.records import Record
from tutelage.experiment.resume_run import recover_run, resume_run
from tutelage.experiment.run_directory import LoadedRun, load
from tutelage.experiment.run_lock import LOCK, exclusive, remove_stale_locks
from tutelage.experiment.run_record import read_settings, seed_runs
from tutelage.experiment.sinks import Display
from tutelage.experiment.teachers import teaching_team
from tutelage.experiment.train_run import leftover_files, start_run, start_runs_together
from tutelage.experiment.trust import Trust, code_named_in, command_for, user_code
from tutelage.machine import check_machine
from tutelage.registry import method_config, method_row


def continue_job(job: Job, folder: Path, display: Display, trust: Trust) -> list[LoadedRun]:
    """Train every seed of a job that is not finished; `run_job` with advice on how to continue.

    Raises:
        Interrupted: stopped by Ctrl-C; names the command that continues.
    """
    try:
        return run_job(job, folder, display, trust)
    except Interrupted:
        raise Interrupted(f"stopped and saved; go on with `{command_for(folder, job.user_code())}`") from None


def run_job(job: Job, folder: Path, display: Display, trust: Trust) -> list[LoadedRun]:
    """Train every seed of a job that is not finished, each after its own teacher where the user named none.

    Returns:
        The finished runs, one per seed.
    """
    seeds = range(job.seed, job.seed + job.seeds)
    if job.together and not any((job.path(folder, seed) / "config.json").exists() for seed in seeds):
        with exclusive([folder, *(job.path(folder, seed) for seed in seeds)]):
            inits = [found for seed in seeds if (found := find_init_of(job, seed, folder, trust))]
            start_runs_together(job, folder, inits, display)
    for seed in seeds:
        path = job.path(folder, seed)
        if is_cleared(path):
            remove_stale_locks([path])
        else:
            check_no_link(folder, path)
            with exclusive([path]):
                run_seed(job, seed, folder, display, trust)
    return [load(job.path(folder, seed), trust) for seed in seeds]


def is_cleared(path: Path) -> bool:
    """Whether a run is finished, is not being extended, and its checkpoints are removed."""
    return is_finished(path) and not leftover_files(path) and not (path / EXTENSION).exists()


def check_no_link(folder: Path, path: Path) -> None:
    """Raise Fault where a seed's run directory is a symbolic link: it may lead to somebody else's files."""
    if path != folder and path.is_symlink():
        raise Fault(f"{path} is a link: nothing is written through it; put a directory in its place")


def run_seed(job: Job, seed: int, folder: Path, display: Display, trust: Trust) -> None:
    """Train one seed of a job, or continue it; its own teacher is trained first where the user named none."""
    path = job.path(folder, seed)
    if (path / "config.json").exists():
        resume_run(path, display, trust)
        return
    teacher = None
    if method_row(job.method).teacher is not None:
        name = job.teacher_name(folder)
        if name is None:
            check_no_link(folder, path / "teacher")
            run_job(job.teacher_job(seed), path / "teacher", display, trust)
            name = str(path / "teacher")
        teacher = find_teacher(name, job.env, make(job.env, **job.env_options), job.env_options, seed, trust)
    start_run(job, seed, path, teacher, find_init_of(job, seed, folder, trust), display)


def find_init_of(job: Job, seed: int, folder: Path, trust: Trust) -> tuple[Source, Record] | None:
    """What a seed of a job starts from, where that is a run."""
    name = job.init_name(folder)
    return find_init(name, seed, trust) if name is not None else None


def resume(path: str | Path, quiet: bool = False, trust: bool = False, *, steps: int | None = None) -> list[LoadedRun]:
    """Continue what was stopped or killed: one run, or all seeds of a parent directory.

    Args:
        trust: import code that the run names and that is not built in.
        steps: train to so many steps in total, also what is finished. It stays as it is until that has come to its end.

    Raises:
        BadInput: not a run, or its settings were changed, or it has done so many steps. Fault: damaged files.
    """
    check_machine(training=True)
    path, display = Path(path), Display(quiet)
    if steps is not None:
        extend(path, steps, display, trust)
    if (path / "plan.json").exists():
        job = read_job(path / "plan.json", trust)
        if all(is_cleared(job.path(path, seed)) for seed in range(job.seed, job.seed + job.seeds)):
            remove_stale_locks([path])
            return run_job(job, path, display, trust)
        with exclusive([path]):
            return continue_job(job, path, display, trust)
    for run in seed_runs(path):
        code_names = code_named_in(read_settings(run, trust))
        if is_cleared(run):
            remove_stale_locks([run])
            continue
        try:
            with exclusive([run]):
                resume_run(run, display, trust)
        except Interrupted:
            raise Interrupted(f"stopped and saved; go on with `{command_for(path, code_names)}`") from None
    return [load(run, trust) for run in seed_runs(path)]


def extend(path: Path, steps: int, display: Display, trust: Trust) -> None:
    """Begin to extend the runs of a directory to so many steps in total, see `extend_runs`."""
    job = read_job(path / "plan.json", trust) if (path / "plan.json").exists() else None
    runs = seed_runs(path)
    for run in runs if job is None else []:
        read_settings(run, trust)
    if job is not None:
        runs = [job.path(path, seed) for seed in range(job.seed, job.seed + job.seeds)]
    begun = [run for run in runs if (run / "config.json").exists()]
    with exclusive([path, *begun]):
        extend_runs(begun, steps, display, trust)
        if job is not None:  # seeds that have not begun
            config = asdict(method_config(job.method, **{**job.config, "steps": steps}))
            write_json(path / "plan.json", asdict(replace(job, config=config)))


def recover(path: str | Path, quiet: bool = False, trust: bool = False) -> list[LoadedRun]:
    """Turn stopped runs into finished ones, with their best parameters so far: one run, or all seeds of a directory.

    Use it where training cannot continue (a loss became NaN) or should not. The parameters are tested. Of several
    seeds, those that are finished or were never evaluated stay as they are.

    Args:
        trust: import code that the run names and that is not built in.

    Raises:
        BadInput: not a run, finished, or never evaluated. Fault: damaged files.
    """
    path, display = Path(path), Display(quiet)
    runs, refusals = seed_runs(path), []
    for run in runs:
        read_settings(run, trust)
        try:
            with exclusive([run]):
                recover_run(run, display, trust)
        except BadInput as refusal:
            refusals.append(refusal)
    if len(refusals) == len(runs):
        raise refusals[0]
    return [load(run, trust) for run in runs if is_finished(run)]


def check_job(job: Job, trust: Trust) -> None:
    """Raise BadInput for a job that cannot be trained: the method is built from shapes, and its memory is estimated."""
    row, env, fit = method_row(job.method), make(job.env, **job.env_options), FitConfig(**job.fit)
    for config in (job.config, job.teacher_config):
        if "envs" in config:
            check_instances(env, "envs", config["envs"])  # before methods are made, which count on as many
    if job.together and env.on_host:
        raise BadInput(f"together = True: {job.env} runs on the host, where seeds are trained in turn")
    teacher = None
    if row.teacher is not None and job.teacher is not None:
        if found := run_and_role(job.teacher):
            for seed in range(job.seed, job.seed + job.seeds):
                seed_run(found[0], seed)
        teacher, _ = find_teacher(job.teacher, job.env, env, job.env_options, job.seed, trust)
    elif row.teacher is not None:
        teacher_job = job.teacher_job(job.seed)
        _, teacher_method = make_env_and_method(teacher_job.method, job.env, job.env_options, teacher_job.config)
        check_training(env, teacher_method, fit)
        teacher = teaching_team(teacher_job.method, teacher_method)
    _, method = make_env_and_method(job.method, job.env, job.env_options, job.config, teacher)
    if job.init is not None:
        for seed in range(job.seed, job.seed + job.seeds):
            take(find_init(job.init, seed, trust)[0], job.method, method, env.spec)
    check_training(env, method, fit, job.seeds if job.together else 1)


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
    init: str | Path | None = None,
    together: bool = False,
    trust: bool = False,
    env_options: dict[str, Any] | None = None,
    fit: FitConfig | None = None,
    quiet: bool = False,
    on_metrics: Listener | None = None,
    on_evaluation: Listener | None = None,
    **settings: Any,
) -> list[LoadedRun]:
    """Train a method on an environment.

    Args:
        method, env: names from `tutelage list`, e.g. `"kd_marl"`, `"smax/3s_vs_5z"`; env may be `module:factory`.
        out: directory to create; default `runs/METHOD-ENV-seedN`.
        seed, seeds: first seed and how many; with several, one sub-run per seed.
        preset: named settings of the method.
        teacher: run directory, `RUN@ROLE`, `scripted:NAME` or `module:factory`. A method that needs one and is
            given none trains its default teacher first, as the run OUT/teacher.
        teacher_config: settings of that teacher's training.
        init: run directory or `RUN@ROLE` whose weights training starts from. Its network is taken where `settings` say
            nothing else.
        together: train all seeds in one program, for an accelerator. What is stopped is resumed seed by seed.
        trust: import code that the run of teacher or init names and that is neither built in nor named in this call.
        env_options: options of the environment.
        fit: evaluation and checkpointing.
        quiet: no progress on standard error.
        on_metrics, on_evaluation: functions that are called with every record of metrics.jsonl (a dict) of that kind as
            it is written, with the run's directory as `run`.
        **settings: fields of the method's config.

    Returns:
        The finished runs, one per seed.

    Raises:
        BadInput: anything unknown or impossible; nothing is written. Fault: the run broke.
    """
    check_machine(training=True)
    if init is not None:
        source, _ = find_init(str(init), seed, trust or user_code((method, env, *named_code(settings))))
        settings = with_settings_of(source, method, settings, preset)
    job = new_job(method, env, seed, seeds, preset, teacher, teacher_config, together, env_options, fit, settings)
    folder = Path(out) if out else Path("runs") / f"{method}-{env.replace('/', '-').replace(':', '-')}-seed{seed}"
    job = replace(job, teacher_paths=run_paths(teacher, folder), init_paths=run_paths(init, folder))
    job = replace(job, init=str(init) if init is not None else None)
    trusted = trust or job.user_code()
    check_unused(folder, job.user_code())
    check_job(job, trusted)
    with exclusive([folder]):
        check_unused(folder, job.user_code())  # still, now that nobody else can begin in it
        write_json(folder / "plan.json", asdict(job))
        return continue_job(job, folder, Display(quiet, Listeners(on_metrics, on_evaluation)), trusted)


def check_unused(folder: Path, names: Iterable[str]) -> None:
    """Raise BadInput where the output directory is not empty, but for what a kill at the very beginning leaves.

    Args:
        names: the `module:name`s of the job, for the command in the message.
    """
    check_no_file_above(folder)
    own_files = {LOCK, ".plan.json.tmp"}
    if folder.exists() and (not folder.is_dir() or {file.name for file in folder.iterdir()} - own_files):
        is_run = folder.is_dir() and any((folder / name).exists() for name in ("plan.json", "config.json"))
        resume = f"resume it with `{command_for(folder, names)}` or name another"
        advice = resume if is_run else "name a new or empty directory"
        raise BadInput(f"out = {folder}: exists already; {advice}")
