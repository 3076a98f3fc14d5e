"""Agents that talk: who hears whom, and when; what it costs; who cannot."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, assert_close, assert_same, build, make_steps, random_params
from played import compiled
from tutelage import BadInput, make
from tutelage.data.collect import unroll
from tutelage.deploy.cost import cost_report
from tutelage.networks.talk import KEY_WIDTH, MESSAGE_WIDTH, message_attention
from tutelage.policies.build import build_team
from tutelage.policies.cost import agent_cost
from tutelage.policies.views import view
from tutelage.registry import method_config

SMALL = dict(size="width=8", critic_width=8, envs=16, rollout=8, chunk=8, minibatches=2, steps=600)


@cache
def talk(messages="tarmac", core="gru", level="marine/easy"):
    """A team of talkers with large weights, and timesteps (T, 1) in which nobody hears anybody."""
    spec = make(level).spec
    config = replace(method_config("mappo"), messages=messages, core=core, size="width=8")
    policy = build_team(spec, config, view("local", spec))
    params = random_params(policy)
    steps = make_steps(spec, (4, 1))
    n = spec.n_agents
    return policy, params, steps._replace(links=jnp.zeros((4, 1, n, n), bool), first=jnp.zeros((4, 1), bool))


@cache
def compiled_scores(policy):
    return jax.jit(lambda params, steps: unroll(policy, params, policy.carry(1), steps, steps.first).scores)


def scores(policy, params, steps):
    return np.asarray(compiled_scores(policy)(params, steps))[:, 0]


def test_words_are_weighed_by_how_well_key_and_query_agree():
    query, key = jnp.zeros((1, 3, KEY_WIDTH)).at[0, 0, 0].set(4.0), jnp.zeros((1, 3, KEY_WIDTH)).at[0, 1, 0].set(3.0)
    links = jnp.array([[[0, 1, 1], [1, 0, 0], [0, 0, 0]]], bool)
    weight = np.asarray(message_attention(query, key, links))[0]
    more = np.exp(3.0) / (np.exp(3.0) + 1)  # 4 * 3 / sqrt(16) against 0
    assert_close(weight, np.array([[0, more, 1 - more], [1, 0, 0], [0, 0, 0]]))


@pytest.mark.parametrize("core", ["gru", "mlp"])
@pytest.mark.parametrize("messages", ["tarmac", "hetgat"])
def test_only_those_in_range_are_heard_and_only_a_step_later(messages, core):
    policy, params, steps = talk(messages, core)
    alone = scores(policy, params, steps)
    shout = steps._replace(obs=steps.obs.at[1, 0, 2].add(1.0))  # agent 2 lives through something else in step 1
    assert_same(np.delete(scores(policy, params, shout), 2, 1), np.delete(alone, 2, 1))
    linked = steps._replace(links=steps.links.at[1, 0, 0, 2].set(True))  # in step 1 agent 0 hears agent 2
    calm, loud = (scores(policy, params, s._replace(links=linked.links)) for s in (steps, shout))
    assert_same(calm[:2], alone[:2])
    assert (calm[2, 0] != alone[2, 0]).any() and (calm[2, 0] != loud[2, 0]).any()
    assert_same(np.delete(calm, (0, 2), 1), np.delete(loud, (0, 2), 1))


@pytest.mark.parametrize("messages", ["tarmac", "hetgat"])
def test_those_who_hear_nobody_read_their_own_row_alone(messages):
    policy, params, steps = talk(messages)
    alone, n = scores(policy, params, steps), steps.obs.shape[2]
    for agent in range(n):
        others, ts = np.arange(n) != agent, jax.tree.map(np.array, steps)
        ts.state[:], ts.reward[:], ts.success[:] = np.nan, np.nan, True
        ts.obs[:, :, others] += 1.0
        ts.avail[:, :, others] ^= True
        ts.alive[:, :, others] ^= True
        assert_same(scores(policy, params, ts)[:, agent], alone[:, agent])


@pytest.mark.parametrize(("level", "share"), [("fire_commander/medium", 2), ("marine/medium", 4)])
def test_an_environment_links_those_within_its_range_and_nobody_to_itself(level, share):
    env = compiled(level)
    state, n, size = env.reset(jax.random.key(0))[0], env.spec.n_agents, env.rules.size
    near = far = 0
    for seed in range(20):
        x, y = np.random.default_rng(seed).integers(0, size, (2, n))
        place = lambda old, new: np.concatenate([new, old[n:]]).astype(old.dtype)
        links = env.sense(state._replace(x=place(state.x, x), y=place(state.y, y))).links
        within = np.hypot(x[:, None] - x, y[:, None] - y) <= size / share
        np.testing.assert_array_equal(links, within & ~np.eye(n, dtype=bool))
        near, far = near + within.sum() - n, far + (~within).sum()
    assert near > 0 and far > 0


def test_what_was_heard_is_forgotten_when_an_episode_begins():
    policy, params, steps = talk()
    linked = steps._replace(links=steps.links.at[1].set(True))
    new = linked._replace(first=linked.first.at[2].set(True))
    silent = steps._replace(first=new.first)
    assert_same(scores(policy, params, new)[2:], scores(policy, params, silent)[2:])


def test_classes_have_words_of_their_own_and_all_is_counted():
    for messages, groups in (("tarmac", 1), ("hetgat", 2)):
        policy, params, _ = talk(messages)
        assert len(policy.groups) == groups == len(params)
        for group, own in zip(policy.groups, params, strict=True):
            cost, n = agent_cost(group.agent), sum(len(group.agents) for group in policy.groups)
            assert cost.params == sum(x.size for x in jax.tree.leaves(own))
            # Of the matrices (recurrent ones are six W x W), and of attention over all others: scores and sums.
            matrices = sum(x.size for x in jax.tree.leaves(own) if x.ndim == 2)
            assert cost.macs == matrices + (n - 1) * (KEY_WIDTH + MESSAGE_WIDTH)


def test_what_is_said_is_learned():
    policy, params, steps = talk()
    steps = steps._replace(links=~steps.links)
    loss = lambda p: jnp.square(unroll(policy, p, policy.carry(1), steps, steps.first).scores).sum()
    grads = jax.jit(jax.grad(loss))(params)[0]
    assert all(float(jnp.abs(grads[name]["kernel"]).max()) > 0 for name in ("query", "key", "words"))


def test_a_run_of_tarmac_trains_loads_and_is_counted(tmp_path):
    run = tutelage.train("tarmac", "fire_commander/5x5", out=tmp_path / "run", quiet=True, fit=QUICK, **SMALL)[0]
    again = tutelage.load(run.path)
    assert again.record["config"]["messages"] == "tarmac" and again.policy().groups[0].agent.kind == "gru that talks"
    assert_same(again.params(), run.params())
    (tier,) = cost_report(again, latency=False)["students"]
    assert tier["core"] == "gru that talks" and tier["params"] == sum(x.size for x in jax.tree.leaves(run.params()))


@pytest.mark.parametrize(
    ("method", "env", "settings", "text"),
    [
        ("tarmac", "probe/action", {}, "does not say who hears whom"),
        ("tarmac", "marine/easy", {"size": "ratio=10"}, "size width=W"),
        ("tarmac", "marine/easy", {"messages": "none"}, "unknown messages 'none'"),
        ("tarmac", "marine/easy", {"sight": "nearest=1"}, "sight = full"),
        ("tarmac", "marine/easy", {"chunk": 1}, "chunk = 1"),
        ("happo", "marine/easy", {"messages": "tarmac"}, "unknown field of happo 'messages'"),
        ("mappo", "marine/easy", {"messages": "loud"}, "messages"),
    ],
)
def test_who_cannot_talk_is_refused(method, env, settings, text):
    with pytest.raises(BadInput, match=text):
        build(method, make(env), **settings)
