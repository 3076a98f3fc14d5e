"""The value-based family: known optima, targets by hand, monotone mixing, replay, and what must not count."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import (
    QUICK,
    assert_close,
    assert_same,
    build,
    make_spec,
    make_steps,
    one_rollout,
    random_params,
    rows,
    run_stage,
)
from tutelage import BadInput, make
from tutelage.configs.qlearning import QConfig
from tutelage.data import replay as R
from tutelage.data.collect import collect, init_collector, play
from tutelage.data.vector import make_vector_env
from tutelage.learning.returns import td_lambda
from tutelage.methods import off_policy as O
from tutelage.methods import qlearning as Q
from tutelage.methods import td_loss as D
from tutelage.networks.mixers import Utilities, mixing_net, unrestricted_mixing_net
from tutelage.policies.acting import epsilon_greedy, random_policy, sample
from tutelage.registry import method_config
from tutelage.types import Out

FAMILY = rows(["vdn"], ["iql", "qmix", "cw_qmix", "ow_qmix", "w_vdn", "qplex"])
"""All of them learn by one update, whose steps `test_naive_values` holds; QMIX coordinates below."""
SMALL = dict(
    core="mlp", size="width=16", chunk=8, burn_in=0, envs=16, batch=32, updates=4, warm_up=256, epsilon_steps=2000,
             steps=6_000, capacity_steps=20_000, lr=3e-3)  # fmt: skip


# ---- learning ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", FAMILY)
def test_the_family_learns_what_pays(method, tmp_path):
    run = tutelage.train(method, "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **SMALL)[0]
    assert run.test["success_rate"] == 1
    assert set(run.frozen.roles) == {"student"}


@pytest.mark.rows  # VDN learns what pays by default, and `test_naive_values` works every mixer out
def test_a_joint_action_is_coordinated(tmp_path):
    """The climbing game: agreeing on action 0 pays most, and Q-learners that look at themselves alone may settle."""
    run = tutelage.train("qmix", "probe/coordination", out=tmp_path / "run", quiet=True, fit=QUICK, **SMALL)[0]
    assert run.test["return_mean"] >= 0.99


def test_a_recurrent_team_remembers(tmp_path):
    settings = {**SMALL, "core": "gru", "chunk": 12, "steps": 25_000, "epsilon_steps": 8_000}
    run = tutelage.train("vdn", "probe/memory", out=tmp_path / "run", quiet=True, fit=QUICK, **settings)[0]
    assert run.test["success_rate"] >= 0.95


@pytest.mark.parametrize("replay", rows([], ["episode", "stream"]))
def test_values_are_the_discounted_returns(replay):
    """probe/delayed pays 1 on its second step whatever is done: Q is gamma, then 1, times the reward's scale."""
    env = make("probe/delayed")
    method = build("qmix", env, **{**SMALL, "steps": 16_000, "gamma": 0.9, "replay": replay, "reward_scale": 3.0})
    state, _ = run_stage(env, method)
    networks = Q.make_networks(env, QConfig(**{**SMALL, "gamma": 0.9, "replay": replay, "reward_scale": 3.0}))

    @jax.jit
    def values(state):
        data = O.sample_replay(networks, state.replay, jax.random.key(0))
        scores = Q.scores_of(networks.read(state.learning.online.params["agent"], data))
        done = D.utilities(scores[:-1], data.steps.action[1:])
        return networks.mix.apply(state.learning.online.params["mix"], done, data.steps.state[:-1]), data

    value, data = values(state)
    first, counts = np.asarray(data.steps.first[:-1]), np.asarray(data.counts)
    second = ~first & counts
    assert first.any() and second.any()
    np.testing.assert_allclose(np.asarray(value)[first & counts].mean(), 3 * 0.9, rtol=0.1)
    np.testing.assert_allclose(np.asarray(value)[second].mean(), 3 * 1.0, rtol=0.1)


