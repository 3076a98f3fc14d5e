"""Making an environment of another package, which runs in processes on the host."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tutelage.configs.checks import build
from tutelage.envs.host.build import Maker
from tutelage.envs.host.env import HostEnv
from tutelage.envs.host.world import Settings
from tutelage.errors import BadInput

SETTINGS = tuple(f.name for f in fields(Settings))


def make_host_env(env_id: str, options: dict[str, Any]) -> HostEnv:
    """An environment by its name, `SCHEME:NAME`.

    Args:
        options: `reward`, `success` and `max_steps` (see `Settings`), `workers`, and what its constructor takes.

    Raises:
        BadInput: it cannot be imported or made, or has spaces that are not offered.
    """
    scheme, _, name = env_id.partition(":")
    given = {key: value for key, value in options.items() if key in SETTINGS}
    settings = build(Settings, given, f"option of {env_id}")
    workers = options.get("workers")
    if workers is not None and not (isinstance(workers, int) and 1 <= workers <= 256):
        raise BadInput(f"workers = {workers!r}: must be a whole number from 1 to 256")
    own = tuple((key, value) for key, value in options.items() if key not in (*SETTINGS, "workers"))
    maker = Maker(scheme, name, own, settings)
    world = maker()
    try:
        facts = world.facts
    finally:
        world.close()
    return HostEnv(env_id, maker, facts, workers)
