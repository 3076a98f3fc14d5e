"""Environments of other packages by name: `pettingzoo:MODULE` and `gymnasium:ID`. jax is not imported here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tutelage.envs.host.world import Settings, World
from tutelage.errors import BadInput, reports_user_error


@dataclass(frozen=True)
class Maker:
    """Makes an instance of an environment of another package, in any process.

    Attributes:
        scheme: `pettingzoo` or `gymnasium`. name: behind the colon. options: for its constructor.
    """

    scheme: str
    name: str
    options: tuple[tuple[str, Any], ...]
    settings: Settings

    def __call__(self) -> World:
        return SCHEMES[self.scheme](self.name, dict(self.options), self.settings)


def make_pettingzoo(name: str, options: dict[str, Any], settings: Settings) -> World:
    """A World of `package.module` with a `parallel_env` (or `env`, converted by PettingZoo itself)."""
    from tutelage.envs.host.pettingzoo import ParallelWorld

    label = f"pettingzoo:{name}"
    module = imported(name, "pettingzoo")
    with reports_user_error(label):
        if hasattr(module, "parallel_env"):
            env = module.parallel_env(**options)
        elif hasattr(module, "env"):
            from pettingzoo.utils import aec_to_parallel

            env = aec_to_parallel(module.env(**options))
        else:
            raise BadInput(f"{label}: {name} has no parallel_env and no env")
    return ParallelWorld(env, label, package_version(name), settings)


def make_gymnasium(name: str, options: dict[str, Any], settings: Settings) -> World:
    """A World of a registered id `[module:]Id-vN`."""
    from tutelage.envs.host.gymnasium import TupleWorld

    label = f"gymnasium:{name}"
    gymnasium = imported("gymnasium", "gymnasium")
    module, _, env_id = name.rpartition(":")
    with reports_user_error(label):
        if module:
            imported(module, "gymnasium")
        env = gymnasium.make(env_id, disable_env_checker=True, **options)
    return TupleWorld(env, label, package_version(module or "gymnasium"), settings)


SCHEMES: dict[str, Callable[[str, dict[str, Any], Settings], World]] = {
    "pettingzoo": make_pettingzoo,
    "gymnasium": make_gymnasium,
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
