"""Making an environment from its id."""

from __future__ import annotations

import inspect
from typing import Any

from tutelage.dotted import check_signature, import_user_code, resolve
from tutelage.envs.disturb import disturb
from tutelage.envs.host.build import kind_of
from tutelage.envs.host.make import SETTINGS, make_host_env, make_own_host_env
from tutelage.envs.jaxmarl_env import JaxmarlEnv, JaxmarlSettings, make_jaxmarl, of_game
from tutelage.envs.user_env import UserEnv, check_user_env
from tutelage.errors import BadInput, reports_user_error
from tutelage.machine import check_machine
from tutelage.registry import ENVIRONMENTS, environment_options, environment_row, of_others, split_options
from tutelage.types import Environment, Spec


def make_env_of_others(env_id: str, options: dict[str, Any]) -> Environment:
    """Make `SCHEME:NAME`, an environment of another package."""
    scheme, _, name = env_id.partition(":")
    return checked(make_jaxmarl(name, options)) if scheme == "jaxmarl" else make_host_env(env_id, options)


def checked(env: JaxmarlEnv) -> Environment:
    """An environment of jaxmarl's, whose values are watched as those of a user's own are."""
    wrapped = UserEnv(env.label, env)
    check_user_env(wrapped)
    return wrapped


def make_user_env(env_id: str, name: str, options: dict[str, Any]) -> Environment:
    """Make a user's own environment: of this package's form, checked and wrapped in `UserEnv`, or one in Python.

    Args:
        name: `module:factory`.

    Raises:
        BadInput: the factory does not accept the options or raises, or the environment contradicts its `spec`.
    """
    factory = import_user_code(name)
    own, settings = split_settings(factory, options)
    check_signature(env_id, factory, **own)
    if isinstance(factory, type) and not any(hasattr(factory, name) for name in ("reset", "__getattr__")):
        raise BadInput(f"{env_id}: {factory.__name__} has no reset, so it is no environment")
    with reports_user_error(f"{env_id}: making it"):
        instance = factory(**own)
        of_this_form = isinstance(getattr(instance, "spec", None), Spec)
    if not of_this_form and hasattr(instance, "step_env"):
        return checked(of_game(env_id, instance, str(getattr(instance, "version", "1")), settings))
    if not of_this_form and kind_of(instance):
        return make_own_host_env(env_id, name, own, settings)
    check_signature(env_id, factory, **options)
    env = UserEnv(env_id, instance)
    check_user_env(env)
    return env


def split_settings(factory: Any, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a user's factory, and those of environments in Python that it has no parameter for."""
    try:
        taken = set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # told by check_signature
        taken = set()
    known = (*SETTINGS, *JaxmarlSettings.__dataclass_fields__)
    settings = {name: value for name, value in options.items() if name in known and name not in taken}
    return {name: value for name, value in options.items() if name not in settings}, settings


def make(env_id: str, **options: Any) -> Environment:
    """Build an environment.

    Args:
        env_id: e.g. `"smax/3s_vs_5z"`, or `"module:factory"` of your own (a function of no arguments, or of the
            options given here), `"pettingzoo:package.module"`, `"gymnasium:[module:]Id-v0"`.
        **options: the environment's options, e.g. `max_steps=60`, and disturbances, e.g. `noise=0.1`.

    Raises:
        BadInput: unknown id or option, a missing package, settings of jax that cannot work, or an environment of
            your own that does not keep to its `spec` or raises.
    """
    row = environment_row(env_id)
    if env_id not in ENVIRONMENTS and row.extra:
        raise BadInput(f"{env_id} needs the package {row.extra}: pip install 'tutelage[{row.extra}]'")
    check_machine()
    if not row.ours:
        own, disturbances = split_options(env_id, options)
        if of_others(env_id):
            undisturbed = make_env_of_others(env_id, own)
        else:
            undisturbed = make_user_env(env_id, row.factory, own)
        return disturb(env_id, undisturbed, environment_options(env_id, **disturbances))
    checked = environment_options(env_id, **options)
    return disturb(env_id, resolve(row.factory)(env_id.partition("/")[2], checked), checked)
