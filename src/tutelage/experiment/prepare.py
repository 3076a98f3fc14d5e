"""Environment and method of a run, from names and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.configs.term import named_code
from tutelage.envs.build import make
from tutelage.experiment.memo import memoize
from tutelage.experiment.trust import user_code
from tutelage.experiment.user_code import make_method
from tutelage.machine import check_machine
from tutelage.registry import method_config
from tutelage.types import Environment, Frozen, Method


def make_env_and_method(
    method: str, env_id: str, options: Mapping[str, Any], config: Mapping[str, Any], teacher: Frozen | None = None
) -> tuple[Environment, Method]:
    """An environment and a method for it; raises BadInput as `make` and the method do.

    Calls with equal arguments return the same objects, so that their programs are compiled once per process: for seeds
    trained in turn, and for runs that are resumed or loaded. With a teacher, and with the user's own code or files
    (which may have changed), new objects are made.
    """
    check_machine()
    if teacher is not None or names_files(options) or user_code((method, env_id, *named_code(config))):
        return _make(method, env_id, options, config, teacher)
    return _make_memoized(method, env_id, json.dumps(dict(options)), json.dumps(dict(config)))


def make_env(env_id: str, options: Mapping[str, Any]) -> Environment:
    """An environment; the same object for equal arguments, see `make_env_and_method`."""
    if names_files(options) or user_code((env_id,)):
        return make(env_id, **options)
    return _make_env_memoized(env_id, json.dumps(dict(options)))


@memoize
def _make_env_memoized(env_id: str, options: str) -> Environment:
    return make(env_id, **json.loads(options))


def names_files(options: Mapping[str, Any]) -> bool:
    """Whether an option is a file, which may have changed."""
    return any(isinstance(value, str) and Path(value).exists() for value in options.values())


def _make(
    method: str, env_id: str, options: Mapping[str, Any], config: Mapping[str, Any], teacher: Frozen | None
) -> tuple[Environment, Method]:
    env = make_env(env_id, options)
    return env, make_method(method, env, method_config(method, **config), teacher)


@memoize
def _make_memoized(method: str, env_id: str, options: str, config: str) -> tuple[Environment, Method]:
    return _make(method, env_id, json.loads(options), json.loads(config), None)
