"""Disturbances of what agents observe, hear and do: each rule on a small world, with numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, TINY, assert_close, assert_same
from tutelage import BadInput, Environment, Sensed, Spec, make
from tutelage.data.collect import collect, init_collector
from tutelage.data.replay import codec
from tutelage.data.vector import make_vector_env, vmap_env
from tutelage.envs.battle.env import Smax, smax
from tutelage.envs.battle.units import Map
from tutelage.envs.disturb import Amounts, Disturbed, columns_that_show
from tutelage.envs.parts import controller, first_timestep, next_timestep
from tutelage.experiment.find_teacher import check_same_environment
from tutelage.policies.acting import greedy, random_policy
from tutelage.types import Block, Policy, VectorEnv

B, STEPS = 256, 5
PRESS = 2
"""An action of the world below; a team is paid for every agent that takes it."""


class Clock(Environment):
    """Three agents observe the number of the step, from 1 on; episodes have five steps.

    The first two columns are of an entity, which is seen in even steps only. The last agent has two columns. The second
    one is dead from the fourth step on. All hear all.
    """

    idle = 1
    spec = Spec(
        n_agents=3, n_actions=4, obs_width=5, state_width=1, max_steps=STEPS, time_limit="terminal",
        agent_types=("reader",) * 3, action_counts=(4,) * 3, obs_widths=(5, 5, 2),
        layout=(Block("thing 0", 0, 2, 0), Block("own", 2, 5)), version="1", links=True,
    )  # fmt: skip

    def reset(self, key: Any) -> Any:
        return jnp.zeros((), jnp.int32), first_timestep(self.sense(jnp.zeros((), jnp.int32)))

    def step(self, key: Any, state: Any, action: Any) -> Any:
        pressed = (action == PRESS).sum() + 0.1 * (action == self.idle).sum()
        return state + 1, next_timestep(self.sense(state + 1), action, pressed, state + 1 >= STEPS, False, True)

    def sense(self, state: Any) -> Sensed:
        own = np.arange(5) < np.array([[5], [5], [2]])
        shown = (state % 2 == 1) | (np.arange(5) >= 2)
        alive = jnp.array([True, False, True]) | (state < 3)
        obs = jnp.where(own & shown & alive[:, None], 1.0 + state, 0.0)
        return Sensed(obs, state[None] / STEPS, jnp.ones((3, 4), bool), alive, ~jnp.eye(3, dtype=bool))

    def draw(self, state: Any) -> np.ndarray:
        return np.full((4, 4, 3), int(state), np.uint8)

    def scripted(self, name: str = "local") -> Policy:
        return controller(lambda carry, timestep, key: (carry, jnp.full(timestep.alive.shape, PRESS)))


class Clocks(Clock):
    """The same, playing many instances by itself."""

    def vector(self, n: int) -> VectorEnv:
        return vmap_env(Clock(), n)


WORLDS = pytest.mark.parametrize("world", [Clock, Clocks])


def played(env: Any, steps: int = 12, n: int = B, policy: Any = None, record: bool = False) -> Any:
    """A rollout of `n` instances in which everybody presses, unless another policy is given."""
    vector, policy = make_vector_env(env, n), policy or Clock().scripted()

    @jax.jit
    def go(key: Any) -> Any:
        collector = init_collector(vector, policy, key)
        return collect(vector, policy, (), greedy, collector, key, steps, states=record)[1]

    return jax.device_get(go(jax.random.key(0)))


def plain() -> Any:
    return played(Clock()).steps


@WORLDS
def test_noise_has_its_deviation_and_touches_nothing_but_what_is_observed(world):
    steps, before = played(Disturbed(world(), Amounts(noise=0.1))).steps, plain()
    assert_same(steps._replace(obs=before.obs), before)
    noise, shows = steps.obs - before.obs, before.obs != 0
    assert (noise[~shows] == 0).all(), "padding, the dead and entities that are not seen stay zeros"
    drawn = noise[shows]
    assert drawn.size > 20_000 and len(np.unique(drawn)) > 0.9 * drawn.size
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 0.1], atol=0.002)


def test_what_shows_follows_each_agents_own_layout():
    spec = replace(Clock.spec, own_layouts=((), (), (Block("own", 0, 2),)))
    shows = columns_that_show(spec, jnp.array([[0, 0, 0, 1, 0], [0, 2, 0, 0, 0], [0, 0, 0, 0, 0]], jnp.float32))
    assert shows.astype(int).tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]


@WORLDS
def test_dropout_blinds_whole_agents_in_its_share_of_steps(world):
    steps, before = played(Disturbed(world(), Amounts(dropout=0.3))).steps, plain()
    assert_same(steps._replace(obs=before.obs), before)
    sees = (before.obs != 0).any(-1)
    blind = (steps.obs == 0).all(-1) & sees
    assert ((steps.obs == before.obs) | blind[..., None]).all()
    assert blind.sum() / sees.sum() == pytest.approx(0.3, abs=0.015)


@WORLDS
def test_a_delay_shows_what_was_to_be_seen_so_many_steps_ago_and_nothing_of_the_episode_before(world):
    steps = played(Disturbed(world(), Amounts(delay=2), 2)).steps
    own = lambda steps: steps.obs[:, 0, 0, 2].tolist()
    assert own(plain()) == [1, 2, 3, 4, 5, 6] * 2 + [1]
    assert own(steps) == [1, 1, 1, 2, 3, 4] * 2 + [1]
    assert steps.obs[:6, 0, 1, 2].tolist() == [1, 1, 1, 0, 0, 0], "the dead observe nothing, late or not"
    assert_same(steps._replace(obs=()), plain()._replace(obs=()))


def test_a_buffer_that_is_longer_than_the_delay_changes_nothing():
    assert_same(*(played(Disturbed(Clock(), Amounts(delay=1), k)).steps for k in (1, 4)))


@WORLDS
def test_a_lost_agent_does_nothing_from_its_step_on_and_not_before(world):
    steps, before = played(Disturbed(world(), Amounts(lost=2, lost_from=3))).steps, plain()
    age = np.array([0, 1, 2, 3, 4, 5] * 2 + [0])
    gone = age >= 3
    assert (steps.avail[:, 0, 2].any(-1) == ~gone).all() and (steps.acts[:, 0, 2] == ~gone).all()
    # The action stands in the step that it led to; a first step has none.
    assert steps.action[:, 0].T.tolist() == [[0, 2, 2, 2, 2, 2, 0, 2, 2, 2, 2, 2, 0]] * 2 + [
        [0, 2, 2, 2, 0, 0, 0, 2, 2, 2, 0, 0, 0]
    ]
    np.testing.assert_allclose(steps.reward[:, 0], [0, 3, 3, 3, 2.1, 2.1] * 2 + [0], rtol=1e-6)  # its body idles
    assert (steps.obs[gone, 0, 2] == 0).all() and not steps.links[gone][..., 2].any()
    assert not steps.links[gone, :, 2].any() and steps.links[gone, 0, 0, 1].all()
    assert_same(steps.obs[..., :2, :], before.obs[..., :2, :])
    for x, y in ((steps.obs, before.obs), (steps.links, before.links), (steps.avail, before.avail)):
        assert_same(x[~gone], y[~gone])
    assert_same(steps.alive, before.alive)


@WORLDS
def test_messages_are_lost_link_by_link(world):
    steps, before = played(Disturbed(world(), Amounts(lost_messages=0.4))).steps, plain()
    assert_same(steps._replace(links=()), before._replace(links=()))
    assert not (steps.links & ~before.links).any()
    lost = 1 - steps.links[:, :, ~np.eye(3, dtype=bool)].mean((0, 1))
    np.testing.assert_allclose(lost, [0.4] * 6, atol=0.04)


@pytest.mark.parametrize("env", [Clock(), Clocks(), make("smax/3m", max_steps=8)], ids=["clock", "clocks", "smax"])
def test_a_state_is_sensed_anew_as_it_was_seen(env):
    links = 0.5 if env.spec.links else None
    disturbed = Disturbed(env, Amounts(0.1, 0.2, 2, 1, 2, links), 2)
    rollout = played(disturbed, n=8, policy=random_policy(), record=True)
    vector = make_vector_env(disturbed, 8)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (rollout.states, rollout.steps))
    seen = Sensed(*(getattr(flat[1], name) for name in Sensed._fields))
    again = jax.device_get(jax.jit(vector.sense)(flat[0]))
    assert_close(again.obs, seen.obs, 1e-6)  # two programs may round the sum of observation and noise differently
    assert_same(again._replace(obs=again.obs == 0), seen._replace(obs=seen.obs == 0))


def test_a_replay_of_states_gives_the_observations_that_were_made():
    env = make("smax/3m", noise=0.1)
    rollout, vector = played(env, n=8, policy=random_policy(), record=True), make_vector_env(env, 8)
    coder = codec(vector, env.spec.n_actions)
    assert coder.states
    assert_close(jax.jit(lambda x: coder.expand(coder.shrink(x)).obs)(rollout), rollout.steps.obs, 1e-6)


def test_one_by_one_and_side_by_side_an_episode_without_chance_is_the_same():
    env = Disturbed(Clocks(), Amounts(delay=2, lost=0, lost_from=1), 2)
    state, timestep = env.reset(jax.random.key(0))
    steps, press = [timestep], jnp.full(3, PRESS)
    for _ in range(STEPS):
        state, timestep = env.step(jax.random.key(0), state, press)
        steps.append(timestep)
    together = jax.tree.map(lambda x: x[: STEPS + 1, 0], played(env).steps)
    assert_same(jax.tree.map(lambda *xs: np.stack(xs), *steps), together)


def test_where_nothing_is_disturbed_nothing_is_wrapped():
    assert type(make("smax/3m", noise=0.0, dropout=0, delay=0, lost=None, lost_messages=0.0)) is Smax
    assert type(smax(Map({"marine": 1}, {"marine": 1}))) is Smax
    assert type(smax(Map({"marine": 1}, {"marine": 1}), noise=0.1)) is Disturbed


@pytest.mark.parametrize("env", [Clock(), make("smax/3m", max_steps=8)], ids=["clock", "smax"])
def test_disturbances_of_zero_leave_every_number_as_it_is(env):
    zero = Amounts(0.0, 0.0, 0, -1, 0, 0.0 if env.spec.links else None)
    assert_same(*(played(e, n=8, policy=random_policy()).steps for e in (env, Disturbed(env, zero, 3))))


def test_the_world_draws_the_numbers_that_it_draws_without():
    envs = [make("smax/3m", max_steps=8, noise=noise) for noise in (0.0, 0.5)]
    assert_same(*(played(env, n=8, policy=random_policy()).steps.state for env in envs))


def test_goals_pictures_and_scripts_are_those_of_the_world():
    env = make("mpe/simple_spread")
    disturbed = Disturbed(env, Amounts(noise=1.0))
    state, _ = disturbed.reset(jax.random.key(3))
    inner, _ = env.reset(jax.random.key(3))
    assert_same(disturbed.goals(state), env.goals(inner))
    assert_same(disturbed.draw(state), env.draw(inner))
    assert disturbed.spec == env.spec and Disturbed(Clock(), Amounts(noise=1.0)).goals is None
    with_goals = make_vector_env(make("smax/3m", noise=0.1), 2, goals=True)
    assert jax.eval_shape(with_goals.reset, jax.random.key(0))[1].goals.valid.shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("smax/3m", dict(noise=-0.1), "noise = -0.1: must not be negative"),
        ("smax/3m", dict(noise=float("nan")), "noise = nan: must be finite"),
        ("smax/3m", dict(dropout=1.5), "dropout = 1.5: must be between 0 and 1"),
        ("smax/3m", dict(delay=1.5), "delay = 1.5: must be int"),
        ("smax/3m", dict(delay=100), "delay = 100: must be less than the 100 steps of smax/3m"),
        ("smax/3m", dict(lost=3), "lost = 3: smax/3m has the agents 0 to 2"),
        ("smax/3m", dict(lost=-1), "lost = -1: must not be negative"),
        ("smax/3m", dict(lost_from=4), "lost_from = 4: only with lost"),
        ("smax/3m", dict(lost_messages=0.1), "lost_messages = 0.1: agents of smax/3m have no links"),
        ("fire_commander/easy", dict(lost_messages=2.0), "lost_messages = 2.0: must be between 0 and 1"),
        ("worlds:fine", dict(noise=-1.0), "noise = -1.0: must not be negative"),
        ("worlds:fine", dict(lost=2), "lost = 2: worlds:fine has the agents 0 to 1"),
    ],
)
def test_disturbances_that_cannot_be_are_refused(env_id, options, message):
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        make(env_id, **options)


def noisy_by_itself(noise: float = 0.0) -> Clock:
    """A factory with an option of the same name."""
    clock = Clock()
    clock.told = noise
    return clock


def test_a_users_environment_is_disturbed_too_unless_its_factory_takes_the_option_itself():
    assert type(make("worlds:fine", dropout=0.5)) is Disturbed
    env = make("test_disturb:noisy_by_itself", noise=0.5, delay=1)
    assert env.inner.inner.told == 0.5 and env.told == 0.5 and env.amounts == Amounts(delay=1)
    assert env.inner.idle == 1


def test_a_teacher_may_have_learned_under_other_disturbances_and_no_other_options():
    run = SimpleNamespace(path="runs/x", record={"env": "smax/3m", "env_options": {"max_steps": 50, "noise": 0.1}})
    check_same_environment(run, "smax/3m", {"max_steps": 50, "delay": 2})
    for options in ({"max_steps": 60, "noise": 0.1}, {"noise": 0.1}):
        with pytest.raises(BadInput, match=r"was trained on smax/3m .'max_steps': 50, 'noise': 0.1"):
            check_same_environment(run, "smax/3m", options)


def test_students_learn_under_disturbances_from_a_teacher_that_had_none(action_run, tmp_path):
    settings = dict(core="mlp", size="width=4", gather=32, envs=16, passes=2, fit=QUICK, quiet=True)
    options = {"noise": 0.5, "lost": 1}
    teacher, out = action_run.path, tmp_path / "run"
    tutelage.train("kl", "probe/action", out=out, teacher=teacher, env_options=options, **settings)
    loaded = tutelage.load(out)
    assert loaded.record["env_options"] == options and loaded.record["teacher"]["env_options"] == {}
    assert loaded.env.amounts == Amounts(noise=0.5, lost=1)
    assert loaded.test["success_rate"] == 0 and loaded.test["return_mean"] == 0.5, "one of two presses"
    assert type(loaded.env_with(noise=0.0, lost=None)).__name__ == "Probe"
    with pytest.raises(BadInput, match=r"max_steps: .*only disturbances may differ: noise, dropout"):
        loaded.env_with(max_steps=3)


def test_a_method_that_learns_from_rewards_can_be_trained_under_disturbances(tmp_path):
    settings = {**TINY, "steps": 512, "fit": QUICK, "quiet": True}
    (run,) = tutelage.train("mappo", "probe/action", out=tmp_path / "run", env_options={"dropout": 0.2}, **settings)
    assert run.env.amounts == Amounts(dropout=0.2) and run.test["episodes"] == 32
