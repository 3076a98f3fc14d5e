"""Job: what a user asked `train` for, as it is kept in plan.json."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tutelage.configs.checks import check_positive, check_seeds
from tutelage.configs.experiment import FitConfig
from tutelage.configs.term import named_code
from tutelage.errors import BadInput, Fault, short
from tutelage.experiment.check_start import start_warnings
from tutelage.experiment.find_teacher import run_and_role, user_factory
from tutelage.experiment.prepare import make_env_and_method
from tutelage.experiment.read_records import MethodSettings, check_settings, read_checked
from tutelage.experiment.sinks import Display
from tutelage.experiment.stage_loop import check_step_counts
from tutelage.experiment.trust import Trust, check_trust, user_code
from tutelage.registry import check_teacher, method_config, method_row, stored_options
from tutelage.types import Environment, Frozen, Method


@dataclass(frozen=True)
class Job:
    """What a user asked for, as plan.json keeps it: everything that is needed to continue after a kill."""

    method: str
    env: str
    env_options: dict[str, Any]
    config: dict[str, Any]
    fit: dict[str, Any]
    seed: int
    seeds: int
    teacher: str | None
    teacher_config: dict[str, Any]
    together: bool = False
    teacher_paths: tuple[str, ...] = ()
    """Where the teacher is a directory: its absolute path, and its path relative to the output directory."""
    init: str | None = None
    """The run that training starts from: RUN or RUN@ROLE."""
    init_paths: tuple[str, ...] = ()
    """Its absolute path, and its path relative to the output directory."""

    def __post_init__(self) -> None:
        check_positive(self, "seeds")
        check_seeds(self.seed, self.seeds)
        for name in ("teacher_paths", "init_paths"):
            if len(getattr(self, name)) not in (0, 2):
                raise BadInput(f"{name} = {short(getattr(self, name))}: must be two, the absolute one first")

    def user_code(self) -> frozenset[str]:
        """The `module:name`s that the job names."""
        own = *named_code(self.config), *named_code(self.teacher_config)
        return user_code((self.method, self.env, user_factory(self.teacher), *own))

    def method_config(self) -> Any:
        return method_config(self.method, **self.config)

    def path(self, folder: Path, seed: int) -> Path:
        """The run directory of a seed within the output directory."""
        return folder if self.seeds == 1 else folder / f"seed-{seed}"

    def teacher_name(self, folder: Path) -> str | None:
        """The name under which the teacher is found now, see `found_run`."""
        return found_run(self.teacher, self.teacher_paths, folder, "teacher")

    def init_name(self, folder: Path) -> str | None:
        """The name under which the run is found now that training starts from, see `found_run`."""
        return found_run(self.init, self.init_paths, folder, "init")

    def make(self, teacher: Frozen | None, display: Display) -> tuple[Environment, Method, FitConfig]:
        """The environment and method to train, and the FitConfig; notes for the user are shown."""
        env, method = make_env_and_method(self.method, self.env, self.env_options, self.config, teacher)
        check_step_counts(method.stages)
        for note in (*method.notes, *start_warnings(env, self.config.get("normalise", False))):
            display.say(note)
        return env, method, FitConfig(**self.fit)

    def teacher_job(self, seed: int) -> Job:
        """The job that trains the teacher of a seed, where the user named none."""
        name = method_row(self.method).teacher
        assert name is not None
        return replace(
            self, method=name, config=self.teacher_config, seed=seed, seeds=1, teacher=None, init=None, init_paths=()
        )


def found_run(name: str | None, paths: tuple[str, ...], folder: Path, what: str) -> str | None:
    """The name under which a run is found now: at its absolute path, or at its path relative to `folder`.

    Args:
        paths: these two; () for what is no directory.
        what: it is of the job in `folder`, for the message.

    Raises:
        Fault: it is at neither place.
    """
    if not paths or name is None:
        return name
    absolute, relative = (Path(p) for p in paths)
    for place in (absolute, folder / relative):
        if place.is_dir():
            given = run_and_role(name)
            if given and given[0].samefile(place):
                return name
            _, at, role = Path(name).name.rpartition("@")
            return f"{place}@{role}" if at and not place.name.endswith(f"@{role}") else str(place)
    raise Fault(f"{folder}: its {what} is neither at {absolute} nor at {folder / relative}; put it back there")


def run_paths(name: str | Path | None, folder: Path) -> tuple[str, ...]:
    """The absolute path of the run that a name means, and its path relative to `folder`; () where it means none."""
    found = run_and_role(str(name)) if name is not None else None
    return (os.path.abspath(found[0]), os.path.relpath(found[0], folder)) if found else ()


def read_job(file: Path, trust: Trust = False, cls: type[Job] = Job) -> Job:
    """Read a job; raises Fault where the file is damaged, BadInput where it names code that is not trusted."""
    content = read_checked(file, cls)
    job = cls(**content)
    check_trust(file, job.user_code(), trust)
    check_settings(file, [MethodSettings("", job.method, job.config, job.env, job.env_options, job.fit)])
    default_teacher = method_row(job.method).teacher
    if job.teacher_config and default_teacher is None:
        raise Fault(f"{file} is damaged: teacher_config is there, and {job.method} takes no teacher")
    if default_teacher is not None:
        settings = default_teacher, job.teacher_config, job.env, job.env_options, job.fit
        check_settings(file, [MethodSettings("teacher_config: ", *settings)])
    return job


def new_job(
    method: str,
    env: str,
    seed: int,
    seeds: int,
    preset: str | None,
    teacher: str | Path | None,
    teacher_config: dict[str, Any] | None,
    together: bool,
    env_options: dict[str, Any] | None,
    fit: FitConfig | None,
    settings: dict[str, Any],
) -> Job:
    """The job for the arguments of `train`; raises BadInput where they are invalid."""
    row = method_row(method)
    if seeds < 1:
        raise BadInput(f"seeds = {seeds}: must be at least 1")
    check_seeds(seed, seeds)
    check_teacher(method, teacher)
    if teacher_config and (row.teacher is None or teacher is not None):
        raise BadInput("teacher_config: only used where a teacher is trained first")
    if together and (seeds == 1 or row.teacher is not None):
        reason = f"seeds = {seeds}, must be at least 2" if seeds == 1 else f"{method} has a teacher for each seed"
        raise BadInput(f"together: {reason}; without it seeds are trained in turn")
    teacher_settings = asdict(method_config(row.teacher, **(teacher_config or {}))) if row.teacher else {}
    return Job(
        method=method,
        env=env,
        env_options=stored_options(env, env_options or {}),
        config=asdict(method_config(method, preset, **settings)),
        fit=asdict(fit or FitConfig()),
        seed=seed,
        seeds=seeds,
        teacher=str(teacher) if teacher is not None else None,
        teacher_config=teacher_settings,
        together=together,
    )
