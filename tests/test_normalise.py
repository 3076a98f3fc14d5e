"""Normalised inputs: the moments, what is counted, what learns from them, and where they are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest import mock

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, TINY, Killed, assert_same, assert_same_run, build, kill_at, make_spec, make_steps, rows
from helpers import run_stage as run_stage_to_end
from small import METHOD_CASES, teacher, world
from tutelage import BadInput, make
from tutelage.experiment.plain import from_plain, to_plain
from tutelage.experiment.user_code import call_factory
from tutelage.learning.input_normaliser import InputNormaliser, init_input_normaliser
from tutelage.methods.normalising import random_play, with_normalising
from tutelage.methods.rewards import with_rewards
from tutelage.networks.cores import Net
from tutelage.policies.blueprint import Network
from tutelage.policies.columns import Entities, OneHot, Slice, View, Zeros
from tutelage.policies.cost import network_cost
from tutelage.policies.normalising import GoalRows, Rows, normalised_net, observed, state_rows, with_moments_of
from tutelage.policies.views import view
from tutelage.registry import METHODS, method_config
from tutelage.types import Goals

YES = jnp.ones((1, 1), bool)


# ---- moments -------------------------------------------------------------------------------------------------------
def test_merged_moments_are_those_of_all_that_was_counted():
    first = init_input_normaliser(2).observe(jnp.array([[1.0, 10.0], [3.0, 10.0]]), YES)
    assert_same([first.mean, first.deviation, first.count], [np.float32(x) for x in ([2, 10], [1, 0], [2, 2])])
    both = first.observe(jnp.array([[8.0, 99.0], [99.0, 99.0]]), jnp.array([[True, False], [False, False]]))
    np.testing.assert_allclose(both.mean, [4, 10])  # 1, 3, 8
    np.testing.assert_allclose(both.deviation, [np.sqrt(26 / 3), 0], rtol=1e-6)
    np.testing.assert_allclose(both.count, [3, 2])


def test_a_small_spread_of_large_numbers_is_not_lost():
    own, x = init_input_normaliser(1), 1e6 + np.arange(80_000, dtype=np.float32)[:, None] % 8
    for _ in range(3):
        own = jax.jit(InputNormaliser.observe)(own, jnp.asarray(x), YES)
    np.testing.assert_allclose(own.mean, 1e6 + 3.5, rtol=1e-7)
    np.testing.assert_allclose(own.deviation, np.sqrt(5.25), rtol=1e-3)


def test_numbers_are_shifted_scaled_and_bounded():
    # Never counted; mean 4 and deviation 2; never varied.
    own = InputNormaliser(jnp.array([0.0, 4.0, 1e4]), jnp.array([1.0, 2.0, 1e-3]), jnp.array([0.0, 3.0, 3.0]))
    x = jnp.array([[-1e9, 7.0, 1e4 + 1], [1e9, -100.0, 1e4]])
    np.testing.assert_allclose(own(x), [[-1e9, 0.45, 1.0], [1e9, -3.0, 0.0]], rtol=1e-6)


def test_what_has_counted_nothing_changes_no_bit():
    x = jnp.asarray(np.random.default_rng(0).normal(0, 1e6, (5, 3)), jnp.float32)
    assert_same(init_input_normaliser(3)(x), x)


def test_no_gradient_reaches_the_moments():
    own = InputNormaliser(jnp.array([1.0]), jnp.array([2.0]), jnp.array([3.0]))
    of_own, of_x = jax.grad(lambda own, x: own(x).sum(), argnums=(0, 1))(own, jnp.array([4.0]))
    assert_same([of_own.mean, of_own.deviation, of_own.count], [np.zeros(1, np.float32)] * 3)
    np.testing.assert_allclose(of_x, [0.15], rtol=1e-6)


# ---- what is counted -----------------------------------------------------------------------------------------------
SPEC = make_spec(obs_widths=(2, 4, 4))  # three agents, the first of which observes two columns of four


def seen(x):
    """Timesteps (2, 1) of `SPEC` in which an agent is dead, and no transition leads on from the second."""
    steps = make_steps(SPEC, (2, 1))
    alive = jnp.array([[[True, True, False]], [[True, True, True]]])
    return steps._replace(obs=jnp.asarray(x, jnp.float32)[:, None], alive=alive), jnp.array([[True], [False]])


def test_the_dead_padding_and_what_is_not_valid_are_not_counted():
    big = 1e9
    x = [[[1, 2, big, big], [3, 4, 5, 6], [big] * 4], [[big] * 4] * 3]
    own = init_input_normaliser(7, Rows(view("local", SPEC)))  # and the number, three columns
    (after,) = observed((own,), *seen(x), SPEC)
    np.testing.assert_allclose(after.mean, [2, 3, 5, 6, 0, 0, 0])
    np.testing.assert_allclose(after.deviation, [1, 1, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(after.count, [2, 2, 1, 1, 0, 0, 0])


def test_a_group_counts_its_own_agents_and_stacked_networks_each_its_own():
    x = np.stack([np.full((3, 4), 10.0), np.full((3, 4), 1e9)])
    x[0] *= np.arange(1, 4)[:, None]
    local = view("local-no-id", SPEC)
    group, stacked = init_input_normaliser(4, Rows(local, (0, 1))), init_input_normaliser(4, Rows(local))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), stacked)
    group, stacked = observed((group, stacked), *seen(x), SPEC)
    np.testing.assert_allclose(group.mean, [15, 15, 20, 20])
    np.testing.assert_allclose(stacked.mean, [[10, 10, 0, 0], [20, 20, 20, 20], [0, 0, 0, 0]])


def test_one_hots_zeros_and_messages_are_read_as_they_are():
    columns = (
        Slice("obs", 2, 4), OneHot("agent", 3), OneHot("action", 5), Zeros(1), Slice("heard", 4, 6),
        Slice("state", 0, 2), Entities((0, 2), 2, 0, None, 1, True),
    )  # fmt: skip
    rows_of_all = Rows(View("all", columns))
    steps, _ = seen(np.ones((2, 3, 4)))
    x, real = rows_of_all.read(steps, SPEC)
    assert x.shape == (2, 1, 3, rows_of_all.width)
    scaled = "11" + "000" + "00000" + "0" + "00" + "11" + "1100"
    assert [str(int(on)) for on in real[0, 0, 1]] == list(scaled)
    assert [str(int(on)) for on in real[0, 0, 0]] == list("00" + scaled[2:]) and not real[0, 0, 2].any()


def test_goals_are_counted_where_they_may_be_given():
    steps, valid = seen(np.ones((2, 3, 4)))
    features = np.full((2, 1, 3, 2, 1), 1e9, np.float32)
    features[0, 0, 0] = [[1], [1e9]]
    features[0, 0, 1] = [[3], [8]]
    possible = jnp.asarray(np.array([[True, False], [True, True], [True, True]]))[None, None].repeat(2, 0)
    nothing = jnp.zeros(possible.shape)
    goals = Goals(jnp.asarray(features), possible, nothing, nothing > 0, nothing.astype(jnp.int32))
    (own,) = observed((init_input_normaliser(2, GoalRows(2)),), steps._replace(goals=goals), valid, SPEC)
    np.testing.assert_allclose(own.mean, [4, 0])  # 1, 3, 8; and the 1 behind is left alone
    np.testing.assert_allclose(own.count, [3, 0])


def test_moments_are_given_to_networks_of_the_same_rows():
    given = InputNormaliser(jnp.array([1.0]), jnp.array([2.0]), jnp.array([3.0]), "a")
    stacked = [InputNormaliser(*(jnp.zeros((2, 1)),) * 3, "a"), jnp.ones(4)]
    after, other = with_moments_of(stacked, {"x": given, "y": replace(given, mean=jnp.array([9.0]), rows="b")})
    assert_same([after.mean, after.deviation, other], [jnp.full((2, 1), 1.0), jnp.full((2, 1), 2.0), jnp.ones(4)])


def test_a_network_reads_its_inputs_normalised_by_place():
    plain = Net(lambda key: (), lambda params, a, b: a + b)
    net = normalised_net(plain, (None, state_rows(1)), True)
    params = net.init(jax.random.key(0))
    params["normalisers"] = ((), replace(params["normalisers"][1], mean=jnp.array([5.0]), count=jnp.array([1.0])))
    np.testing.assert_allclose(net.apply(params, jnp.array([100.0]), jnp.array([7.0])), [100.6])
    assert normalised_net(plain, (None, None), False) is plain


# ---- every method --------------------------------------------------------------------------------------------------
def case(name, i=0):
    return [each for each in METHOD_CASES if each[0] == name][i]


@pytest.mark.parametrize(
    ("name", "settings"),
    rows(
        [case("mappo", 1), case("happo"), case("cw_qmix"), case("igm_da"), case("kd_marl")],
        [case("tarmac"), case("coma"), case("maddpg"), case("ptde"), case("ptde_mappo"), case("hint"), case("hint", 1)],
    ),
)
def test_every_network_that_learns_counts_and_nothing_else_changes(name, settings):
    env = world()
    with mock.patch.object(flax.linen.initializers, "orthogonal", lambda gain: flax.linen.initializers.zeros):
        config = method_config(name, **{**settings, "normalise": True})
        guide = teacher(env, normalise=True) if METHODS[name].teacher else None
        method = with_rewards(call_factory(name, env, config, guide), env, config)
        learned = method.stages[-1] if name == "hint" else method.stages[0]
        still = method._replace(stages=(learned._replace(update=lambda state, *_: (state, {})),))
        shapes = jax.eval_shape(method.init, jax.random.key(0))
    state = jax.tree.map(zeros, shapes)
    rollout = jax.tree.map(zeros, jax.eval_shape(lambda key: random_play(env, True, key), jax.random.key(0)))
    steps = rollout.steps
    goals = steps.goals._replace(features=steps.goals.features + 7, valid=~steps.goals.valid)
    lived = steps._replace(obs=steps.obs + 3, state=steps.state + 5, alive=~steps.alive, goals=goals)
    (stage,) = with_normalising(still, env, config).stages
    rollouts = {"any": rollout._replace(steps=lived, valid=~rollout.valid)}
    after = jax.jit(stage.update)(state, rollouts, jax.random.key(0), 0.0)[0]
    before, after = named(state), named(after)
    counted = {key for key in before if "normaliser" in key and ".opt" not in key and not key.startswith(".teacher[")}
    assert {key for key in before if (before[key] != after[key]).any()} == {
        key for key in counted if not key.endswith(".deviation")
    }
    assert counted and {x for key in counted if key.endswith(".mean") for x in after[key].flat} <= {0, 3, 5, 7}


def zeros(x):
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.split(jax.random.key(0), x.shape) if is_key else np.zeros(x.shape, x.dtype)


def named(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}


# ---- training ------------------------------------------------------------------------------------------------------
ONCE = {**TINY, "epochs": 1, "minibatches": 1, "steps": 256, "normalise": True}


def test_a_rollout_is_learned_from_as_it_was_played():
    """With one step per rollout the policy that learns is the one that played: the ratio is 1."""
    env = make("probe/coordination")
    state, metrics = run_stage_to_end(env, build("mappo", env, **ONCE, lr=0.1))
    assert len(metrics["approx_kl"]) == 8
    np.testing.assert_allclose(metrics["approx_kl"], 0.0, atol=1e-6)
    normaliser = state.actor.params[0]["normaliser"]
    # Two agents; every other step opens an episode. First random play, then rollouts.
    assert normaliser.count[0] == 2 * (512 / 2 + 256) and (normaliser.count[1:] == 0).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("normalised") / "run"
    return tutelage.train("qmix", "probe/memory", out=out, quiet=True, fit=QUICK, **VALUES)[0]


VALUES = dict(
    core="gru", size="width=4", envs=4, chunk=8, burn_in=0, warm_up=32, batch=2, updates=2, steps=320,
    mixer_width=4, hyper_width=4, normalise=True,
)  # fmt: skip


def test_moments_are_kept_with_the_team_and_fixed_when_it_plays(run):
    (params,) = run.params()
    assert (params["normaliser"].count[:1] > 0).all() and (params["normaliser"].deviation[:1] > 0).all()
    before = (run.path / "student.safetensors").read_bytes()
    tutelage.evaluate(run.env, run.policy(), run.params(), 8)
    assert_same(tutelage.load(run.path).params(), run.params())
    assert (run.path / "student.safetensors").read_bytes() == before
    assert json.loads((run.path / "student.json").read_text())["made_of"]["groups"][0]["network"]["normalised"] is True


def test_what_was_killed_goes_on_with_the_same_moments(run, tmp_path, monkeypatch):
    kill_at(monkeypatch, save=3, after=2)
    with pytest.raises(Killed):
        tutelage.train("qmix", "probe/memory", out=tmp_path / "run", quiet=True, fit=QUICK, **VALUES)
    monkeypatch.undo()
    (resumed,) = tutelage.resume(tmp_path / "run", quiet=True)
    assert_same_run(resumed.path, run.path)


def test_exported_formats_act_as_the_team_and_the_card_says_what_they_are_given(run, tmp_path):
    contract = tutelage.export(run.path, tmp_path / "out", formats=["numpy"], int8=True, episodes=8)
    (network,) = contract["networks"]
    assert network["normalised"] and network["layers"][0]["kind"] == "scale"
    assert contract["check"]["formats"]["numpy"]["same_action"] == 1
    assert "observations are given as the environment has them" in (tmp_path / "out" / "README.md").read_text()


def test_a_users_method_needs_with_params():
    env = make("probe/action")
    with pytest.raises(BadInput, match=r"normalise = True: this method has no with_params"):
        build("helpers:counting", env, normalise=True)
    state, _ = run_stage_to_end(env, build("helpers:breaking", env, **ONCE))
    for params in (state.actor.params[0]["normaliser"], state.critic.params["normalisers"][0]):
        assert params.count[0] > 256
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(state.actor.opt[1].mu[0]["normaliser"]))


# ---- as data -------------------------------------------------------------------------------------------------------
def test_files_of_teams_that_do_not_normalise_stay_as_they_were():
    plain, other = Network("mlp", 3, 4, 2), Network("mlp", 3, 4, 2, normalised=True)
    assert "normalised" not in to_plain(plain) and to_plain(other)["normalised"] is True
    assert [from_plain(Network, to_plain(each)) for each in (plain, other)] == [plain, other]


def test_a_normaliser_costs_four_operations_and_three_numbers_a_column():
    plain, other = (network_cost(Network("gru", 5, 4, 2, normalised=on)) for on in (False, True))
    assert (other.macs, other.elementwise - plain.elementwise, other.params - plain.params) == (plain.macs, 20, 15)
