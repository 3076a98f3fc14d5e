"""Distillation: a perfect copy has nothing to learn, the teacher is only read, and who may teach what."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import (
    QUICK,
    Silent,
    assert_close,
    assert_same,
    build,
    host,
    make_spec,
    make_steps,
    make_tiered_team,
    one_rollout,
    rows,
    run_stage,
)
from tutelage import BadInput, make
from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.collect import unroll
from tutelage.experiment.find_teacher import find_teacher
from tutelage.experiment.fit import fit
from tutelage.methods.kd_marl.components import DEFAULTS, make_components, make_student, term_weights
from tutelage.methods.kd_marl.data import expert_behaviour, label_rollout
from tutelage.policies.compose import as_deterministic
from tutelage.policies.cost import agent_cost, team_cost
from tutelage.policies.critic import values_of
from tutelage.registry import method_config
from tutelage.types import Frozen, Out, Policy

SMALL = dict(gather=192, envs=32, batch=16, passes=4)
EVERYTHING = frozenset({"logits", "features", "critic"})
FIT = QUICK


def teacher_of(run):
    """A run as a frozen teacher."""
    return find_teacher(str(run.path), run.record["env"], run.env, {})[0]


@cache
def gathered(path):
    """A kd_marl method whose students are as large as their teacher, and what was gathered for it."""
    run = tutelage.load(path)
    frozen = teacher_of(run)
    method = build("kd_marl", run.env, frozen, **SMALL, size="width=8", share="team", tempered=0.0, entropy=0.0)
    return method, frozen, run_stage(run.env, method)[0]


@partial(jax.jit, static_argnums=0)
def distil(update, state):
    return update(state, {}, jax.random.key(0), 0.0)


# ---- the objective -------------------------------------------------------------------------------------------------
def test_a_copy_of_the_teacher_has_nothing_to_learn(memory_run):
    _, frozen, state = gathered(memory_run.path)
    copy = state.student.params | {
        "net": frozen.params["student"],
        "projectors": [{"kernel": jnp.eye(8), "bias": jnp.zeros(8)}],
    }
    state = state._replace(student=state.student._replace(params=copy))
    still = build("kd_marl", memory_run.env, frozen, **SMALL, size="width=8", tempered=0.0, entropy=0.0, lr=1e-12)
    _, metrics = distil(still.stages[1].update, state)
    assert abs(metrics["kl"]) < 1e-6 and metrics["rel"] < 1e-6
    np.testing.assert_allclose(metrics["role"], 0, atol=1e-3)  # unit() shortens short features a little
    # ratio 1: the surrogate is minus the mean of advantages that are normalised
    assert abs(metrics["adv"]) < 1e-3
    logits, alive = np.asarray(state.memory.logits, float), np.asarray(state.memory.alive)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(metrics["ce"], -log_p.max(-1)[alive].mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["entropy"], -(np.exp(log_p) * log_p).sum(-1)[alive].mean(), rtol=1e-3)


def test_the_gathered_log_probs_are_those_of_what_acted(memory_run):
    """Half of the environments play hotter; the ratio's denominator must be the tempered distribution's."""
    frozen = teacher_of(memory_run)
    method = build("kd_marl", memory_run.env, frozen, **SMALL, tempered=0.5, hot=3.0)
    data = run_stage(memory_run.env, method)[0].memory
    heat = np.where(np.arange(data.action.shape[1]) % SMALL["envs"] < SMALL["envs"] // 2, 3.0, 1.0)
    z = np.asarray(data.logits, float) / heat[None, :, None, None]
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    taken = np.take_along_axis(log_p, np.asarray(data.action)[..., None], -1)[..., 0]
    alive = np.asarray(data.alive)
    np.testing.assert_allclose(np.asarray(data.log_prob)[alive], taken[alive], rtol=1e-4, atol=1e-5)


def test_what_is_gathered_is_whole_and_counts_only_what_happened(memory_run):
    method, _, state = gathered(memory_run.path)
    data = state.memory
    assert data.action.shape[1] == SMALL["gather"] // 3 and int(state.filled) == method.stages[0].budget
    assert data.inputs.first[0].all() and data.alive.all()  # three steps each, from the first on
    assert data.inputs.state.shape[-1] == 0, "students' inputs hold no world state"
    advantage = np.asarray(data.advantage)
    assert np.abs(advantage).max() <= 5
    for start in range(0, data.action.shape[1], SMALL["envs"]):  # normalised within each rollout
        part = advantage[:, start : start + SMALL["envs"]]
        np.testing.assert_allclose([part.mean(), part.std()], [0, 1], atol=0.05)


def test_advantages_are_what_the_teachers_critic_says_of_what_was_done(memory_run):
    """Known answer: the generalised advantage along each episode, by a loop."""
    frozen, config = teacher_of(memory_run), method_config("kd_marl", **SMALL, size="width=8", lam=0.7)
    components = make_components(memory_run.env, config, frozen, term_weights(config, frozen.provides)[0])
    method = build("kd_marl", memory_run.env, frozen, **SMALL, size="width=8", lam=0.7)
    state = jax.jit(method.init)(jax.random.key(0))
    rollout = one_rollout(memory_run.env, expert_behaviour(components), state)
    found = np.asarray(jax.jit(partial(label_rollout, components))(state.teacher, rollout).advantage)
    steps, critic = rollout.steps, frozen.critic
    read = jax.jit(partial(values_of, critic))
    value, reward, discount = map(np.asarray, (read(frozen.params["critic"], steps), steps.reward, steps.discount))
    ahead, raw = 0.0, np.zeros(rollout.valid.shape)
    for t in (2, 1, 0):
        ahead = reward[t + 1] + config.gamma * discount[t + 1] * (value[t + 1] + config.lam * ahead) - value[t]
        raw[t] = ahead
    raw = np.broadcast_to(raw[..., None], found.shape)
    assert raw.std() > 1e-3, "or there is nothing to tell"
    np.testing.assert_allclose(found, np.clip((raw - raw.mean()) / raw.std(), -5, 5), atol=2e-3)


def test_action_values_teach_by_their_best_action_and_not_as_logits():
    """Values of 1.0, 1.1 and 0.9 are no near-uniform policy."""
    steps = make_steps(make_spec(n_agents=2, n_actions=3), (4,))
    steps = steps._replace(avail=steps.avail.at[..., 0].set(False).at[..., 1:].set(True))
    scores = jnp.where(steps.avail, jnp.array([5.0, 1.0, 1.1]), -1e9)
    valued = Policy(lambda key: (), lambda n: (), lambda p, c, ts, key: (c, Out(scores)))
    chance = jax.nn.softmax(as_deterministic(valued).step((), (), steps, jax.random.key(0))[1].scores)
    np.testing.assert_allclose(chance, np.broadcast_to([0, np.exp(-8), 1], chance.shape), atol=1e-3)
    env = make("probe/action")
    team = build("qmix", env, size="width=4").roles["student"]
    params = jax.eval_shape(team.init, jax.random.key(0))
    weight, config = DEFAULTS | {"rel": 0.0, "role": 0.0, "adv": 0.0}, method_config("bc", size="width=2")
    frozen = Frozen({"student": team}, {"student": params}, frozenset(), {})
    of = lambda provides: make_components(env, config, frozen._replace(provides=frozenset(provides)), weight).expert
    assert of({"logits"}).step is team.step and of({"features"}).step is not team.step


def with_deaths(rollout):
    """Agent 1 is dead from its second step on in half of the environments."""
    alive = np.array(rollout.steps.alive)
    alive[1:, ::2, 1] = False
    return rollout._replace(steps=rollout.steps._replace(alive=jnp.asarray(alive)))


def poisoned(rollout):
    """Garbage in everything that was recorded of dead agents."""
    steps, (logits, features) = jax.tree.map(np.array, (rollout.steps, rollout.out))
    log_prob, dead = np.array(rollout.log_prob), ~steps.alive
    steps.obs[dead] = 40.0
    log_prob[dead[:-1]], logits[dead[:-1]], features[dead[:-1]] = -20.0, 7.0, 1e3
    steps.action[1:][dead[:-1]] = 2
    return rollout._replace(steps=steps, log_prob=log_prob, out=(logits, features))


def test_the_dead_teach_nothing(memory_run):
    method, _, _ = gathered(memory_run.path)
    state = jax.jit(method.init)(jax.random.key(0))
    rollout = with_deaths(one_rollout(memory_run.env, method.stages[0].behaviours["expert"], state))
    assert not rollout.steps.alive[:-1].all()

    @jax.jit
    def learn(rollout):
        filled = state
        for _ in range(method.stages[0].budget):
            filled, _ = method.stages[0].update(filled, {"expert": rollout}, jax.random.key(0), 0.0)
        return method.stages[1].update(filled, {}, jax.random.key(1), 0.0)

    (clean, metrics), (bad, other_metrics) = learn(rollout), learn(poisoned(rollout))
    assert_close(metrics, other_metrics)
    assert_close(clean.student.params, bad.student.params)
    assert set(metrics) == {"adv", "kl", "ce", "rel", "role", "entropy"}
    judged = np.asarray(clean.memory.advantage)[np.asarray(clean.memory.alive)]
    np.testing.assert_allclose([judged.mean(), judged.std()], [0, 1], atol=1e-3)  # over the living alone


def test_unavailable_actions_and_padding_teach_nothing(memory_run):
    method, _, state = gathered(memory_run.path)
    avail = np.ones(state.memory.inputs.avail.shape, bool)
    avail[..., 2] = False  # as on a map with fewer actions
    taken = np.minimum(np.asarray(state.memory.action), 1)
    masked = np.where(avail, np.asarray(state.memory.logits), -1e9)
    inputs = state.memory.inputs._replace(avail=jnp.asarray(avail))
    memory = state.memory._replace(inputs=inputs, action=jnp.asarray(taken), logits=jnp.asarray(masked))
    learn = lambda logits: distil(method.stages[1].update, state._replace(memory=memory._replace(logits=logits)))
    clean, metrics = learn(jnp.asarray(masked))
    assert all(np.isfinite(x) for x in metrics.values())
    bad, other_metrics = learn(jnp.where(avail, memory.logits, -1e6))  # another "large negative number"
    assert_same(metrics, other_metrics)
    assert_same(clean.student.params, bad.student.params)


@pytest.mark.parametrize("method", ["kl", "bc", "kd_marl", "dagger_kl"])
def test_only_the_terms_with_a_weight_are_computed(memory_run, method):
    built = build(method, memory_run.env, teacher_of(memory_run), **SMALL)
    state = jax.eval_shape(built.init, jax.random.key(0))
    metrics = jax.eval_shape(lambda s: built.stages[1].update(s, {}, jax.random.key(0), 0.0)[1], state)
    expected = {"kl": {"kl"}, "bc": {"ce"}, "kd_marl": set(DEFAULTS), "dagger_kl": {"kl"}}[method]
    assert set(metrics) == expected | {"entropy"}


# ---- the teacher ---------------------------------------------------------------------------------------------------
def test_the_teacher_is_only_read_and_teaches_twice_alike(memory_run):
    frozen = teacher_of(memory_run)
    before = jax.tree.map(np.array, host(frozen.params))
    method = build("kd_marl", memory_run.env, frozen, **SMALL)
    results = [fit(memory_run.env, method, FIT, 0, Silent()) for _ in range(2)]
    assert_same(frozen.params, before)
    assert_same(results[0].params, results[1].params)
    assert results[0].test == results[1].test
    assert_same(results[0].params["teacher"], before["student"])
    assert_same(results[0].params["critic"], before["critic"])


@pytest.fixture(scope="module")
def distilled(memory_run, tmp_path_factory):
    """A student of the recurrent teacher, through the public call."""
    out = tmp_path_factory.mktemp("kd") / "run"
    settings = {**SMALL, "gather": 768, "passes": 20, "lr": 1e-2, "size": "width=6"}
    return tutelage.train("kd_marl", "probe/memory", teacher=memory_run.path, out=out, quiet=True, fit=FIT, **settings)[
        0
    ]


def test_a_small_student_learns_from_a_run(distilled, memory_run):
    assert distilled.test["success_rate"] >= 0.9
    assert set(distilled.roles) == {"student", "teacher", "critic"} and set(distilled.frozen.roles) == {
        "student",
        "teacher",
    }
    assert_same(distilled.params("teacher"), memory_run.params("student"))
    assert_same(distilled.frozen.params["critic"], memory_run.frozen.params["critic"])
    assert (distilled.path / "teacher.safetensors").read_bytes() == (
        memory_run.path / "student.safetensors"
    ).read_bytes()
    assert distilled.record["teacher"]["kind"] == "run"


def test_a_distilled_team_can_teach_but_has_no_critic(distilled):
    frozen = teacher_of(distilled)
    assert set(frozen.roles) == {"student"} and "critic" not in frozen.provides
    with pytest.raises(BadInput, match=r"adv = 0\.5.*critic"):
        build("kd_marl", distilled.env, frozen, adv=0.5, size="width=4", **SMALL)
    method = build("kd_marl", distilled.env, frozen, size="width=4", **SMALL)
    assert any("adv" in note for note in method.notes)


@pytest.mark.parametrize("teacher", rows(["scripted:local"], ["helpers:always_one"]))
def test_a_controller_without_networks_teaches_by_its_actions(tmp_path, teacher):
    run = tutelage.train(
        "kd_marl", "probe/action", teacher=teacher, out=tmp_path / "run", quiet=True, fit=FIT,
        **{**SMALL, "size": "width=4", "core": "mlp", "lr": 1e-2, "passes": 20},
    )[0]  # fmt: skip
    assert run.test["success_rate"] == 1
    assert run.record["teacher"]["kind"] == ("scripted" if teacher.startswith("scripted") else "callable")
    again = tutelage.load(run.path, trust=True)
    assert set(again.frozen.roles) == {"student", "teacher"}
    assert_same(again.params(), run.params())
    assert tutelage.evaluate(again.env, again.policy("teacher"), again.params("teacher"), 32).success_rate == 1


@pytest.mark.parametrize(
    ("teacher", "names"),
    [
        ("helpers:not_a_teacher", "int"),
        ("helpers:nobody", "'nobody'"),
        ("no_such_module:factory", "no_such_module"),
        ("scripted:nobody", "'nobody'"),
        ("runs/nowhere", "'runs/nowhere'"),
    ],
)
def test_what_cannot_teach_is_refused_by_name(tmp_path, teacher, names):
    with pytest.raises(BadInput, match=names):
        tutelage.train("bc", "probe/action", teacher=teacher, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_distillation_needs_a_teacher():
    with pytest.raises(BadInput, match="needs a teacher"):
        build("kd_marl", make("probe/action"))


# ---- which terms ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "provides", "expected"),
    [
        ({}, EVERYTHING, DEFAULTS),
        ({}, EVERYTHING - {"critic"}, {**DEFAULTS, "adv": 0.0}),
        ({}, EVERYTHING - {"features"}, {**DEFAULTS, "rel": 0.0, "role": 0.0}),
        ({}, EVERYTHING - {"logits"}, {**DEFAULTS, "adv": 0.0, "kl": 0.0}),
        ({}, frozenset(), {"adv": 0.0, "kl": 0.0, "ce": 1.0, "rel": 0.0, "role": 0.0}),
        (dict(ce=0.25), frozenset(), {"adv": 0.0, "kl": 0.0, "ce": 0.25, "rel": 0.0, "role": 0.0}),
        (dict(adv=0.0, kl=2.0), EVERYTHING, {**DEFAULTS, "adv": 0.0, "kl": 2.0}),
        (dict(kl=0.0, adv=0.0, rel=0.0, role=0.0), frozenset(), {**dict.fromkeys(DEFAULTS, 0.0), "ce": 1.0}),
    ],
)
def test_terms_without_input_default_to_zero(settings, provides, expected):
    chosen, notes = term_weights(KdMarlConfig(**settings), provides)
    assert chosen == expected
    dropped = [name for name in DEFAULTS if expected[name] == 0 and getattr(KdMarlConfig(**settings), name) is None]
    assert bool(notes) == bool(dropped), "what was dropped is said, and only then"
    assert all(name in notes[0] for name in dropped)


@pytest.mark.parametrize(
    ("settings", "provides", "names"),
    [
        (dict(kl=1.0), frozenset(), r"kl = 1\.0.*logits"),
        (dict(adv=0.5), EVERYTHING - {"critic"}, r"adv = 0\.5.*critic"),
        (dict(rel=0.1), EVERYTHING - {"features"}, r"rel = 0\.1.*features"),
        (dict(role=0.1), frozenset({"logits"}), r"role = 0\.1.*features"),
        (dict.fromkeys(DEFAULTS, 0.0), EVERYTHING, "weight 0"),
        (dict(ce=0.0), frozenset(), "weight 0"),
    ],
)
def test_a_term_asked_for_that_the_teacher_cannot_feed_is_refused(settings, provides, names):
    with pytest.raises(BadInput, match=names):
        term_weights(KdMarlConfig(**settings), provides)


def test_the_kl_method_refuses_an_action_only_teacher():
    env = make("probe/action")
    frozen, _ = find_teacher("scripted:local", "probe/action", env, {})
    with pytest.raises(BadInput, match="logits"):
        build("kl", env, frozen)


def test_too_much_data_is_refused_before_it_is_gathered(memory_run):
    with pytest.raises(BadInput, match=r"gather = 3000000.*memory_gb = 0\.01"):
        method = build("kd_marl", memory_run.env, teacher_of(memory_run), gather=3_000_000, memory_gb=0.01)
        jax.eval_shape(method.init, jax.random.key(0))


# ---- the students --------------------------------------------------------------------------------------------------
def test_a_ratio_is_solved_against_the_teachers_actor():
    spec = make_spec(n_agents=4, n_actions=6, obs_width=20, agent_types=("a", "a", "b", "b"))
    teacher = make_tiered_team(spec, "gru", "local", (((0, 1, 2, 3), 64),))
    config = method_config("kd_marl", size="ratio=10")
    reference = team_cost(teacher).macs
    student = make_student(spec, config, reference)
    assert [group.agents for group in student.groups] == [(0, 1), (2, 3)], "one network per type"
    own, expert = agent_cost(student.groups[0].agent).macs, agent_cost(teacher.groups[0].agent).macs
    assert own * 10 <= expert < 14 * own
    together = make_student(spec, method_config("kd_marl", size="ratio=10", share="team"), reference)
    assert [group.agents for group in together.groups] == [(0, 1, 2, 3)]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (dict(student_view="local+state"), r"'local\+state'"),
        (dict(gather=0), "gather = 0"),
        (dict(kl=-1.0), r"kl = -1\.0"),
        (dict(tempered=2.0), r"tempered = 2\.0"),
        (dict(size="ratio=1e9"), "ratio=1e9"),
        (dict(core="transformer"), "'transformer'"),
    ],
)
def test_impossible_students_are_refused_by_name(memory_run, settings, names):
    with pytest.raises(BadInput, match=names):
        build("kd_marl", memory_run.env, teacher_of(memory_run), **settings)


@pytest.mark.rows  # a small student learns by default; that tiers share nothing is `test_decentralised`
def test_unequal_students_of_one_team_all_learn(memory_run):
    """Two widths, so two projectors, and features of unequal width in one relation matrix."""
    method = build("kd_marl", memory_run.env, teacher_of(memory_run), **{**SMALL, "passes": 40, "lr": 2e-2},
                   size="tiers=1:3;0:5")  # fmt: skip
    state, _ = run_stage(memory_run.env, method)
    first = method.params(state)["student"]
    state, metrics = run_stage(memory_run.env, method, 1, state)
    assert metrics["kl"][-1] < 0.7 * metrics["kl"][0] and metrics["ce"][-1] < metrics["ce"][0]
    for group in range(2):
        assert any(
            (np.asarray(x) != np.asarray(y)).any()
            for x, y in zip(*(jax.tree.leaves(p[group]) for p in (first, method.params(state)["student"])), strict=True)
        )


# ---- DAgger, prototypes, advantage weights ---------------------------------------------------------------------------
DAGGER = {**SMALL, "data": "dagger", "core": "gru", "size": "width=6"}


def test_with_beta_1_dagger_gathers_what_the_expert_does(memory_run):
    """The expert acts alone, so what was done has the expert's own probability."""
    method = build("kd_marl", memory_run.env, teacher_of(memory_run), **DAGGER, beta=1.0)
    state, _ = run_stage(memory_run.env, method)
    data = state.memory
    log_p = np.asarray(jax.nn.log_softmax(data.logits))
    taken = np.take_along_axis(log_p, np.asarray(data.action)[..., None], -1)[..., 0]
    np.testing.assert_allclose(data.log_prob, taken, atol=1e-5)
    assert int(state.filled) == method.stages[0].budget and data.alive.all()


