"""KD-MARL and its relatives against a naive NumPy reading of them; as in `test_naive_ppo`."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_same
from reference import distil, scene
from reference.maths import Descent, Scale
from reference.watching import SEEN, assert_moved, begun, learners, named, update
from tutelage.registry import method_config
from tutelage.types import Frozen

T = 5
OLD = scene.log_probs(T)
SETTINGS = dict(
    core="mlp", size="width=3", share="team", envs=2, gather=2 * T, passes=4, batch=2, lr=0.05, gamma=0.83, lam=0.7,
    clip=0.15, entropy=0.3, temperature=1.7, grad_clip=3e-5,
)  # fmt: skip
TERMS = dict(adv=0.4, kl=0.6, ce=0.7, rel=0.8, role=0.9)
CASES = {
    "clip and align": dict(**TERMS),
    "weights and prototypes": dict(**TERMS, adv_form="awr", awr_beta=0.6, role_form="prototype", prototypes=2),
}


@cache
def expert():
    """A feed-forward MAPPO team with its critic, frozen."""
    method, state = begun("mappo", scene.Scene(max_steps=T), seed=4, core="mlp", size="width=4", critic_width=2)
    params = method.params(state)
    return Frozen(method.roles, params, frozenset({"logits", "features", "critic"}), {"length_mean": T}, method.critic)


def begin(name, **changes):
    given = {**SETTINGS, **changes}
    method, state = begun(name, scene.Scene(max_steps=T), expert(), **given)
    c = SimpleNamespace(**vars(method_config(name, **given)))
    return (
        method,
        state._replace(teacher={"teacher": expert().params["student"], "critic": expert().params["critic"]}),
        c,
    )


def labelled(c, steps):
    """The expert's labels, and a rollout that recorded what its network said."""
    teacher = jax.tree.map(lambda x: np.asarray(x, float), expert().params)
    data = distil.Labels(c, steps, teacher["student"], teacher["critic"]["net"], Scale(*map(float, SEEN)))
    out = tuple(jnp.asarray(x, jnp.float32) for x in (data.logits, data.features))
    return data, scene.rollout(steps, OLD, out, carry=((), ()))


@pytest.mark.parametrize("case", CASES)
def test_passes_over_what_was_gathered_are_the_naive_steps(case):
    method, state, c = begin("kd_marl", **CASES[case])
    data, rollout = labelled(c, scene.steps(T))
    now = update(method, state, {"expert": rollout})
    assert_same(learners(now.state), learners(state))
    (params,), centres = learners(state), named(now.state, "prototypes")
    naive = Descent(params, c)
    for _ in range(2):
        here = distil.terms(c, data, OLD, naive.params, centres)
        now = update(method, now.state, {}, stage=1)
        naive.step(lambda p: distil.objective(c, distil.terms(c, data, OLD, p, centres)), 0.025)
        assert now.metrics == pytest.approx(here, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(now.total(params), naive.totals[-1], rtol=1e-4)
    assert_moved(params, learners(now.state)[0], naive.params, 0.025)
    assert_same(named(now.state, "teacher"), named(state, "teacher"))


def test_dagger_learns_between_its_rounds():
    """Half of the passes, at the full learning rate, whatever the progress."""
    method, state, c = begin("dagger_kl", kl=0.6)
    data, rollout = labelled(c, scene.steps(T))
    got = update(method, state, {"mixture": rollout})
    (params,) = learners(state)
    where, naive = {"net": params["net"], "projectors": [expert_sized()]}, Descent(params, c)

    def loss(p):
        terms = distil.terms(c, data, OLD, {**where, "net": p["net"]}, None)
        return 0.6 * terms["kl"] - c.entropy * terms["entropy"]

    for _ in range(2):
        naive.step(loss, 0.05)
    np.testing.assert_allclose(got.total(params), np.mean(naive.totals), rtol=1e-4)
    assert_moved(params, learners(got.state)[0], naive.params, 0.05)


def expert_sized():
    """A projector for terms that have no weight here."""
    return {"kernel": np.ones((3, 4)), "bias": np.ones(4)}
