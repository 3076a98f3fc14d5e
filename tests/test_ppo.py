"""IPPO and MAPPO: known optima of the probe environments, and what must not count in an update."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import TINY, assert_close, build, make_spec, make_steps, one_rollout, random_params, rows, run_stage
from tutelage import BadInput, evaluate, make
from tutelage.data.collect import init_collector, play, unroll
from tutelage.data.vector import make_vector_env
from tutelage.learning.normaliser import Normaliser
from tutelage.methods import ppo
from tutelage.policies.cost import layer_cost
from tutelage.policies.critic import critic_of, values_of
from tutelage.policies.views import read_view, state_and_goals, view
from tutelage.registry import method_config

LEARNS = {**TINY, "critic_width": 16, "envs": 32, "epochs": 4, "lr": 1e-2, "steps": 12_000}


def learned(method_name, name, **settings):
    """Train on a probe; returns timesteps of new episodes, the critic's values and the actor's greedy actions there."""
    env = make(f"probe/{name}")
    method = build(method_name, env, **{**LEARNS, **settings})
    state, metrics = run_stage(env, method)
    assert all(np.isfinite(x).all() for x in metrics.values())
    rollout = one_rollout(env, method.stages[0].behaviours["actor"], state)
    params, steps = method.params(state), rollout.steps

    @jax.jit
    def read(params, steps):
        actor, critic = method.roles["student"], method.critic
        value = values_of(critic, params["critic"], steps)
        return value, unroll(actor, params["student"], actor.carry(32), steps, steps.first).scores.argmax(-1)

    value, action = jax.device_get(read(params, steps))
    return jax.device_get(steps), value, action, metrics


# MAPPO values a team, IPPO each agent; values of ending steps mean nothing.
@pytest.mark.parametrize("method", rows(["mappo"], ["ippo"]))
def test_the_critic_sees_the_observation(method):
    steps, value, _, _ = learned(method, "observation")
    sign = steps.obs[..., 0] if method == "ippo" else steps.obs[..., 0, 0]
    assert value.shape == sign.shape
    assert set(np.unique(sign[steps.first])) == {-1, 1}
    np.testing.assert_allclose(value[steps.first], sign[steps.first], atol=0.15)


@pytest.mark.parametrize("method", rows(["mappo"], ["ippo"]))
def test_the_critic_discounts_a_delayed_reward(method):
    steps, value, _, _ = learned(method, "delayed", gamma=0.5)
    np.testing.assert_allclose(value[steps.first], 0.5, atol=0.05)
    np.testing.assert_allclose(value[~steps.first & ~steps.last], 1.0, atol=0.1)


def test_the_critic_learns_a_constant_and_the_log_counts_every_episode():
    steps, value, _, metrics = learned("mappo", "value")
    np.testing.assert_allclose(value[steps.first], 1.0, atol=0.05)
    # one step an episode, which pays 1 and succeeds; every second of four steps only opens the next
    for name in ("steps", "episodes", "successes", "reward"):
        assert (metrics[name] == 32 * 2).all(), name


@pytest.mark.parametrize("method", rows([], ["ippo", "mappo"]))  # MAPPO's find the best joint action
def test_the_actors_find_the_paid_action(method):
    steps, _, action, _ = learned(method, "action")
    assert (action[steps.first] == 1).all()


def test_the_team_finds_the_best_joint_action():
    steps, value, action, _ = learned("mappo", "coordination")
    assert (action[steps.first] == 0).all()
    np.testing.assert_allclose(value[steps.first], 1.0, atol=0.1)


def test_a_recurrent_team_remembers(memory_run):
    assert memory_run.test["success_rate"] == 1


@pytest.mark.rows  # the reverse of the one above
def test_a_feed_forward_team_cannot_remember():
    env = make("probe/memory")
    method = build("mappo", env, **{**LEARNS, "steps": 20_000})
    state, _ = run_stage(env, method)
    result = evaluate(env, method.roles["student"], method.params(state)["student"], 256)
    assert result.success_rate <= 0.6


# ---- what does not count -------------------------------------------------------------------------------------------
def with_deaths(rollout):
    """Let agent 1 die at the second step of every other episode's environment, and stay dead to its end."""
    steps = jax.tree.map(np.array, rollout.steps)
    for b in range(0, steps.last.shape[1], 2):
        for t in range(len(steps.last)):
            steps.alive[t, b, 1] = steps.first[t, b]
    return rollout._replace(steps=steps)