def test_with_beta_0_the_students_act_from_the_second_round_on(memory_run):
    """Fixed students (no learning rate): what was done has their probability, the labels are the expert's."""
    frozen = teacher_of(memory_run)
    method = build("kd_marl", memory_run.env, frozen, **DAGGER, beta=0.0, lr=1e-12)
    state, _ = run_stage(memory_run.env, method)
    data, n = state.memory, SMALL["envs"]
    assert int(state.filled) >= 2

    def log_probs(policy, params):
        carry = policy.carry(data.action.shape[1])
        scores = unroll(policy, params, carry, data.inputs, data.inputs.first).scores
        return jnp.take_along_axis(jax.nn.log_softmax(scores), data.action[..., None], -1)[..., 0], scores

    student, _ = jax.jit(log_probs, static_argnums=0)(method.roles["student"], state.student.params["net"])
    expert, logits = jax.jit(log_probs, static_argnums=0)(frozen.roles["student"], frozen.params["student"])
    np.testing.assert_allclose(data.logits, logits, atol=1e-4)
    np.testing.assert_allclose(data.log_prob[:, :n], expert[:, :n], atol=1e-4, err_msg="round 0 is the expert's")
    np.testing.assert_allclose(data.log_prob[:, n:], student[:, n:], atol=1e-4)
    assert np.abs(student - expert).max() > 0.05