# ---- targets -------------------------------------------------------------------------------------------------------
def arrays(t=6, b=4, seed=0):
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(t, b)), rng.normal(size=(t + 1, b))
    last = rng.random((t + 1, b)) < 0.3
    discount = np.where(last[1:] & (rng.random((t, b)) < 0.5), 0.0, 1.0)
    return reward, discount, value, ~last[:-1], last


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_td_lambda_is_the_recursion_by_hand(lam):
    reward, discount, value, valid, last = arrays()
    got = td_lambda(*map(jnp.asarray, (reward, discount, value, valid)), 0.9, lam)
    t, b = reward.shape
    expected = np.zeros((t, b))
    for j in range(b):
        for i in reversed(range(t)):
            ends = last[i + 1, j] or i + 1 == t
            ahead = value[i + 1, j] if ends else (1 - lam) * value[i + 1, j] + lam * expected[i + 1, j]
            expected[i, j] = reward[i, j] + 0.9 * discount[i, j] * ahead
    np.testing.assert_allclose(np.asarray(got)[valid], expected[valid], rtol=1e-5, atol=1e-6)


def test_td_0_is_one_step_and_td_1_the_return():
    reward, discount, value, valid, _ = arrays()
    zero = td_lambda(*map(jnp.asarray, (reward, discount, value, valid)), 0.9, 0.0)
    np.testing.assert_allclose(np.asarray(zero)[valid], (reward + 0.9 * discount * value[1:])[valid], rtol=1e-5)
    ones = np.ones((3, 1))
    full = td_lambda(*map(jnp.asarray, (ones, ones, np.full((4, 1), 5.0), ones > 0)), 0.5, 1.0)
    np.testing.assert_allclose(full[0, 0], 1 + 0.5 + 0.25 + 0.125 * 5)


