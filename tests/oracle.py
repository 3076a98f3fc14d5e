"""jaxmarl's SMAX beside the own engine: the same state, actions and noise into both."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tutelage import make
from tutelage.envs.battle.rules import TICKS, Battle

STEPS = 100


class Compared(NamedTuple):
    """Largest differences per step and battle, (STEPS, battles) each."""

    obs: np.ndarray
    avail: np.ndarray
    state: np.ndarray
    reward: np.ndarray
    last: np.ndarray
    success: np.ndarray
    alive: np.ndarray
    target: np.ndarray


def own_state(env: Any, s: Any) -> Battle:
    """jaxmarl's state of one battle as the engine's."""
    raw, script = s.state, s.enemy_policy_state
    n = env.allies
    x, y = raw.unit_positions[:, 0], raw.unit_positions[:, 1]
    goal = script.default_target
    fresh = (goal == 0).all(-1) & (script.last_attacked_enemy == -1)
    return Battle(
        x=x,
        y=y,
        health=raw.unit_health,
        cooldown=raw.unit_weapon_cooldowns,
        shield=(),
        unhurt=(),
        patient=(),
        move_x=raw.prev_movement_actions[:, 0],
        move_y=raw.prev_movement_actions[:, 1],
        attack=raw.prev_attack_actions,
        kind=raw.unit_types.astype(jnp.int32) if env.rules.map.draws_units else (),
        goal_x=jnp.where(fresh, 32 - x[n:], goal[:, 0]),
        goal_y=jnp.where(fresh, 32 - y[n:], goal[:, 1]),
        target=script.last_attacked_enemy,
        time=raw.step,
    )


def their_noise(env: Any, key: Any) -> jax.Array:
    """The uniform numbers that jaxmarl's `step_env` draws from `key`, in the engine's order."""
    key, key_script = jax.random.split(key)
    whim = lambda k: jax.random.uniform(jax.random.split(k)[0])
    whims = 1 - jax.vmap(whim)(jax.random.split(key_script, env.enemies))  # `choice` counts from the other end

    def tick(key: Any, _: Any) -> Any:
        key, now = jax.random.split(key)
        return key, jax.vmap(jax.random.uniform)(jax.random.split(now, env.allies + env.enemies))

    return jnp.concatenate([whims, jax.lax.scan(tick, key, length=TICKS)[1].reshape(-1)])


def compare(name: str, battles: int, seed: int = 0) -> Compared:
    """Play `STEPS` steps of so many battles on jaxmarl, and each of them also on the engine from jaxmarl's state."""
    theirs, ours = make(f"smax-jaxmarl/{name}"), make(f"smax/{name}")
    script = theirs.scripted()

    def one_step(key: Any, s: Any, action: Any) -> tuple[Any, Any, dict[str, Any]]:
        after, ts = theirs.step(key, s, action)
        state = jax.tree.map(lambda x: x[..., None], own_state(theirs, s))
        state, told = ours._advance(state, action[:, None], their_noise(theirs, key)[:, None])
        sensed = jax.tree.map(lambda x: x[0], ours._sense(state))
        far = lambda a, b: jnp.abs(jnp.asarray(a, jnp.float32) - jnp.asarray(b, jnp.float32)).max()
        gap = {k: far(getattr(sensed, k), getattr(ts, k)) for k in ("obs", "avail", "state", "alive")}
        gap |= dict(reward=far(told.reward[0], ts.reward), last=far(told.last[0], ts.last))
        aims = far(state.target[..., 0], own_state(theirs, after).target)  # what the enemies' script remembers
        return after, ts, gap | dict(success=far(told.won[0], ts.success), target=aims)

    def body(carry: Any, key: Any) -> Any:
        s, ts, memory = carry
        k_reset, k_step, k_act, k_script = jax.random.split(key, 4)
        memory, out = script.step((), memory, ts, k_script)
        noisy = jax.random.uniform(k_act, ts.avail.shape) + (jnp.arange(ts.avail.shape[-1]) >= 5)
        random = jnp.where(ts.avail, noisy, -1).argmax(-1)
        action = jnp.where((jnp.arange(battles) % 2 == 0)[:, None], random, out.scores.argmax(-1))
        after, following, gap = jax.vmap(one_step)(jax.random.split(k_step, battles), s, action)
        new = jax.vmap(theirs.reset)(jax.random.split(k_reset, battles))
        pick = lambda x, y: jnp.where(following.last.reshape(-1, *[1] * (x.ndim - 1)), x, y)
        fresh = (*new, script.carry(battles))
        return jax.tree.map(pick, fresh, (after, following, memory)), gap

    @jax.jit
    def play(key: Any) -> Any:
        k_reset, k_play = jax.random.split(key)
        s, ts = jax.vmap(theirs.reset)(jax.random.split(k_reset, battles))
        return jax.lax.scan(body, (s, ts, script.carry(battles)), jax.random.split(k_play, STEPS))[1]

    return Compared(**jax.device_get(play(jax.random.key(seed))))
