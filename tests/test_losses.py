"""Losses: what is masked changes nothing, and known values."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tutelage.learning import losses
from tutelage.learning.clusters import kmeans
from tutelage.learning.normaliser import init_normaliser, update_normaliser
from tutelage.learning.optim import clipped_adam, descend, init_learner


def relation(teacher: jax.Array, student: jax.Array, where: jax.Array) -> jax.Array:
    """The relation loss of features."""
    return losses.relation_loss(losses.cosines(teacher), losses.cosines(student), where)


LOSSES = {"relation_loss": relation, "alignment_loss": losses.alignment_loss}
LEAD, A, H = (4, 3, 3), 5, 6  # T, B, N


def draw(seed: int, kind: str) -> np.ndarray:
    """One array of a loss's arguments."""
    rng = np.random.default_rng(seed)
    if kind == "action":
        return rng.integers(0, A, LEAD)
    shape = {"number": LEAD, "logits": (*LEAD, A), "features": (*LEAD, H), "narrow": (*LEAD, H // 2)}[kind]
    return rng.normal(size=shape).astype(np.float32)


def availability() -> np.ndarray:
    avail = np.random.default_rng(9).random((*LEAD, A)) < 0.6
    avail[..., 2] = True
    return avail


def team_mask() -> np.ndarray:
    """A ragged team: some agents dead, one step wholly masked."""
    where = np.random.default_rng(8).random(LEAD) < 0.6
    where[1, 0], where[0] = False, True
    return where


# name -> (kinds of its arguments; the first one is differentiated), loss(where, *arguments)
MASKED = {
    "masked_mean": (("number",), lambda w, x: losses.masked_mean(x, w)),
    "normalise": (
        ("number",), lambda w, x: losses.masked_mean(losses.normalise(x, w, 1.0) * np.arange(x.size).reshape(LEAD), w)
    ),
    "entropy": (("logits",), lambda w, z: losses.entropy(z, w)),
    "clipped_surrogate": (
        ("number", "number", "number"), lambda w, new, old, adv: losses.clipped_surrogate(new, old, adv, w, 0.2)
    ),
    "kl_divergence": (
        ("logits", "logits"), lambda w, s, t: losses.kl_divergence(t, s, jnp.asarray(availability()), w, 2.0)
    ),
    "cross_entropy": (("logits", "action"), lambda w, s, a: losses.cross_entropy(s, a, w)),
    "relation_loss": (("narrow", "features"), lambda w, s, t: relation(t, s, w)),
    "alignment_loss": (("features", "features"), lambda w, s, t: losses.alignment_loss(t, s, w)),
}  # fmt: skip


@cache
def slope_of(name):
    """Value and gradient of a loss, compiled."""
    loss = MASKED[name][1]
    return jax.jit(jax.value_and_grad(lambda first, where, *rest: loss(where, first, *rest)))


@pytest.mark.parametrize("garbage", [1e4, -1e4, 30.0])
@pytest.mark.parametrize("name", MASKED)
def test_masked_entries_change_neither_loss_nor_gradient(name, garbage):
    kinds, where = MASKED[name][0], team_mask()
    clean = [draw(i, kind) for i, kind in enumerate(kinds)]
    poisoned = []
    for i, (kind, x) in enumerate(zip(kinds, clean, strict=True)):
        noise = np.random.default_rng(100 + i).random(x.shape)
        bad = (noise * A).astype(x.dtype) if kind == "action" else (garbage * noise).astype(x.dtype)
        poisoned.append(np.where(where.reshape(LEAD + (1,) * (x.ndim - 3)), x, bad))
    of = slope_of(name)
    value, grad = of(clean[0], where, *clean[1:])
    value_too, grad_too = of(poisoned[0], where, *poisoned[1:])
    np.testing.assert_allclose(value_too, value, rtol=1e-6)
    np.testing.assert_allclose(grad_too, grad, rtol=1e-5, atol=1e-7)
    assert (np.asarray(grad_too)[~where] == 0).all()
    assert np.abs(np.asarray(grad_too)[where]).max() > 0, "a loss that is constant proves nothing"


@pytest.mark.parametrize("name", MASKED)
def test_a_wholly_masked_batch_gives_zero_and_a_finite_gradient(name):
    first, *rest = [draw(i, kind) for i, kind in enumerate(MASKED[name][0])]
    value, grad = slope_of(name)(first, np.zeros(LEAD, bool), *rest)
    assert value == 0 and (np.asarray(grad) == 0).all()


def test_the_mean_is_over_counted_entries_only():
    where = jnp.array([True, False, True])
    assert losses.masked_mean(jnp.array([1.0, 50.0, 4.0]), where) == 2.5
    np.testing.assert_allclose(  # the mask is broadcast
        losses.masked_mean(jnp.array([[1.0, 2.0], [7.0, 7.0]]), jnp.array([[True], [False]])), 1.5
    )


def test_normalised_numbers_have_mean_0_deviation_1_and_a_limit():
    where = jnp.asarray(team_mask())
    y = np.asarray(losses.normalise(5 + 3 * jnp.asarray(draw(0, "number")), where))[np.asarray(where)]
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-5)
    assert np.abs(losses.normalise(jnp.asarray(draw(0, "number")), where, 0.5)).max() == 0.5
    assert np.isfinite(losses.normalise(jnp.ones(LEAD), where)).all()


def test_entropy_of_a_uniform_choice_is_the_log_of_what_is_available():
    avail = jnp.asarray(availability())
    each = np.log(availability().sum(-1))
    logits = jnp.where(avail, 0.3, -1e9)
    np.testing.assert_allclose(losses.entropy(logits, jnp.ones(LEAD, bool)), each.mean(), rtol=1e-5)


def test_cross_entropy_is_minus_the_log_probability():
    logits, action = jnp.asarray(draw(0, "logits")), jnp.asarray(draw(1, "action"))
    p = np.exp(draw(0, "logits")) / np.exp(draw(0, "logits")).sum(-1, keepdims=True)
    taken = np.take_along_axis(p, draw(1, "action")[..., None], -1)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, action, jnp.ones(LEAD, bool)), -np.log(taken).mean(), rtol=1e-5
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_kl_of_equal_logits_is_zero_with_zero_gradient(temperature):
    avail, where, z = jnp.asarray(availability()), jnp.asarray(team_mask()), jnp.asarray(draw(0, "logits"))
    value, grad = jax.value_and_grad(lambda s: losses.kl_divergence(z, s, avail, where, temperature))(z)
    assert abs(value) < 1e-6 and np.abs(grad).max() < 1e-6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_kl_is_the_textbook_sum_over_available_actions_times_temperature_squared(temperature):
    avail, where = availability(), team_mask()
    teacher, student = draw(0, "logits").astype(float), draw(1, "logits").astype(float)
    p, q = (np.where(avail, np.exp(z / temperature), 0) for z in (teacher, student))
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(avail, p * np.log(p / q), 0).sum(-1)
    got = losses.kl_divergence(*map(jnp.asarray, (draw(0, "logits"), draw(1, "logits"), avail, where)), temperature)
    np.testing.assert_allclose(got, temperature**2 * each[where].mean(), rtol=1e-4)


