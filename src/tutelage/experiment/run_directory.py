"""Run directories: the files of a run, and loading it.

    config.json      method, environment, every setting, teacher, versions
    metrics.jsonl    one object per line of metrics and per evaluation
    eval.json        the final test of the best parameters; absent until training has finished
    ROLE.safetensors parameters of each role
    checkpoint*      while training: where to resume

With several seeds the parent directory holds one such run per seed: seed-0, seed-1, ...
"""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.checks import build
from tutelage.dotted import check_signature, import_user_code
from tutelage.envs.build import make
from tutelage.errors import BadInput, Fault, reports_user_error
from tutelage.experiment.files import load_tree, read_json, save_tree
from tutelage.experiment.prepare import make_env_and_method
from tutelage.experiment.read_records import as_damage, check_settings, read_checked, recorded_settings
from tutelage.experiment.records import FORMAT, FinalTest, Record, RunRecord
from tutelage.experiment.trust import Trust, check_trust, code_named_in, command_for
from tutelage.experiment.user_code import checked_team, find_controller, policy_from_function
from tutelage.policies.acting import greedy
from tutelage.registry import ENVIRONMENTS, method_row
from tutelage.types import Carry, Environment, Frozen, Method, Params, Policy, TimeStep

T = TypeVar("T")


def make_record(
    method: str,
    env_id: str,
    env: Environment,
    env_options: dict[str, Any],
    config: Any,
    fit: Any,
    seed: int,
    teacher: Record | None,
) -> Record:
    """The content of config.json: everything that is needed to rebuild a run."""
    return {
        "format": FORMAT,
        "method": method,
        "env": env_id,
        "env_options": env_options,
        "env_version": env.spec.version,
        "config": asdict(config),
        "fit": asdict(fit),
        "seed": seed,
        "teacher": teacher,
        "versions": versions(),
        "device": device(),
    }


def versions() -> Record:
    """The versions of Python and packages, see `records.Versions`."""
    packages = ("tutelage", "jax", "jaxlib", "flax", "optax", "numpy")
    return {"python": platform.python_version(), **{p: version_of(p) for p in packages}}


def version_of(package: str) -> str:
    """The version of a package, also where only its sources are on the path."""
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(import_module(package), "__version__", "unknown"))


def device() -> Record:
    """This machine, see `records.Device`."""
    used = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"kind": jax.devices()[0].device_kind, "machine": platform.machine(), "cores": os.cpu_count(), "used": used}


def rebuild_method(record: Record, teacher: Frozen | None) -> tuple[Environment, Method]:
    """The environment and method of a config.json; raises BadInput where the environment has another version now."""
    env, method = make_env_and_method(record["method"], record["env"], record["env_options"], record["config"], teacher)
    if env.spec.version != record["env_version"]:
        raise BadInput(
            f"{record['env']} is version {env.spec.version} now, the run was made on {record['env_version']}: its "
            "dynamics have changed, train it again"
        )
    return env, method


def teaching_roles(roles: Mapping[str, T], distilled: bool) -> dict[str, T]:
    """The roles of a run that can teach: where it has students that learned from a teacher, only these."""
    return {"student": roles["student"]} if distilled or {"student", "teacher"} <= roles.keys() else dict(roles)


def provided_outputs(method: str, roles: Iterable[str]) -> frozenset[str]:
    """What a method's policies provide to a distillation: its entry in the registry, and `critic` if it is a role."""
    return method_row(method).provides | ({"critic"} & set(roles))


def teacher_policies(record: Record) -> tuple[dict[str, Policy], frozenset[str]]:
    """The policies of a teacher, by role, and what they provide; from the teacher's entry in config.json."""
    env = make(record["env"], **record["env_options"])
    if record["kind"] == "scripted":
        return {"teacher": find_controller(env, record["name"])}, frozenset()
    if record["kind"] == "callable":
        teacher = callable_teacher(record["name"], env)
        return dict(teacher.roles), teacher.provides
    teacher_record = record["record"]
    distilled = teacher_record["teacher"] is not None
    method = rebuild_method(teacher_record, abstract_teacher(teacher_record["teacher"]) if distilled else None)[1]
    roles = teaching_roles(method.roles, distilled)
    return roles, provided_outputs(teacher_record["method"], roles)


def abstract_teacher(record: Record) -> Frozen:
    """A teacher with shapes in place of parameters: enough to rebuild the policies of its students."""
    roles, provides = teacher_policies(record)
    return Frozen(roles, param_shapes(roles), provides, record["test"])


def param_shapes(roles: Mapping[str, Policy]) -> dict[str, Params]:
    """Shapes of the parameters of policies, by role."""
    return {role: jax.eval_shape(policy.init, jax.random.key(0)) for role, policy in roles.items()}


def scripted_teacher(name: str, env: Environment) -> Frozen:
    """A controller of the environment as a teacher; raises BadInput where there is none of that name."""
    return Frozen({"teacher": find_controller(env, name)}, {"teacher": ()}, frozenset(), {})