@pytest.mark.rows  # of how much is learned when, not of what
def test_dagger_spends_as_many_gradient_steps_as_offline(memory_run):
    frozen, counts = teacher_of(memory_run), {}
    for data in ("offline", "dagger"):
        method = build("bc", memory_run.env, frozen, **{**SMALL, "passes": 8}, data=data, size="width=6")
        state, _ = run_stage(memory_run.env, method)
        state, _ = run_stage(memory_run.env, method, 1, state)
        counts[data] = int(state.student.opt[1].count)
    assert counts["dagger"] == counts["offline"]


def test_students_learn_by_dagger(tmp_path, memory_run):
    settings = {**SMALL, "gather": 768, "passes": 20, "lr": 1e-2, "size": "width=6"}
    run = tutelage.train(
        "dagger_kl", "probe/memory", teacher=memory_run.path, out=tmp_path / "run", quiet=True, fit=FIT, **settings
    )[0]
    assert run.test["success_rate"] >= 0.9


def test_dagger_has_no_advantages_of_the_students_unless_lambda_is_1(memory_run):
    frozen = teacher_of(memory_run)
    method = build("kd_marl", memory_run.env, frozen, **DAGGER)
    assert any("adv set to 0" in note for note in method.notes)
    with pytest.raises(BadInput, match=r"adv = 0\.5.*lam = 1"):
        build("kd_marl", memory_run.env, frozen, **DAGGER, adv=0.5)
    method = build("kd_marl", memory_run.env, frozen, **DAGGER, lam=1.0)
    state = jax.eval_shape(method.init, jax.random.key(0))
    metrics = jax.eval_shape(lambda s: method.stages[1].update(s, {}, jax.random.key(0), 0.0)[1], state)
    assert "adv" in metrics and not method.notes


