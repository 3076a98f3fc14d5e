"""HINT: V-trace, posteriors and segments by known answers; who reads what; what is kept."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, assert_close, assert_same, build, host, make_steps, rows
from tutelage import BadInput, make
from tutelage.configs.hint import HintConfig
from tutelage.data.collect import SETTLES, init_collector, play, settled, unroll
from tutelage.data.episodes import Episodes
from tutelage.data.vector import make_vector_env
from tutelage.learning.losses import log_prob_of
from tutelage.learning.returns import gae, vtrace
from tutelage.learning.shaping import first_completion, goal_progress
from tutelage.methods.hint import experience as X
from tutelage.methods.hint import fork as F
from tutelage.methods.hint import labels as L
from tutelage.methods.hint import method as H
from tutelage.methods.hint import state as states
from tutelage.methods.hint import students as S
from tutelage.methods.hint import teacher as T
from tutelage.policies.acting import random_policy
from tutelage.policies.compose import with_shadow
from tutelage.policies.hierarchy import (
    all_goal_features,
    assign_sequentially,
    coordinate,
    execute,
    goal_features,
    held_goals,
    teacher_policy,
)
from tutelage.policies.views import read_view

SMALL = dict(core="mlp", size="width=8", teacher_width=8, envs=8, rollout=20, minibatches=2, store=2,
             batch=8, distil=2, steps=2000, pretrain=400)  # fmt: skip
LEVEL = "fire_commander/5x5"


LEARNING = {"entropy", "explain", "filter_own", "goal_entropy", "labels", "lam", "off_policy", "renew", "rl", "shaping",
            "student_entropy"}  # fmt: skip
"""Settings that change nothing of what is played: what was played once does for all of them."""


@cache
def made(**changes):
    """The method and its components on a small level."""
    env, config = make(LEVEL, radio=True, max_steps=30), HintConfig(**{**SMALL, **changes})
    return env, H.hint(env, config), H.make_components(env, config)


@cache
def lived(**changes):
    """State and one rollout of each."""
    env, method, _ = made(**changes)

    @jax.jit
    def begin():
        state = method.init(jax.random.key(0))
        # The heads of new networks say almost nothing: larger weights tell goals and agents apart.
        louder = lambda learner: learner._replace(params=jax.tree.map(lambda x: 5 * x, learner.params))
        coordinator, executor = map(louder, (state.teacher.coordinator, state.teacher.executor))
        return state._replace(teacher=state.teacher._replace(coordinator=coordinator, executor=executor))

    @jax.jit
    def both(state):
        rollouts = {}
        for i, (name, b) in enumerate(method.stages[-1].behaviours.items()):
            vector = make_vector_env(env, b.envs, goals=True)
            body = lambda collector, key, b=b, v=vector: play(v, b, state, 0.0, collector, key)
            collector = init_collector(vector, b.policy, jax.random.key(i))
            # The second of two, so that episodes are under way, and some end.
            twice = jax.lax.scan(body, collector, jax.vmap(jax.random.key)(jnp.array([7, 8])))[1]
            rollouts[name] = jax.tree.map(lambda x: x[1], twice)
        return rollouts

    state = begin()
    return state, both(state)


def played(**changes):
    """Method, components, state and one rollout of each."""
    plays = {k: v for k, v in changes.items() if k not in LEARNING and (k, v) != ("filter_student", "none")}
    return *made(**changes)[1:], *lived(**plays)


@cache
def explained(**changes):
    """Experience from the teacher's rollout and from the students'."""
    _, components, state, rollouts = played(**changes)

    def explain(params, drawn, mine, key):
        return X.teacher_experience(components.networks, params, drawn), X.student_experience(
            components.networks, params, mine, key
        )

    return jax.jit(explain)(state.teacher.params, rollouts["teacher"], rollouts["student"], jax.random.key(0))


PACKAGE, FOLDER = (str(Path(module.__file__).parent) for module in (tutelage, H))


@cache
def updated():
    """A compiled update, and the functions outside of its folder that functions of the folder called."""
    method, _, state, rollouts = played()
    entered, update = set(), method.stages[-1].update

    def enter(frame, event, arg):
        if event != "call" or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        inside = [f.f_code.co_filename.startswith(FOLDER) for f in (frame, frame.f_back)]
        if inside == [False, True]:
            entered.add(frame.f_code.co_qualname)

    go = jax.jit(lambda state, rollouts: update(state, rollouts, jax.random.key(0), 0.0))
    sys.setprofile(enter)
    try:
        lowered = go.lower(state, rollouts)
    finally:
        sys.setprofile(None)
    return lowered.compile(), entered


def teacher_batch(networks, *experience):
    return jax.jit(lambda *x: T.make_teacher_batch(networks, *x))(*experience, 1.0)


def teacher_labels(networks, experience):
    return np.asarray(jax.jit(lambda experience: L.teacher_labels(networks, experience))(experience))


def label_and_filter(networks, teacher, experience, value, own, carry=()):
    student_value = S.expected_return(networks, value, teacher.returns, experience)
    return jax.jit(lambda *x: L.label_and_filter(networks, *x[:3], own, x[3]))(
        teacher, experience, student_value, carry
    )


# ---- V-trace ---------------------------------------------------------------------------------------------------------
def some_steps(t=6, b=3):
    key = jax.random.split(jax.random.key(0), 5)
    valid = jnp.ones((t, b), bool).at[2, 1].set(False)
    discount = jnp.ones((t, b)).at[1, 1].set(0.0)
    return jax.random.normal(key[0], (t, b)), discount, jax.random.normal(key[1], (t + 1, b)), valid, key[2]


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_on_its_own_data_vtrace_is_the_generalised_advantage_and_its_target(lam):
    reward, discount, value, valid, _ = some_steps()
    advantage, target = vtrace(reward, discount, value, jnp.ones(reward.shape), valid, 0.9, lam)
    expected = gae(reward, discount, value, valid, 0.9, lam)
    assert_close(advantage, expected)
    assert_close(target, expected + value[:-1])


def test_vtrace_against_its_sum_over_products():
    """v_t = V_t + sum_k g^k (prod_{i<k} c_i) rho_k delta_k, written out."""
    reward, discount, value, _, key = some_steps()
    discount, valid, lam, gamma = jnp.ones_like(discount), jnp.ones(reward.shape, bool), 0.8, 0.9
    ratio = jnp.exp(jax.random.normal(key, reward.shape))
    advantage, target = vtrace(reward, discount, value, ratio, valid, gamma, lam)
    r, v, rho = np.asarray(reward), np.asarray(value), np.minimum(np.asarray(ratio), 1)
    delta = rho * (r + gamma * v[1:] - v[:-1])
    for t in range(6):
        by_hand = v[t] + sum(gamma ** (k - t) * np.prod(lam * rho[t:k], 0) * delta[k] for k in range(t, 6))
        np.testing.assert_allclose(target[t], by_hand, rtol=1e-4, atol=1e-5)
    ahead = lam * np.append(np.asarray(target)[1:], v[-1:], 0) + (1 - lam) * v[1:]
    assert_close(advantage, r + gamma * ahead - v[:-1])


def test_an_act_that_the_teacher_never_does_changes_nothing():
    reward, discount, value, valid, _ = some_steps()
    _, target = vtrace(reward, discount, value, jnp.zeros(reward.shape), valid, 0.9, 0.9)
    assert_same(target, value[:-1])


# ---- goals -----------------------------------------------------------------------------------------------------------
def test_goals_are_held_for_k_steps_given_anew_with_episodes_and_always_possible():
    _, components, _, rollouts = played()
    rollout, every = rollouts["teacher"], components.networks.config.every
    goal, due = np.asarray(rollout.out.goal), np.asarray(rollout.out.due)
    first, goals = np.asarray(rollout.steps.first[:-1]), rollout.steps.goals
    none = components.networks.hierarchy.goals
    assert due[first].all() and first.any(), "some episode must begin, or this says nothing"
    for b in range(due.shape[1]):
        for t in range(1, len(due)):
            if not due[t, b]:
                assert ((goal[t, b] == goal[t - 1, b]) | (goal[t, b] == none)).all()
        at = np.nonzero(due[:, b])[0]
        assert all(later - earlier == every or first[later, b] for earlier, later in pairwise(at))
    valid = np.concatenate([np.asarray(goals.valid)[:-1], np.ones((*goal.shape, 1), bool)], -1)
    assert np.take_along_axis(valid, goal[..., None], -1).all()
    assert len(np.unique(goal)) > 2


def test_a_goal_that_dies_becomes_none():
    goals = make_goals(valid=[[True, False], [True, True]])
    assert held_goals(goals, np.array([[1, 1]])).tolist() == [[2, 1]]
    assert (np.asarray(goal_features(goals, np.array([[2, 0]])))[0, 0] == 0).all()
    one = np.array([[2, 1]])
    among = np.asarray(all_goal_features(goals))
    assert_same(goal_features(goals, one), np.take_along_axis(among, one[..., None, None], -2)[..., 0, :])


def make_goals(valid):
    valid = np.array([valid])
    n, m = valid.shape[1:]
    features = np.random.default_rng(0).normal(size=(1, n, m, 3)).astype(np.float32)
    thing = np.broadcast_to(np.arange(m), (1, n, m))
    return tutelage.types.Goals(features, valid, np.zeros((1, n, m), np.float32), np.zeros((1, n, m), bool), thing)


def test_a_goal_that_another_has_is_less_likely_but_no_goal_is_not():
    _, components, _, _ = played()
    hierarchy = components.networks.hierarchy
    goals, none = make_goals([[True] * hierarchy.goals] * 4), hierarchy.goals
    goals = goals._replace(thing=goals.thing + none * np.eye(4, dtype=int)[3][:, None])  # the last: things of its own
    logits = np.zeros((1, 4, none + 1), np.float32)
    pick = lambda i, log: jnp.array([0 if i == 0 else none])
    taken, logs = jax.jit(lambda goals, logits: assign_sequentially(hierarchy, goals, logits, pick))(goals, logits)
    assert taken.tolist() == [[0, none, none, none]]
    p = np.exp(np.asarray(logs[0]))
    assert np.isclose(p[0], p[0, 0]).all() and np.isclose(p[1, 0] / p[1, 1], np.exp(-hierarchy.spread))
    assert np.allclose(p[2], p[1]), "who has no goal takes nothing from others"
    assert np.allclose(p[3], p[0]), "nor does who has another thing in mind"
    assert_close(X.conditional_log_probs(hierarchy, goals, logits, taken), logs)


def test_goals_along_steps_are_those_of_play_and_do_not_come_back():
    """given -> goal of every step, as the policy itself goes on: what dies is none until the next decision."""
    _, _, _, rollouts = played()
    own = explained()[0]
    due = rollouts["teacher"].out.due
    since = np.cumsum(np.asarray(due), 0) > 0  # before the first decision goals are an earlier rollout's
    valid = np.asarray(own.valid)
    along = jax.jit(X.held_along)
    found = np.asarray(along(own.assigned_goals, np.asarray(due) & valid, own.steps))[:-1]
    counts = since & valid
    np.testing.assert_array_equal(found[counts], np.asarray(own.goal)[:-1][counts])
    goals = jax.tree.map(lambda x: np.repeat(x[None], 4, 0), make_goals([[True, True]]))
    goals.valid[1, 0, 0, 0] = False
    steps = own.steps._replace(goals=goals)
    given = np.zeros((1, 1, 1), np.int32)
    assert along(given, np.array([[1], [0], [0]], bool), steps)[:, 0, 0].tolist() == [0, 2, 2, 2]


def test_a_flat_teacher_never_gives_goals():
    _, method, components = made(flat=True)
    _, _, state, rollouts = played()
    hierarchy, steps = components.networks.hierarchy, rollouts["teacher"].steps
    teacher = teacher_policy(hierarchy, explore=True)
    out = jax.jit(lambda params: unroll(teacher, params, teacher.carry(len(steps.first[0])), steps, steps.first))
    assert (np.asarray(out(state.teacher.params).extra.goal) == hierarchy.goals).all()
    assert [stage.name for stage in method.stages] == ["train"]


# ---- pseudo off-policy learning --------------------------------------------------------------------------------------
def test_the_posterior_is_over_possible_goals_and_explains_what_was_done():
    _, components, state, rollouts = played()
    experience = explained()[1]
    decided = np.asarray(experience.valid_decisions)
    posterior = np.asarray(experience.goal_posterior)[decided]
    assert np.allclose(posterior.sum(-1), 1, atol=1e-5) and (np.asarray(experience.coordinator_ratio) <= 1).all()
    hierarchy, params = components.networks.hierarchy, state.teacher.params

    @jax.jit
    def read(params, experience):
        """Steps, goals at decisions, what acts are likely under each goal, the coordinator's logits, decisions due."""
        now = jax.tree.map(lambda x: x[:-1], experience.steps)
        goals = X.goals_at_decisions(now, experience.decision_steps)
        logits = execute(
            hierarchy, params["executor"], read_view(hierarchy.view, now), all_goal_features(now.goals), now.avail
        )
        first = jax.tree.map(lambda x: x[0, 0], goals)
        prior = coordinate(hierarchy, params["coordinator"], first, now.state[experience.decision_steps[0, 0], 0])
        dues = X.decision_schedule(now.first, components.networks.config.every)
        return goals, now.goals.valid, jax.nn.log_softmax(logits), jax.nn.log_softmax(prior[0]), dues

    goals, valid_goals, log, log_prior, dues = jax.device_get(read(params, experience))
    experience = jax.device_get(experience)
    assert (posterior[..., :-1][~np.asarray(goals.valid)[decided]] < 1e-6).all()
    # By hand for one decision: prior times the probability of the acts that followed.
    b, d = 0, 0
    t0 = int(experience.decision_steps[d, b])
    dues = dues[:, b]
    t1 = next((t for t in range(t0 + 1, len(dues)) if dues[t]), len(dues))
    can, played_log_prob = valid_goals[:, b, 0], np.asarray(rollouts["student"].log_prob)
    alive = lambda j, t: j == hierarchy.goals or can[t0 : t + 1, j].all()
    act = np.asarray(experience.steps.action[1:])
    l = [sum(float(log[t, b, 0, j if alive(j, t) else hierarchy.goals, act[t, b, 0]])
             for t in range(t0, t1) if experience.valid[t, b]) for j in range(hierarchy.goals + 1)]  # fmt: skip
    q = log_prior + np.array(l)
    total = np.log(np.exp(q - q.max()).sum()) + q.max()
    assert_close(experience.goal_posterior[d, b, 0], np.exp(q - total), 1e-3)
    taken = sum(float(played_log_prob[t, b, 0]) for t in range(t0, t1) if experience.valid[t, b])
    assert np.isclose(experience.coordinator_ratio[d, b, 0], min(1, np.exp(total - taken)), rtol=1e-3)


