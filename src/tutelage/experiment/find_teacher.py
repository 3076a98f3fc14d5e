"""Finding a teacher: from the name that the user gave to a frozen teacher and a record of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.errors import BadInput, NonFinite
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.run_directory import (
    LoadedRun,
    Record,
    callable_teacher,
    load,
    provided_outputs,
    scripted_teacher,
    seed_runs,
    teaching_roles,
)
from tutelage.experiment.trust import Trust
from tutelage.types import Environment, Frozen

TEST_EPISODES = 128
"""Episodes on which a controller is evaluated before it teaches."""


def check_same_environment(run: LoadedRun, env_id: str, options: dict[str, Any]) -> None:
    """Raise BadInput where a teacher was trained on another environment or with other options of it."""
    trained_on, wanted_on = (run.record["env"], run.record["env_options"]), (env_id, options)
    if trained_on != wanted_on:
        names = [f"{name} {settings}" if settings else name for name, settings in (trained_on, wanted_on)]
        raise BadInput(f"teacher {run.path} was trained on {names[0]}, not on {names[1]}")


def teacher_from_run(run: LoadedRun, env_id: str, options: dict[str, Any]) -> tuple[Frozen, Record]:
    """A run as a frozen teacher, and its entry in the student's config.json.

    Raises:
        BadInput: it was trained on another environment.
    """
    check_same_environment(run, env_id, options)
    frozen = run.frozen
    roles = teaching_roles(frozen.roles, run.record["teacher"] is not None)
    params = {role: frozen.params[role] for role in roles}
    frozen = frozen._replace(roles=roles, params=params, provides=provided_outputs(run.record["method"], roles))
    record = {
        "kind": "run",
        "name": str(run.path),
        "env": env_id,
        "env_options": options,
        "record": run.record,
        "test": run.test,
    }
    return frozen, record


def seed_run(path: Path, seed: int | None) -> Path:
    """The run of a seed below a parent directory, or the single run itself; raises BadInput where there is none."""
    runs = seed_runs(path)
    if seed is None or runs == [path]:
        return runs[0]
    by_name = {run.name: run for run in runs}
    if f"seed-{seed}" not in by_name:
        raise BadInput(
            f"teacher {path} has no seed-{seed}; it has {', '.join(by_name)}: name one of them for all seeds"
        )
    return by_name[f"seed-{seed}"]


def user_factory(name: str | None) -> str | None:
    """The teacher's name if it is a user's `module:factory`; None for a run directory, a controller or no teacher."""
    return None if name is None or name.startswith("scripted:") or Path(name).is_dir() else name


def find_teacher(
    name: str,
    env_id: str,
    env: Environment,
    options: dict[str, Any],
    seed: int | None = None,
    trust: Trust = False,
) -> tuple[Frozen, Record]:
    """A frozen teacher, and its entry in the student's config.json.

    Args:
        name: `scripted:NAME`, a run directory, or `module:factory`.
        seed: which run of a parent directory; None: the first.
        trust: see `load`.

    Raises:
        BadInput: there is no such teacher, it is of another environment or not finished, or it returns bad values.
    """
    if name.startswith("scripted:"):
        kind, controller = "scripted", name.removeprefix("scripted:")
        frozen = scripted_teacher(controller, env)
    elif Path(name).is_dir():
        return teacher_from_run(load(seed_run(Path(name), seed), trust), env_id, options)
    elif ":" in name:
        kind, controller = "callable", name
        frozen = callable_teacher(name, env)
    else:
        raise BadInput(f"teacher {name!r}: no such run directory; allowed are RUN, scripted:NAME and module:factory")
    policy, params = frozen.roles[frozen.actor], frozen.params[frozen.actor]
    try:
        test = evaluate(env, policy, params, TEST_EPISODES).as_dict()
    except NonFinite as error:  # nothing has begun
        raise BadInput(f"teacher {name!r} on {env_id}: {error}") from error
    record = {"kind": kind, "name": controller, "env": env_id, "env_options": options, "test": test}
    return frozen._replace(provenance=test), record