FORMS = {"adv": dict(adv_form="awr", lam=1.0), "role": dict(role_form="prototype")}


@pytest.mark.parametrize(
    ("name", "data"), rows([("role", "offline")], [("adv", "dagger"), ("adv", "offline"), ("role", "dagger")])
)
def test_other_forms_of_a_term_learn(memory_run, name, data):
    method = build(
        "kd_marl", memory_run.env, teacher_of(memory_run),
        **{**SMALL, "gather": 384, "passes": 30, "lr": 2e-2, "size": "width=6", "data": data, **FORMS[name]},
    )  # fmt: skip
    state, _ = run_stage(memory_run.env, method)
    if (name, data) == ("role", "offline"):
        assert_prototypes(state)
    state, metrics = run_stage(memory_run.env, method, 1, state)
    assert name in metrics
    assert metrics["kl"][-1] < 0.05  # new students begin at 0.8; after the rounds of DAgger little is left to learn
    if data == "offline":
        assert metrics["kl"][0] > 0.5
        assert metrics[name][-1] < metrics[name][0]


def assert_prototypes(state):
    """Prototypes are the teacher's features of the first round."""
    first = np.asarray(state.memory.features)[:, : SMALL["envs"]].reshape(-1, 8)
    first = first / np.linalg.norm(first, axis=-1, keepdims=True)
    near = (first @ np.asarray(state.prototypes).T).max(-1)
    assert state.prototypes.shape == (8, 8) and near.min() > 0.8 and near.mean() > 0.95
