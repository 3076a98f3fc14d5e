"""Refusing what does not fit into memory, computed from shapes before anything is allocated."""

from __future__ import annotations

from typing import Any

import jax

from tutelage.configs.experiment import FitConfig
from tutelage.data.collect import init_collector
from tutelage.data.replay import size_of
from tutelage.data.vector import make_vector_env
from tutelage.errors import BadInput
from tutelage.machine import memory
from tutelage.types import Environment, Method, Policy


def check_instances(env: Environment, name: str, n: int) -> None:
    """Raise BadInput where so many instances of an environment do not fit into memory.

    Args:
        env: one environment.
        name: of the setting that says how many.
        n: how many.

    Raises:
        BadInput: names the least memory they take, and the memory of the machine.
    """
    bytes_each = size_of(jax.eval_shape(make_vector_env(env, 2).reset, jax.random.key(0))) / 2
    check_fits({f"{n:,} environments side by side ({name})": n * bytes_each})


def check_training(env: Environment, method: Method, config: FitConfig, seeds: int = 1) -> None:
    """Raise BadInput where a training cannot fit into memory: a lower bound of what each stage holds is compared.

    Args:
        env: one environment.
        method: from its factory.
        config: how it is evaluated.
        seeds: how many are trained together.

    Raises:
        BadInput: names the least memory it takes, and the memory of the machine.
    """
    key = jax.random.key(0)
    networks = {"networks and what is kept to learn from": size_of(jax.eval_shape(method.init, key))}
    check_fits(networks, seeds)
    n = config.eval_episodes
    in_evaluation, _ = collector_bytes(env, method.roles[method.actor], n)
    evaluation = {f"{n:,} evaluation episodes side by side (eval_episodes)": in_evaluation}
    for stage in method.stages:
        played: dict[str, float] = {}
        for b in stage.behaviours.values():
            held, step = collector_bytes(env, b.policy, b.envs, b.goals)
            label = f"{b.envs:,} environments x {b.steps:,} steps"
            played[label] = played.get(label, 0) + held + (b.steps + 1) * step
        check_fits(networks | played, seeds)
    check_fits(networks | evaluation, seeds)


def collector_bytes(env: Environment, policy: Policy, n: int, goals: bool = False) -> tuple[float, float]:
    """Bytes of the collector state of `n` instances, with the policy's memory, and of one timestep of theirs."""
    vector = make_vector_env(env, 2, goals or policy.goals)
    collector = jax.eval_shape(lambda key: init_collector(vector, policy, key), jax.random.key(0))
    return n * size_of(collector) / 2, n * size_of(collector.timestep) / 2


def check_fits(parts: dict[str, Any], seeds: int = 1) -> None:
    """Raise BadInput where `parts` (bytes by label), times the number of seeds, exceed the memory of the machine."""
    needed, available = seeds * sum(parts.values()), memory()
    if needed <= available:
        return
    label, largest = max(parts.items(), key=lambda part: part[1])
    together = f" for {seeds:,} seeds together" if seeds > 1 else ""
    raise BadInput(
        f"this takes at least {needed / 1e9:,.1f} GB of memory{together}, and this machine has {available / 1e9:,.1f}: "
        f"{seeds * largest / 1e9:,.1f} GB are for {label}; ask for less of it"
    )
