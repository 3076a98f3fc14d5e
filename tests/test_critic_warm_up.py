"""While the critic warms up it alone learns."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from helpers import TINY, assert_same, build, host, one_rollout
from tutelage import BadInput, make
from tutelage.registry import method_config

COMA = {name: TINY[name] for name in ("core", "size", "critic_width", "envs", "rollout", "steps")}


def differ(a, b):
    """Whether some leaf differs."""
    return any((x != y).any() for x, y in zip(jax.tree.leaves(host(a)), jax.tree.leaves(host(b)), strict=True))


@pytest.mark.parametrize(("name", "settings"), [("mappo", TINY), ("happo", TINY), ("coma", COMA)])
def test_the_actor_stays_as_it_is_until_the_critic_is_warm(name, settings):
    env = make("probe/action")
    method = build(name, env, **settings, critic_warm_up=1024)
    state = jax.jit(method.init)(jax.random.key(0))
    rollouts = {"actor": one_rollout(env, method.stages[0].behaviours["actor"], state)}
    update = jax.jit(method.stages[0].update)
    actor = lambda state: state.actors if name == "happo" else state.actor
    for progress, learns in ((0.0, False), (1023 / 4096, False), (1024 / 4096, True), (1.0, True)):
        after, metrics = update(state, rollouts, jax.random.key(1), np.float32(progress))
        assert differ(after.critic, state.critic) and differ(after, state)
        assert differ(actor(after).opt, actor(state).opt) == learns, progress
        if not learns:
            assert_same(actor(after), actor(state))
            assert name == "coma" or differ(after.returns, state.returns)
        assert all(np.isfinite(x) for x in metrics.values())


def test_a_warm_up_leaves_steps_for_the_actor():
    with pytest.raises(BadInput, match="critic_warm_up = 4096: must be less than steps = 4096, or the actor learns"):
        method_config("mappo", **TINY, critic_warm_up=4096)
