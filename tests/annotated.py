"""Runs every method and every family of environments once, abstractly, with the package's annotations checked.

Started by `test_shapes.py` in a process of its own: the hook must be there before the package is imported. Exits with
what is wrong, case by case.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from jaxtyping import install_import_hook

# A whole number is a number, as in every annotation of Python.
install_import_hook("tutelage", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import flax.linen  # noqa: E402
import jax  # noqa: E402

from helpers import build  # noqa: E402
from reference.scene import Scene  # noqa: E402
from tutelage import make  # noqa: E402
from tutelage.data.collect import init_collector, play  # noqa: E402
from tutelage.data.vector import make_vector_env  # noqa: E402
from tutelage.experiment.evaluate import make_player  # noqa: E402
from tutelage.registry import METHODS  # noqa: E402
from tutelage.types import Frozen, Method  # noqa: E402

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
    ("mappo", dict(**ON_POLICY, critic="per_agent", share="agent")),
    ("mappo", dict(**ON_POLICY, critic="goals", shaping=0.5, value_clip=0.2)),
    ("ippo", {**ON_POLICY, "core": "gru"}),
    ("tarmac", dict(**ON_POLICY, messages="hetgat")),
    ("happo", ON_POLICY),
    ("coma", dict(core="mlp", size="width=6", critic_width=7, envs=4, rollout=8)),
    ("ptde_mappo", dict(**ON_POLICY, generator=10, fusion_width=11)),
    ("iql", dict(**VALUES, replay="episode", capacity_episodes=8, optimiser="rmsprop")),
    ("qmix", {**VALUES, "core": "gru"}),
    ("qplex", VALUES),
    ("cw_qmix", VALUES),
    ("maddpg", dict(**OFF_POLICY, critic_width=7)),
    ("igm_da", dict(**TAUGHT, encoder=0.5, features=0.5, values=0.5, beta=0.1, adaptive=True, fusion="full")),
    ("ptde", TAUGHT),
    ("kd_marl", DISTIL),
    ("kd_marl", dict(**DISTIL, adv_form="awr", role_form="prototype")),
    ("dagger_kl", DISTIL),
    ("hint", HINT),
    ("hint", dict(**HINT, explain="relabel", labels="held", filter_student="fork", rl=0.5, pretrain=0)),
]
"""Methods with settings that lead through all functions. Rows that differ in numbers are not repeated."""
assert {METHODS[name].factory for name, _ in METHOD_CASES} == {row.factory for row in METHODS.values()}
DISTURBED = dict(noise=0.1, dropout=0.1, delay=2, lost=1, lost_from=3)
ENVIRONMENTS: list[tuple[str, dict[str, Any]]] = [
    ("smax/2s3z", {}),
    ("predator_prey/punish2", {}),
    ("marine/easy", dict(**DISTURBED, lost_messages=0.1)),
    ("mpe/simple_spread", DISTURBED),
]
KEY = jax.random.key(0)


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


def trained(method: Method, env: Any) -> None:
    """Every stage plays and learns once; then the team plays to the end."""
    state = jax.eval_shape(method.init, KEY)
    for stage in method.stages:

        def learn(state: Any, key: Any, progress: Any, stage: Any = stage) -> Any:
            rollouts = {}
            for name, behaviour in stage.behaviours.items():
                vector = make_vector_env(env, behaviour.envs, behaviour.goals or behaviour.policy.goals)
                collector = init_collector(vector, behaviour.policy, key)
                rollouts[name] = play(vector, behaviour, state, progress, collector, key)[1]
            return stage.update(state, rollouts, key, progress)[0]

        after = jax.eval_shape(learn, state, KEY, jax.numpy.zeros(()))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    params = jax.eval_shape(method.params, state)
    jax.eval_shape(make_player(env, method.roles[method.actor], 5), params[method.actor], KEY)


def teacher(env: Any) -> Frozen:
    """A MAPPO team with features and a critic."""
    method = build("mappo", env, **{**ON_POLICY, "size": "width=12"})
    params = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), method.params(jax.eval_shape(method.init, KEY)))
    return Frozen(
        method.roles, params, frozenset({"logits", "features", "critic"}), {"length_mean": 10.0}, method.critic
    )


def method_case(name: str, settings: dict[str, Any]) -> None:
    env = world()
    frozen = teacher(env) if METHODS[name].teacher else None
    trained(build(name, env, frozen, **settings), env)


def environment_case(name: str, options: dict[str, Any]) -> None:
    env = make(name, **options)
    jax.eval_shape(make_player(env, env.scripted(), 5), (), KEY)
    state = jax.eval_shape(env.reset, KEY)[0]
    if env.goals:
        jax.eval_shape(env.goals, state)


def main() -> str:
    """What is wrong; nothing where all is well."""
    cases: list[Any] = [(method_case, case) for case in METHOD_CASES]
    cases += [(environment_case, case) for case in ENVIRONMENTS]
    wrong = []
    for run, what in cases:
        try:
            with mock.patch.object(flax.linen.initializers, "orthogonal", lambda gain: flax.linen.initializers.zeros):
                run(*what)  # initial weights that are quick to trace do
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: " + str(error).split("Called with parameters")[0])
    return "\n".join(wrong)


if __name__ == "__main__":
    sys.exit(main() or 0)