def test_nothing_flows_from_one_episode_into_the_one_before():
    reward, discount, value, valid, last = arrays()
    base = np.asarray(td_lambda(*map(jnp.asarray, (reward, discount, value, valid)), 0.9, 0.7))
    for j in range(reward.shape[1]):
        for end in np.flatnonzero(last[:-1, j]):
            other, worth = reward.copy(), value.copy()
            other[end:, j] += 100
            worth[end + 1 :, j] += 100
            changed = np.asarray(td_lambda(*map(jnp.asarray, (other, discount, worth, valid)), 0.9, 0.7))
            np.testing.assert_allclose(changed[:end, j], base[:end, j], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weighting", ["cw", "ow"])
def test_wqmix_weights_by_hand(weighting):
    config = QConfig(weighting=weighting, alpha=0.25)
    value, target_value = jnp.array([1.0, 1.0, 1.0, 1.0]), jnp.array([2.0, 0.0, 2.0, 0.0])
    greedy, best = jnp.array([False, True, False, False]), jnp.array([3.0, 3.0, 1.5, 3.0])
    expected = {"ow": [1, 0.25, 1, 0.25], "cw": [0.25, 1, 1, 0.25]}[weighting]
    np.testing.assert_allclose(D.weights(config, value, target_value, greedy, best), expected)


# ---- mixing --------------------------------------------------------------------------------------------------------
def taken(q):
    q = q if isinstance(q, jax.Array) else np.asarray(q, np.float32)
    return Utilities(q, q, np.zeros(q.shape, np.int32))


def test_vdn_is_the_sum_and_iql_mixes_nothing():
    q, state = np.random.default_rng(0).normal(size=(5, 3)), np.ones((5, 4), np.float32)
    np.testing.assert_allclose(mixing_net("vdn", 3, 2, 4).apply((), taken(q), state), q.sum(-1), rtol=1e-5)
    np.testing.assert_allclose(mixing_net("iql", 3, 2, 4).apply((), taken(q), state), q, rtol=1e-6)


def test_qmix_is_monotone_and_looks_at_the_state():
    net = mixing_net("qmix", 3, 2, 4, width=8)
    params = random_params(net)
    rng = np.random.default_rng(0)
    q, state = jnp.asarray(rng.normal(0, 3, (200, 3)), jnp.float32), jnp.asarray(rng.normal(size=(200, 4)), jnp.float32)
    value = jax.jit(jax.vmap(jax.value_and_grad(lambda q, s: net.apply(params, taken(q), s))))
    slope = value(q, state)[1]
    assert (np.asarray(slope) >= 0).all() and (np.asarray(slope) > 0).mean() > 0.9
    assert np.std(value(np.zeros_like(q), state)[0]) > 0.1


@pytest.mark.parametrize("kind", ["vdn", "qmix", "qplex"])
def test_greedy_agents_make_the_greedy_joint_action(kind):
    """IGM: over all joint actions the mixed value is highest where every agent takes its best."""
    n, a = 2, 3
    net = mixing_net(kind, n, a, 4, width=8, hyper=8)
    params = random_params(net, 3)
    rng = np.random.default_rng(1)
    scores, state = rng.normal(size=(20, n, a)).astype(np.float32), rng.normal(size=(20, 4)).astype(np.float32)
    joint = np.stack(np.meshgrid(np.arange(a), np.arange(a), indexing="ij"), -1).reshape(-1, n)

    @jax.jit
    def values(scores, state):
        """Of every joint action, in each of the states."""
        one = lambda scores, state, u: net.apply(params, D.utilities(scores, u), state)
        return jax.vmap(lambda *x: jax.vmap(lambda u: one(*x, u))(jnp.asarray(joint)))(scores, state)

    found = np.asarray(values(scores, state))
    assert found.shape == (20, a**n)
    np.testing.assert_array_equal(joint[found.argmax(-1)], scores.argmax(-1))


def test_the_unrestricted_value_need_not_be_monotone():
    net = unrestricted_mixing_net(3, 4, width=16)
    params = random_params(net)
    q = np.random.default_rng(0).normal(0, 2, (100, 3)).astype(np.float32)
    slope = np.asarray(jax.jit(jax.vmap(jax.grad(lambda q, s: net.apply(params, taken(q), s))))(q, np.ones((100, 4))))
    assert (slope < 0).any() and (slope > 0).any()


# ---- acting --------------------------------------------------------------------------------------------------------
def test_epsilon_greedy_explores_available_actions_evenly():
    avail = np.broadcast_to([True, False, True, True, False], (20_000, 1, 5))
    scores = np.where(avail, np.float32([0.0, 9.0, 2.0, 1.0, 9.0]), np.float32(-1e9))
    ts = make_steps(make_spec(1), (20_000,))._replace(avail=avail)
    for epsilon in (0.0, 0.3, 1.0):
        action, log_prob = jax.jit(epsilon_greedy(epsilon))(jax.random.key(0), Out(scores), ts)
        share = np.bincount(np.asarray(action).ravel(), minlength=5) / 20_000
        expected = epsilon / 3 * np.array([1, 0, 1, 1, 0]) + (1 - epsilon) * np.eye(5)[2]
        np.testing.assert_allclose(share, expected, atol=0.015)
        np.testing.assert_allclose(np.exp(log_prob), expected[np.asarray(action)], atol=1e-5)


def test_epsilon_falls_along_a_line_and_stays():
    config = QConfig(steps=1_000, warm_up=0, epsilon_steps=250, epsilon_start=0.9, epsilon_end=0.1)
    ts = make_steps(make_spec(1), (1,))._replace(avail=jnp.ones((1, 1, 5), bool))
    out, keys = Out(np.eye(5, dtype=np.float32)[None, :1]), jax.random.split(jax.random.key(0), 8)
    go = jax.jit(lambda progress: jax.vmap(lambda k: Q.exploration_rule(config, progress)(k, out, ts))(keys))
    for progress, epsilon in ((0.0, 0.9), (0.125, 0.5), (0.25, 0.1), (1.0, 0.1)):
        for action, log_prob in zip(*map(np.asarray, go(progress)), strict=True):
            assert np.isclose(np.exp(log_prob[0, 0]), epsilon / 5 + (1 - epsilon) * (action[0, 0] == 0), atol=1e-5)


# ---- replay --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    rows(["smax/2s3z", "mpe/simple_spread", "probe/memory", "fire_commander/5x5"],
         ["predator_prey/punish2", "marine/easy"]),
)  # fmt: skip
def test_what_comes_out_of_replay_is_what_went_in(name):
    env = make(name)
    vector = make_vector_env(env, 4)
    coder = R.codec(vector, env.spec.n_actions)

    @jax.jit
    def go(key):
        collector = init_collector(vector, random_policy(), key)
        rollout = collect(vector, random_policy(), (), sample, collector, key, 6, states=coder.states)[1]
        stored = coder.shrink(rollout)
        ring = R.add(R.empty_replay(jax.eval_shape(lambda: (stored, ())), 8, 1.0), stored, ())
        return rollout.steps, coder.expand(ring.sequences)

    steps, back = go(jax.random.key(0))
    for name_, a, b in zip(steps._fields, back, steps, strict=True):
        if name_ != "success":
            jax.tree.map(lambda kept, seen: assert_close(kept[:, :4], seen), a, b)


