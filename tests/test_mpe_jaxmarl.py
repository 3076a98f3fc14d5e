"""The particle environments: equal to jaxmarl's, from the same keys, states and actions."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import JAXMARL, rows
from tutelage import make
from tutelage.envs.mpe.physics import World
from tutelage.envs.mpe.tag import flee

pytestmark = JAXMARL
B, T = 96, 25
GAMES = {
    "spread": ("simple_spread", "SimpleSpreadMPE", {}, {}),
    "spread of 4": (
        "simple_spread",
        "SimpleSpreadMPE",
        dict(n_agents=4, local_ratio=0.3),
        dict(num_agents=4, num_landmarks=4, local_ratio=0.3),
    ),
    "reference": ("simple_reference", "SimpleReferenceMPE", {}, {}),
    "speaker_listener": ("simple_speaker_listener", "SimpleSpeakerListenerMPE", {}, {}),
    "tag": ("simple_tag", "SimpleTagMPE", {}, {}),
    "tag, learned prey": ("simple_tag", "SimpleTagMPE", dict(prey="learns"), {}),
}


def pair(name: str) -> tuple[Any, Any]:
    """The task as it is ours, and as it is theirs."""
    task, cls, options, theirs = GAMES[name]
    return make(f"mpe/{task}", **options), getattr(import_module(f"jaxmarl.environments.mpe.{task}"), cls)(**theirs)


def own_state(env: Any, s: Any) -> World:
    """Their state as ours."""
    said = {"simple_reference": s.c, "simple_speaker_listener": s.c[0]}.get(env.name, ())
    goal = s.goal if s.goal is not None else ()
    caught = jnp.zeros((), bool) if env.name == "simple_tag" else ()
    return World(s.p_pos, s.p_vel[: env.n_bodies], s.step, said, goal, caught)


def crowded(game: Any, s: Any, share: jax.Array) -> Any:
    """Everything pulled together, so that much is touching; or pushed out to the edge and beyond."""
    return s.replace(p_pos=s.p_pos * share, p_vel=s.p_vel.at[: game.num_agents].add(0.5 * (share > 1)))


def compare(name: str) -> dict[str, np.ndarray]:
    """Play T steps of their game, random moves in half of the episodes and scripted ones in the others, and each of the
    steps also on ours, from their state. Gives largest differences, (T, B), and what happened."""
    env, game = pair(name)
    script = env.scripted()
    share = jnp.array([1.0, 0.3, 1.4])[jnp.arange(B) % 3]

    def one_step(key: Any, s: Any, action: Any) -> Any:
        joint = {agent: action[i] for i, agent in enumerate(game.agents[: len(action)])}
        if len(action) < game.num_agents:
            joint["agent_0"] = flee(s.p_pos[3], s.p_vel[3], s.p_pos[:3], s.p_pos[4:])
        obs, after, reward, *_ = game.step_env(key, s, joint)
        state, ts = env.step(key, own_state(env, s), action)
        far = lambda a, b: jnp.abs(a - b).max()
        want, n = own_state(env, after), env.spec.n_agents
        each = [(obs[agent], reward[agent]) for agent in game.agents[:n]]
        gap = dict(
            obs=jnp.stack([far(ts.obs[i, : len(x)], x) for i, (x, _) in enumerate(each)]).max(),
            reward=far(env.rewards(state), jnp.stack([r for _, r in each])),
            team=far(ts.reward, sum(r for _, r in each) / n),
            place=far(state.place, want.place),
            velocity=far(state.velocity, want.velocity),
            said=far(state.said, want.said) if env.name in ("simple_reference", "simple_speaker_listener") else 0.0,
            end=far(ts.last.astype(int), (s.step + 1 >= T).astype(int)),
        )
        pushed = jnp.abs(state.velocity - 0.75 * s.p_vel[: env.n_bodies]).max() > 0.55
        return after, ts, gap, dict(pushed=pushed, earned=ts.reward)

    def body(carry: Any, key: Any) -> Any:
        s, ts, memory = carry
        k_step, k_act, k_script = jax.random.split(key, 3)
        memory, out = script.step((), memory, ts, k_script)
        random = jnp.where(ts.avail, jax.random.uniform(k_act, ts.avail.shape), -1).argmax(-1)
        action = jnp.where((jnp.arange(B) % 2 == 0)[:, None], random, out.scores.argmax(-1))
        s, ts, gap, told = jax.vmap(one_step)(jax.random.split(k_step, B), s, action)
        return (s, ts, memory), (gap, told)

    @jax.jit
    def play(key: Any) -> Any:
        keys = jax.random.split(key, B)
        opened, s = jax.vmap(game.reset)(keys)
        ours, ts = jax.vmap(env.reset)(keys)
        start = jax.vmap(lambda s: own_state(env, s))(s), [opened[a] for a in game.agents[: env.spec.n_agents]]
        s = jax.vmap(lambda s, share: crowded(game, s, share))(s, share)
        ts = ts._replace(**jax.vmap(env.sense)(jax.vmap(lambda s: own_state(env, s))(s))._asdict())
        steps = jax.lax.scan(body, (s, ts, script.carry(B)), jax.random.split(key, T))[1]
        return (ours, jax.vmap(env.reset)(keys)[1].obs), start, steps

    return jax.device_get(play(jax.random.key(0)))


@pytest.mark.parametrize("name", rows([name for name in GAMES if name != "spread of 4"], ["spread of 4"]))
def test_a_step_is_jaxmarls_step(name):
    """Places, velocities, words, observations, every agent's reward and the team's; and episodes begin alike."""
    (state, obs), (start, opened), (gap, told) = compare(name)
    jax.tree.map(np.testing.assert_array_equal, state, start)
    for agent, theirs in enumerate(opened):
        np.testing.assert_array_equal(obs[:, agent, : theirs.shape[1]], theirs)
    for what, x in gap.items():
        assert x.shape == (T, B) and x.max() < 2e-5, (what, x.max())
    assert told["earned"].std() > 0
    if "spread" in name or "tag" in name:  # more than an agent's own push: some must have touched
        assert told["pushed"].any(1).sum() > 5


def test_numbers_of_the_games_are_theirs():
    for name in GAMES:
        env, game = pair(name)
        bodies, n = env.bodies, env.n_bodies
        np.testing.assert_array_equal(np.float32(bodies.radius), game.rad)
        np.testing.assert_array_equal(np.float32(bodies.thrust), game.accel * game.moveable[:n])
        np.testing.assert_array_equal(np.arange(len(game.collide)) < bodies.solid, game.collide)
        limits = np.float32(bodies.top_speed or (-1,) * n)
        np.testing.assert_array_equal(limits, game.max_speed[:n])
        assert [game.action_space(a).n for a in game.agents[: env.spec.n_agents]] == list(env.spec.action_counts)
        widths = [game.observation_space(a).shape[0] for a in game.agents[: env.spec.n_agents]]
        assert widths == list(env.spec.obs_widths)
