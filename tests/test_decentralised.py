"""Decentralised means decentralised: an agent's output depends on its own row and on nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_same, make_spec, make_steps, make_tiered_team, random_params
from tutelage.policies.views import VIEWS, read_view, view

SPEC = make_spec(n_agents=4, n_actions=5, obs_width=3, state_width=6)
TIERS = {
    "one network": (((0, 1, 2, 3), 6),),
    "two widths": (((0, 1), 6), ((2, 3), 4)),
    "interleaved": (((3, 1), 6), ((0,), 4), ((2,), 5)),
}
LOCAL = [name for name in VIEWS if view(name, SPEC).decentralised]
B, T = 2, 3


def poisoned(ts, agent):
    """Everything that this agent cannot sense is NaN or turned into its opposite."""
    ts = jax.tree.map(np.array, ts)
    others = np.arange(SPEC.n_agents) != agent
    ts.obs[:, :, others], ts.state[:], ts.reward[:], ts.success[:] = np.nan, np.nan, np.nan, True
    ts.avail[:, :, others] ^= True
    ts.alive[:, :, others] ^= True
    ts.action[:, :, others] = 4 - ts.action[:, :, others]
    return ts


def run(policy, params, steps):
    """Scores, features and memories of T steps."""

    def body(carry, ts):
        carry, out = policy.step(params, carry, ts, jax.random.key(0))
        return carry, (out.scores, out.features, carry)

    return jax.lax.scan(body, policy.carry(B), steps)[1]


@pytest.mark.parametrize("kind", ["gru", "mlp"])
@pytest.mark.parametrize(
    ("seen", "tiers"), [("local", name) for name in TIERS] + [(n, "interleaved") for n in LOCAL[1:]]
)
def test_what_an_agent_cannot_see_changes_nothing_of_its_output(seen, kind, tiers):
    policy = make_tiered_team(SPEC, kind, seen, TIERS[tiers])
    params = random_params(policy, 1)
    steps = make_steps(SPEC, (T, B))
    go = jax.jit(lambda steps: run(policy, params, steps))
    scores, features, memory = go(steps)
    for agent in range(SPEC.n_agents):
        scores_too, features_too, memory_too = go(poisoned(steps, agent))
        assert_same(scores_too[:, :, agent], scores[:, :, agent])
        for g, (agents, _) in enumerate(TIERS[tiers]):
            if agent in agents:
                at = agents.index(agent)
                own = lambda tree, g=g, at=at: jax.tree.map(lambda x: x[:, :, at], tree[g])
                assert_same(own(features_too), own(features))
                if kind == "gru":
                    assert_same(own(memory_too), own(memory))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("seen", sorted(set(VIEWS) - set(LOCAL)))
def test_views_with_the_world_state_do_not_pass_for_decentralised(seen):
    steps = make_steps(SPEC, (B,))
    other = steps._replace(state=steps.state + 1)
    assert (np.asarray(read_view(view(seen, SPEC), steps)) != np.asarray(read_view(view(seen, SPEC), other))).any()


@pytest.mark.parametrize("seen", VIEWS)
def test_a_view_is_as_wide_as_it_says(seen):
    assert read_view(view(seen, SPEC), make_steps(SPEC, (B,))).shape[-1] == view(seen, SPEC).width


@pytest.mark.parametrize("tiers", ["two widths", "interleaved"])
@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_groups_share_no_weights(kind, tiers):
    policy = make_tiered_team(SPEC, kind, "local", TIERS[tiers])
    params = random_params(policy, 1)
    steps = make_steps(SPEC, (T, B))
    go = jax.jit(lambda params: run(policy, params, steps)[0])
    before = go(params)
    for g, (agents, _) in enumerate(TIERS[tiers]):
        moved = tuple(jax.tree.map(lambda x: x + 0.3, p) if i == g else p for i, p in enumerate(params))
        changed = np.asarray(go(moved) != before).any((0, 1, 3))
        assert sorted(np.flatnonzero(changed)) == sorted(agents)


def test_groups_start_from_different_weights():
    policy = make_tiered_team(SPEC, "mlp", "local", (((0, 1), 6), ((2, 3), 6)))
    params = jax.jit(policy.init)(jax.random.key(0))
    assert (np.asarray(params[0]["encode"]["kernel"]) != np.asarray(params[1]["encode"]["kernel"])).any()


@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_a_group_is_its_agents_alone_and_scores_come_back_in_agent_order(kind):
    tiers = TIERS["interleaved"]
    policy = make_tiered_team(SPEC, kind, "local", tiers)
    params = random_params(policy, 2)
    ts = make_steps(SPEC, (B,))
    scores = jax.jit(policy.step)(params, policy.carry(B), ts, jax.random.key(0))[1].scores
    rows = read_view(view("local", SPEC), ts)
    for g, group in enumerate(policy.groups):
        assert group.agents == tiers[g][0] and group.agent.width == tiers[g][1]

        @jax.jit
        def alone(row, avail, group=group, g=g):
            _, h = group.agent.think(params[g], group.agent.carry(), row)
            return group.agent.head(params[g], h, avail)

        for agent in group.agents:
            for b in range(B):
                assert_close(scores[b, agent], alone(rows[b, agent], ts.avail[b, agent]))


def test_equal_rows_get_equal_scores_unless_the_agents_know_their_number():
    ts = make_steps(SPEC, (B,))
    same = ts._replace(obs=jnp.broadcast_to(ts.obs[:, :1], ts.obs.shape), avail=jnp.ones_like(ts.avail))
    for seen, equal in (("local-no-id", True), ("local", False)):
        policy = make_tiered_team(SPEC, "mlp", seen, TIERS["one network"])
        scores = jax.jit(policy.step)(random_params(policy), (), same, jax.random.key(0))[1].scores
        assert bool((scores[:, :1] == scores).all()) == equal


@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_unavailable_actions_score_far_below_every_available_one(kind):
    policy = make_tiered_team(SPEC, kind, "local", TIERS["interleaved"])
    ts = make_steps(SPEC, (B,))
    params = random_params(policy)
    scores = np.asarray(jax.jit(policy.step)(params, policy.carry(B), ts, jax.random.key(0))[1].scores)
    assert scores[~np.asarray(ts.avail)].max() < -1e8 < scores[np.asarray(ts.avail)].min()