def poisoned(rollout, dead_observations: bool):
    """Garbage wherever nothing counts: at ending steps, and of dead agents."""
    steps, log_prob = jax.tree.map(np.array, rollout.steps), np.array(rollout.log_prob)
    over, dead = steps.last, ~steps.alive
    steps.obs[over] = 50.0
    steps.alive[over] = True
    if dead_observations:
        steps.obs[dead & ~over[..., None]] = -50.0
    nothing = dead[:-1] | over[:-1, :, None]
    log_prob[nothing] = -30.0
    steps.action[1:][nothing] = 2
    steps.reward[1:][over[:-1]] = 1e4
    return rollout._replace(steps=steps, log_prob=log_prob)


@pytest.mark.parametrize(("method", "core"), [("mappo", "gru"), ("ippo", "mlp")])
def test_ending_steps_and_the_dead_change_no_update(method, core):
    """IPPO's critic reads the observations of the dead on purpose: the team goes on earning after a member died."""
    env = make("probe/memory")
    built = build(method, env, **{**TINY, "core": core, "rollout": 8, "chunk": 4, "epochs": 1})
    state = jax.jit(built.init)(jax.random.key(0))
    rollout = with_deaths(one_rollout(env, built.stages[0].behaviours["actor"], state))
    assert rollout.steps.last[:-1].any() and not rollout.steps.alive.all()
    update = jax.jit(lambda state, rollout: built.stages[0].update(state, {"actor": rollout}, jax.random.key(1), 0.0))
    clean, metrics = update(state, rollout)
    bad, metrics_too = update(state, poisoned(rollout, dead_observations=method == "mappo"))
    assert_close(metrics, metrics_too)
    assert_close(clean, bad, 1e-6)
    moved = max(np.abs(np.asarray(x - y)).max() for x, y in zip(
        *(jax.tree.leaves(s.actor.params) for s in (state, clean)), strict=True))  # fmt: skip
    assert moved > 1e-4, "an update that changes nothing proves nothing"


def test_the_living_are_judged_by_the_advantages_of_the_living():
    """Advantages are normalised over those that count: with agent 1 dead throughout, agent 0's have mean 0."""
    env = make("probe/action")
    built = build("ippo", env, **{**TINY, "epochs": 1, "minibatches": 1, "entropy": 0.0})
    state = jax.jit(built.init)(jax.random.key(0))
    rollout = one_rollout(env, built.stages[0].behaviours["actor"], state)
    steps = jax.tree.map(np.array, rollout.steps)
    steps.alive[..., 1] = False
    policy_loss_of = jax.jit(lambda r: built.stages[0].update(state, {"actor": r}, jax.random.key(1), 0.0)[1])
    policy_loss = policy_loss_of(rollout._replace(steps=steps))["policy"]
    # on its own data the ratio is 1, so the loss is minus the mean of the advantages that count
    assert abs(float(policy_loss)) < 1e-5


# ---- the losses -----------------------------------------------------------------------------------------------------
def prepared(seed=3, **settings):
    """Networks, state and batch of a recurrent update; sequences begin in the middle of episodes."""
    env = make("probe/memory")
    built = build("mappo", env, **{**TINY, "core": "gru", "rollout": 8, "chunk": 2, **settings})
    actor, critic = built.roles["student"], built.critic
    state = jax.jit(built.init)(jax.random.key(0))
    state = state._replace(actor=state.actor._replace(params=random_params(actor, seed)))
    rollout = one_rollout(env, built.stages[0].behaviours["actor"], state)
    networks = ppo.PpoNetworks(method_config("mappo", **{**TINY, "chunk": 2, "rollout": 8, **settings}), actor, critic)
    return networks, state, *jax.jit(lambda s, r: ppo.make_batch(networks, s, r))(state, rollout)


@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_on_its_own_data_the_ratio_is_1_and_the_bonus_is_subtracted(entropy):
    """Sequences begin with the memory that was recorded there, or the log-probabilities would differ."""
    networks, state, _, batch = prepared(entropy=entropy)
    assert np.abs(jax.tree.leaves(batch.carry)[0][0]).max() > 0.01
    loss, metrics = jax.jit(lambda p: ppo.actor_loss(networks, p, batch))(state.actor.params)
    np.testing.assert_allclose([metrics["approx_kl"], metrics["policy"]], 0, atol=1e-5)
    np.testing.assert_allclose(loss, -entropy * metrics["entropy"], atol=1e-5)
    assert metrics["entropy"] > 0.1