@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize("garbage", [1e6, -1e6, 3.0])
def test_logits_of_unavailable_actions_change_no_kl(side, garbage):
    avail, where = jnp.asarray(availability()), jnp.asarray(team_mask())
    teacher, student = jnp.asarray(draw(0, "logits")), jnp.asarray(draw(1, "logits"))
    of = jax.value_and_grad(lambda s, t: losses.kl_divergence(t, s, avail, where, 2.0))
    value, grad = of(student, teacher)
    bad = jnp.where(avail, teacher if side == "teacher" else student, garbage)
    value_too, grad_too = of(*((student, bad) if side == "teacher" else (bad, teacher)))
    assert value_too == value
    np.testing.assert_array_equal(grad_too, grad)
    assert (np.asarray(grad)[~np.asarray(avail)] == 0).all()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [(1.0, 2.0, -2.0), (1.5, 2.0, -1.2 * 2), (1.5, -2.0, 1.5 * 2), (0.5, 2.0, -0.5 * 2), (0.5, -2.0, 0.8 * 2)],
)
def test_the_clipped_surrogate_takes_the_worse_of_both(ratio, advantage, loss):
    one = jnp.ones(1)
    got = losses.clipped_surrogate(jnp.log(ratio) * one, 0 * one, advantage * one, jnp.ones(1, bool), 0.2)
    np.testing.assert_allclose(got, loss, rtol=1e-6)


# ---- relation and alignment ----------------------------------------------------------------------------------------
def everyone() -> jax.Array:
    return jnp.ones(LEAD, bool)


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_the_relation_loss_ignores_every_agents_own_scale(side):
    teacher, student = jnp.asarray(draw(0, "features")), jnp.asarray(draw(1, "narrow"))
    scale = jnp.asarray(np.random.default_rng(2).uniform(0.5, 20, (*LEAD, 1)))
    before = relation(teacher, student, everyone())
    scaled = (teacher * scale, student) if side == "teacher" else (teacher, student * scale)
    np.testing.assert_allclose(relation(*scaled, everyone()), before, rtol=1e-4)
    assert before > 0.01