def test_ratios_are_per_agent_and_one_on_own_data():
    _, components, state, _ = played()
    own = explained()[0]
    assert (np.asarray(own.ratio) == 1).all() and (np.asarray(own.coordinator_ratio) == 1).all()
    hierarchy, steps = components.networks.hierarchy, jax.tree.map(lambda x: x[:-1], own.steps)
    held = goal_features(steps.goals, own.goal[:-1])
    logits = execute(hierarchy, state.teacher.executor.params, read_view(hierarchy.view, steps), held, steps.avail)
    played_for = np.asarray(own.valid)  # the action at an ending step is ignored
    found = np.asarray(log_prob_of(logits, own.steps.action[1:]))
    assert_close(found[played_for], np.asarray(own.old_log_prob)[played_for], 1e-3)
    other = explained()[1]
    assert other.ratio.shape == own.ratio.shape and len(np.unique(np.asarray(other.ratio)[0, 0])) == 3


def test_relabelled_goals_are_the_coordinators_own():
    experience = explained(explain="relabel")[1]
    assert set(np.unique(np.asarray(experience.goal_posterior))) == {0.0, 1.0}
    assert (np.asarray(experience.goal_posterior).argmax(-1) == np.asarray(experience.assigned_goals)).all()


def test_what_a_goal_earned_is_summed_to_the_next_decision_and_bootstrapped_there():
    reward = jnp.arange(1.0, 7.0)[:, None]
    value = 10 * jnp.arange(7.0)[:, None]
    due = jnp.array([1, 0, 0, 1, 0, 0], bool)[:, None]
    valid, discount = jnp.ones((6, 1), bool), jnp.ones((6, 1))
    found = T.return_to_decision(reward, discount, value, due, valid, 0.5)[:, 0]
    assert np.isclose(found[0], 1 + 2 / 2 + 3 / 4 + 30 / 8) and np.isclose(found[3], 4 + 5 / 2 + 6 / 4 + 60 / 8)
    # The episode ends with step 2 (a true end: no value there), the next begins with step 3.
    valid = valid.at[2].set(False)
    found = T.return_to_decision(reward, discount.at[1].set(0.0), value, due, valid, 0.5)[:, 0]
    assert np.isclose(found[0], 1 + 2 / 2)
    found = T.return_to_decision(reward, discount, value, due, valid, 0.5)[:, 0]
    assert np.isclose(found[0], 1 + 2 / 2 + 20 / 4), "cut off: the value of where it ended"


