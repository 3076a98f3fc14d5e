"""Every method, in a world in which every axis has a length of its own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from helpers import build
from reference.scene import Scene
from tutelage.registry import METHODS
from tutelage.types import Frozen

# Every axis has a length of its own: three agents, four environments of a rollout, eight steps.
ON_POLICY = dict(core="mlp", size="width=6", critic_width=7, envs=4, rollout=8, chunk=8, minibatches=2, epochs=1)
OFF_POLICY = dict(
    core="mlp", size="width=6", envs=4, chunk=8, burn_in=2, capacity_steps=64, batch=5, updates=1, warm_up=8
)  # fmt: skip
VALUES = dict(**OFF_POLICY, mixer_width=7, hyper_width=9)
TAUGHT = dict(**VALUES, generator=10, fusion_width=11)
DISTIL = dict(core="mlp", size="width=6", envs=4, gather=60, batch=2)
HINT = dict(
    core="mlp", size="width=6", teacher_width=7, envs=4, rollout=10, minibatches=1, batch=3, store=2,
    distil=1,
)  # fmt: skip
METHOD_CASES: list[tuple[str, dict[str, Any]]] = [
    ("mappo", dict(**ON_POLICY, critic="per_agent", share="agent", normalise=True)),
    ("mappo", dict(**ON_POLICY, critic="goals", shaping=0.5, value_clip=0.2)),
    ("ippo", {**ON_POLICY, "core": "gru"}),
    ("tarmac", dict(**ON_POLICY, messages="hetgat", normalise=True)),
    ("happo", dict(**ON_POLICY, normalise=True)),
    ("coma", dict(core="mlp", size="width=6", critic_width=7, envs=4, rollout=8)),
    ("ptde_mappo", dict(**ON_POLICY, generator=10, fusion_width=11)),
    ("iql", dict(**VALUES, replay="episode", capacity_episodes=8, optimiser="rmsprop")),
    ("qmix", {**VALUES, "core": "gru"}),
    ("qplex", VALUES),
    ("cw_qmix", dict(**VALUES, normalise=True)),
    ("maddpg", dict(**OFF_POLICY, critic_width=7)),
    ("igm_da", dict(**TAUGHT, encoder=0.5, features=0.5, values=0.5, beta=0.1, adaptive=True, fusion="full")),
    ("ptde", dict(**TAUGHT, normalise=True)),
    ("kd_marl", DISTIL),
    ("kd_marl", dict(**DISTIL, adv_form="awr", role_form="prototype")),
    ("dagger_kl", DISTIL),
    ("hint", HINT),
    ("hint", dict(**HINT, explain="relabel", labels="held", filter_student="fork", rl=0.5, pretrain=0, normalise=True)),
]
"""Methods with settings that lead through all functions. Rows that differ in numbers are not repeated."""
assert {METHODS[name].factory for name, _ in METHOD_CASES} == {row.factory for row in METHODS.values()}


class World(Scene):
    """A `Scene` with all that an Environment has."""

    def draw(self, state: Any) -> Any: ...

    def scripted(self, name: str = "local") -> Any: ...


def world() -> World:
    """Three agents of two classes, goals, and who hears whom; again every axis has a length of its own."""
    return World(
        offers=(13, 14), n_agents=3, n_actions=15, obs_width=16, state_width=17, max_steps=18,
        agent_types=("scout", "scout", "guard"),
    )  # fmt: skip


def teacher(env: Any, **settings: Any) -> Frozen:
    """A MAPPO team with features and a critic."""
    method = build("mappo", env, **{**ON_POLICY, "size": "width=12", **settings})
    params = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), method.params(jax.eval_shape(method.init, jax.random.key(0)))
    )
    return Frozen(
        method.roles, params, frozenset({"logits", "features", "critic"}), {"length_mean": 10.0}, method.critic
    )
