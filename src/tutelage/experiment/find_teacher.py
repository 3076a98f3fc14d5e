"""Finding a teacher: from the name that the user gave to a frozen teacher and a record of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.errors import BadInput, NonFinite
from tutelage.experiment.evaluate import evaluate
from tutelage.experiment.records import Record
from tutelage.experiment.run_directory import LoadedRun, load
from tutelage.experiment.run_record import check_version, seed_runs
from tutelage.experiment.teachers import callable_teacher, scripted_teacher
from tutelage.experiment.trust import Trust
from tutelage.policies.acting import RULES
from tutelage.registry import split_options
from tutelage.types import Environment, Frozen

TeacherAndRecord = tuple[Frozen, Record]

TEST_EPISODES = 128
"""Episodes on which a controller is evaluated before it teaches."""


def check_same_environment(run: LoadedRun, env_id: str, options: dict[str, Any]) -> None:
    """Raise BadInput where a teacher was trained on another environment or with other options of it.

    Disturbances may differ: a teacher that learned without them can teach students that learn with them.
    """
    trained_on, wanted_on = (run.record["env"], run.record["env_options"]), (env_id, options)
    if trained_on[0] != env_id or split_options(*trained_on)[0] != split_options(*wanted_on)[0]:
        names = [f"{name} {settings}" if settings else name for name, settings in (trained_on, wanted_on)]
        raise BadInput(f"teacher {run.path} was trained on {names[0]}, not on {names[1]}")


def teacher_from_run(
    run: LoadedRun, env_id: str, options: dict[str, Any], env: Environment, role: str | None = None
) -> TeacherAndRecord:
    """A role of a run as a frozen teacher, and its entry in the student's config.json.

    Args:
        role: None: the role that acts, its students where it has any.

    Raises:
        BadInput: it was trained on another environment, or has no such role.
    """
    check_same_environment(run, env_id, options)
    check_version(run.record, env)
    name = role or run.actor
    policy, params = run.policy(name), {name: run.params(name)}
    critic = run.critic() if run.has_critic_of(name) else None
    provides = set(run.roles[name].provides)
    if critic is not None:
        params["critic"] = run.frozen.params["critic"]
        provides.add("critic")
    test = role_test(run, name)
    record = {
        "kind": "run",
        "name": f"{run.path}@{role}" if role else str(run.path),
        "env": env_id,
        "env_options": run.record["env_options"],
        "record": run.record,
        "role": role,
        "test": test,
    }
    return Frozen({name: policy}, params, frozenset(provides), test, critic), record


def role_test(run: LoadedRun, role: str) -> Record:
    """The test of a role: of the run, of the teacher that the run keeps, or made now."""
    if (known := known_test(run, role)) is not None:
        return known
    policy = run.policy(role)
    return evaluate(run.env, policy, run.params(role), TEST_EPISODES, act=RULES[run.roles[role].act]).as_dict()


def known_test(run: LoadedRun, role: str) -> Record | None:
    """The test of a role that the run holds: of its own, or of the teacher that it keeps."""
    if role == run.actor:
        return run.test
    teacher = run.record["teacher"]
    return run.test.get("beside", {}).get(role) or (teacher["test"] if teacher and role == "teacher" else None)


def run_and_role(name: str) -> tuple[Path, str | None] | None:
    """The directory and the role that `RUN` or `RUN@ROLE` name; None where it names no directory."""
    if Path(name).is_dir():
        return Path(name), None
    path, at, role = name.rpartition("@")
    return (Path(path), role) if at and Path(path).is_dir() else None


def seed_run(path: Path, seed: int | None, what: str = "teacher") -> Path:
    """The run of a seed below a parent directory, or the single run itself; raises BadInput where there is none.

    Args:
        what: it is for, for the message.
    """
    runs = seed_runs(path)
    if seed is None or runs == [path]:
        return runs[0]
    by_name = {run.name: run for run in runs}
    if f"seed-{seed}" not in by_name:
        raise BadInput(f"{what} {path} has no seed-{seed}; it has {', '.join(by_name)}: name one of them for all seeds")
    return by_name[f"seed-{seed}"]


def user_factory(name: str | None) -> str | None:
    """The teacher's name if it is a user's `module:factory`; None for a run directory, a controller or no teacher."""
    return None if name is None or name.startswith("scripted:") or run_and_role(name) else name


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
        name: `scripted:NAME`, a run directory, `RUN@ROLE` for a role of it, or `module:factory`.
        seed: which run of a parent directory; None: the first.
        trust: see `load`.

    Raises:
        BadInput: there is no such teacher, it is of another environment or not finished, or it returns bad values.
    """
    if name.startswith("scripted:"):
        kind, controller = "scripted", name.removeprefix("scripted:")
        frozen = scripted_teacher(controller, env)
    elif found := run_and_role(name):
        path, role = found
        return teacher_from_run(load(seed_run(path, seed), trust), env_id, options, env, role)
    elif ":" in name:
        kind, controller = "callable", name
        frozen = callable_teacher(name, env)
    else:
        raise BadInput(
            f"teacher {name!r}: no such run directory; allowed are RUN, RUN@ROLE, scripted:NAME and module:factory"
        )
    policy, params = frozen.roles[frozen.actor], frozen.params[frozen.actor]
    try:
        test = evaluate(env, policy, params, TEST_EPISODES).as_dict()
    except NonFinite as error:  # nothing has begun
        raise BadInput(f"teacher {name!r} on {env_id}: {error}") from error
    record = {"kind": kind, "name": controller, "env": env_id, "env_options": options, "test": test}
    return frozen._replace(provenance=test), record
