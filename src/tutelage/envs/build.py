"""From an id to an environment."""

from __future__ import annotations

from typing import Any

from tutelage.registry import environment_options, environment_row, resolve
from tutelage.types import Environment


def make(env_id: str, **options: Any) -> Environment:
    """Build an environment.

    Args:
        env_id: e.g. `"smax/3s_vs_5z"`, or `"module:factory"` of your own (a function of no arguments, or of the
            options given here).
        **options: the environment's options, e.g. `max_steps=60`.

    Raises:
        BadInput: unknown id or option.
    """
    row = environment_row(env_id)
    factory = resolve(row.factory)
    if row.factory == env_id:
        return factory(**options)
    return factory(env_id.partition("/")[2], environment_options(env_id, **options))