def test_goals_given_at_every_step_have_the_teams_generalised_advantage():
    """So the coordinator's credit reaches beyond its next decision, as far as the executors' does."""
    _, components, state, _ = played()
    experience, config = explained()[0], components.networks.config
    decision_steps, decided = X.find_decisions(experience.valid, experience.valid, 1)
    goal = X.at_decisions(decision_steps, experience.goal[:-1])
    posterior = jax.nn.one_hot(goal, components.networks.hierarchy.goals + 1)
    experience = experience._replace(
        decision_steps=decision_steps,
        valid_decisions=decided,
        assigned_goals=goal,
        goal_posterior=posterior,
        coordinator_ratio=jnp.ones(goal.shape),
    )
    value = T.team_value(
        components.networks, state.teacher.values.params["team"], state.teacher.returns, experience.steps.state
    )
    steps, decided = experience.steps, np.asarray(decided)
    expected = gae(steps.reward[1:], steps.discount[1:], value, experience.valid, config.gamma, config.lam)
    found = teacher_batch(components.networks, state.teacher, experience).goal.advantage
    assert decided.sum() == experience.valid.sum()
    np.testing.assert_allclose(
        found[decided], X.at_decisions(experience.decision_steps, expected)[decided], rtol=1e-4, atol=1e-4
    )


