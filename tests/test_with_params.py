"""`Method.with_params` is the inverse of `Method.params`, for every method, and changes nothing else."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_same, build
from small import METHOD_CASES, TAUGHT, teacher, world
from tutelage.registry import METHODS

CASES = [
    *METHOD_CASES,
    ("mappo", dict(core="mlp", size="width=6", actor_view="local+state")),
    ("coma", dict(core="mlp", size="width=6", curiosity=0.1)),
    ("ddn", dict(**TAUGHT, copied=True, features=0.0, values=0.0)),
]


def made(name: str, settings: dict[str, Any]) -> Any:
    """The method, and two train states of random numbers, whose optimisers and targets are random as well."""
    env = world()
    method = build(name, env, teacher(env) if METHODS[name].teacher else None, **settings)
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    draws = [np.random.default_rng(seed) for seed in (1, 2)]

    def random(x: Any, rng: np.random.Generator) -> Any:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return np.asarray(rng.integers(0, 2**16, x.shape), x.dtype)

    return method, *(jax.tree.map(lambda x, rng=rng: random(x, rng), shapes) for rng in draws)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_parameters_are_replaced_and_nothing_else(name, settings):
    method, state, other = made(name, settings)
    given = method.params(other)
    after = method.with_params(state, given)
    assert_same(method.params(after), given)
    assert_same(method.with_params(after, method.params(state)), state)
    assert_same(method.with_params(state, {}), state)
    for role in given:
        one = method.with_params(state, {role: given[role]})
        assert_same(method.params(one)[role], given[role])
        assert_same(method.with_params(one, method.params(state)), state)


@pytest.mark.parametrize(
    ("name", "online"),
    [
        ("qmix", lambda learning: learning.online.params),
        ("maddpg", lambda learning: {"actor": learning.actor.params, "critic": learning.critic.params}),
        ("igm_da", lambda learning: learning.teacher.params),
        ("ptde", lambda learning: learning.q.online.params),
    ],
)
def test_target_networks_are_copied_on_request_alone(name, online):
    method, state, other = made(name, dict(METHOD_CASES)[name])
    target = lambda state: (state.learning.q if name == "ptde" else state.learning).target
    after = method.with_params(state, method.params(other))
    assert_same(target(after), target(state))
    copied = method.copy_targets(after)
    assert_same(target(copied), online(after.learning))
    assert_same(method.params(copied), method.params(other))


def test_the_target_of_comas_critic_is_copied():
    method, state, _ = made("coma", dict(METHOD_CASES)["coma"])
    assert_same(method.copy_targets(state), state._replace(target=state.critic.params))
