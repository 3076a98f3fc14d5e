"""Train, resume: the path from names and numbers to a run directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from tutelage.configs.checks import check_seeds
from tutelage.configs.experiment import FitConfig
from tutelage.envs.build import make
from tutelage.errors import BadInput, Interrupted
from tutelage.experiment.files import write_json
from tutelage.experiment.job import Job, begin_run, begin_together, read_job, resume_run
from tutelage.experiment.run import LoadedRun, load, provided, seeds_of
from tutelage.experiment.sinks import Display
from tutelage.experiment.teacher import find_teacher, run_of_seed
from tutelage.experiment.yours import make_method
from tutelage.registry import check_teacher, method_config, method_row, options_kept
from tutelage.types import Frozen


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
    paths = [job.path(folder, job.seed + index) for index in range(job.seeds)]
    if job.together and not any((path / "config.json").exists() for path in paths):
        begin_together(job, folder, display)
    for index, path in enumerate(paths):
        seed = job.seed + index
        if (path / "config.json").exists():
            resume_run(path, display)
        else:
            teacher = None
            if method_row(job.method).teacher is not None:
                if job.teacher is None:
                    finish(job.teacher_job(seed), path / "teacher", display)
                name = job.teacher or str(path / "teacher")
                teacher = find_teacher(name, job.env, make(job.env, **job.env_options), job.env_options, seed)
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
        return carry_on(read_job(path / "plan.json"), path, display)
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
        if Path(job.teacher).is_dir():
            for seed in range(job.seed, job.seed + job.seeds):
                run_of_seed(Path(job.teacher), seed)
        frozen, _ = find_teacher(job.teacher, job.env, env, job.env_options, job.seed)
    elif row.teacher is not None:
        teacher = job.teacher_job(job.seed)
        draft = make_method(teacher.method, env, teacher.method_config(), None)
        params = {role: jax.eval_shape(p.init, jax.random.key(0)) for role, p in draft.roles.items()}
        frozen = Frozen(draft.roles, params, provided(teacher.method, draft.roles), {})
    jax.eval_shape(make_method(job.method, env, job.method_config(), frozen).init, jax.random.key(0))


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
    together: bool = False,
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
        together: all seeds in one program, their arrays side by side; for an accelerator. What is stopped is resumed
            seed by seed.
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
    check_seeds(seed, seeds)
    check_teacher(method, teacher)
    if teacher_config and (row.teacher is None or teacher is not None):
        raise BadInput("teacher_config: only used where a teacher is trained first")
    if together and (seeds == 1 or row.teacher is not None):
        why = f"seeds = {seeds}, must be at least 2" if seeds == 1 else f"{method} has a teacher for each seed"
        raise BadInput(f"together: {why}; without it seeds are trained in turn")
    teacher_settings = asdict(method_config(row.teacher, **(teacher_config or {}))) if row.teacher else {}
    job = Job(
        method=method,
        env=env,
        env_options=options_kept(env, env_options or {}),
        config=asdict(method_config(method, preset, **settings)),
        fit=asdict(fit or FitConfig()),
        seed=seed,
        seeds=seeds,
        teacher=str(teacher) if teacher is not None else None,
        teacher_config=teacher_settings,
        together=together,
    )
    folder = Path(out) if out else Path("runs") / f"{method}-{env.replace('/', '-').replace(':', '-')}-seed{seed}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        begun = folder.is_dir() and any((folder / name).exists() for name in ("plan.json", "config.json"))
        way = f"resume it with `tutelage resume {folder}` or name another" if begun else "name a new or empty directory"
        raise BadInput(f"out = {folder}: exists already; {way}")
    check(job)
    write_json(folder / "plan.json", asdict(job))
    return carry_on(job, folder, Display(quiet))
