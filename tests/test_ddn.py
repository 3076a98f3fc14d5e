"""Teachers and students that learn together: who sees what, whose gradient goes where, and what curiosity pays."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

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
from tutelage.configs.ddn import DdnConfig
from tutelage.data.collect import unroll
from tutelage.learning.normaliser import init_normaliser
from tutelage.methods import central as C
from tutelage.methods import ddn as D
from tutelage.methods.curiosity import Predictor, prediction_error
from tutelage.methods.off_policy import Sequences, gradient_steps, sample_replay
from tutelage.methods.qlearning import make_networks
from tutelage.networks.cores import Net
from tutelage.networks.curiosity import curiosity_net
from tutelage.networks.fusion import KINDS, fusion_net
from tutelage.registry import method_config

SMALL = dict(core="mlp", size="width=12", chunk=8, burn_in=0, envs=16, batch=32, updates=4, warm_up=256,
             epsilon_steps=4000, steps=8_000, capacity_steps=20_000, lr=3e-3, generator=8, fusion_width=16)  # fmt: skip
L, S, N = 7, 5, 3


# ---- learning ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", rows(["ddn"], ["ctds", "igm_da"]))
def test_students_learn_what_pays_from_what_they_see(method, tmp_path):
    run = tutelage.train(method, "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **SMALL)[0]
    assert run.test["success_rate"] == 1 and run.test["beside"]["teacher"]["success_rate"] == 1
    assert set(run.frozen.roles) == {"student", "teacher"}
    again = tutelage.load(run.path)
    assert_same(again.params("teacher"), run.params("teacher"))
    assert tutelage.evaluate(again.env, again.policy(), again.params(), 32).success_rate == 1


@pytest.mark.parametrize("method", rows([], ["ctds", "ddn"]))
def test_recurrent_students_remember(method, tmp_path):
    settings = {**SMALL, "core": "gru", "chunk": 12, "steps": 16_000, "epsilon_steps": 6_000, "beta": 0.0}
    run = tutelage.train(method, "probe/memory", out=tmp_path / "run", quiet=True, fit=QUICK, **settings)[0]
    assert run.test["success_rate"] >= 0.95


# ---- one state of training, looked at from all sides -----------------------------------------------------------------
@cache
def trained(**changes):
    """A method on probe/coordination after some training: (method, networks, state)."""
    env, method, networks = made(**changes)
    return method, networks, run_stage(env, method)[0]


def made(**changes):
    """Environment, method and networks."""
    env = make("probe/coordination")
    settings = {**method_config("ddn").__dict__, **SMALL, "steps": 3_000, **changes}
    config = DdnConfig(**settings)
    method = D.ddn(env, config)
    students = make_networks(env, config)
    networks = D.DdnNetworks(
        config,
        students.with_team(*C.make_teacher(env.spec, config, 12)),
        students.agent,
        curiosity_net(env.spec.state_width),
    )
    return env, method, networks


@cache
def batch_of(**changes):
    """Sequences of that training, with the students' memory."""
    _, networks, state = trained(**changes)
    data = sample_replay(networks.td, state.replay, jax.random.key(3))
    return data._replace(carry=data.carry[0]), data.carry[1]


def student_metrics(networks, student, teacher, data, carry, read=None):
    """Metrics of the students' loss; `read`: data that the teacher reads instead."""
    compute = lambda s, t, data, read, carry: D.student_loss(networks, s, networks.td.read(t, read), data, carry)[1]
    return jax.jit(compute)(student, teacher, data, read or data, carry)


def test_the_student_reads_no_state_and_the_teacher_does():
    method, _, state = trained()
    params = method.params(state)
    steps = make_steps(make("probe/coordination").spec, (4,))
    other = steps._replace(state=steps.state + 1)
    scores = lambda role, ts: jax.jit(method.roles[role].step)(
        params[role], method.roles[role].carry(4), ts, jax.random.key(0)
    )[1].scores  # fmt: skip
    assert_same(scores("student", steps), scores("student", other))
    assert (np.asarray(scores("teacher", steps)) != np.asarray(scores("teacher", other))).any()


def test_distillation_moves_no_teacher_and_td_no_student():
    _, networks, state = trained()
    data, carry = batch_of()
    student, teacher = state.learning.student.params, state.learning.teacher.params["agent"]
    loss = lambda s, t: D.student_loss(networks, s, networks.td.read(t, data), data, carry)[0]
    of_student, of_teacher = jax.jit(jax.grad(loss, (0, 1)))(student, teacher)
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(of_teacher))
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(of_student))