def test_values_are_learned_in_units_of_their_deviation_and_huber_is_linear_far_away():
    networks, state, returns, batch = prepared()
    far = Normaliser(jnp.array(200.0), jnp.array(200.0**2 + 2**2), jnp.array(1.0))  # every error is about 100
    loss = lambda kind, scale: float(
        ppo.critic_loss(
            ppo.PpoNetworks(dataclasses.replace(networks.config, value_loss=kind), networks.actor, networks.critic),
            state.critic.params, scale, batch,
        )[0]
    )  # fmt: skip
    np.testing.assert_allclose(loss("mse", far), 0.5 * 100**2, rtol=0.05)
    np.testing.assert_allclose(loss("huber", far), 10 * 100 - 50, rtol=0.05)
    np.testing.assert_allclose(loss("huber", returns), loss("mse", returns), rtol=1e-5)


def test_a_clipped_value_is_judged_by_the_worse_of_both():
    networks, state, returns, batch = prepared()
    loss = lambda clip, scale: float(
        ppo.critic_loss(
            ppo.PpoNetworks(dataclasses.replace(networks.config, value_clip=clip), networks.actor, networks.critic),
            state.critic.params, scale, batch,
        )[0]
    )  # fmt: skip
    shift = batch.target.mean() - batch.value.mean()
    closer = Normaliser(shift, jnp.square(shift) + jnp.square(returns.deviation), returns.batches)
    assert loss(1e-6, closer) > loss(0.0, closer), "progress beyond the clip range does not pay"
    assert np.isclose(loss(1e6, closer), loss(0.0, closer), rtol=1e-6)


@pytest.mark.parametrize("seen", ["state", "local"])
def test_a_critic_speaks_in_raw_units(seen):
    spec = make_spec()
    critic = critic_of(view(seen, spec), 4)
    params = random_params(critic)
    steps = make_steps(spec, (7,))
    value = lambda mean, deviation: critic.value(
        params | {"returns": Normaliser(jnp.array(mean), jnp.array(mean**2 + deviation**2), jnp.array(1.0))}, steps
    )
    unit = value(0.0, 1.0)
    assert unit.shape == ((7,) if seen == "state" else (7, spec.n_agents)) and np.std(unit) > 0.01
    np.testing.assert_allclose(value(5.0, 3.0), 5 + 3 * unit, rtol=1e-4, atol=1e-4)


def test_a_critic_per_agent_sees_state_observation_and_number_and_of_the_dead_the_number_alone():
    spec = make_spec()
    steps = make_steps(spec, (7,))
    steps = steps._replace(alive=jnp.asarray(np.random.default_rng(0).random((7, spec.n_agents)) < 0.5))
    row, alive = np.asarray(read_view(view("state per agent", spec), steps)), np.asarray(steps.alive)
    state, obs, number = np.split(row, [spec.state_width, spec.state_width + spec.obs_width], -1)
    np.testing.assert_array_equal(number, np.broadcast_to(np.eye(spec.n_agents), number.shape))
    np.testing.assert_array_equal(obs, np.where(alive[..., None], steps.obs, 0))
    np.testing.assert_array_equal(state, np.where(alive[..., None], np.asarray(steps.state)[:, None], 0))


@pytest.mark.rows  # `test_naive_ppo` works its update out
def test_mappo_learns_with_a_critic_per_agent():
    env = make("probe/action")
    method = build("mappo", env, **{**LEARNS, "critic": "per_agent"})
    state, metrics = run_stage(env, method)
    assert method.critic is not None
    value = method.critic.value(method.params(state)["critic"], make_steps(env.spec, (3,)))
    assert value.shape == (3, env.spec.n_agents)
    assert metrics["successes"][-5:].sum() > 0.9 * metrics["episodes"][-5:].sum()


# ---- settings ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (dict(core="lstm"), "'lstm'"),
        (dict(steps=0), "steps = 0"),
        (dict(lr=-1.0), r"lr = -1\.0"),
        (dict(gamma=1.5), r"gamma = 1\.5"),
        (dict(rollout=10, chunk=4), "chunk = 4"),
        (dict(envs=3, rollout=1, chunk=1, minibatches=2), "minibatches = 2"),
        (dict(actor_view="everything"), "'everything'"),
        (dict(size="width=0"), "width=0"),
        (dict(learning_rate=1.0), "'learning_rate'"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, names):
    with pytest.raises(BadInput, match=names):
        build("mappo", make("probe/action"), **settings)