def test_the_ring_overwrites_the_oldest_and_keeps_every_memory_beside_its_sequence():
    ring = R.empty_replay(jax.eval_shape(lambda: (numbered(0), jnp.zeros((2, 3)))), 6, 1.0)
    for i in range(4):
        ring = R.add(ring, numbered(i), jnp.full((2, 3), float(i)))
    assert ring.added == 8 and ring.filled == 6
    np.testing.assert_array_equal(ring.sequences.reward[0], [3, 3, 1, 1, 2, 2])
    drawn, carry = jax.jit(R.draw, static_argnums=2)(ring, jax.random.key(0), 50)
    np.testing.assert_array_equal(drawn.reward[1], carry[:, 0])


def numbered(i):
    """Two sequences of two steps, all entries i."""
    return R.Stored(*[np.full((3, 2), i, np.float32)] * 6)


def test_the_ring_is_drawn_from_evenly_and_only_where_filled():
    stored = R.Stored(jnp.arange(4.0)[None, :, None] + jnp.zeros((3, 4, 1)), *[jnp.zeros((3, 4))] * 5)
    ring = R.add(R.empty_replay(jax.eval_shape(lambda: (stored, ())), 16, 1.0), stored, ())
    drawn = jax.jit(R.draw, static_argnums=2)(ring, jax.random.key(0), 4000)[0].seen[0, :, 0]
    counts = np.unique(np.asarray(drawn), return_counts=True)
    assert list(counts[0]) == [0, 1, 2, 3] and (abs(counts[1] - 1000) < 150).all()


@pytest.mark.parametrize(
    "name",
    rows(["smax/27m_vs_30m", "smax/smacv2_20_units", "mpe/simple_spread", "fire_commander/hard", "marine/hard_raid"],
         ["smax/MMM2", "smax/3s_vs_5z", "predator_prey/punish2"]),
)  # fmt: skip
def test_the_default_replay_fits_into_a_gigabyte(name):
    env = make(name)
    state = jax.eval_shape(build("qmix", env).init, jax.random.key(0))
    assert R.size_of(state.replay) < 1e9
    assert state.replay.capacity * 64 >= 190_000


def test_replay_that_does_not_fit_is_refused_with_the_numbers():
    message = r"replay of 3,999,\d+ steps \([\d,]+ sequences\) would take .* GB, allowed are memory_gb = 0\.01"
    method = build("qmix", make("smax/3m"), capacity_steps=4_000_000, memory_gb=0.01)
    with pytest.raises(BadInput, match=message):
        jax.eval_shape(method.init, jax.random.key(0))


def test_states_are_kept_where_they_are_smaller():
    assert R.codec(make_vector_env(make("smax/MMM2"), 2), 17).states
    assert R.codec(make_vector_env(make("mpe/simple_spread"), 2), 5).states


