"""Collecting and replaying: what was recorded is what is replayed, and episodes never touch."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_same, make_spec, make_steps, make_tiered_team, random_params
from tutelage import make
from tutelage.data.collect import collect, enter, init_collector, play, unroll
from tutelage.data.minibatches import sequences, shuffles, take_sequences
from tutelage.data.trees import choose
from tutelage.data.vector import make_vector_env
from tutelage.learning.losses import log_prob_of
from tutelage.policies.acting import sample
from tutelage.policies.compose import as_deterministic
from tutelage.types import Behaviour

B, T = 3, 8
ONE = (((0, 1), 5),)
MIXED = (((1,), 6), ((0,), 3))  # two widths, in another order than the agents'


@cache
def setup(kind: str, tiers, name: str = "probe/memory"):
    """Environments (episodes of three steps), a team and its parameters."""
    env = make(name)
    policy = make_tiered_team(env.spec, kind, "local", tiers)
    return make_vector_env(env, B), policy, random_params(policy)


@partial(jax.jit, static_argnums=0)
def replay(policy, params, carry, inputs):
    return unroll(policy, params, carry, inputs, inputs.first)


@partial(jax.jit, static_argnums=(0, 1))
def two_rollouts(vector, policy, params):
    collector = init_collector(vector, policy, jax.random.key(1))
    carries = lambda timestep, carry, out: (carry, out.scores)
    go_on = lambda collector, key: collect(vector, policy, params, sample, collector, key, T, carries)
    collector, both = jax.lax.scan(go_on, collector, jax.vmap(jax.random.key)(jnp.array([2, 3])))
    return *(jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1)), collector


@pytest.mark.parametrize("tiers", [ONE, MIXED], ids=["one width", "mixed widths"])
@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_unroll_reproduces_the_recorded_log_probs_of_two_rollouts_in_a_row(kind, tiers):
    vector, policy, params = setup(kind, tiers)
    *rollouts, _ = two_rollouts(vector, policy, params)
    for rollout in rollouts:
        inputs = jax.tree.map(lambda x: x[:-1], rollout.steps)
        out = replay(policy, params, rollout.carry, inputs)
        assert_close(out.scores, rollout.out[1])
        log_prob = jax.jit(log_prob_of)(out.scores, rollout.steps.action[1:])
        # the action at an ending step is ignored, so its log-probability means nothing
        assert_close(np.asarray(log_prob)[rollout.valid], np.asarray(rollout.log_prob)[rollout.valid])
        assert np.std(rollout.log_prob) > 0.01, "the test needs policies that differ between inputs"


@pytest.mark.parametrize("tiers", [ONE, MIXED], ids=["one width", "mixed widths"])
def test_sequences_read_at_once_are_those_read_step_by_step_and_so_are_their_gradients(tiers):
    vector, policy, params = setup("gru", tiers)
    rollout = two_rollouts(vector, policy, params)[1]
    inputs = jax.tree.map(lambda x: x[:-1], rollout.steps)
    memory = jax.tree.map(lambda x: x + 0.3, rollout.carry)
    first = jnp.zeros((T, B), bool).at[0, 1].set(True).at[4, 0].set(True).at[5, 1].set(True)
    assert policy.replay
    weights = jax.random.normal(jax.random.key(9), inputs.avail.shape)

    @partial(jax.jit, static_argnums=0)
    @partial(jax.value_and_grad, argnums=(1, 2, 3), has_aux=True)
    def read(policy, params, memory, obs):
        out = unroll(policy, params, memory, inputs._replace(obs=obs), first)
        scores = jnp.where(inputs.avail, out.scores, 0.0)
        return (weights * jnp.square(scores)).sum() + sum(jnp.sin(h).sum() for h in out.features), out

    (_, out), gradients = read(policy, params, memory, inputs.obs)
    (_, expected), by_steps = read(policy._replace(replay=None), params, memory, inputs.obs)
    assert_close(out, expected, 1e-5)
    assert_close(gradients, by_steps, 1e-4)
    assert all(np.abs(np.asarray(x)).max() > 1e-3 for x in jax.tree.leaves(gradients))


def test_a_team_made_sure_of_its_best_action_is_so_when_replayed_too():
    vector, policy, params = setup("gru", ONE)
    rollout = two_rollouts(vector, policy, params)[0]
    inputs = jax.tree.map(lambda x: x[:-1], rollout.steps)
    sure = replay(as_deterministic(policy), params, rollout.carry, inputs).scores
    plain = replay(policy, params, rollout.carry, inputs).scores
    assert_same(sure.argmax(-1), plain.argmax(-1))
    assert_same(sure.max(-1), jnp.zeros(sure.shape[:-1]))


@pytest.mark.parametrize("start", [1, 3, 4])
def test_unroll_goes_on_from_any_recorded_memory(start):
    vector, policy, params = setup("gru", MIXED)
    rollout = two_rollouts(vector, policy, params)[1]
    inputs = jax.tree.map(lambda x: x[start:-1], rollout.steps)
    carry = jax.tree.map(lambda x: x[start], rollout.out[0])
    assert_close(replay(policy, params, carry, inputs).scores, rollout.out[1][start:])


@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_unroll_over_two_stitched_episodes_is_each_alone(kind):
    spec = make_spec()
    policy = make_tiered_team(spec, kind, "local", (((0, 2), 4), ((1,), 3)))
    params = random_params(policy)
    opening = lambda n, seed: make_steps(spec, (n, B), seed)._replace(
        first=jnp.zeros((n, B), bool).at[0].set(True), last=jnp.zeros((n, B), bool).at[-1].set(True)
    )
    a, b = opening(4, 1), opening(3, 2)
    both = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)
    stale = jax.tree.map(lambda x: x + 7.0, policy.carry(B))  # what an earlier episode left behind
    run = lambda ts: replay(policy, params, stale, ts)
    apart = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), run(a), run(b))
    assert_close(run(both), apart, 1e-6)
    if kind == "gru":  # the reset matters: without it the second episode would remember the first
        forgot = replay(policy, params, policy.carry(B), both._replace(first=both.first.at[4:].set(False))).scores
        assert np.abs(np.asarray(forgot - run(both).scores))[4:].max() > 1e-4


@pytest.mark.parametrize("name", ["probe/value", "probe/delayed", "probe/memory"])
def test_last_is_followed_by_first_with_reward_0_action_0_and_discount_1(name):
    vector, policy, params = setup("gru", ONE, name)
    for rollout in two_rollouts(vector, policy, params)[:2]:
        steps = jax.device_get(rollout.steps)
        np.testing.assert_array_equal(steps.first[1:], steps.last[:-1])
        assert steps.first.any() and steps.last.any()
        assert (steps.reward[steps.first] == 0).all() and (steps.action[steps.first] == 0).all()
        assert (steps.discount[steps.first] == 1).all() and not steps.last[steps.first].any()


def test_valid_marks_real_transitions_only():
    vector, policy, params = setup("mlp", ONE)
    rollout = two_rollouts(vector, policy, params)[0]
    np.testing.assert_array_equal(rollout.valid, ~rollout.steps.last[:-1])
    lengths = np.asarray(rollout.valid).sum(0)  # steps 0..8 of episodes with three transitions: 3, reset, 3, reset
    np.testing.assert_array_equal(lengths, 6)


def test_the_second_rollout_begins_where_the_first_ended():
    vector, policy, params = setup("gru", ONE)
    first, second, collector = two_rollouts(vector, policy, params)
    assert_same(jax.tree.map(lambda x: x[-1], first.steps), jax.tree.map(lambda x: x[0], second.steps))
    assert_same(jax.tree.map(lambda x: x[-1], second.steps), collector.timestep)


def test_the_action_at_a_last_step_is_ignored():
    env = make("probe/action")  # one step long: every second step is last
    vector = make_vector_env(env, B)
    step = jax.jit(vector.step)
    state, ts = jax.jit(vector.reset)(jax.random.key(0))
    state, ts = step(jax.random.key(1), state, ts, jnp.ones((B, 2), jnp.int32))
    assert ts.last.all()
    after = [step(jax.random.key(2), state, ts, jnp.full((B, 2), a)) for a in (0, 1, 2)]
    assert_same(after[0], after[1])
    assert_same(after[0], after[2])
    assert after[0][1].first.all()


def test_environments_of_a_batch_run_independently():
    vector = make_vector_env(make("probe/memory"), 64)
    state, ts = jax.jit(vector.reset)(jax.random.key(0))
    cues = np.asarray(state.cue)
    assert 0 < cues.mean() < 1, "each has its own cue"
    mixed = ts._replace(last=jnp.arange(64) % 2 == 0)  # only even rows are over
    following = jax.jit(vector.step)(jax.random.key(1), state, mixed, jnp.zeros((64, 2), jnp.int32))[1]
    np.testing.assert_array_equal(following.first, mixed.last)


@pytest.mark.parametrize("fresh", [True, False])
def test_fresh_starts_anew_and_otherwise_episodes_go_on(fresh):
    vector, policy, params = setup("gru", ONE)
    behaviour = Behaviour(policy, lambda state, progress: (state, sample), envs=B, steps=2, fresh=fresh)

    def twice(params):
        collector = init_collector(vector, policy, jax.random.key(0))
        collector, _ = play(vector, behaviour, params, 0.0, collector, jax.random.key(1))
        return collector, play(vector, behaviour, params, 0.0, collector, jax.random.key(2))[1]

    collector, rollout = jax.jit(twice)(params)
    assert bool(rollout.steps.first[0].all()) == fresh
    if fresh:
        assert_same(rollout.carry, policy.carry(B))
    else:
        assert_same(jax.tree.map(lambda x: x[0], rollout.steps), collector.timestep)


def test_rollouts_depend_on_their_key_alone():
    vector, policy, params = setup("gru", ONE)
    collector = two_rollouts(vector, policy, params)[2]
    run = jax.jit(lambda key: collect(vector, policy, params, sample, collector, key, T)[1])
    assert_same(run(jax.random.key(1)), run(jax.random.key(1)))
    assert (np.asarray(run(jax.random.key(1)).steps.action) != np.asarray(run(jax.random.key(2)).steps.action)).any()


def test_enter_gives_a_fresh_memory_exactly_where_an_episode_begins():
    policy = setup("gru", MIXED)[1]
    old = jax.tree.map(lambda x: x + 3.0, policy.carry(B))
    entered = enter(policy, jnp.array([True, False, True]), old)
    for new, was, fresh in zip(*map(jax.tree.leaves, (entered, old, policy.carry(B))), strict=True):
        np.testing.assert_array_equal(new[1], was[1])
        np.testing.assert_array_equal(new[::2], fresh[::2])


def test_choose_picks_rows_of_every_leaf():
    which = jnp.array([True, False])
    a, b = {"x": jnp.ones((2, 3)), "y": jnp.ones(2)}, {"x": jnp.zeros((2, 3)), "y": jnp.zeros(2)}
    got = choose(which, a, b)
    np.testing.assert_array_equal(got["x"], [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(got["y"], [1, 0])


# ---- cutting and shuffling -----------------------------------------------------------------------------------------
def stamped(t: int, b: int) -> jax.Array:
    """100 x time + environment, so that every number says where it came from."""
    return 100 * jnp.arange(t)[:, None] + jnp.arange(b)[None]


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_sequences_are_consecutive_steps_of_one_environment(length):
    tree = {"a": stamped(8, 3), "b": jnp.stack([stamped(8, 3)] * 2, -1)}
    cut = sequences(tree, length)
    assert cut["a"].shape == (length, 8 // length * 3) and cut["b"].shape == (length, 8 // length * 3, 2)
    assert (np.diff(cut["a"], axis=0) == 100).all(), "time runs down a column, within one environment"
    assert sorted(np.asarray(cut["a"]).ravel().tolist()) == sorted(np.asarray(tree["a"]).ravel().tolist())
    assert (np.asarray(cut["a"])[0] // 100 % length == 0).all(), "sequences begin at multiples of their length"
    np.testing.assert_array_equal(cut["b"][..., 0], cut["a"])


def test_rows_picks_whole_columns():
    picked = take_sequences({"a": stamped(4, 5)}, jnp.array([3, 0, 3]))["a"]
    np.testing.assert_array_equal(picked, np.asarray(stamped(4, 5))[:, [3, 0, 3]])


def test_shuffles_are_different_permutations():
    index = np.asarray(shuffles(jax.random.key(0), 6, 40))
    assert (np.sort(index, axis=1) == np.arange(40)).all()
    assert len({tuple(row) for row in index}) == 6
    np.testing.assert_array_equal(index, shuffles(jax.random.key(0), 6, 40))