def test_a_student_equal_to_its_teacher_has_nothing_to_learn():
    _, networks, state = trained()
    data, carry = batch_of()
    student, teacher = state.learning.student.params, state.learning.teacher.params["agent"]
    metrics = student_metrics(networks, student, teacher, data, carry)
    assert set(metrics) == {"student_encoder", "student_features", "student_values"} and min(metrics.values()) > 0

    def same(student, data, carry):
        out = unroll(networks.student, student, carry, data.steps, data.steps.first)
        out = out._replace(features=(*out.features, C.first_layer(networks.student, student, data.steps)))
        return D.student_loss(networks, student, out, data, carry)[1]

    assert max(jax.jit(same)(student, data, carry).values()) < 1e-10


def test_the_teacher_reads_sequences_as_it_plays_step_by_step():
    env, method, networks = made(core="gru")
    state = jax.jit(method.init)(jax.random.key(0))
    (behaviour,) = method.stages[0].behaviours.values()
    steps = one_rollout(env, behaviour, state).steps
    teacher, rng = random_params(networks.td.agent), np.random.default_rng(0)
    carry = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), jax.eval_shape(lambda: networks.td.agent.carry(16))
    )
    data = Sequences(steps, carry, ~np.asarray(steps.last)[:-1])
    whole = jax.jit(networks.td.read)(teacher, data)
    each = jax.jit(lambda p: unroll(networks.td.agent, p, data.carry, data.steps, data.steps.first))(teacher)
    assert_close(whole.scores, each.scores)
    assert_close(whole.features[0], each.features[0])
    assert np.std(np.asarray(data.steps.first).sum(0)) >= 0 and np.asarray(data.steps.first)[1:].any()


def test_the_dead_and_unavailable_actions_teach_nothing():
    _, networks, state = trained()
    data, carry = batch_of()
    student, teacher = state.learning.student.params, state.learning.teacher.params["agent"]
    alive = np.ones(data.steps.alive.shape, bool)
    alive[:, ::2, 1] = False
    avail = np.ones(data.steps.avail.shape, bool)
    avail[..., 2] = False
    steps = data.steps._replace(alive=jnp.asarray(alive), avail=jnp.asarray(avail))
    metrics = lambda data: student_metrics(networks, student, teacher, data, carry)
    clean = metrics(data._replace(steps=steps))
    obs = np.array(steps.obs)
    obs[~alive] = 30.0  # what a dead agent would see
    poisoned = steps._replace(obs=jnp.asarray(obs))
    assert_close(metrics(data._replace(steps=poisoned)), clean)
    assert all(np.isfinite(x) for x in clean.values())


def test_copied_students_are_the_teacher_behind_their_own_first_layer():
    method, _, state = trained(copied=True, features=0.0, values=0.0)
    student, teacher = method.params(state)["student"][0], method.params(state)["teacher"]["team"][0]
    assert_same(student["core"], teacher["core"])
    assert_same(student["head"], teacher["head"])
    assert (np.asarray(student["encode"]["kernel"]) != 0).any()


# ---- curiosity -----------------------------------------------------------------------------------------------------
def test_the_frozen_network_stays_and_what_is_known_pays_less_than_what_is_new():
    method, networks, state = trained()
    start = jax.jit(method.init)(jax.random.fold_in(jax.random.key(0), 1))
    assert_same(state.learning.frozen, start.learning.frozen)
    known = batch_of()[0].steps.state
    new = known + jax.random.normal(jax.random.key(1), known.shape)
    error = lambda now, s: prediction_error(networks.curiosity, now.predictor.net.params, now.frozen, s).mean()
    before, after, unseen = (
        error(*x) for x in ((start.learning, known), (state.learning, known), (state.learning, new))
    )
    assert after < 0.2 * before and unseen > 5 * after


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        (dict(mu_form="scale", mu=0.5), 0.5),
        (dict(mu_form="reward_mask", mu=0.5), 0.5),
        (dict(mu_form="predictor_mask", mu=0.5), 1.0),
        (dict(mu_form="scale", mu=1.0, adaptive=True), 0.25),
    ],
)
def test_what_mu_means(changes, share):
    """Against the full bonus of the same errors; with `adaptive` three quarters of the episodes succeeded."""
    _, networks, state = trained()
    data = batch_of()[0]
    learning = state.learning._replace(success=jnp.array(0.75))

    def bonus(**settings):
        config = DdnConfig(**{**networks.config.__dict__, **settings})
        changed = D.DdnNetworks(config, networks.td, networks.student, networks.curiosity)
        go = jax.jit(lambda learning, data: D.curiosity_bonus(changed, learning, data, jax.random.key(5), 1e-3)[0])
        return np.asarray(go(learning, data))

    full, some = bonus(mu_form="scale", mu=1.0), bonus(**changes)
    np.testing.assert_allclose(some.sum() / full.sum(), share, atol=0.12)
    if changes["mu_form"] == "reward_mask":
        paid = some > 0
        np.testing.assert_allclose(some[paid], full[paid], rtol=1e-5)
        assert 0.3 < paid.mean() < 0.7


