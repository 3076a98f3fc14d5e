"""Teachers that are no run: controllers of the environment and a user's code; and which role of a method teaches."""

from __future__ import annotations

from collections.abc import Container

import jax

from tutelage.dotted import check_signature, import_user_code
from tutelage.errors import BadInput, reports_user_error
from tutelage.experiment.role_files import provided_by, roles_and_critic
from tutelage.experiment.user_code import checked_team, find_controller, policy_from_function
from tutelage.policies.blueprint import Controller, OwnCode
from tutelage.types import Environment, Frozen, Method, Policy


def critic_role(roles: Container[str]) -> str:
    """The role whose values a run's critic gives: the one that collected, which is the teacher's where there is one."""
    return "teacher" if "teacher" in roles else "student"


def teaching_team(method_name: str, method: Method, role: str | None = None) -> Frozen:
    """A method's role as the teacher that its finished run will be, with shapes in place of parameters.

    Args:
        role: None: the role that acts.
    """
    role = role or method.actor
    critic = method.critic if role == critic_role(method.roles) else None
    provides = {*provided_by(method_name, method.roles[role]), *(["critic"] if critic else [])}
    team = Frozen({role: method.roles[role]}, {}, frozenset(provides), {}, critic)
    key = jax.random.key(0)
    return team._replace(params={name: jax.eval_shape(x.init, key) for name, x in roles_and_critic(team).items()})


def scripted_teacher(name: str, env: Environment) -> Frozen:
    """A controller of the environment as a teacher; raises BadInput where there is none of that name."""
    policy = find_controller(env, name)._replace(blueprint=Controller(name))
    return Frozen({"teacher": policy}, {"teacher": ()}, frozenset(), {})


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
        team = checked_team(label, teacher, env)
        coded: dict[str, Policy] = {role: p._replace(blueprint=OwnCode(name)) for role, p in team.roles.items()}
        return team._replace(roles=coded)
    if not callable(teacher):
        raise BadInput(f"{label}: must return a Frozen or a function of a timestep, not {type(teacher).__name__}")
    policy = policy_from_function(label, teacher, env)._replace(blueprint=OwnCode(name))
    return Frozen({"teacher": policy}, {"teacher": ()}, frozenset(), {})