def test_what_replay_knows_reproduces_the_scores_at_play():
    """Also of WQMIX's second team, whose memory is its own."""
    env = make("probe/memory")
    networks = Q.make_networks(env, QConfig(**{**SMALL, "core": "gru", "chunk": 6, "weighting": "cw"}))
    teams, readers = (networks.agent, networks.unrestricted_q.team), (networks.read, networks.unrestricted_q.read)
    params = tuple(random_params(team, i) for i, team in enumerate(teams))

    def scores(ts, carry, out):
        each = zip(teams, params, carry, strict=True)
        return [team.step(p, memory, ts, jax.random.key(0))[1].scores for team, p, memory in each]

    behaviour = Q.make_behaviour(networks)._replace(plays=lambda *_: (params, epsilon_greedy(0.5)), record=scores)

    @jax.jit
    def play_and_read(key):
        vector = make_vector_env(env, behaviour.envs)
        collector = init_collector(vector, behaviour.policy, key)
        collector, _ = play(vector, behaviour, (), 0.0, collector, key)
        rollout = play(vector, behaviour, (), 0.0, collector, key)[1]  # enters with memories
        data = O.Sequences(rollout.steps, rollout.carry, rollout.valid)
        return rollout, [Q.scores_of(read(p, data))[:-1] for read, p in zip(readers, params, strict=True)]

    rollout, replayed = play_and_read(jax.random.key(3))
    assert not rollout.steps.first[0].all() and np.std(rollout.carry[1][0]) > 0
    assert_close(replayed, rollout.out)


def test_a_whole_episode_is_one_episode():
    """What is played behind its end is neither counted as a step nor learned from."""
    env = make("probe/memory")
    settings = {**SMALL, "replay": "episode", "capacity_episodes": 48}
    networks = Q.make_networks(env, QConfig(**settings))
    method = build("qmix", env, **settings)
    state = jax.jit(method.init)(jax.random.key(0))
    rollout = one_rollout(env, method.stages[0].behaviours["actor"], state)
    last, valid = np.asarray(rollout.steps.last), np.asarray(rollout.valid)
    assert (last[1:] & valid).sum(0).tolist() == [1] * networks.config.envs and networks.sequences == 48
    ends = last.argmax(0)
    assert_same(valid, np.arange(len(valid))[:, None] < ends)
    replay = jax.jit(lambda r: O.add_rollout(networks, state.replay, r))(rollout)
    data = jax.jit(lambda r: O.sample_replay(networks, r, jax.random.key(0)))(replay)
    assert_same(data.counts.sum(0), data.steps.last.argmax(0).astype(data.counts.sum(0).dtype))


def test_a_time_limit_is_what_the_environment_says_or_terminal():
    last = np.zeros((6, 3), bool)
    last[2, 0] = last[4] = True
    kept = make_steps(make_spec(2), (6, 3))._replace(last=jnp.asarray(last))
    as_it_is = R.Codec(states=False, shrink=lambda rollout: rollout, expand=lambda stored: stored)

    def discount(limit):
        return O.expand(O.OffPolicyComponents(QConfig(**SMALL, time_limit=limit), as_it_is, 5), kept, ()).steps.discount

    assert (discount("env") == 1).all()
    assert_same(discount("terminal"), jnp.where(last, 0.0, 1.0))


def test_whole_episodes_are_cut_behind_the_longest_and_nothing_else_changes():
    env = make("mpe/simple_spread", max_steps=40)
    settings = {**SMALL, "replay": "episode", "capacity_episodes": 48, "core": "gru", "mixer": "vdn"}
    networks, method = Q.make_networks(env, QConfig(**settings)), build("vdn", env, **settings)
    state = jax.jit(method.init)(jax.random.key(0))
    rollout = one_rollout(env, method.stages[0].behaviours["actor"], state)
    online, seen = state.learning.online, []
    assert (
        O.episode_lengths(40) == [16, 32, 40]
        and O.episode_lengths(180) == [*range(23, 180, 23), 180]
        and O.episode_lengths(7) == [7]
    )

    key = jax.random.key(0)

    def gradient(data):
        seen.append(data.counts.shape[0])
        loss = lambda p: D.td_loss(networks, Q.scores_of(networks.read(p["agent"], data)), p, online.params, data)[0]
        return data.counts.sum(), jax.grad(loss)(online.params), jnp.int32(data.counts.shape[0])

    on_cut = jax.jit(lambda r: O.update_from_replay(networks, r, key, gradient))
    on_whole = jax.jit(lambda r: gradient(O.sample_replay(networks, r, key)))
    add = jax.jit(lambda rollout: O.add_rollout(networks, state.replay, rollout))
    for end, cut in ((9, 16), (20, 32), (40, 40)):  # all episodes end with this step
        last = np.zeros(rollout.steps.last.shape, bool)
        last[end] = True
        replay = add(rollout._replace(steps=rollout.steps._replace(last=last)))
        (count, found, length), (whole, expected, _) = on_cut(replay), on_whole(replay)
        assert int(count) == int(whole) == end * networks.config.batch and set(seen) == {16, 32, 40}
        assert_close(found, expected, 1e-5)
        assert int(length) == cut