def callable_teacher(name: str, env: Environment) -> Frozen:
    """A teacher made by a user's `module:factory`: factory(env) is a Frozen or a function timestep -> actions (B, N).

    Raises:
        BadInput: it cannot be imported, raises, or gives something else.
    """
    factory, label = import_user_code(name), f"teacher {name!r}"
    check_signature(label, factory, env)
    with reports_user_error(f"{label}: making it"):
        teacher = factory(env)
    if isinstance(teacher, Frozen):
        return checked_team(label, teacher, env)
    if not callable(teacher):
        raise BadInput(f"{label}: must return a Frozen or a function of a timestep, not {type(teacher).__name__}")
    return Frozen({"teacher": policy_from_function(label, teacher, env)}, {"teacher": ()}, frozenset(), {})


class LoadedRun(NamedTuple):
    """A finished run.

    Attributes:
        path: its directory.
        env: its environment.
        frozen: policies and parameters by role.
        record: config.json.
        test: eval.json, the final test.
    """

    path: Path
    env: Environment
    frozen: Frozen
    record: Record
    test: Record

    def policy(self, role: str = "student") -> Policy:
        """The policy of a role; raises BadInput naming the roles there are."""
        return self.frozen.roles[self._role(role)]

    def params(self, role: str = "student") -> Params:
        """The parameters of a role."""
        return self.frozen.params[self._role(role)]

    def _role(self, role: str) -> str:
        if role not in self.frozen.roles or role == "critic":
            acting = [r for r in self.frozen.roles if r != "critic"]
            raise BadInput(f"{self.path} has no policy {role!r}; it has: {', '.join(acting)}")
        return role

    def act(self, role: str, timestep: TimeStep, carry: Carry, key: PRNGKeyArray) -> tuple[Array, Carry]:
        """Greedy actions (B, N) for a batch of timesteps, and the memory for the next call.

        Start with `carry = run.policy(role).carry(B)`.
        """
        policy = self.policy(role)
        if policy.goals and not timestep.goals:
            raise BadInput(
                f"policy = {role!r}: it reads goals and these timesteps hold none; give it "
                "timestep._replace(goals=jax.vmap(env.goals)(state))"
            )
        carry, out = policy.step(self.params(role), carry, timestep, key)
        return greedy(key, out, timestep)[0], carry


def seed_runs(path: Path) -> list[Path]:
    """The runs below a parent directory in order of their seeds; [path] for a single run."""
    children = [p for p in path.glob("seed-*") if re.fullmatch(r"seed-\d+", p.name)] if path.is_dir() else []
    return sorted(children, key=lambda p: int(p.name[5:])) or [path]


def read_record(path: Path, trust: Trust = False) -> Record:
    """config.json of a run.

    Raises:
        BadInput: no such directory, no run in it, or it names code that is not trusted.
        Fault: damaged.
    """
    if not path.is_dir():
        similar = difflib.get_close_matches(str(path), ENVIRONMENTS, n=1, cutoff=0.8)
        raise BadInput(f"no run at {path}" + (f" ({similar[0]} is an environment)" if similar else ""))
    file = path / "config.json"
    if not file.exists():
        raise BadInput(f"{path} is not a run: it has no config.json")
    record = read_json(file)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Fault(f"{file} is not of a tutelage run (format {FORMAT})")
    with as_damage(file):
        build(RunRecord, record, "field")
    check_trust(file, code_named_in(record), trust)
    check_settings(file, recorded_settings(record))
    return record


def load(path: str | Path, trust: Trust = False) -> LoadedRun:
    """Load a finished run.

    Args:
        path: a run directory; of a parent with several seeds, the first.
        trust: which code that is not built in may be imported: True for all, or the `module:name`s that are trusted.

    Raises:
        BadInput: not a run, not finished, or it names code that is not trusted.
        Fault: damaged files.
    """
    path = seed_runs(Path(path))[0]
    record = read_record(path, trust)
    if not (path / "eval.json").exists():
        way = command_for(path, code_named_in(record))
        raise BadInput(f"{path} has never been evaluated: its training has not finished ({way})")
    test = read_test(path / "eval.json", record)
    teacher = abstract_teacher(record["teacher"]) if record["teacher"] else None
    env, method = rebuild_method(record, teacher)
    params = {role: load_role(path, role, policy) for role, policy in method.roles.items()}
    provides = provided_outputs(record["method"], method.roles if teacher is None else ())
    return LoadedRun(path, env, Frozen(method.roles, params, provides, test), record, test)


def read_test(file: Path, record: Record) -> Record:
    """Read eval.json of a run; raises Fault where it is damaged or belongs to another config.json."""
    test = read_checked(file, FinalTest)
    for name, expected in (("seed", record["seed"]), ("episodes", record["fit"].get("test_episodes"))):
        if expected is not None and test.get(name) != expected:
            raise Fault(f"{file} is damaged or of another run: {name} = {test.get(name)}, config.json says {expected}")
    return test


def load_role(path: Path, role: str, policy: Policy) -> Params:
    """Load the parameters of one role."""
    template = jax.eval_shape(policy.init, jax.random.key(0))
    if not jax.tree.leaves(template):
        return template
    return load_tree(path / f"{role}.safetensors", template)[0]


def save_role(path: Path, role: str, params: Params) -> None:
    """Save the parameters of one role."""
    if jax.tree.leaves(params):
        save_tree(path / f"{role}.safetensors", params)