def test_shaping_is_of_the_goal_that_is_held_and_completion_counts_once():
    _, components, _, _ = played()
    experience = explained()[0]
    paid, goals = (
        np.asarray(goal_progress(experience.steps.goals, experience.goal[:-1], experience.steps.first[:-1], 0.99)),
        experience.steps.goals,
    )
    goal = np.asarray(experience.goal)[:-1]
    assert (paid[goal == components.networks.hierarchy.goals] == 0).all()
    t, b, i = (x[0] for x in np.nonzero(goal < components.networks.hierarchy.goals))
    j = goal[t, b, i]
    phi, done = np.asarray(goals.potential), np.asarray(goals.reached)
    expected = 0.99 * phi[t + 1, b, i, j] - phi[t, b, i, j] + (done[t + 1, b, i, j] and not done[t, b, i, j])
    assert np.isclose(paid[t, b, i], expected, atol=1e-5)
    column = lambda *x: jnp.array(x)[:, None, None]
    inside = column(False, True, False, True, True, False, True)  # in, out, in; another goal; given again
    goal = column(0, 0, 0, 1, 1, 0)
    first = jnp.zeros((6, 1), bool)
    assert first_completion(goal, inside[:-1], inside[1:], first)[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 1]
    goal = jnp.zeros_like(goal)
    assert first_completion(goal, inside[:-1], inside[1:], first)[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 0]
    anew = first_completion(goal, inside[:-1], inside[1:], first.at[2].set(True))[:, 0, 0]
    assert anew.tolist() == [1, 0, 1, 0, 0, 0], "an episode does not know what was reached in the one before"


def test_what_a_goal_pays_ends_with_it():
    """With values of 0 and lambda 1 an executor's advantage is what is paid from here on: by the team until the episode
    ends, by the goal until another is given or it dies."""
    goal = jnp.array([2, 2, 2, 0, 0, 3])[:, None, None]
    due = jnp.array([1, 0, 1, 0, 0], bool)[:, None]
    assert T.goal_goes_on(goal, due, 5)[:, 0, 0].tolist() == [True, False, False, True, False]
    same = jnp.full_like(goal, 2)
    at = lambda step: T.goal_goes_on(same, (jnp.arange(5) == step)[:, None], 5)[:, 0, 0].tolist()
    assert at(0) == [True] * 4 + [False], "a decision is due after the last step"
    assert at(1) == [False] + [True] * 4 and at(3) == [True, True, False, True, True]

    found = {}
    for shaping in (0.0, 1.0):
        _, components, state, rollouts = played(shaping=shaping, lam=1.0)
        experience = explained()[0]
        values = state.teacher.values
        blank = values._replace(params=jax.tree.map(jnp.zeros_like, values.params))
        found[shaping] = np.asarray(
            teacher_batch(components.networks, state.teacher._replace(values=blank), experience).actor.advantage
        )
    pays = np.asarray(goal_progress(experience.steps.goals, experience.goal[:-1], experience.steps.first[:-1], 0.99))
    goal, due, valid = (
        np.asarray(experience.goal),
        np.asarray(rollouts["teacher"].out.due),
        np.asarray(experience.valid),
    )
    steps, episodes, agents = pays.shape
    over = np.zeros((episodes, agents))
    for t in reversed(range(steps)):
        again = due[t + 1] if t + 1 < steps else ~due[1 - HintConfig().every :].any(0)
        on = (goal[t + 1] == goal[t]) & ~again[:, None] & (np.asarray(experience.steps.discount)[t + 1] > 0)[:, None]
        over = np.where(valid[t][:, None], pays[t] + 0.99 * on * over, 0)
        np.testing.assert_allclose(found[1.0][t] - found[0.0][t], over, atol=1e-4)


def test_gradients_are_those_of_likelier_acts_and_goals_where_more_was_earned():
    """At the parameters that played: of acts given goals, and of goals with the one that was meant summed out."""
    _, components, state, _ = played(entropy=0.0, goal_entropy=0.0)
    networks, counted = components.networks, lambda x, where: (x * where).sum() / where.sum()
    make_batch = jax.jit(lambda teacher, experience: T.make_teacher_batch(networks, teacher, experience, 1.0))

    def actions(params, batch):
        logits = execute(networks.hierarchy, params, batch.inputs, batch.goal, batch.avail)
        return -counted(batch.weight * batch.advantage * log_prob_of(logits, batch.action), batch.counts)

    def goals(params, batch):
        logits = coordinate(networks.hierarchy, params, batch.goals, batch.state)
        log_probs = X.conditional_log_probs(networks.hierarchy, batch.goals, logits, batch.assigned_goals)
        posterior = batch.goal_posterior
        log_likelihood = jnp.where(posterior > 0, jnp.log(posterior) - batch.old_log_probs, -jnp.inf)
        summed_out = jax.nn.logsumexp(log_probs + log_likelihood, -1)
        return -counted(batch.weight * batch.advantage[..., None] * summed_out, batch.counts)

    def both(loss, simple):
        gradients = lambda params, part: (
            jax.grad(lambda p: loss(networks, p, part)[0])(params),
            jax.grad(simple)(params, part),
        )
        return jax.jit(gradients)

    of_actions, of_goals = both(T.executor_loss, actions), both(T.coordinator_loss, goals)
    for experience in explained():
        batch = make_batch(state.teacher, experience)
        for gradients, params, part in (
            (of_actions, state.teacher.executor.params, batch.actor),
            (of_goals, state.teacher.coordinator.params, batch.goal),
        ):
            found, expected = gradients(params, part)
            size = max(float(np.abs(x).max()) for x in jax.tree.leaves(expected))
            assert size > 1e-4 and apart(found, expected) < 1e-3 * size


def test_one_agent_alone_can_tell_that_the_team_was_not_the_teacher():
    _, components, state, _ = played()
    experience = explained()[1]
    one = experience._replace(ratio=jnp.full(experience.ratio.shape, 9.0).at[..., 0].set(0.0))
    found = teacher_batch(components.networks, state.teacher, one)
    params, valid = state.teacher.values.params["team"], np.asarray(experience.valid)
    value = T.team_value(components.networks, params, state.teacher.returns, found.critic.state)
    assert_close(found.critic.team_target[valid], value[valid])
    weight = np.asarray(found.actor.weight)
    assert (weight[..., 0] == 0).all() and (weight[..., 1:] == 1).all()


def test_every_agent_is_corrected_by_its_own_ratio():
    """As if each were alone: the team's rewards, its own value, its own ratio (where goals pay nothing)."""
    _, components, state, _ = played()
    networks = components.networks._replace(config=replace(components.networks.config, shaping=0.0))
    experience, config, hierarchy = explained()[1], networks.config, networks.hierarchy
    steps, valid = experience.steps, np.asarray(experience.valid)
    found = teacher_batch(networks, state.teacher, experience)
    inputs, goal = read_view(hierarchy.view, steps), goal_features(steps.goals, experience.goal)
    value = hierarchy.value.apply(state.teacher.values.params["each"], steps.state, inputs, goal)[..., 0]
    reward = steps.reward[1:] / state.teacher.returns.deviation
    assert len(np.unique(np.minimum(np.asarray(experience.ratio), 1)[0, 0])) > 1
    for i in range(value.shape[-1]):
        ratio = experience.ratio[..., i]
        advantage, target = vtrace(reward, steps.discount[1:], value[..., i], ratio, experience.valid,
                                   config.gamma, config.lam)  # fmt: skip
        assert_close(np.asarray(found.actor.advantage)[..., i][valid], np.asarray(advantage)[valid], 1e-4)
        assert_close(np.asarray(found.critic.agent_target)[..., i, 0][valid], np.asarray(target)[valid], 1e-4)