def test_the_bonus_is_in_units_of_the_errors_however_small_they_have_become():
    _, networks, state = trained()
    networks = replace(networks, config=replace(networks.config, mu=1.0))
    data = jax.device_get(batch_of()[0])
    states = np.random.default_rng(2).normal(size=data.steps.state.shape).astype(np.float32)
    data = data._replace(steps=data.steps._replace(state=states))
    bonuses = []
    for scale in (1.0, 1e-3):
        net = Net(networks.curiosity.init, lambda p, s, k=scale: networks.curiosity.apply(p, s) * k)
        scaled = replace(networks, curiosity=net)
        unlearned = state.learning.predictor.net._replace(params=random_params(net, 9))
        start = state.learning._replace(predictor=Predictor(unlearned, init_normaliser()))
        both = lambda start, data, nets=scaled: (
            prediction_error(nets.curiosity, start.predictor.net.params, start.frozen, data.steps.state[1:]),
            D.curiosity_bonus(nets, start, data, jax.random.key(5), 1e-3)[0],
        )
        error, bonus = jax.jit(both)(start, data)
        deviation = np.asarray(error)[np.asarray(data.counts)].std()
        np.testing.assert_allclose(bonus, networks.config.beta * error / deviation, rtol=1e-2)
        bonuses.append(bonus)
    np.testing.assert_allclose(bonuses[0], bonuses[1], rtol=1e-2)


def test_padding_teaches_nothing_and_surprises_nobody():
    _, networks, state = trained()
    data, carry = batch_of()
    student, teacher = state.learning.student.params, state.learning.teacher.params["agent"]
    counts = data.counts & (jnp.arange(data.counts.shape[0]) >= 2)[:, None]
    off = np.concatenate([~np.asarray(counts), np.zeros((1, counts.shape[1]), bool)])
    steps = data.steps
    poisoned = steps._replace(
        obs=jnp.where(off[..., None, None], 9.0, steps.obs),
        state=steps.state.at[1:].set(jnp.where(counts[..., None], steps.state[1:], 9.0)),
    )

    def outcome(steps):
        part = data._replace(steps=steps, counts=counts)
        own = student_metrics(networks, student, teacher, part, carry, read=part._replace(steps=data.steps))
        _, predictor, metrics = D.curiosity_bonus(networks, state.learning, part, jax.random.key(1), 1e-3)
        return own, predictor.net.params, predictor.errors, metrics["novelty"]

    assert not counts.all()
    assert_close(outcome(poisoned), outcome(steps))


def test_without_curiosity_nothing_about_it_is_computed():
    method = build("ctds", make("probe/action"), **SMALL)
    state = jax.eval_shape(method.init, jax.random.key(0))
    networks = networks_of("ctds")
    go = lambda s: gradient_steps(networks.td, partial(D.ddn_step, networks), 1, s, jax.random.key(0), 0.0)
    metrics = jax.eval_shape(go, state)[1]
    assert "novelty" not in metrics and set(metrics) == {"td", "value", "target", "student_values"}


def networks_of(name):
    env = make("probe/action")
    config = method_config(name, **SMALL)
    students = make_networks(env, config)
    return D.DdnNetworks(
        config,
        students.with_team(*C.make_teacher(env.spec, config, 12)),
        students.agent,
        curiosity_net(env.spec.state_width),
    )


