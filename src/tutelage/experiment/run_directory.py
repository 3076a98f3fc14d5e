"""Run directories: the files of a run, and opening it.

    config.json      method, environment, every setting, teacher, versions: how it was trained
    metrics.jsonl    one object per line of metrics and per evaluation
    ROLE.json        what each role (and the critic) is made of, see `policies/blueprint.py`
    ROLE.safetensors its parameters; a team is opened from these two alone
    eval.json        the final test of the best parameters
    manifest.json    SHA-256 of these files (but the log); written last, absent until training has finished
    checkpoint*      while training: where to resume

With several seeds the parent directory holds one such run per seed: seed-0, seed-1, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.disturb import UNDISTURBED
from tutelage.errors import BadInput
from tutelage.experiment.prepare import make_env
from tutelage.experiment.read_roles import read_finished
from tutelage.experiment.rebuild import rebuild_run
from tutelage.experiment.records import Record
from tutelage.experiment.role_files import load_role, roles_and_critic
from tutelage.experiment.run_record import check_version
from tutelage.experiment.teachers import critic_role
from tutelage.experiment.trust import Trust, check_trust, code_named_in, user_code
from tutelage.experiment.user_code import find_controller
from tutelage.machine import check_machine
from tutelage.policies.acting import greedy
from tutelage.policies.blueprint import Controller, DeterministicTeam, Role, needs_code, unwrapped
from tutelage.policies.compose import as_deterministic
from tutelage.policies.critic import make_critic
from tutelage.policies.open import policy_of
from tutelage.registry import split_options
from tutelage.types import Carry, Critic, Environment, Frozen, Params, Policy, Spec, TimeStep, acting


class Lazy(Mapping[str, Any]):
    """Things by role, each made when it is asked for: a user's code is imported then and not before."""

    def __init__(self, roles: Iterable[str], make: Callable[[str], Any]) -> None:
        self._roles, self._make, self._made = tuple(roles), make, dict[str, Any]()

    def __getitem__(self, role: str) -> Any:
        if role not in self._roles:
            raise KeyError(role)
        if role not in self._made:
            self._made[role] = self._make(role)
        return self._made[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._roles)

    def __len__(self) -> int:
        return len(self._roles)


@dataclass(frozen=True)
class LoadedRun:
    """A finished run, opened from its blueprints and parameters.

    Attributes:
        path: its directory.
        record: config.json. test: eval.json, the final test.
        roles: what each role is made of; `critic`, if there is one, is among them.
        trust: which code that the run names may be imported.
    """

    path: Path
    record: Record
    test: Record
    roles: Mapping[str, Role]
    trust: Trust = False

    @property
    def spec(self) -> Spec:
        """The facts of the environment that it was made on, which are known without the environment."""
        return self.roles[self.actor].spec

    @property
    def actor(self) -> str:
        """The role that acts, see `acting`."""
        return acting(self.roles)

    @cached_property
    def env(self) -> Environment:
        """Its environment, made when somebody plays; raises as `env_with`."""
        return self.env_with()

    def env_with(self, **disturbances: Any) -> Environment:
        """Its environment with other disturbances than it was trained with, e.g. `noise=0.1`.

        Raises:
            BadInput: something else than a disturbance is given, or one that does not fit; the environment is code that
                is not trusted, or has another version now.
        """
        name = self.record["env"]
        check_trust(self.path / "config.json", user_code([name]), self.trust)
        if others := split_options(name, disturbances)[0]:
            allowed = ", ".join(split_options(name, UNDISTURBED)[1])
            raise BadInput(
                f"{', '.join(others)}: {self.path} is a run, whose environment has the options it was trained with; "
                f"only disturbances may differ: {allowed}"
            )
        env = make_env(name, self.record["env_options"] | disturbances)
        check_version(self.record, env)
        return env

    @cached_property
    def frozen(self) -> Frozen:
        """Policies and parameters by role. What is code is made when it is asked for."""
        policies = Lazy([role for role in self.roles if role != "critic"], self._make)
        params = Lazy(self.roles, lambda role: load_role(self.path, role, self._make(role)))
        critic = self.roles.get("critic")
        made = None if critic is None or needs_code(critic.made_of) else self._make("critic")
        provides = {*self.roles[self.actor].provides, *(["critic"] if self.has_critic_of(self.actor) else [])}
        return Frozen(policies, params, frozenset(provides), self.test, made)

    def has_critic_of(self, role: str) -> bool:
        """Whether the run's critic values what this role earns."""
        return "critic" in self.roles and role == critic_role(self.roles)

    def critic(self) -> Critic | None:
        """The critic, also where it is a user's code."""
        return self._make("critic") if "critic" in self.roles else None

    def _make(self, role: str) -> Any:
        made_of = self.roles[role].made_of
        if not needs_code(made_of):
            return make_critic(made_of) if role == "critic" else policy_of(made_of)  # type: ignore[arg-type]
        inner = unwrapped(made_of)
        if isinstance(inner, Controller):
            policy = find_controller(self.env, inner.name)
            return as_deterministic(policy) if isinstance(made_of, DeterministicTeam) else policy
        return self._code[role]

    @cached_property
    def _code(self) -> Mapping[str, Any]:
        """What the code that the run names makes: policies by role, and the critic."""
        check_trust(self.path / "config.json", code_named_in(self.record), self.trust)
        return roles_and_critic(rebuild_run(self.path, self.record)[1])

    def policy(self, role: str = "student") -> Policy:
        """The policy of a role; raises BadInput naming the roles there are."""
        return self.frozen.roles[self._role(role)]

    def params(self, role: str = "student") -> Params:
        """The parameters of a role."""
        return self.frozen.params[self._role(role)]

    def _role(self, role: str) -> str:
        if role not in self.frozen.roles:
            raise BadInput(f"{self.path} has no policy {role!r}; it has: {', '.join(self.frozen.roles)}")
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


def load(path: str | Path, trust: Trust = False) -> LoadedRun:
    """Load a finished run from its blueprints and parameters; its environment is made when somebody plays.

    Args:
        path: a run directory; of a parent with several seeds, the first.
        trust: which code that is not built in may be imported: True for all, or the `module:name`s that are trusted.

    Raises:
        BadInput: not a run, not finished, of an earlier version, or settings of jax that cannot work. Fault: damaged.
    """
    check_machine()
    finished = read_finished(Path(path))
    run = LoadedRun(*finished, trust)
    for name, role in run.roles.items():
        if not needs_code(role.made_of):
            run.frozen.params[name]  # refused now and not later where weights are no numbers
    return run