def apart(a, b):
    """The largest difference between two pytrees."""
    a, b = (jax.tree.leaves(host(tree)) for tree in (a, b))
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


@pytest.mark.rows  # the weight of students' experience enters a loss that `test_naive_hint` works out
def test_without_students_data_the_teacher_learns_as_if_there_were_none(monkeypatch):
    results = []
    _, usual, state, rollouts = played()
    alone, without, _, _ = played(off_policy=0.0)
    assert usual.networks.config.off_policy == 1 and without.networks.config.off_policy == 0
    student = rollouts["student"]
    blind = student._replace(steps=student.steps._replace(reward=np.asarray(student.steps.reward) + 100))
    blind = rollouts | {"student": blind}
    without_gradients(monkeypatch, "label_both", "store_iteration", "update_student_value", "update_student")
    go = jax.jit(lambda s, p: alone.stages[-1].update(s, p, jax.random.key(0), 0.0)[0].teacher)
    assert apart(go(state, rollouts), go(state, blind)) == 0
    monkeypatch.undo()
    results = [updated()[0](state, p)[0].teacher.values.params for p in (rollouts, blind)]
    assert apart(*results) > 0


# ---- filter and students ---------------------------------------------------------------------------------------------
def test_filters_keep_all_or_nothing_at_the_ends():
    shape, agents = (4, 3), (4, 3, 2)
    zero, no = jnp.zeros(shape), jnp.zeros(shape, bool)
    assert L.keep_episodes(zero, no, zero - jnp.inf).all() and not L.keep_episodes(zero, no, zero + jnp.inf).any()
    assert L.keep_episodes(zero, ~no, zero + jnp.inf).all(), "a victory is always worth learning"
    agrees, gain = jnp.zeros(agents, bool), jnp.zeros(agents)
    assert L.keep_by_advantage(zero + 1, agrees, gain).all() and not L.keep_by_advantage(zero, agrees, gain).any()
    assert L.keep_by_advantage(zero - 1, ~agrees, gain + 1).all()


def test_filters_compare_the_teacher_with_what_students_would_earn():
    """Where students would earn next to nothing all is kept; where the teacher would, what is left are victories,
    and acts that agreed and paid."""
    _, components, state, rollouts = played()
    networks, (own, other) = components.networks, explained()
    expect = partial(S.expected_return, networks, state.value.params, state.teacher.returns)

    @jax.jit
    def kept(teachers, students):
        teacher = state.teacher._replace(values=biased(state.teacher.values, "team", teachers))
        value_fn = lambda experience: expect(experience) + students
        metrics = H.label_both(
            components, state._replace(teacher=teacher), value_fn, own, other, rollouts, jax.random.key(0)
        )[-1]
        return metrics["kept_own"], metrics["kept_student"]

    assert kept(1e6, -1e6) == (1, 1)
    steps, counts = other.steps, lambda x: np.asarray(x.valid)[..., None] & np.asarray(x.steps.alive[:-1])
    won = jnp.broadcast_to(L.won_later(own.steps, own.valid)[..., None], counts(own).shape)
    assert np.isclose(kept(0.0, 1e6)[0], np.asarray(won)[counts(own)].mean(), atol=1e-6)
    config, gain = networks.config, (steps.reward[1:], steps.discount[1:], expect(other), other.valid)
    paid = np.asarray(gae(*gain, config.gamma, config.lam) > 0)[..., None]
    agrees = teacher_labels(networks, other).argmax(-1) == np.asarray(steps.action[1:])
    share = (agrees & paid)[counts(other)].mean()
    assert np.isclose(kept(-1e6, 0.0)[1], share, atol=1e-6) and 0 < share < 0.9


def test_victories_are_known_backwards_to_their_episodes_start():
    steps = make_steps(make(LEVEL).spec, (6, 1))
    last, success = jnp.array([0, 0, 0, 1, 0, 0], bool)[:, None], jnp.array([0, 0, 0, 1, 0, 0], bool)[:, None]
    steps = steps._replace(last=last, success=success)
    valid = ~last[:-1]
    assert L.won_later(steps, valid)[:, 0].tolist() == [True, True, True, False, False]
    assert not L.won_later(steps._replace(success=~success), valid).any()


def test_labels_are_what_the_teacher_would_do_now():
    _, components, state, rollouts = played()
    experience, params = explained()[0], state.teacher.params
    of = lambda **changes: teacher_labels(made(**changes)[-1].networks, experience)
    best, greedy = of(labels="best"), teacher_policy(components.networks.hierarchy, explore=False)
    for t in (0, 7):
        now = jax.tree.map(lambda x, t=t: x[t], experience.steps)
        scores = greedy.step(params, greedy.carry(len(now.first)), now, jax.random.key(0))[1].scores
        assert_close(best[t], jax.nn.log_softmax(scores), 1e-4)
    due, kept_on = np.asarray(rollouts["teacher"].out.due & experience.valid), of(labels="held")
    assert_close(kept_on[due], best[due], 1e-4)
    assert due[1:].any() and np.abs(kept_on - best)[~due].max() > 0.01, "between its own decisions goals are held"
    # Nothing has been done yet: goals are as likely as the coordinator makes them.
    softly = of(labels="all")
    hierarchy, now = components.networks.hierarchy, jax.tree.map(lambda x: x[0], experience.steps)
    goals, logs = assign_sequentially(
        hierarchy,
        now.goals,
        coordinate(hierarchy, params["coordinator"], now.goals, now.state),
        lambda i, log: log.argmax(-1),
    )
    mixed = 0.0
    for j in range(hierarchy.goals + 1):
        under = execute(
            hierarchy,
            params["executor"],
            read_view(hierarchy.view, now),
            goal_features(now.goals, jnp.full(goals.shape, j)),
            now.avail,
        )
        mixed += jnp.exp(logs[..., j, None]) * jax.nn.softmax(under)
    assert_close(jax.nn.softmax(softly[0]), mixed, 1e-4)
    assert np.abs(softly - best).max() > 0.01


