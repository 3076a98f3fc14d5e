"""Making an environment in Python, which runs in processes on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from tutelage.configs.checks import build
from tutelage.envs.host.build import CODE, Maker
from tutelage.envs.host.env import HostEnv
from tutelage.envs.host.world import Facts, Settings, World
from tutelage.errors import BadInput, reports_user_error

SETTINGS = (*(f.name for f in fields(Settings)), "workers")
"""Options that say how a team is judged and played, and are not the constructor's."""


def make_host_env(env_id: str, options: Mapping[str, Any]) -> HostEnv:
    """An environment by its name, `SCHEME:NAME`.

    Args:
        options: those of SETTINGS, and what its constructor takes.

    Raises:
        BadInput: it cannot be imported, made or played for a step, or has spaces that are not offered.
    """
    scheme, _, name = env_id.partition(":")
    own = {key: value for key, value in options.items() if key not in SETTINGS}
    given = {key: value for key, value in options.items() if key in SETTINGS}
    return host_env(env_id, scheme, name, own, given)


def make_own_host_env(env_id: str, name: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> HostEnv:
    """The same of a user's `module:factory` of that name, with its own options and those of SETTINGS apart."""
    return host_env(env_id, CODE, name, own, given)


def host_env(env_id: str, scheme: str, name: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> HostEnv:
    """An environment whose first step was played, so that what is wrong with it is told before anything is begun."""
    settings = build(Settings, {k: v for k, v in given.items() if k != "workers"}, f"option of {env_id}")
    workers = given.get("workers")
    if workers is not None and not (isinstance(workers, int) and 1 <= workers <= 256):
        raise BadInput(f"workers = {workers!r}: must be a whole number from 1 to 256")
    maker = Maker(scheme, name, tuple(own.items()), settings)
    world = maker()
    try:
        shown = first_step(env_id, world)
    finally:
        world.close()
    info = tuple(dict.fromkeys((*settings.info_keys, *(key for key in shown if key != settings.success))))
    facts: Facts = replace(world.facts, info=info)
    return HostEnv(env_id, replace(maker, settings=replace(settings, info=",".join(info))), facts, workers)


def first_step(env_id: str, world: World) -> dict[str, float]:
    """Play one step of the first available actions; the numbers that its infos showed."""
    with reports_user_error(f"{env_id}: reset"):
        moment = world.reset(0)
    shown = world.shown
    with reports_user_error(f"{env_id}: step"):
        world.step(np.where(moment.avail.any(-1), moment.avail.argmax(-1), 0))
    return shown | world.shown