# ---- what must not count -------------------------------------------------------------------------------------------
def sequences(networks, env, seed=0):
    """Sequences with ends inside, as replay would give them."""
    vector = make_vector_env(env, 6)
    params = random_params(networks.agent)

    @jax.jit
    def go(key, k):
        collector = init_collector(vector, networks.agent, key)
        return collect(vector, networks.agent, params, epsilon_greedy(0.5), collector, k, networks.steps)[1]

    rollout = jax.device_get(go(jax.random.key(seed), jax.random.key(1)))
    late = np.arange(networks.steps) >= networks.config.burn_in
    carry = (rollout.carry, rollout.carry) if networks.unrestricted_q else rollout.carry
    return O.Sequences(rollout.steps, carry, ~rollout.steps.last[:-1] & late[:, None])


def test_wqmix_values_the_greedy_choice_by_its_second_team():
    """The target is Q* (target network) of what the online team would do; weights compare with it; Q* learns too."""
    env = make("probe/memory")
    networks = Q.make_networks(env, QConfig(**{**SMALL, "weighting": "cw", "alpha": 0.25, "lam": 0.0}))
    _, team, _, joint = unrestricted_q = networks.unrestricted_q
    data = sequences(networks, env)
    nets = {"agent": networks.agent, "mix": networks.mix, "central": team, "joint": joint}
    params, target = ({name: random_params(net, i + s) for i, (name, net) in enumerate(nets.items())} for s in (0, 10))

    @jax.jit
    def by_hand(params, target, data):
        steps, chosen = data.steps, data.steps.action[1:]
        scores = Q.scores_of(networks.read(params["agent"], data))
        central_target, central = (Q.scores_of(unrestricted_q.read(p["central"], data)) for p in (target, params))
        greedy = scores.argmax(-1)
        q_star = joint.apply(target["joint"], D.utilities(central_target, greedy), steps.state)
        joint_value = joint.apply(params["joint"], D.utilities(central[:-1], chosen), steps.state[:-1])
        value = networks.mix.apply(params["mix"], D.utilities(scores[:-1], chosen), steps.state[:-1])
        target_value = networks.scale * steps.reward[1:] + 0.99 * steps.discount[1:] * q_star[1:]
        weight = jnp.where((chosen == greedy[:-1]).all(-1) | (target_value > q_star[:-1]), 1.0, 0.25)
        return weight, weight * (value - target_value) ** 2, (joint_value - target_value) ** 2

    weight, errors, of_second = map(np.asarray, by_hand(params, target, data))
    counts = np.asarray(data.counts)
    loss = lambda p: D.td_loss(networks, Q.scores_of(networks.read(p["agent"], data)), p, target, data)
    (total, metrics), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(metrics["td"], errors[counts].mean(), rtol=1e-4)
    np.testing.assert_allclose(total - metrics["td"], of_second[counts].mean(), rtol=1e-4)
    assert 0 < (weight < 1).mean() < 1
    alone = jax.jit(jax.grad(lambda p: loss(p)[1]["td"]))(params)
    assert_close(alone["agent"], slope["agent"])  # nothing of the Q* term reaches the team
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves((slope["central"], slope["joint"], slope["agent"])))


