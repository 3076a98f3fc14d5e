"""Making a run's method again from its config.json: to go on with it, or for roles that are a user's code."""

from __future__ import annotations

from pathlib import Path

from tutelage.experiment.prepare import make_env, make_env_and_method
from tutelage.experiment.read_roles import read_role
from tutelage.experiment.records import Record
from tutelage.experiment.role_files import load_role, roles_and_critic
from tutelage.experiment.run_record import check_version
from tutelage.experiment.teachers import callable_teacher, scripted_teacher, teaching_team
from tutelage.policies.blueprint import needs_code
from tutelage.policies.critic import make_critic
from tutelage.policies.open import policy_of
from tutelage.types import Environment, Frozen, Method


def rebuild_run(path: Path, record: Record) -> tuple[Environment, Method]:
    """The environment and method of a run, with the teacher whose parameters it keeps.

    Raises:
        BadInput: the environment has another version now. Fault: the teacher's files are damaged.
    """
    teacher = stored_teacher(path, record["teacher"]) if record["teacher"] else None
    return rebuild_method(record, teacher)


def rebuild_method(record: Record, teacher: Frozen | None) -> tuple[Environment, Method]:
    """The environment and method of a config.json; raises BadInput where the environment has another version now."""
    env, method = make_env_and_method(record["method"], record["env"], record["env_options"], record["config"], teacher)
    check_version(record, env)
    return env, method


def stored_teacher(path: Path, record: Record) -> Frozen:
    """The teacher of a run, from the teacher's entry in config.json and the files that the run keeps of it."""
    roles = {name: read_role(path, name) for name in ("teacher", "critic") if (path / f"{name}.json").exists()}
    if record["kind"] != "run" or any(needs_code(role.made_of) for role in roles.values()):
        team = coded_teacher(record)
    else:
        policy = policy_of(roles["teacher"].made_of)  # type: ignore[arg-type]
        critic = make_critic(roles["critic"].made_of) if "critic" in roles else None  # type: ignore[arg-type]
        provides = {*roles["teacher"].provides, *(["critic"] if critic else [])}
        team = Frozen({"teacher": policy}, {}, frozenset(provides), record["test"], critic)
    stored = lambda name: "teacher" if name == team.actor else name
    return team._replace(params={name: load_role(path, stored(name), x) for name, x in roles_and_critic(team).items()})


def coded_teacher(record: Record) -> Frozen:
    """A teacher that is made by code, with shapes in place of parameters; from its entry in a run's config.json."""
    if record["kind"] == "run":
        made_by = record["record"]
        teacher = coded_teacher(made_by["teacher"]) if made_by["teacher"] else None
        team = teaching_team(made_by["method"], rebuild_method(made_by, teacher)[1], record.get("role"))
        return team._replace(provenance=record["test"])
    env = make_env(record["env"], record["env_options"])
    make_teacher = scripted_teacher if record["kind"] == "scripted" else callable_teacher
    return make_teacher(record["name"], env)._replace(provenance=record["test"])
