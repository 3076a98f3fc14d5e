"""The training loop: numbers depend on the seed alone, and the best student is the one that succeeds."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import BREAKS, QUICK, TINY, Silent, Uneven, assert_same, build, counting, lines_of, run_stage
from tutelage import BadInput, FitConfig, evaluate, make
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment.evaluate import Evaluation
from tutelage.experiment.evaluator import record_evaluation
from tutelage.experiment.fit import fit
from tutelage.experiment.stage_loop import StageLoop, check_step_counts, nominal_updates
from tutelage.experiment.stats import wilson
from tutelage.experiment.status import Status, counters
from tutelage.policies.acting import random_policy, sample
from tutelage.registry import method_config

GRU = {**TINY, "core": "gru", "size": "width=4", "rollout": 5, "chunk": 5, "steps": 1000}
"""Rollouts of five steps over episodes of three: chunks and rollouts end in the middle of episodes."""


@cache
def recurrent():
    """An environment and a method, whose programs are made once."""
    env = make("probe/memory")
    return env, build("mappo", env, **GRU)


def fitted(seed=0, config=QUICK):
    recorder = Silent()
    result = fit(*recurrent(), config, seed, recorder)
    metrics = [{k: v for k, v in r.items() if k != "seconds"} for r in recorder.records]
    return result, metrics, recorder.evaluations


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    (result, metrics, _), (again, metrics_again, _), (other, metrics_other, _) = fitted(0), fitted(0), fitted(1)
    assert_same(result.params, again.params)
    assert metrics == metrics_again and result.test == again.test
    assert metrics != metrics_other
    different = [
        (np.asarray(x) != np.asarray(y)).any()
        for x, y in zip(jax.tree.leaves(result.params), jax.tree.leaves(other.params), strict=True)
    ]
    assert any(different)


def test_chunk_lengths_change_no_number():
    """Neither those of one compilation (it stops where it is told to) nor another compilation for longer chunks."""
    (env, method), root = recurrent(), jax.random.key(0)
    init = jax.jit(method.init)
    ends = []
    for longest, stops in ((4, ((4, 8), (1, 2, 5, 6, 8))), (9, ((8,),))):
        runner = StageLoop(env, method.stages[0], 0, longest)
        runner.compile(runner.init_state(init(root), root), root)
        for schedule in stops:
            loop, chunk_metrics = runner.init_state(init(root), root), []
            for until in schedule:
                loop, rows = runner.run(loop, root, until)
                assert int(loop.update) == until
                chunk_metrics.append(rows)
            ends.append((loop, {k: np.concatenate([rows[k] for rows in chunk_metrics]) for k in chunk_metrics[0]}))
    for end in ends[1:]:
        assert_same(end, ends[0])
    assert all(len(x) == 8 for x in ends[0][1].values())


def test_evaluating_more_often_changes_no_number_of_training():
    (_, metrics, few), (_, metrics_too, many) = fitted(config=QUICK), fitted(config=FitConfig(7, 8, 8))
    assert metrics == metrics_too and len(few) < len(many)


def test_a_rollout_of_every_update_is_counted_once():
    result, metrics, _ = fitted()
    steps = [r["steps"] for r in metrics]
    # 16 environments, 5 steps an update, every fourth of which only opens an episode
    assert all(0.6 * 80 <= s <= 80 for s in steps)
    assert np.cumsum(steps).tolist() == [r["total_steps"] for r in metrics]
    assert result.steps == metrics[-1]["total_steps"] >= GRU["steps"] > metrics[-2]["total_steps"]


# ---- the best student ----------------------------------------------------------------------------------------------
def test_the_best_student_is_kept_by_its_evaluation():
    env = make("probe/action")
    recorder = Silent()
    result = fit(env, counting(env, method_config("mappo")), FitConfig(6, 8, 16), 0, recorder)
    assert [e["success_rate"] for e in recorder.evaluations] == [0, 0, 1, 0, 0, 0]
    assert int(result.params["student"]["n"]) == 3, "not the last one"
    assert result.test.success_rate == 1 and result.test.episodes == 16


@pytest.mark.parametrize(("measure", "kept"), [("success", 0), ("return", 2)])
def test_the_best_is_chosen_by_what_the_task_is_judged_by(measure, kept):
    """Of (success, return) pairs; of equals the later, and the other number only decides between equals."""
    env, recorder = make("probe/action"), Silent()
    method = counting(env, method_config("mappo"))
    status = Status(0, counters(), 0, None, 0.0)
    for i, (success, earned) in enumerate([(0.5, -9.0), (0.25, -3.0), (0.375, -3.0), (0.375, -4.0), (0.0, -8.0)]):
        result = Evaluation(8, success, (0, 1), earned, (earned, earned), 1.0)
        status = record_evaluation(status, method, result, measure, lambda i=i: i, recorder)
    assert status.best is not None and status.best.params == kept


@pytest.mark.parametrize(
    ("env_id", "measure"),
    [("mpe/simple_spread", "return"), ("predator_prey/punish2", "return"), ("smax/3m", "success"),
     ("fire_commander/easy", "success"), ("marine/easy", "success")],
)  # fmt: skip
def test_what_a_task_is_judged_by(env_id, measure):
    assert make(env_id).spec.measure == measure


def test_updates_are_numbered_and_draw_their_own_random_numbers():
    env = make("probe/action")
    recorder = Silent()
    fit(env, counting(env, method_config("mappo")), FitConfig(1, 8, 8), 0, recorder)
    assert [r["update"] for r in recorder.records] == [r["n"] for r in recorder.records] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([r["progress"] for r in recorder.records], np.arange(6) / 6, rtol=1e-6)
    assert len({r["drawn"] for r in recorder.records}) == 6


def test_a_budget_in_steps_is_at_least_that_many_updates():
    env = make("probe/action")
    stage = build("mappo", env, **TINY).stages[0]
    assert nominal_updates(stage) == 4096 // (16 * 4)


@pytest.mark.parametrize(("steps", "counted"), [(2_147_483_583, True), (2_147_483_584, False), (2_147_483_647, False)])
def test_a_budget_beyond_what_is_counted_with_its_last_rollout_is_refused(steps, counted):
    """Rollouts are 16 x 4 = 64 steps, and the counter ends before 2^31 = 2,147,483,648."""
    stages = build("mappo", make("probe/action"), **{**TINY, "steps": steps}).stages
    refusal = pytest.raises(BadInput, match="must be less than 2147483648")
    with nullcontext() if counted else refusal:
        check_step_counts(stages)


def test_updates_of_a_stage_are_counted_in_steps_too():
    stage = build("mappo", make("probe/action"), **TINY).stages[0]
    check_step_counts([stage._replace(unit="updates", budget=2**31 // 64 - 1)])
    with pytest.raises(BadInput, match="stage train: up to 2147483648 steps, rollouts of 64"):
        check_step_counts([stage._replace(unit="updates", budget=2**31 // 64)])


def test_whole_episodes_are_evaluated_by_the_steps_they_took():
    """Episodes shorter than the limit make more updates than the nominal number, but no more evaluations."""
    env, recorder = Uneven(), Silent()
    small = dict(core="mlp", size="width=4", mixer_width=4, hyper_width=4, envs=8, batch=4, updates=1)
    method = build("qmix", env, **small, replay="episode", capacity_episodes=16, warm_up=0, steps=600)
    fit(env, method, FitConfig(5, 8, 8), 0, recorder)
    steps = np.array([e["total_steps"] for e in recorder.evaluations])
    assert len(recorder.records) > 600 / (8 * 3)
    assert len(steps) == 5 and (steps >= [120, 240, 360, 480, 600]).all()
    assert (steps - [120, 240, 360, 480, 600] < 8 * 3).all()


# ---- interruption and failure --------------------------------------------------------------------------------------
class Impatient(Silent):
    """Asks to stop after the second chunk."""

    def __init__(self):
        super().__init__()
        self.saved = []

    def checkpoint(self, status, force):
        self.saved.append((int(status.loop.update), force))

    def interrupted(self):
        return len(self.records) == 2


def test_a_stop_is_saved_first():
    env = make("probe/action")
    recorder = Impatient()
    with pytest.raises(Interrupted):
        fit(env, counting(env, method_config("mappo")), QUICK, 0, recorder)
    assert recorder.saved[-1] == (2, True)


def test_a_loss_that_is_no_number_is_named_and_the_last_checkpoint_stays_good(tmp_path, monkeypatch):
    monkeypatch.setitem(BREAKS, "on", True)
    out = tmp_path / "run"
    with pytest.raises(NonFinite, match=r"policy became nan in update \d+ of stage train") as failure:
        tutelage.train(
            "helpers:breaking", "probe/action", out=out, quiet=True,
            fit=FitConfig(2, 8, 8, checkpoint_seconds=1e-9), **TINY,
        )  # fmt: skip
    update = int(str(failure.value).split("update ")[1].split()[0])
    before = lines_of(out)
    assert before[-1]["update"] == update - 1
    with pytest.raises(BadInput, match="never been evaluated"):
        tutelage.load(out, trust=True)
    monkeypatch.setitem(BREAKS, "on", False)
    (run,) = tutelage.resume(out, quiet=True, trust=True)
    after = lines_of(out)
    assert after[: len(before)] == before and after[-1]["total_steps"] >= TINY["steps"]
    assert 0 <= run.test["success_rate"] <= 1


# ---- evaluate ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("episodes", [1, 5, 33, 70])
def test_exactly_the_asked_number_of_episodes_is_played(episodes):
    env = make("probe/memory")
    result = evaluate(env, env.scripted(), (), episodes)
    assert result.episodes == episodes and result.success_rate == 1 and result.length_mean == 3
    assert result.ci95 == wilson(episodes, episodes)


def test_every_episode_is_counted_once_and_by_its_own_reward():
    env = make("probe/observation")  # pays +1 or -1 by chance
    result = evaluate(env, env.scripted(), (), 64)
    np.testing.assert_allclose(result.return_mean, 2 * result.success_rate - 1)
    assert 0.25 < result.success_rate < 0.75
    assert result.return_ci95[0] < result.return_mean < result.return_ci95[1]


def test_nothing_is_counted_after_an_episodes_end():
    """Short episodes are over while long ones go on in the same batch."""
    env = Uneven()
    result = evaluate(env, env.scripted(), (), 96)
    assert 0.3 < result.success_rate < 0.7
    np.testing.assert_allclose(result.length_mean, 1 + 2 * result.success_rate)
    assert result.return_mean == result.length_mean


def test_training_counts_the_steps_of_uneven_episodes_and_not_their_resets():
    env = Uneven()
    _, metrics = run_stage(env, build("mappo", env, **{**TINY, "rollout": 8}))
    np.testing.assert_array_equal(metrics["reward"], metrics["steps"])  # every real step pays 1
    # steps taken = those of finished episodes, and at most two more in each environment
    finished = np.cumsum(metrics["episodes"] + 2 * metrics["successes"])
    unfinished = np.cumsum(metrics["steps"]) - finished
    assert (unfinished >= 0).all() and (unfinished <= 2 * TINY["envs"]).all()


def test_evaluations_repeat_under_a_seed_and_differ_between_seeds():
    env = make("probe/action")
    results = [evaluate(env, random_policy(), (), 200, seed, sample) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("episodes", [0, -3])
def test_no_episodes_are_refused(episodes):
    env = make("probe/action")
    with pytest.raises(BadInput, match=f"episodes = {episodes}"):
        evaluate(env, env.scripted(), (), episodes)


def test_the_memory_is_fresh_at_every_episode_of_an_evaluation():
    """A controller that remembers how often it acted: it succeeds only if its memory starts at zero."""
    from tutelage.envs.parts import controller

    env = make("probe/action")
    act = lambda carry, ts, key: (carry + 1, jnp.where(carry == 0, 1, 0)[:, None] * jnp.ones((1, 2), jnp.int32))
    policy = controller(act, lambda n: jnp.zeros(n, jnp.int32))
    assert evaluate(env, policy, (), 96).success_rate == 1