# ---- fusion --------------------------------------------------------------------------------------------------------
def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(4, N, L)), jnp.float32), jnp.asarray(rng.normal(size=(4, S)), jnp.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_fusions_are_as_wide_as_they_say_and_tell_agents_apart_unless_raw(kind):
    net, width = fusion_net(kind, L, S, N, width=6, generator=4)
    own, state = inputs()
    out = np.asarray(net.apply(random_params(net), own, state))
    assert out.shape == (4, N, width)
    assert (np.abs(out[:, 0] - out[:, 1]).max() > 0) == (kind != "raw")


def test_the_full_fusion_is_linear_in_the_state_with_a_matrix_per_agent():
    """Against the matrix of every agent, written out."""
    net, _ = fusion_net("full", L, S, N, width=6, generator=4)
    params, (own, state) = random_params(net), inputs()
    z = jax.nn.relu(own @ params["generator"]["kernel"] + params["generator"]["bias"])
    tensor = params["matrices"]["kernel"].reshape(S, 4, 6) / S**0.5
    constant = params["matrices"]["bias"].reshape(4, 6) / S**0.5
    matrix = jnp.einsum("bng,sgw->bnsw", z, tensor) + params["matrix"]["kernel"]
    offset = z @ constant + params["matrix"]["bias"] + z @ params["offset"]["kernel"] + params["offset"]["bias"]
    expected = jnp.einsum("bs,bnsw->bnw", state, matrix) + offset
    np.testing.assert_allclose(net.apply(params, own, state), expected, rtol=1e-4, atol=1e-4)


def test_only_the_mlp_is_not_linear_in_the_state():
    own, state = inputs()
    for kind in KINDS:
        net, _ = fusion_net(kind, L, S, N, width=6, generator=4)
        params = random_params(net)
        f = lambda s, net=net, params=params: net.apply(params, own, s)
        straight = jnp.allclose(f(2 * state) - f(state), f(state) - f(0 * state), atol=1e-3)
        assert bool(straight) == (kind != "mlp"), kind


def test_an_entry_of_the_personalised_state_is_about_as_large_as_one_of_the_state():
    net, _ = fusion_net("full", 100, 200, N)
    params = jax.jit(net.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    own, state = (
        jnp.asarray(rng.normal(size=(64, N, 100)), jnp.float32),
        jnp.asarray(rng.normal(size=(64, 200)), jnp.float32),
    )
    assert 0.3 < float(jnp.std(net.apply(params, own, state))) < 5


def test_a_step_of_adam_moves_the_personalised_state_no_faster_through_its_matrices_than_through_a_plain_layer():
    """Adam's first step changes every weight by the learning rate, whatever it is multiplied by afterwards."""
    net, _ = fusion_net("full", 100, 200, N)
    params = jax.jit(net.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    own, state = jnp.asarray(rng.normal(size=(N, 100)), jnp.float32), jnp.asarray(rng.normal(size=200), jnp.float32)
    before = net.apply(params, own, state)

    def moved(name):
        step = {**params[name], "kernel": params[name]["kernel"] + 1e-3 * jnp.sign(state)[:, None]}
        return float(jnp.abs(net.apply({**params, name: step}, own, state) - before).mean())

    assert 0.3 < moved("matrices") / moved("matrix") < 3


# ---- who plays -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("acts", "share"), [("teacher", 1.0), ("student", 0.0), ("mix", 0.5)])
def test_who_plays(acts, share):
    spec = make_spec(2)
    one = lambda value: D.Policy(lambda key: (), lambda n: jnp.zeros(n), lambda p, c, ts, key: (
        c + 1, D.Out(jnp.full((8, 2, 5), value))))  # fmt: skip
    _, networks, _ = trained()
    config = DdnConfig(**{**networks.config.__dict__, "acts": acts, "envs": 8})
    who = D.make_behaviour(replace(networks, config=config, td=replace(networks.td, agent=one(1.0)), student=one(2.0)))
    carry, out = who.policy.step(((), ()), (jnp.zeros(8), jnp.zeros(8)), make_steps(spec, (8,)), None)
    np.testing.assert_array_equal(out.scores[:, 0, 0] == 1, np.arange(8) < round(share * 8))
    assert all((np.asarray(c) == 1).all() for c in carry), "both memories advance"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (dict(fusion="none"), "'none'"),
        (dict(mu=1.5), r"mu = 1\.5"),
        (dict(beta=-1.0), r"beta = -1\.0"),
        (dict(encoder=0.0, features=0.0, values=0.0), "learn nothing"),
        (dict(mu_form="mask"), "'mask'"),
        (dict(chooses="student", double=False), "double = False"),
        (dict(copied=True), "copied = True"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, names):
    with pytest.raises(BadInput, match=names):
        DdnConfig(**settings)


def test_students_of_several_networks_are_refused():
    with pytest.raises(BadInput, match="one network"):
        build("ddn", make("probe/action"), size="tiers=0:8;1:16")