@pytest.mark.parametrize("method", rows(["qmix", "cw_qmix"], ["qplex"]))
def test_what_follows_an_end_and_the_burn_in_change_no_loss(method):
    env = make("probe/memory")
    changes = {"qmix": {}, "cw_qmix": {"weighting": "cw"}, "qplex": {"mixer": "qplex"}}[method]
    networks = Q.make_networks(env, QConfig(**{**SMALL, "burn_in": 2}, **changes))
    data = sequences(networks, env)
    state = build(method, env, **{**SMALL, "burn_in": 2})
    params = jax.jit(state.init)(jax.random.key(0)).learning.online.params
    loss = jax.jit(
        lambda data: D.td_loss(networks, Q.scores_of(networks.read(params["agent"], data)), params, params, data)
    )
    base, metrics = loss(data)
    assert base > 0 and not data.counts.all()
    steps = jax.tree.map(np.array, data.steps)
    after = steps.last[:-1]  # the transition from an ending step to a new episode
    steps.reward[1:][after], steps.discount[1:][after] = 1e3, 0.0
    steps.action[1:][after] = 0
    early = np.zeros_like(steps.reward)
    early[1:3] = 50.0  # rewards of the burn-in
    poisoned = data._replace(steps=jax.tree.map(jnp.asarray, steps._replace(reward=steps.reward + early)))
    assert_close(loss(poisoned), (base, metrics))


def test_the_target_follows_by_copies_or_softly():
    t, p = {"w": jnp.zeros(3)}, {"w": jnp.ones(3)}
    hard = QConfig(target_every=4)
    assert (
        Q.update_target(hard, t, p, jnp.array(3))["w"][0] == 0
        and Q.update_target(hard, t, p, jnp.array(4))["w"][0] == 1
    )
    soft = QConfig(target_every=1, target_rate=0.1)
    np.testing.assert_allclose(Q.update_target(soft, t, p, jnp.array(7))["w"], 0.1, rtol=1e-6)


def test_double_q_chooses_by_the_online_network():
    env = make("probe/action")
    networks = [
        Q.make_networks(env, QConfig(**{**SMALL, "mixer": "vdn", "double": double})) for double in (True, False)
    ]
    data = sequences(networks[0], env)
    target = {"agent": random_params(networks[0].agent, 5), "mix": ()}
    scores = Q.scores_of(networks[0].read(target["agent"], data))
    # The online network thinks the opposite.
    both = [jax.jit(lambda s, d, p=p: D.td_targets(p, -s, target, d))(scores, data) for p in networks]
    config, steps, scores = networks[0].config, data.steps, np.asarray(scores)
    by_td = jax.jit(lambda *x: td_lambda(*x, config.gamma, config.lam))
    for one, extreme, never in zip(both, (np.min, np.max), (1e9, -1e9), strict=True):
        expected = extreme(np.where(steps.avail, scores, np.float32(never)), -1)  # unavailable ones are never chosen
        reward, valid = networks[0].scale * steps.reward[1:], ~steps.last[:-1]
        by_hand = by_td(reward, steps.discount[1:], expected.sum(-1), valid)
        assert_close(one, by_hand)
    assert (np.asarray(both[0]) < np.asarray(both[1]) - 1e-3).any()
    mean_of = jax.jit(lambda s, d, chooser: D.td_loss(networks[0], s, target, target, d, chooser)[1]["target"])
    for chooser, one in (
        (-scores, both[0]),
        (scores, both[1]),
        (None, both[1]),
    ):  # another network may choose: IGM-DA
        mean_target = mean_of(scores, data, chooser)
        np.testing.assert_allclose(mean_target, np.asarray(one)[np.asarray(data.counts)].mean(), rtol=1e-4)


# ---- settings ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (dict(mixer="sum"), "'sum'"),
        (dict(burn_in=64), "burn_in = 64"),
        (dict(epsilon_end=2.0), r"epsilon_end = 2\.0"),
        (dict(mixer="iql", weighting="cw"), "weighting = 'cw'"),
        (dict(batch=0), "batch = 0"),
        (dict(weighting="ow", double=False), "double = False"),
        (dict(reward_scale=-1.0), "reward_scale = -1"),
        (dict(steps=5_000), "warm_up = 5000"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, names):
    with pytest.raises(BadInput, match=names):
        QConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(capacity_steps=1023), "capacity_steps = 1023: must be at least 1024"),
        (dict(replay="episode", capacity_episodes=15), "capacity_episodes = 15: must be at least 16"),
    ],
)
def test_replay_that_holds_less_than_is_played_at_a_time_is_refused(settings, message):
    with pytest.raises(BadInput, match=message):
        method_config("qmix", **settings)
    least = {name: value + 1 if name != "replay" else value for name, value in settings.items()}
    assert method_config("qmix", **least)