def test_labels_are_sharper_than_the_teacher():
    """At a temperature of 0.5: probabilities squared."""
    _, components, state, _ = played()
    labelled = label_and_filter(components.networks, state.teacher, explained()[0], state.value.params, True)
    squared = np.asarray(jax.nn.softmax(teacher_labels(components.networks, explained()[0]))) ** 2
    assert_close(jax.nn.softmax(labelled.label), squared / squared.sum(-1, keepdims=True), 1e-4)


def test_with_the_goal_summed_out_acts_tell_which_goal_is_likely():
    """Two goals and none, by hand: what was done shifts what is told; what is given anew forgets it."""
    coordinator = np.broadcast_to([0.5, 0.3, 0.2], (4, 1, 1, 3))
    taken = np.log(np.broadcast_to([0.8, 0.2, 0.2], (4, 1, 1, 3)))
    can, first = np.ones((4, 1, 1, 3), bool), np.zeros((4, 1), bool)
    belief = lambda renew, can=can, first=first: np.asarray(L.goal_beliefs(coordinator, taken, can, first, renew))[
        :, 0, 0
    ]

    powers = np.array([0.5, 0.3, 0.2]) * np.array([0.8, 0.2, 0.2]) ** np.arange(4)[:, None]
    np.testing.assert_allclose(belief(0.0), powers / powers.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(belief(1.0), coordinator[:, 0, 0], rtol=1e-6)
    after = np.array([0.4, 0.06, 0.04]) / 0.5
    np.testing.assert_allclose(belief(0.2)[1], 0.8 * after + 0.2 * coordinator[0, 0, 0], rtol=1e-5)

    died = can.copy()
    died[1:, ..., 0] = False
    np.testing.assert_allclose(belief(0.0, can=died)[1], [0, after[1], after[2] + after[0]], rtol=1e-5, atol=1e-7)
    begins = first.copy()
    begins[2] = True
    np.testing.assert_allclose(belief(0.0, first=begins)[2], coordinator[0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(belief(0.0, first=begins)[3], after, rtol=1e-5)


def test_labels_forget_what_was_done_as_fast_as_asked():
    """Acts are changed before labels are made: with goals given anew at every step, nothing after them changes."""
    experience = explained()[0]
    first = experience.steps.avail.argmax(-1)[:-1]
    other = experience._replace(steps=experience.steps._replace(action=experience.steps.action.at[1:].set(first)))

    def at(renew, experience):
        return teacher_labels(made(labels="all", renew=renew)[-1].networks, experience)

    assert_close(at(1.0, experience), at(1.0, other), 1e-6)
    assert_close(at(0.2, experience)[0], at(0.2, other)[0], 1e-6)
    assert np.abs(at(0.2, experience) - at(0.2, other))[1:].max() > 1e-3


def biased(learner, key, value):
    """A learner whose value is higher by so much everywhere."""
    net = learner.params[key] if key else learner.params
    net = [*net[:-1], {**net[-1], "bias": net[-1]["bias"] + value}]
    return learner._replace(params={**learner.params, key: net} if key else net)


@pytest.mark.parametrize(("teachers", "students"), [(1000.0, 50.0), (-1000.0, -1000.0)])
def test_where_an_own_episode_is_cut_off_it_is_worth_what_students_would_make_of_it(teachers, students):
    """Neither the hope of a teacher that did not get there, nor that the clock ends what burns, is worth learning."""
    _, components, state, _ = played()
    experience, gamma = explained()[0], components.networks.config.gamma
    cut = np.asarray(experience.steps.last[1:] & (experience.steps.discount[1:] > 0) & experience.valid)
    reward = experience.steps.reward.at[1:].add(-100.0 * cut)  # so that neither is worth it where it was cut off
    experience = experience._replace(steps=experience.steps._replace(reward=reward))
    teacher = state.teacher._replace(values=biased(state.teacher.values, "team", teachers))
    learner = biased(state.value, "", students)
    found = np.asarray(label_and_filter(components.networks, teacher, experience, learner.params, True).keep).any(-1)
    value = lambda net: np.asarray(T.team_value(components.networks, net, teacher.returns, experience.steps.state))
    best, student_value = value(teacher.values.params["team"]), value(learner.params)
    steps, valid, won = (
        experience.steps,
        np.asarray(experience.valid),
        np.asarray(L.won_later(experience.steps, experience.valid)),
    )
    reward, discount, last = (np.asarray(x)[1:] for x in (steps.reward, steps.discount, steps.last))
    ahead = best[-1]
    for t in reversed(range(len(valid))):
        ahead = reward[t] + gamma * discount[t] * np.where(last[t], student_value[t + 1], ahead)
        clear = valid[t] & (np.abs(ahead - student_value[t]) > 0.01)
        np.testing.assert_array_equal(found[t][clear], (won[t] | (ahead >= student_value[t]))[clear])
    assert cut.any() and not found[cut].any()


def test_what_students_are_expected_to_earn_is_read_in_units_that_it_was_fitted_to(monkeypatch):
    _, components, state, rollouts = played()
    own, other = explained()
    moved = state.teacher._replace(returns=state.teacher.returns._replace(mean=jnp.asarray(1000.0)))

    class Expected(Exception):
        pass

    def label_both(components, state, value_fn, own, other, *rest):
        assert state.teacher.returns.mean == 1000
        raise Expected(value_fn(other))

    monkeypatch.setattr(H, "teacher_experience", lambda *_: own)
    monkeypatch.setattr(H, "student_experience", lambda *_: other)
    monkeypatch.setattr(H, "make_teacher_batch", lambda *_: ())
    monkeypatch.setattr(H, "update_teacher", lambda *_, **__: (moved, {}))
    monkeypatch.setattr(H, "label_both", label_both)
    with pytest.raises(Expected) as found:
        H.update_iteration(components, state, rollouts, jax.random.key(0), jnp.zeros(()))
    value = T.team_value(components.networks, state.value.params, state.teacher.returns, other.steps.state)
    assert_same(found.value.args[0], value)


def test_without_filter_and_off_policy_it_is_dagger():
    """Labels of everything, the teacher's own distribution at its best goals, and nothing else in the loss."""
    settings = dict(filter_own="none", filter_student="none", off_policy=0.0, student_entropy=0.0, labels="held")
    _, components, state, _ = played(**settings)
    networks = components.networks
    other = explained()[1]
    labelled = label_and_filter(networks, state.teacher, other, state.value.params, False)
    assert_same(labelled.keep, np.asarray(other.valid)[..., None] & np.asarray(other.steps.alive[:-1]))
    loss, experience = S.student_loss(networks.config, components.student, state.student.params, labelled)
    assert np.isclose(loss, experience["student_kl"])
    greedy = teacher_policy(networks.hierarchy, explore=False)
    t = int(np.nonzero(np.asarray(other.steps.first[:-1]).any(1))[0][0])
    now = jax.tree.map(lambda x: x[t], other.steps)
    new = np.asarray(now.first)
    scores = greedy.step(state.teacher.params, greedy.carry(len(new)), now, jax.random.key(0))[1].scores
    assert_close(L.TEMPERATURE * np.asarray(labelled.label)[t][new], jax.nn.log_softmax(scores)[new], 1e-3)


@pytest.mark.rows  # `test_naive_hint` has this term in its sum
def test_the_ppo_term_makes_students_own_acts_likelier_where_more_was_earned():
    _, components, state, rollouts = played(rl=1.0, core="gru")
    config, mine, experience = components.networks.config, rollouts["student"], explained(rl=1.0, core="gru")[1]
    student_value = S.expected_return(components.networks, state.value.params, state.teacher.returns, experience)
    did = S.make_student_experience(config, experience, student_value, mine.log_prob, mine.carry)
    counts = np.asarray(did.counts)
    assert_same(counts, np.asarray(experience.valid)[..., None] & np.asarray(experience.steps.alive[:-1]))

    def likelier(params):
        scores = unroll(components.student, params, did.carry, did.steps, did.steps.first).scores
        log_prob = log_prob_of(scores, did.action)
        return -(did.advantage * log_prob * counts).sum() / counts.sum(), log_prob

    found = jax.jit(jax.grad(lambda p: S.student_ppo_loss(config, components.student, p, did)[0]))(state.student.params)
    wanted, log_prob = jax.jit(jax.grad(likelier, has_aux=True))(state.student.params)
    assert_close(np.asarray(log_prob)[counts], np.asarray(mine.log_prob)[counts], 1e-4)
    size = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(wanted))
    assert size > 1e-4 and apart(found, wanted) < 1e-3 * size
    reward, discount = experience.steps.reward[1:], experience.steps.discount[1:]
    gained = np.asarray(gae(reward, discount, student_value, experience.valid, config.gamma, config.lam))
    gained = gained[..., None].repeat(counts.shape[-1], -1)[counts]
    np.testing.assert_allclose(np.asarray(did.advantage)[counts], (gained - gained.mean()) / gained.std(), atol=1e-3)


def marked():
    """Students' own episodes with labels, every second step of which is kept; and what learns from them."""
    _, components, state, rollouts = played(core="gru")
    labelled = label_and_filter(components.networks, state.teacher, explained(core="gru")[1], state.value.params, False,
                   rollouts["student"].carry)  # fmt: skip
    even = (jnp.arange(labelled.keep.shape[0]) % 2 == 0)[:, None, None]
    return components, state, labelled._replace(keep=jnp.broadcast_to(even, labelled.keep.shape)), even


def test_what_the_filter_drops_teaches_nothing():
    components, state, labelled, even = marked()
    gradient = jax.jit(
        jax.grad(lambda p, part: S.student_loss(components.networks.config, components.student, p, part)[0])
    )
    of = lambda where: gradient(
        state.student.params, labelled._replace(label=jnp.where(where[..., None], 3 * labelled.label, labelled.label))
    )
    assert apart(of(jnp.zeros_like(even)), of(~even)) == 0 and apart(of(jnp.zeros_like(even)), of(even)) > 1e-4


@pytest.mark.parametrize("rl", [False, True])
def test_students_learn_from_the_store_what_was_kept_once_memory_has_settled(rl):
    components, state, labelled, _ = marked()
    networks = components.networks._replace(config=replace(components.networks.config, rl=float(rl)))
    steps = labelled.steps._replace(first=jnp.zeros_like(labelled.steps.first))
    early = (jnp.arange(len(steps.first)) < SETTLES)[:, None, None]
    learned = []
    for keep in (early, ~early):
        part = labelled._replace(steps=steps, keep=jnp.broadcast_to(keep, labelled.keep.shape))
        store = S.store_iteration(state.store, L.concatenated(part, part), jnp.asarray(0))
        zero = jnp.zeros(part.keep.shape)
        latest = S.StudentExperience(steps, part.carry, steps.action, zero, zero + 1.0, zero == 0) if rl else None
        after, experience = S.update_student(
            networks, components.student, state.student, store, jnp.asarray(0), latest, jax.random.key(0), 0.1
        )
        learned.append(apart(after.params, state.student.params))
        assert ("student_rl" in experience) == rl
    assert (learned[0] > 0) == rl and learned[1] > 0


def test_the_students_value_comes_nearer_to_what_they_earn():
    _, components, state, _ = played()
    networks = components.networks._replace(config=replace(components.networks.config, epochs=20))
    experience, scale = explained()[1], state.teacher.returns
    value = S.expected_return(networks, state.value.params, scale, experience)
    go = jax.jit(
        lambda lr: S.update_student_value(networks, scale, state.value, experience, value, jax.random.key(0), lr)
    )
    (_, still), (_, better) = go(0.0), go(1e-2)
    assert float(better["student_value"]) < 0.8 * float(still["student_value"])


def test_memory_of_older_students_settles_before_it_is_learned_from():
    steps = make_steps(make(LEVEL).spec, (12, 2))
    steps = steps._replace(first=steps.first.at[3, 1].set(True))
    found = np.asarray(settled(steps.first, jnp.zeros(2)))[..., 0]
    assert found[:, 0].tolist() == [False] * 8 + [True] * 4 and found[:, 1].tolist() == [False] * 3 + [True] * 9
    assert settled(steps.first, ()).all()


def test_students_read_no_state_and_no_goals():
    method, _, state, _ = played()
    student = method.roles["student"]
    assert student.groups and not student.goals
    steps = make_steps(make(LEVEL, radio=True).spec, (4,))
    go = lambda ts: student.step(state.student.params, student.carry(4), ts, jax.random.key(0))[1].scores
    assert_same(go(steps), go(steps._replace(state=steps.state + 1)))


def test_the_store_keeps_the_last_iterations():
    _, _, state, rollouts = played()
    go = lambda state: updated()[0](state, rollouts)[0]
    one = go(state)
    assert one.iterations == 1 and np.asarray(one.store.keep[0]).any() and not np.asarray(one.store.keep[1]).any()
    three = go(go(one))
    assert three.iterations == 3 and np.asarray(three.store.keep[1]).any()


# ---- the exact filter ------------------------------------------------------------------------------------------------
def test_outcomes_decide():
    row = lambda *x: np.array(x)
    teacher = Episodes(row(True, True, False, False, False), row(0.0, 1.0, 5.0, 2.0, 0.0), ())
    student = Episodes(row(False, True, True, False, False), row(9.0, 0.0, 0.0, 1.0, 0.0), ())
    # Won where students lose; won by both, earning more; lost where students win; earning more; earning as much.
    assert F.teacher_does_better(teacher, student).tolist() == [True, True, False, True, False]


def test_what_comes_after_an_episodes_end_was_not_tried_out():
    first = jnp.array([[1, 0], [0, 0], [0, 1], [0, 0]], bool)
    assert F.same_episode(first).T.tolist() == [[True] * 4, [True, True, False, False]]


def forked(teacher, steps=10, every=5):
    """Random students of fire_commander/5x5, and what the filter makes of a controller as their teacher."""
    env = make(LEVEL, radio=True, max_steps=30)
    vector, student = make_vector_env(env, 16, goals=True), random_policy()
    pairs = (student, ()), (teacher or student, ())
    both = with_shadow(student, pairs[1][0])

    @jax.jit
    def go(key, later):
        collector = init_collector(vector, both, key)
        return F.collect_with_forks(vector, *pairs, collector, later, steps, every)

    return jax.device_get(go(jax.random.key(0), jax.random.key(1)))


def test_who_plays_the_same_is_never_better():
    """Common random numbers: two equal policies have equal futures."""
    collector, rollout, worth, played = forked(None)
    assert worth.shape == rollout.valid.shape == (10, 16) and rollout.steps.obs.shape[:2] == (11, 16)
    assert not np.asarray(worth).any()
    assert_same(rollout.steps.obs[-1], collector.timestep.obs)
    assert int(played) > 2 * 2 * 16  # two forks, two futures each


def test_a_good_controller_is_listened_to_where_random_play_loses():
    env = make(LEVEL, radio=True, max_steps=30)
    _, rollout, worth, _ = forked(env.scripted("pooled"))
    assert np.asarray(worth)[np.asarray(rollout.valid)].mean() > 0.5


def without_gradients(monkeypatch, *parts):
    """Updates that leave out those parts, and so compile in half the time."""
    keeps = {
        "update_teacher": lambda networks, teacher, *_, **__: (teacher, {}),
        "update_student_value": lambda networks, scale, value, *_: (value, {}),
        "update_student": lambda networks, policy, student, *_: (student, {}),
        "label_both": lambda components, state, *_: ((), (), state.walk, {}),
        "store_iteration": lambda store, *_: store,
    }
    for part in parts:
        monkeypatch.setattr(H, part, keeps[part])


@pytest.mark.parametrize("core", rows(["mlp"], ["gru"]))
def test_the_fork_filter_teaches_on_its_own_walk(core, monkeypatch):
    monkeypatch.setattr(states, "FORK_ENVS", 2)
    _, method, _ = made(filter_student="fork", core=core)
    begin = jax.jit(lambda: {k: getattr(method.init(jax.random.key(0)), k) for k in ("store", "walk")})
    _, _, state, rollouts = played(**({} if core == "mlp" else dict(core=core)))
    state = state._replace(**begin())
    assert state.store.keep.shape[2] == SMALL["envs"] // 2 + 2
    if core == "mlp":
        without_gradients(monkeypatch, "update_teacher", "update_student_value", "update_student")
    update = method.stages[-1].update
    after, experience = jax.jit(lambda s, p: update(s, p, jax.random.key(0), 0.0))(state, rollouts)
    assert experience["forked_steps"] > 0 and all(np.isfinite(x).all() for x in experience.values())
    assert 0 < experience["kept_student"] < 1, "only where the teacher wins or earns more"
    assert not np.array_equal(after.walk.timestep.obs, state.walk.timestep.obs)


def test_success_is_of_the_episodes_that_end():
    _, _, state, rollouts = played()
    for name in ("teacher", "student"):
        rollout = rollouts[name]
        last, success = (np.asarray(x)[1:] for x in (rollout.steps.last, rollout.steps.success))
        ended = last & np.asarray(rollout.valid)
        won = rollout.steps._replace(success=rollout.steps.success.at[1:, ::2].set(ended[:, ::2]))
        metrics = updated()[0](state, rollouts | {name: rollout._replace(steps=won)})[1]
        success = np.where(np.arange(ended.shape[1]) % 2 == 0, ended, success)
        assert np.isclose(metrics[f"{name}_success"], success[ended].mean()) and 0 < success[ended].mean() <= 1


# ---- as a reader -----------------------------------------------------------------------------------------------------
def test_who_follows_an_update_enters_few_functions_outside_of_the_folder():
    """They are the field's own (losses, returns, gradient steps), the networks, and what the teacher is made of."""
    assert len(updated()[1]) <= 26, sorted(updated()[1])


# ---- as a user -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "more"),
    rows([], [("mpe/simple_spread", {}), ("marine/easy", dict(core="gru", messages="hetgat"))]),
)
def test_a_run_trains_loads_and_evaluates_both(tmp_path, name, more):
    run = tutelage.train("hint", name, out=tmp_path / "run", quiet=True, fit=QUICK, **{**SMALL, **more})[0]
    assert 0 <= run.test["success_rate"] <= 1 and "teacher" in run.test["beside"]
    again = tutelage.load(run.path)
    assert_same(again.params("student"), run.params("student"))
    assert tutelage.evaluate(make(name), again.policy("teacher"), again.params("teacher"), 8).episodes == 8


def test_bad_settings_are_refused_by_name():
    for settings, text in (
        (dict(pretrain=10, steps=5), "pretrain = 10"), (dict(envs=10), "envs = 10"), (dict(every=7), "every = 7"),
        (dict(rl=-1.0), "rl = -1.0"), (dict(explain="guess"), "explain"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=text):
            HintConfig(**settings)
    assert HintConfig(flat=True, steps=5).flat, "which has no pre-training"
    with pytest.raises(BadInput, match=r"would take .* GB, allowed are memory_gb = 0.001"):
        jax.eval_shape(build("hint", make(LEVEL), memory_gb=0.001).init, jax.random.key(0))
    with pytest.raises(BadInput, match="offers no goals"):
        build("hint", make("probe/action"))