def test_the_relation_loss_is_zero_for_a_rotated_team():
    teacher = jnp.asarray(draw(0, "features"))
    rotation = jnp.asarray(np.linalg.qr(np.random.default_rng(3).normal(size=(H, H)))[0], jnp.float32)
    assert relation(teacher, teacher @ rotation, everyone()) < 1e-9


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("student", ["zero", "identical agents", "copy of the teacher", "huge"])
@pytest.mark.parametrize("teacher", ["random", "zero", "identical agents"])
def test_feature_losses_are_finite_for_degenerate_features(name, teacher, student):
    shapes = {
        "random": draw(0, "features"),
        "zero": np.zeros((*LEAD, H), np.float32),
        "identical agents": np.broadcast_to(draw(1, "features")[:, :, :1], (*LEAD, H)),
        "huge": 1e6 * draw(2, "features"),
    }
    t = shapes[teacher]
    s = t if student == "copy of the teacher" else shapes[student]
    value, grad = jax.value_and_grad(lambda s: LOSSES[name](jnp.asarray(t), s, everyone()))(jnp.asarray(s))
    assert np.isfinite(value) and np.isfinite(grad).all()


def test_cosines_of_projected_features_need_no_projection():
    x, p = jnp.asarray(draw(0, "narrow")), jnp.asarray(np.random.default_rng(4).normal(size=(H // 2, 7)), jnp.float32)
    y = np.asarray(x @ p)
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    np.testing.assert_allclose(losses.cosines(x, p @ p.T), y @ y.swapaxes(-1, -2), atol=1e-5)
    np.testing.assert_allclose(losses.cosines(x @ p), y @ y.swapaxes(-1, -2), atol=1e-5)


def test_a_team_of_one_has_no_relations():
    alone = jnp.ones((2, 1, 4))
    assert relation(alone, 3 * alone, jnp.ones((2, 1), bool)) == 0


def test_alignment_is_zero_for_a_copy_two_for_the_opposite_and_does_not_move_the_teacher():
    f = jnp.asarray(draw(0, "features")) + 3
    np.testing.assert_allclose(losses.alignment_loss(f, 4 * f, everyone()), 0, atol=1e-5)
    np.testing.assert_allclose(losses.alignment_loss(f, -f, everyone()), 2, atol=1e-5)
    narrow, projector = jnp.asarray(draw(2, "narrow")), jnp.asarray(np.random.default_rng(4).normal(size=(H // 2, H)))
    both = (
        losses.alignment_loss(f, narrow, everyone(), projector),
        losses.alignment_loss(f, narrow @ projector, everyone()),
    )
    np.testing.assert_allclose(*both, rtol=1e-5)
    to_teacher = jax.grad(losses.alignment_loss)(f, jnp.asarray(draw(1, "features")), everyone())
    assert (np.asarray(to_teacher) == 0).all()


# ---- advantage weights and prototypes ------------------------------------------------------------------------------
def test_advantage_weights_have_mean_1_and_a_ceiling():
    log_p, where = jnp.asarray([-1.0, -2.0, -3.0, -7.0]), jnp.asarray([True, True, True, False])
    advantage = jnp.asarray([0.0, np.log(3.0), 100.0, -5.0])
    weight = np.array([1, 3, 20]) / 8  # e^100 is cut at 20; the mean of 1, 3 and 20 is 8
    got = losses.advantage_weighted(log_p, advantage, where, 1.0)
    np.testing.assert_allclose(got, (weight * [1, 2, 3]).mean(), rtol=1e-5)


def test_without_advantages_advantage_weighting_is_cloning():
    log_p, where = jnp.asarray([-1.0, -2.0, -9.0]), jnp.asarray([True, True, False])
    np.testing.assert_allclose(losses.advantage_weighted(log_p, 0 * log_p, where, 0.5), 1.5, rtol=1e-6)


def test_a_small_beta_looks_at_the_best_alone():
    log_p, where = jnp.asarray([-1.0, -2.0]), jnp.ones(2, bool)
    got = losses.advantage_weighted(log_p, jnp.asarray([-1.0, 0.0]), where, 0.01)
    np.testing.assert_allclose(got, 2.0, rtol=1e-4)  # weights 0 and 2


def test_the_prototype_loss_is_zero_for_a_copy_and_known_for_opposites():
    centres = jnp.eye(2)
    teacher, student = jnp.asarray([[3.0, 0.0], [0.0, 1.0]]), jnp.asarray([[5.0, 0.0], [2.0, 0.0]])
    both = jnp.ones(2, bool)
    np.testing.assert_allclose(losses.prototype_loss(teacher, 7 * teacher, centres, both), 0, atol=1e-5)
    # The second pair is at opposite prototypes: assignments (p, 1-p) and (1-p, p) with p = sigmoid(1 / 0.1).
    p = 1 / (1 + np.exp(-10.0))
    expected = (2 * p - 1) * np.log(p / (1 - p)) / 2
    np.testing.assert_allclose(losses.prototype_loss(teacher, student, centres, both), expected, rtol=1e-3)
    np.testing.assert_allclose(losses.prototype_loss(teacher, student, centres, jnp.array([1, 0], bool)), 0, atol=1e-5)
    to_teacher = jax.grad(losses.prototype_loss)(teacher, student, centres, both)
    assert (np.asarray(to_teacher) == 0).all()


def test_kmeans_finds_separate_directions_and_ignores_masked_rows():
    rng = np.random.default_rng(0)
    truth = np.eye(4)[:3]
    rows = np.concatenate([np.repeat(truth, 50, 0), -np.ones((50, 4))]) * rng.uniform(0.5, 20, (200, 1))
    rows = rows + 0.01 * rng.normal(size=rows.shape)
    centres = kmeans(jnp.asarray(rows, jnp.float32), jnp.arange(200) < 150, 3, jax.random.key(0))
    np.testing.assert_allclose(np.sort((centres @ truth.T).max(0)), 1, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=-1), 1, atol=1e-3)


def test_kmeans_with_fewer_rows_than_centres_stays_finite():
    centres = kmeans(jnp.ones((2, 3)), jnp.ones(2, bool), 5, jax.random.key(0))
    assert np.isfinite(centres).all()


# ---- normaliser and gradient steps ---------------------------------------------------------------------------------
def batches(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (n, 50)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_the_first_batches_count_evenly(n):
    seen = init_normaliser()
    for x in batches(n):
        seen = update_normaliser(seen, jnp.asarray(x), jnp.ones(50, bool), rate=0.1)
    np.testing.assert_allclose(seen.mean, batches(n).mean(), rtol=1e-5)
    np.testing.assert_allclose(seen.deviation, batches(n).std(), rtol=1e-4)


def test_later_batches_count_exponentially():
    seen = init_normaliser()
    for _ in range(10):
        seen = update_normaliser(seen, jnp.zeros(4), jnp.ones(4, bool), rate=0.1)
    for _ in range(5):
        seen = update_normaliser(seen, jnp.ones(4), jnp.ones(4, bool), rate=0.1)
    np.testing.assert_allclose(seen.mean, 1 - 0.9**5, rtol=1e-5)


def test_the_normaliser_starts_neutral_ignores_masked_numbers_and_never_divides_by_nothing():
    assert init_normaliser().mean == 0 and init_normaliser().deviation == 1
    where = jnp.array([True, True, False])
    seen = update_normaliser(init_normaliser(), jnp.array([1.0, 3.0, 1e6]), where)
    assert seen.mean == 2 and seen.deviation == 1
    constant = update_normaliser(init_normaliser(), jnp.full(3, 5.0), where)
    assert constant.deviation > 0


def quadratic(params):
    return jnp.square(params["w"] - 3).sum() + params["b"] ** 2, {"w": params["w"].sum()}


@pytest.mark.parametrize("grad_clip", [1e9, 0.1])
def test_descend_is_adam_after_a_global_norm_clip(grad_clip):
    import optax

    params = {"w": jnp.arange(4.0), "b": jnp.array(2.0)}
    reference = optax.chain(optax.clip_by_global_norm(grad_clip), optax.adam(0.05, eps=1e-5))
    expected, opt = params, reference.init(params)
    tx = clipped_adam(grad_clip)
    state = init_learner(tx, params)
    for _ in range(4):
        total = expected["w"].sum()
        updates, opt = reference.update(jax.grad(lambda p: quadratic(p)[0])(expected), opt, expected)
        expected = optax.apply_updates(expected, updates)
        state, metrics = descend(tx, state, quadratic, 0.05)
        np.testing.assert_allclose(metrics["w"], total, rtol=1e-5)  # metrics are of the parameters before the step
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.params, expected)