@pytest.mark.parametrize(
    ("view", "role"), [("local", "student"), ("local-no-id", "student"), ("local+state", "teacher")]
)
def test_only_a_team_that_can_act_alone_is_called_student(view, role):
    method = build("mappo", make("probe/action"), actor_view=view)
    assert set(method.roles) == {role} and method.critic is not None


def test_the_published_preset_is_the_published_size():
    config = method_config("mappo", "published")
    assert (config.size, config.critic_width, config.rollout, config.entropy) == ("width=128", 128, 128, 0.0)
    assert layer_cost("gru", 80, 128, 10).macs > 28.6 * layer_cost("gru", 80, 16, 10).macs


@pytest.mark.parametrize(("method", "values"), [("mappo", (2e-3, 0.2, 0.0)), ("ippo", (4e-3, 0.05, 0.01))])
def test_mappo_and_ippo_have_published_values_of_their_own(method, values):
    config = method_config(method, "published")
    assert (config.lr, config.clip, config.entropy) == values
    assert (config.rollout, config.grad_clip, config.steps) == (128, 0.25, 10_000_000)


def test_the_learning_rate_falls_to_zero_over_the_budget():
    env = make("probe/action")
    built = build("mappo", env, **{**TINY, "epochs": 1})
    state = jax.jit(built.init)(jax.random.key(0))
    rollout = one_rollout(env, built.stages[0].behaviours["actor"], state)
    update = jax.jit(lambda p: built.stages[0].update(state, {"actor": rollout}, jax.random.key(1), p)[0].actor.params)
    change = lambda p: max(float(jnp.abs(x - y).max()) for x, y in zip(
        jax.tree.leaves(update(p)), jax.tree.leaves(state.actor.params), strict=True))  # fmt: skip
    assert change(0.0) > 0 and change(1.0) == 0
    np.testing.assert_allclose(change(0.5) / change(0.0), 0.5, rtol=0.3)


# ---- goals -----------------------------------------------------------------------------------------------------------
def with_goals(**settings):
    """A method on a level with goals, its networks and a rollout."""
    env = make("fire_commander/5x5", radio=True, max_steps=12)
    method = build("mappo", env, **{**TINY, **settings})
    state = jax.jit(method.init)(jax.random.key(0))
    config = method_config("mappo", **{**TINY, **settings})
    seen = state_and_goals(env) if config.critic == "goals" else view("state", env.spec)
    networks = ppo.PpoNetworks(config, method.roles["student"], critic_of(seen, config.critic_width))
    behaviour = method.stages[0].behaviours["actor"]
    vector = make_vector_env(env, behaviour.envs, behaviour.goals)

    @jax.jit
    def go(state):
        collector = init_collector(vector, behaviour.policy, jax.random.key(1))
        return play(vector, behaviour, state, 0.0, collector, jax.random.key(2))[1]

    return method, networks, state, jax.device_get(go(state))


def test_a_critic_of_goals_reads_possible_ones_and_is_kept_out_of_the_run():
    method, networks, state, rollout = with_goals(critic="goals")
    assert set(method.roles) == {"student"} == set(method.params(state))
    value = jax.jit(lambda s: ppo.critic_values(networks, state.critic.params, state.returns, s))
    steps, goals = rollout.steps, rollout.steps.goals
    before = value(steps)
    assert before.shape == steps.reward.shape
    real = goals.valid[..., None]
    assert_close(
        value(steps._replace(goals=goals._replace(features=np.where(real, goals.features, np.float32(9))))), before
    )
    other = value(steps._replace(goals=goals._replace(features=np.where(real, np.float32(9), goals.features))))
    assert (np.asarray(other) != np.asarray(before)).any()
    metrics = jax.jit(lambda s: method.stages[0].update(s, {"actor": rollout}, jax.random.key(0), jnp.zeros(())))(
        state
    )[1]
    assert all(np.isfinite(x).all() for x in metrics.values())


@pytest.mark.parametrize("settings", [dict(critic="goals"), dict(shaping=1.0)])
def test_goals_are_asked_for_only_where_there_are_some_and_where_they_are_used(settings):
    with pytest.raises(BadInput, match="offers no goals"):
        build("mappo", make("probe/action"), **settings)
