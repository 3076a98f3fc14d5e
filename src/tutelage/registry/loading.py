"""From the name of a method or an environment to its row, its config and its options, or to BadInput."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from tutelage.configs.checks import build
from tutelage.configs.disturb import DISTURBANCES
from tutelage.dotted import import_user_code, resolve
from tutelage.errors import BadInput, unknown
from tutelage.registry.environments import ALL_ENVIRONMENTS, ENVIRONMENTS, OTHERS, EnvironmentRow
from tutelage.registry.installed import installed
from tutelage.registry.methods import METHODS, MethodRow


def method_row(name: str) -> MethodRow:
    """The entry of a method, of one that another package adds, or of a user's `module:factory`.

    Raises:
        BadInput: there is none of this name, naming the nearest ones; or its factory cannot be imported, or is of
            another form.
    """
    if name in METHODS:
        return METHODS[name]
    added = installed("methods")
    factory, about = (added[name].factory, f"of {added[name].package}") if name in added else (name, "yours")
    if ":" not in factory:
        raise unknown("method", name, [*METHODS, *added])
    config: Any = annotations_of(factory).get("config")
    if not isinstance(config, type) or not is_dataclass(config):
        raise BadInput(f"method {name!r}: its parameter `config` must be annotated with a dataclass")
    teacher = getattr(import_user_code(factory), "teacher", None)
    if teacher is not None and teacher not in METHODS:
        raise BadInput(f"method {name!r}: teacher = {teacher!r}, must be the name of the method that trains one")
    return MethodRow(factory, f"{config.__module__}:{config.__qualname__}", about, teacher, ours=False)


def annotations_of(name: str) -> dict[str, Any]:
    """The type annotations of a user's own factory; raises BadInput where they cannot be read."""
    factory = import_user_code(name)
    try:
        return get_type_hints(factory)
    except (NameError, TypeError, AttributeError) as error:
        raise BadInput(f"method {name!r}: its annotations cannot be read: {error}") from None


def check_teacher(method: str, teacher: Any) -> None:
    """Refuse, as BadInput, a teacher of a method that takes none: it learns by itself, or trains its own."""
    if teacher is not None and method_row(method).teacher is None:
        name = str(teacher) if isinstance(teacher, str | Path) else f"a {type(teacher).__name__}"
        way = "distil one with kd_marl, kl or bc"
        raise BadInput(f"teacher = {name!r}: {method} learns by itself and takes none; {way}")


def method_config(name: str, preset: str | None = None, **changes: Any) -> Any:
    """The config of a method: its defaults, then a preset, then `changes`.

    Raises:
        BadInput: unknown preset or field, or a value of another type.
    """
    row = method_row(name)
    if preset is not None and preset not in row.presets:
        raise unknown(f"preset of {name}", preset, row.presets)
    cls = resolve(row.config)
    values = {**row.presets.get("default", {}), **(row.presets[preset] if preset else {}), **changes}
    return build(cls, values, f"field of {name}")


def environment_row(env_id: str) -> EnvironmentRow:
    """The entry of an environment, of one that another package adds, or of a user's `module:factory`.

    Raises BadInput naming the nearest ones.

    An environment whose package is missing has an entry too: its runs can be read, and only `make` refuses it.
    """
    if env_id in ALL_ENVIRONMENTS:
        return ALL_ENVIRONMENTS[env_id]
    added = installed("environments")
    factory, about = (added[env_id].factory, f"of {added[env_id].package}") if env_id in added else (env_id, "yours")
    if ":" not in factory:
        raise unknown("environment", env_id, [*ENVIRONMENTS, *added])
    return EnvironmentRow(factory, "tutelage.configs.envs:AnyOptions", about, ours=False)


def of_others(env_id: str) -> bool:
    """Whether a name is that of another package's environment, as `pettingzoo:MODULE` or `gymnasium:ID`."""
    scheme, colon, _ = env_id.partition(":")
    return bool(colon) and scheme in OTHERS


def names_environment(name: str) -> bool:
    """Whether a name means an environment and not a run: no directory, but of a known family or a `module:factory`."""
    families = {env_id.partition("/")[0] for env_id in ALL_ENVIRONMENTS}
    known = name.partition("/")[0] in families or name in installed("environments")
    return not Path(name).is_dir() and (known or ":" in name)


def environment_options(env_id: str, **changes: Any) -> Any:
    """The options of an environment; raises BadInput for an unknown one or a value of another type."""
    return build(resolve(environment_row(env_id).options), changes, f"option of {env_id}")


def stored_options(env_id: str, given: dict[str, Any]) -> dict[str, Any]:
    """Options as config.json keeps them: converted to their types, and files with absolute paths."""
    own, disturbances = split_options(env_id, given)
    if not environment_row(env_id).ours:  # a user's own environment takes its own as they are
        options = environment_options(env_id, **disturbances)
        return {name: own[name] if name in own else getattr(options, name) for name in given}
    options = environment_options(env_id, **given)
    return {name: getattr(options, name) for name in given}


def split_options(env_id: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An environment's own options, and its disturbances.

    A user's factory that has a parameter of the name of a disturbance keeps it for itself. It is imported.
    """
    taken: set[str] = set()
    if of_others(env_id):
        pass  # constructors of other packages take no part in this
    elif not (row := environment_row(env_id)).ours and not options.keys().isdisjoint(DISTURBANCES):
        taken = set(inspect.signature(import_user_code(row.factory)).parameters)
    disturbances = {name: value for name, value in options.items() if name in DISTURBANCES and name not in taken}
    return {name: value for name, value in options.items() if name not in disturbances}, disturbances
