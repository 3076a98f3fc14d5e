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
from small import METHOD_CASES, teacher, world  # noqa: E402
from tutelage import make  # noqa: E402
from tutelage.data.collect import init_collector, play  # noqa: E402
from tutelage.data.vector import make_vector_env  # noqa: E402
from tutelage.experiment.evaluate import make_player  # noqa: E402
from tutelage.registry import METHODS  # noqa: E402
from tutelage.types import Method  # noqa: E402

DISTURBED = dict(noise=0.1, dropout=0.1, delay=2, lost=1, lost_from=3)
ENVIRONMENTS: list[tuple[str, dict[str, Any]]] = [
    ("smax/2s3z", {}),
    ("predator_prey/punish2", {}),
    ("marine/easy", dict(**DISTURBED, lost_messages=0.1)),
    ("mpe/simple_spread", DISTURBED),
]
KEY = jax.random.key(0)


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
