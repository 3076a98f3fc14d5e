"""Environments in Python by name: `pettingzoo:MODULE`, `gymnasium:ID`, or a user's `module:factory`. No jax here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tutelage.dotted import import_user_code
from tutelage.envs.host.world import Settings, World
from tutelage.errors import BadInput, reports_user_error, unknown

CODE = "code"
"""The scheme of a user's own `module:factory`."""


@dataclass(frozen=True)
class Maker:
    """Makes an instance of an environment in Python, in any process.

    Attributes:
        scheme: `pettingzoo`, `gymnasium` or CODE. name: behind the colon, or all of a `module:factory`.
        options: for its constructor.
        pictures: ask the constructor for `render_mode = "rgb_array"`, where it takes one.
    """

    scheme: str
    name: str
    options: tuple[tuple[str, Any], ...]
    settings: Settings
    pictures: bool = False

    def __call__(self) -> World:
        make, options = SCHEMES[self.scheme], dict(self.options)
        if self.pictures and "render_mode" not in options:
            try:
                return make(self.name, {**options, "render_mode": "rgb_array"}, self.settings)
            except BadInput:  # its constructor takes none
                pass
        return make(self.name, options, self.settings)


def kind_of(env: Any) -> str:
    """What a user's environment in Python is: `parallel`, `aec` or `gymnasium`; empty for anything else."""
    if hasattr(env, "possible_agents"):
        return "aec" if hasattr(env, "agent_iter") else "parallel"
    return "gymnasium" if hasattr(env, "observation_space") and hasattr(env, "action_space") else ""


def world_of(env: Any, label: str, version: str, settings: Settings) -> World:
    """A World of an environment of any kind; raises BadInput, or what its own code raises, where it is none."""
    kind = kind_of(env)
    if kind == "gymnasium":
        from tutelage.envs.host.gymnasium import TupleWorld

        return TupleWorld(env, label, version, settings)
    if kind == "aec":
        from pettingzoo.utils import aec_to_parallel

        env = aec_to_parallel(env)
    elif not kind:
        wanted = "a PettingZoo or Gymnasium environment, or one of this package's form"
        raise BadInput(f"{label}: gives a {type(env).__name__}, must give {wanted}")
    from tutelage.envs.host.pettingzoo import ParallelWorld

    return ParallelWorld(env, label, version, settings)


def make_pettingzoo(name: str, options: dict[str, Any], settings: Settings) -> World:
    """A World of `package.module` with a `parallel_env` or `env`, or of a registered id `namespace/name-vN`."""
    label = f"pettingzoo:{name}"
    with reports_user_error(label):
        if "/" in name:
            return world_of(registered(name, options), label, package_version("pettingzoo"), settings)
        module = imported(name, "pettingzoo")
        found = [part for part in ("parallel_env", "env") if hasattr(module, part)]
        if not found:
            raise BadInput(f"{label}: {name} has no parallel_env and no env")
        return world_of(getattr(module, found[0])(**options), label, package_version(name), settings)


def registered(name: str, options: dict[str, Any]) -> Any:
    """An environment of PettingZoo's registry, parallel where there is such a one."""
    pettingzoo = imported("pettingzoo", "pettingzoo")
    kinds = {"parallel": pettingzoo.parallel_registry, "aec": pettingzoo.aec_registry}
    for kind, registry in kinds.items():
        if name in registry:
            return pettingzoo.make(kind, name, **options)
    raise unknown("environment of PettingZoo", name, {known for registry in kinds.values() for known in registry})


def make_gymnasium(name: str, options: dict[str, Any], settings: Settings) -> World:
    """A World of a registered id `[module:]Id-vN`."""
    label = f"gymnasium:{name}"
    gymnasium = imported("gymnasium", "gymnasium")
    module, _, env_id = name.rpartition(":")
    with reports_user_error(label):
        if module:
            imported(module, "gymnasium")
        env = gymnasium.make(env_id, disable_env_checker=True, **options)
        return world_of(env, label, package_version(module or "gymnasium"), settings)


def make_code(name: str, options: dict[str, Any], settings: Settings) -> World:
    """A World of what a user's `module:factory` gives."""
    factory = import_user_code(name)
    known = inspect.signature(factory).parameters
    if "render_mode" in options and "render_mode" not in known:
        raise BadInput(f"render_mode: {name} takes none")
    with reports_user_error(name):
        env = factory(**options)
        version = str(getattr(env, "version", "") or package_version(name.partition(":")[0]))
        return world_of(env, name, version, settings)


SCHEMES: dict[str, Callable[[str, dict[str, Any], Settings], World]] = {
    "pettingzoo": make_pettingzoo,
    "gymnasium": make_gymnasium,
    CODE: make_code,
}


def imported(name: str, extra: str) -> Any:
    """A module; raises BadInput with the way to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        way = f"pip install 'tutelage[{extra}]'" if missing == extra else f"pip install {missing.partition('.')[0]}"
        raise BadInput(f"{extra}:{name}: cannot import {missing}: {way}") from None


def package_version(module: str) -> str:
    """Name and version of the package of a module."""
    from importlib.metadata import PackageNotFoundError, version

    package = module.partition(".")[0]
    try:
        return f"{package}/{version(package)}"
    except PackageNotFoundError:
        return package
