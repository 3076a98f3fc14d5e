"""Writing what the roles of a run are made of, and their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from tutelage.configs.term import named_code
from tutelage.data.vector import make_vector_env
from tutelage.experiment.arrays import load_tree, save_tree
from tutelage.experiment.files import write_json
from tutelage.experiment.memo import CACHES
from tutelage.experiment.plain import to_plain
from tutelage.experiment.records import Record
from tutelage.experiment.trust import user_code
from tutelage.policies.blueprint import Blueprint, OwnCode, Role, TeamBlueprint, needs_code
from tutelage.policies.cost import team_cost
from tutelage.policies.open import policy_of
from tutelage.policies.own_core import is_own
from tutelage.policies.traced import joint_macs
from tutelage.registry import method_row
from tutelage.types import Critic, Environment, Frozen, Method, Params, Policy

CACHES.append(policy_of)


def blueprint_of(policy: Policy, env: Environment, own_method: bool) -> TeamBlueprint:
    """The blueprint of a policy; `OwnCode` where it has none, or where a user's method changed the policy."""
    blueprint = policy.blueprint
    if blueprint is None or (own_method and not needs_code(blueprint) and not acts_alike(policy, blueprint, env)):
        return OwnCode()
    return blueprint


def acts_alike(policy: Policy, blueprint: TeamBlueprint, env: Environment) -> bool:
    """Whether a policy computes what its blueprint says: a user may have replaced its functions."""
    other, key = policy_of(blueprint), jax.random.key(0)
    if jax.eval_shape(policy.init, key) != jax.eval_shape(other.init, key):
        return False
    params, vector = policy.init(key), make_vector_env(env, 3, policy.goals or other.goals)
    timestep = jax.jit(vector.reset)(key)[1]
    outs = [jax.jit(p.step)(params, p.carry(3), timestep, key)[1].scores for p in (policy, other)]
    return all(out is not None for out in outs) and bool(jnp.array_equal(*outs))  # type: ignore[arg-type]


def provided_by(method: str, policy: Policy) -> frozenset[str]:
    """What a policy of a method provides to a distillation beside its actions; features where it is made of agents."""
    provides = method_row(method).provides
    return provides if policy.groups else provides - {"features"}


def write_roles(
    path: Path, record: Record, env: Environment, method: Method, teacher_provides: Iterable[str] = ()
) -> None:
    """Write ROLE.json of every role of a method, and of its critic.

    Args:
        record: config.json of the run.
        teacher_provides: what the role `teacher` provides, where it is a frozen teacher.
    """
    own = bool(user_code([record["method"], *named_code(record["config"])]))

    def write(name: str, made_of: Blueprint, provides: Iterable[str] = (), macs: int | None = None) -> None:
        where = record["env"], record["env_options"], env.spec
        role = Role(name, *where, made_of, record["fit"].get("act", "greedy"), tuple(sorted(provides)), macs)
        write_json(path / f"{name}.json", to_plain(role))

    for name, policy in method.roles.items():
        frozen = record["teacher"] is not None and name == "teacher"
        provides = set(teacher_provides) - {"critic"} if frozen else provided_by(record["method"], policy)
        made_of = blueprint_of(policy, env, own)
        write(name, made_of, provides, macs_of(policy, made_of, env))
    if method.critic is not None:
        write("critic", method.critic.blueprint or OwnCode())


def macs_of(policy: Policy, made_of: Blueprint, env: Environment) -> int | None:
    """Multiply-adds of a joint decision, where no formula gives them; None for a controller and a user's method's."""
    if not needs_code(made_of):
        return joint_macs(policy, env)
    cost = team_cost(policy) if any(is_own(group.agent.kind) for group in policy.groups) else None
    return cost.macs if cost else None


def roles_and_critic(team: Method | Frozen) -> dict[str, Policy | Critic]:
    """All that a run keeps parameters of, by role: the policies, and the critic where there is one."""
    return {**team.roles, **({"critic": team.critic} if team.critic is not None else {})}


def load_role(path: Path, role: str, made: Policy | Critic) -> Params:
    """Load the parameters of one role."""
    template = jax.eval_shape(made.init, jax.random.key(0))
    if not jax.tree.leaves(template):
        return template
    return load_tree(path / f"{role}.safetensors", template)[0]


def save_role(path: Path, role: str, params: Params) -> None:
    """Save the parameters of one role."""
    if jax.tree.leaves(params):
        save_tree(path / f"{role}.safetensors", params)


def save_params(path: Path, params: Mapping[str, Params]) -> None:
    """Save the parameters of every role, and of the critic."""
    for role, each in params.items():
        save_role(path, role, each)
