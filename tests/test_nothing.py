"""Agents that have no action at all do nothing: action 0 is emitted, no loss is paid, and their utility is 0."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, build, make_spec, make_steps, one_rollout, random_params, rows
from tutelage import evaluate, make
from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.deploy.standalone import choose
from tutelage.envs.parts import one_hot_scores
from tutelage.methods import qlearning
from tutelage.methods.kd_marl.components import make_components
from tutelage.methods.kd_marl.data import expert_behaviour, label_rollout, mixture_policy
from tutelage.methods.kd_marl.method import kd_marl
from tutelage.methods.off_policy import Sequences
from tutelage.methods.ppo import PpoNetworks, make_batch
from tutelage.networks.cores import mask_logits
from tutelage.policies.acting import epsilon_greedy, greedy, random_policy, sample, tempered
from tutelage.policies.build import build_team
from tutelage.policies.compose import as_deterministic
from tutelage.policies.critic import critic_of
from tutelage.policies.views import view
from tutelage.registry import method_config
from tutelage.types import Frozen, Out, Policy

SPEC = make_spec(n_agents=2, n_actions=3)
MASK = np.array([[True, False, True], [False, False, False]])
"""One agent as usual, one without an action."""


def steps(lead=(64,), seed=0):
    made = make_steps(SPEC, lead, seed)
    return made._replace(avail=jnp.asarray(np.broadcast_to(MASK, (*lead, 2, 3))))


def blind(score):
    """A policy that wants what is not available."""
    return Policy(
        lambda key: (), lambda n: (), lambda params, carry, ts, key: (carry, Out(jnp.full(ts.avail.shape, score)))
    )


def test_masked_scores_of_who_has_no_action_are_certain_of_action_0():
    masked = mask_logits(jnp.array([[2.0, 3.0, 1.0], [2.0, 3.0, 1.0]]), MASK)
    assert masked.tolist() == [[2.0, -1e9, 1.0], [0.0, -1e9, -1e9]]


def test_no_gradient_reaches_the_scores_of_who_has_no_action():
    slope = jax.grad(lambda x: mask_logits(x, MASK).max(-1).sum())(jnp.array([[2.0, 3.0, 1.0], [2.0, 3.0, 1.0]]))
    assert slope.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "rule", [sample, tempered(0.3), epsilon_greedy(0.0), epsilon_greedy(0.4), epsilon_greedy(1.0), greedy]
)
def test_every_acting_rule_emits_action_0_for_sure(rule):
    timestep = steps()
    scores = np.random.default_rng(0).normal(size=timestep.avail.shape).astype(np.float32)
    act = jax.jit(lambda scores: rule(jax.random.key(1), Out(mask_logits(scores, timestep.avail)), timestep))
    action, log_prob = act(scores)
    assert action[:, 1].tolist() == [0] * 64 and log_prob[:, 1].tolist() == [0.0] * 64
    assert set(action[:, 0].tolist()) <= {0, 2} and bool(jnp.isfinite(log_prob).all())


@pytest.mark.parametrize("policy", [random_policy(), as_deterministic(blind(1.0))], ids=["random", "decided"])
def test_policies_of_other_scores_emit_action_0_for_sure(policy):
    timestep = steps()
    action, log_prob = sample(jax.random.key(1), policy.step((), (), timestep, jax.random.key(0))[1], timestep)
    assert action[:, 1].tolist() == [0] * 64 and log_prob[:, 1].tolist() == [0.0] * 64


def test_a_mixture_of_teacher_and_student_emits_action_0_for_sure():
    timestep, policy = steps(), mixture_policy(blind(1.0), blind(2.0))
    out = policy.step(((), (), 0.5), ((), ()), timestep, jax.random.key(0))[1]
    action, log_prob = sample(jax.random.key(1), out, timestep)
    assert action[:, 1].tolist() == [0] * 64 and log_prob[:, 1].tolist() == [0.0] * 64


def test_a_controller_emits_action_0():
    assert one_hot_scores(jnp.array([[2, 2]]), MASK[None]).argmax(-1).tolist() == [[2, 0]]


def test_an_exported_agent_does_the_same():
    assert choose(np.array([-1.0, 3.0, 2.0], np.float32), np.zeros(3, bool)) == 0


def test_who_does_nothing_is_not_asked_what_it_decides():
    timestep = steps((2,))._replace(alive=jnp.array([[True, True], [False, True]]))
    assert timestep.acts.tolist() == [[True, False], [False, False]]


# ---- losses --------------------------------------------------------------------------------------------------------
def data(lead=(6, 4)):
    """Sequences in which agent 1 has no action."""
    timestep = steps((lead[0] + 1, lead[1]))
    action = np.array(timestep.action)
    action[..., 1] = 0
    return Sequences(timestep._replace(action=action), (), np.ones(lead, bool))


@pytest.mark.parametrize("mixer", ["vdn", "qmix", "qplex"])
def test_a_joint_value_does_not_hear_the_network_of_who_does_nothing(mixer):
    networks, params, target, read = q_networks(mixer)
    loss = lambda scores: td(networks, scores, params, target, read)
    scores = mask_logits(jax.random.normal(jax.random.key(2), (7, 4, 2, 3)), read.steps.avail)
    slope = jax.jit(jax.grad(loss))(scores)
    assert bool((slope[..., 1, 1:] == 0).all()) and bool((slope[:-1, :, 0] != 0).any())
    assert scores[..., 1, :].max(-1).tolist() == [[0.0] * 4] * 7


def q_networks(mixer):
    config = method_config(mixer, core="mlp", size="width=8", envs=4, chunk=6, burn_in=0)
    networks = qlearning.make_networks(make("worlds:blank"), config)
    params = {"agent": random_params(networks.agent), "mix": random_params(networks.mix, 1)}
    read = data()
    state = np.random.default_rng(0).normal(size=(7, 4, 7)).astype(np.float32)
    wide = read.steps._replace(obs=np.ones((7, 4, 2, 3), np.float32), state=state, links=())
    return networks, params, params, read._replace(steps=wide)


def td(networks, scores, params, target, read):
    return qlearning.td_loss(networks, scores, params, target, read)[0]


def test_an_independent_learner_has_no_error_where_it_does_nothing():
    networks, params, target, read = q_networks("iql")
    scores = mask_logits(jnp.full((7, 4, 2, 3), 5.0), read.steps.avail)
    done = read.steps.avail.argmax(-1)  # what is available: its value is 5, and it pays 5
    ends = read.steps._replace(action=done, reward=jnp.full((7, 4), 5.0), discount=jnp.zeros((7, 4)))
    assert jax.jit(lambda s, e: td(networks, s, params, target, read._replace(steps=e)))(scores, ends) == 0


def test_ppo_does_not_count_who_does_nothing():
    env = make("worlds:blank")
    method = build("mappo", env, core="mlp", size="width=8", critic_width=8, envs=4, rollout=8, chunk=1)
    state = jax.jit(method.init)(jax.random.key(0))
    rollout = one_rollout(env, method.stages[0].behaviours["actor"], state)
    inputs = jax.tree.map(lambda x: x[:-1], rollout.steps)._replace(watch=())
    lively = rollout._replace(steps=rollout.steps._replace(alive=jnp.ones_like(rollout.steps.alive)))
    batch = jax.jit(lambda s, r: make_batch(ppo_networks(env), s, r)[1])(state, lively)
    expected = rollout.valid[..., None] & inputs.avail.any(-1)
    assert not bool(expected.all())
    assert batch.alive.reshape(8, 4, 2).tolist() == cut(expected).tolist()
    assert bool((jnp.where(inputs.avail.any(-1), 0.0, rollout.log_prob) == 0).all())


def cut(x):
    """As sequences of one step."""
    return x.reshape(1, 32, 2).reshape(8, 4, 2)


def ppo_networks(env):
    config = method_config("mappo", core="mlp", size="width=8", critic_width=8, envs=4, rollout=8, chunk=1)
    actor = build_team(env.spec, config, view("local", env.spec))
    return PpoNetworks(config, actor, critic_of(view("state", env.spec), 8))


def test_a_distillation_does_not_count_who_does_nothing():
    env = make("worlds:blank")
    teacher = Frozen({"teacher": env.scripted()}, {"teacher": ()}, frozenset(), {})
    config = KdMarlConfig(size="width=8", core="mlp", envs=4, gather=16, adv=0.0, kl=0.0, ce=1.0, rel=0.0, role=0.0)
    weight = {"adv": 0.0, "kl": 0.0, "ce": 1.0, "rel": 0.0, "role": 0.0}
    components = make_components(env, config, teacher, weight)
    state = jax.jit(kd_marl(env, config, teacher).init)(jax.random.key(0))
    rollout = one_rollout(env, expert_behaviour(components), state)
    lively = rollout._replace(steps=rollout.steps._replace(alive=jnp.ones_like(rollout.steps.alive)))
    new = jax.jit(lambda teacher, r: label_rollout(components, teacher, r))(state.teacher, lively)
    assert new.alive.tolist() == (rollout.valid[..., None] & rollout.steps.avail[:-1].any(-1)).tolist()
    assert not bool(new.alive.all())


# ---- whole runs ----------------------------------------------------------------------------------------------------
SMALL = dict(core="mlp", size="width=8", envs=8, steps=1024)
OFF = dict(chunk=8, burn_in=0, warm_up=64, capacity_steps=1024, updates=2)


@pytest.mark.parametrize("method", rows([], ["maddpg", "vdn"]))
def test_training_with_dead_agents_that_have_no_action_keeps_numbers_of_usual_size(method, tmp_path):
    (run,) = tutelage.train(method, "worlds:blank", out=tmp_path / "run", quiet=True, fit=QUICK, **SMALL, **OFF)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    numbers = [x for line in lines for k, x in line.items() if k in ("td", "target", "critic", "actor", "value")]
    assert numbers and max(map(abs, numbers)) < 10
    assert 0 <= run.test["return_mean"] <= 4


def test_random_play_goes_on_without_an_action():
    assert evaluate(make("worlds:blank"), random_policy(), (), 32, 0, sample).length_mean == 4
