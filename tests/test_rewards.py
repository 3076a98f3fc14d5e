"""Curiosity and goal shaping: what they pay, for any method, and that nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import TINY, build, random_params, rows, run_stage
from reference import goals, scene
from reference.maths import Scale, mean
from tutelage import BadInput, make
from tutelage.configs.ppo import MappoConfig
from tutelage.configs.rewards import RewardSettings
from tutelage.learning.normaliser import Normaliser
from tutelage.methods.curiosity import Predictor
from tutelage.methods.rewards import CuriousState, with_rewards
from tutelage.networks.curiosity import curiosity_net
from tutelage.types import Behaviour, Critic, Method, Policy, Stage

T = 5


@dataclass(frozen=True)
class Settings(RewardSettings):
    gamma: float = 0.83
    lr: float = 0.05
    anneal: bool = True
    grad_clip: float = 10.0


def reporting():
    """A method whose train state is the last rollout that it was given."""
    policy = Policy(lambda key: (), lambda n: (), lambda params, carry, timestep, key: (carry, None))
    behaviour = Behaviour(policy, lambda state, progress: (state, "rule"), 2, T)
    stage = Stage(
        "train", {"actor": behaviour}, lambda state, rollouts, key, progress: (rollouts["actor"], {"x": 1}), 9
    )
    critic = Critic(lambda key: (), lambda params, timestep: timestep.reward)
    return Method(
        lambda key: 0, (stage,), {"student": policy}, lambda state: dict(student=state, critic=1), critic=critic
    )


def rollout(with_goals=False):
    steps = scene.steps(T, goals=with_goals)
    return steps, scene.rollout(steps, scene.log_probs(T))


def test_shaping_pays_progress_towards_the_most_promising_goal_and_shows_no_goals():
    config, env = Settings(shaping=0.6), scene.Scene()
    method = with_rewards(reporting(), env, config)
    steps, played = rollout(with_goals=True)
    after, _ = method.stages[0].update(0, {"actor": played}, jax.random.key(0), 0.0)
    nearer = goals.goal_progress(steps, goals.most_promising(steps["goals"])[:-1], config.gamma).mean(-1)
    wanted = steps["reward"].copy()
    wanted[1:] += np.where(steps["last"][:-1], 0.0, 0.6 * nearer)
    np.testing.assert_allclose(after.steps.reward, wanted, rtol=1e-5)
    assert np.abs(wanted - steps["reward"]).max() > 0.05
    assert method.stages[0].behaviours["actor"].goals and after.steps.goals == (), "the method did not ask for goals"


def test_curiosity_pays_what_is_predicted_badly_in_deviations_of_the_errors():
    config, env = Settings(curiosity=0.3), scene.Scene(reward_scale=2.0)
    method, net = with_rewards(reporting(), env, config), curiosity_net(env.spec.state_width)
    seen = Normaliser(*map(jnp.asarray, (0.3, 1.7, 3.0)))
    state = method.init(jax.random.key(0))
    nets = [random_params(net, seed) for seed in (1, 2)]
    state = CuriousState(state.method, Predictor(state.predictor.net._replace(params=nets[0]), seen), frozen=nets[1])
    steps, played = rollout()
    after, metrics = jax.jit(method.stages[0].update)(state, {"actor": played}, jax.random.key(0), 0.5)

    def output(p, x):
        hidden = np.maximum(np.clip(x, -5, 5) @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
        return hidden @ p["out"]["kernel"] + p["out"]["bias"]

    p, q = (jax.tree.map(lambda x: np.asarray(x, float), tree) for tree in nets)
    error = ((output(p, steps["state"][1:]) - output(q, steps["state"][1:])) ** 2).mean(-1)
    valid = ~steps["last"][:-1]
    errors = Scale(0.3, 1.7, 3.0).after(error, valid)
    bonus = np.where(valid, 0.3 / 2.0 * error / errors.deviation(0.1 * errors.mean), 0.0)
    np.testing.assert_allclose(after.method.steps.reward[1:], steps["reward"][1:] + bonus, rtol=1e-4)
    np.testing.assert_allclose(after.method.steps.reward[0], steps["reward"][0])
    np.testing.assert_allclose(metrics["novelty"], mean(error, valid), rtol=1e-4)
    share = mean(bonus, valid) / mean(np.abs(steps["reward"][1:]), valid)
    np.testing.assert_allclose(metrics["curiosity_share"], share, rtol=1e-4)
    np.testing.assert_allclose(after.predictor.errors.mean, errors.mean, rtol=1e-4)
    moved = np.abs(after.predictor.net.params["out"]["bias"] - nets[0]["out"]["bias"]).max()
    np.testing.assert_allclose(moved, 0.025, rtol=1e-3, err_msg="Adam's first step is one learning rate")
    assert metrics["x"] == 1 and after.frozen["out"]["bias"][0] == nets[1]["out"]["bias"][0]


@pytest.mark.parametrize("settings", [dict(curiosity=0.1), dict(shaping=0.5)])
def test_a_critic_of_other_rewards_is_not_saved(settings):
    method = with_rewards(reporting(), scene.Scene(), Settings(**settings))
    state = CuriousState("params", None, None) if "curiosity" in settings else "params"
    assert method.critic is None and method.params(state) == {"student": "params"}
    assert with_rewards(reporting(), scene.Scene(), Settings()).critic is not None


def test_the_policy_plays_with_the_methods_own_state():
    behaviour = with_rewards(reporting(), scene.Scene(), Settings(curiosity=0.1)).stages[0].behaviours["actor"]
    assert behaviour.plays(CuriousState("own", None, None), 0.0) == ("own", "rule")


def test_shaping_needs_goals():
    with pytest.raises(BadInput, match="this environment offers no goals"):
        with_rewards(reporting(), make("probe/action"), MappoConfig(shaping=0.5))


OFF_POLICY = dict(size="width=8", steps=640, warm_up=64, chunk=8, burn_in=2, batch=2, updates=1, envs=8)


@pytest.mark.parametrize(
    ("method", "settings"),
    rows([("ptde", {**OFF_POLICY, "predict": 2})], [("qmix", OFF_POLICY), ("happo", {**TINY, "steps": 128})]),
)
def test_methods_learn_with_both(method, settings):
    """Also stages that collect nothing, and the stored rewards of replay."""
    env = scene.Scene()
    built, state = build(method, env, curiosity=0.01, shaping=0.1, **settings), None
    for index in range(len(built.stages)):
        state, metrics = run_stage(env, built, index, state)
        assert "novelty" in metrics or not built.stages[index].behaviours
        assert all(np.isfinite(value).all() for value in metrics.values())
    assert set(built.params(state)) == set(built.roles)
