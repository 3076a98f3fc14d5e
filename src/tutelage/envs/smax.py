"""SMAX: StarCraft-like battles through the `jaxmarl` package. Results are labelled SMAX, never SMAC.

What this adds to jaxmarl's own environment: agents as one array axis, the observation of the ending step (`step_env`
instead of the auto-resetting `step`), a normalised world state with the time in it, and a success flag (jaxmarl has
none): every enemy dead and any ally alive. Running out of time counts as a terminal loss.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.configs.envs import SmaxOptions
from tutelage.envs.canvas import BLUE, GREEN, GREY, RED, Canvas, extent
from tutelage.envs.parts import controller, first_timestep, next_timestep, pick_controller
from tutelage.envs.quiet import quiet_import
from tutelage.types import Block, Carry, EnvState, Policy, Sensed, Spec, TimeStep

with quiet_import():
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

MAP = 32.0
MOVES = 5
"""Actions 0-3 move up, right, down, left; 4 stops; 5 and up attack an enemy."""
UNIT, OWN = 13, 10
"""Observation columns per other unit, and of the own unit."""


def make(name: str, options: SmaxOptions) -> Smax:
    """The environment of a native map."""
    return Smax(name, options)


class Smax:
    """One battle: allies are the agents, enemies follow jaxmarl's heuristic (attack the closest)."""

    def __init__(self, name: str, options: SmaxOptions) -> None:
        self.name = name
        self.game: Any = HeuristicEnemySMAX(
            scenario=map_name_to_scenario(name),
            see_enemy_actions=options.see_enemy_actions,
            walls_cause_death=options.walls_cause_death,
            max_steps=options.max_steps,
            attack_mode="closest",
        )
        self.allies, self.enemies = self.game.num_allies, self.game.num_enemies
        units = self.allies + self.enemies
        rules = self.game._env
        self.cooldowns = jnp.asarray(rules.unit_type_weapon_cooldowns)
        self.sights = jnp.asarray(rules.unit_type_sight_ranges)
        self.ranges = jnp.asarray(rules.unit_type_attack_ranges)
        random_types = bool(map_name_to_scenario(name).smacv2_unit_type_generation)
        types = np.asarray(map_name_to_scenario(name).unit_types)[: self.allies]
        others = [f"ally {i}" for i in range(self.allies - 1)] + [f"enemy {i}" for i in range(self.enemies)]
        layout = tuple(Block(n, UNIT * i, UNIT * (i + 1)) for i, n in enumerate(others))
        width = UNIT * (units - 1) + OWN
        self.spec = Spec(
            n_agents=self.allies,
            n_actions=MOVES + self.enemies,
            obs_width=width,
            state_width=OWN * units + 1,
            max_steps=options.max_steps,
            time_limit="terminal",
            agent_types=tuple("random" if random_types else rules.unit_type_names[t] for t in types),
            action_counts=(MOVES + self.enemies,) * self.allies,
            obs_widths=(width,) * self.allies,
            layout=(*layout, Block("own", width - OWN, width)),
            version="jaxmarl-0.2.0/2",
        )

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        _, state = self.game.reset(key)
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        joint = {agent: action[i] for i, agent in enumerate(self.game.agents)}
        _, state, reward, done, _ = self.game.step_env(key, state, joint)
        sensed = self.sense(state)
        won = sensed.alive.any() & ~state.state.unit_alive[self.allies :].any()
        team_reward = reward[self.game.agents[0]]  # the same for every ally
        # jaxmarl asks for its limit before it counts the step, and so plays one step too many.
        last = done["__all__"] | (state.state.step >= self.spec.max_steps)
        return state, next_timestep(sensed, action, team_reward, last, won, terminal=True)

    def sense(self, state: EnvState) -> Sensed:
        stack = lambda by_agent: jnp.stack([by_agent[agent] for agent in self.game.agents])
        return Sensed(
            obs=stack(self.game.get_obs(state)),
            state=self._world(state),
            avail=stack(self.game.get_avail_actions(state)).astype(bool),
            alive=state.state.unit_alive[: self.allies],
        )

    def _world(self, state: EnvState) -> Float[Array, " S"]:
        """Health, position, cooldown and type of every living unit, scaled to about [0, 1], then t / limit.

        jaxmarl's own vector is raw: positions 0..32, cooldowns in seconds that go on falling below 0, integer types.
        """
        units = self.allies + self.enemies
        unit = self.game.get_world_state(state)[: OWN * units].reshape(units, OWN)
        types = unit[:, 4:]
        cooldown = jnp.clip(unit[:, 3] / jnp.maximum(types @ self.cooldowns, 0.1), 0.0, 1.0)
        unit = jnp.concatenate([unit[:, :1], unit[:, 1:3] / MAP, cooldown[:, None], types], 1)
        return jnp.append(unit.reshape(-1), state.state.step / self.spec.max_steps)

    def scripted(self, name: str = "local") -> Policy:
        """`local`: attack the closest enemy in range and stay on it, else follow a visible one, else advance."""
        return pick_controller(f"smax/{self.name}", name, {"local": self._attack_closest})

    def _attack_closest(self) -> Policy:
        first_enemy = UNIT * (self.allies - 1)

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            target, goal, started = carry
            enemies = ts.obs[..., first_enemy:-OWN].reshape(*ts.obs.shape[:2], self.enemies, UNIT)
            own = ts.obs[..., -OWN:]
            position, kind = own[..., 1:3] * MAP, own[..., 4:]
            goal = jnp.where(started[..., None], goal, MAP - position)  # the point opposite the start
            delta = enemies[..., 1:3] * (kind @ self.sights)[..., None, None]
            distance = jnp.linalg.norm(delta, axis=-1)
            seen = enemies[..., 0] > 0
            in_range = seen & (distance < (kind @ self.ranges)[..., None])
            closest = jnp.where(in_range, distance, jnp.inf).argmin(-1)
            stay = jnp.take_along_axis(in_range, jnp.maximum(target, 0)[..., None], -1)[..., 0] & (target >= 0)
            target = jnp.where(in_range.any(-1), jnp.where(stay, target, closest), -1)
            followed = jnp.where(seen, jax.random.uniform(key, seen.shape), -1.0).argmax(-1)
            chase = jnp.take_along_axis(delta, followed[..., None, None], -2)[..., 0, :]
            towards = jnp.where(seen.any(-1)[..., None], chase, goal - position)
            x, y = towards[..., 0], towards[..., 1]
            move = jnp.stack([y, x, -y, -x], -1).argmax(-1)
            return (target, goal, jnp.ones_like(started)), jnp.where(target >= 0, MOVES + target, move)

        def carry(n: int) -> Carry:
            shape = (n, self.allies)
            return jnp.full(shape, -1), jnp.zeros((*shape, 2)), jnp.zeros(shape, bool)

        return controller(act, carry)

    def draw(self, state: EnvState) -> np.ndarray:
        """Units as discs (allies blue, enemies red) inside their health, and the shots of the last step.

        The view is centred on the map and wide enough for every living unit.
        """
        rules, s = self.game._env, jax.device_get(state.state)
        radius = 1.15 * np.asarray(rules.unit_type_radiuses)[s.unit_types]
        full = np.asarray(rules.unit_type_health)[s.unit_types]
        places = s.unit_positions
        half = extent(places[s.unit_alive], MAP / 2, least=6.5, most=MAP / 2, margin=2.0)
        canvas = Canvas(MAP / 2 - half, MAP / 2 + half)
        canvas.grid(4)
        for i in np.flatnonzero(~s.unit_alive):
            canvas.cross(places[i, 0], places[i, 1], 0.22, GREY)
        for i in np.flatnonzero(s.unit_alive):
            shot, ally = int(s.prev_attack_actions[i]), i < self.allies
            if shot >= MOVES:
                victim = self.allies + shot - MOVES if ally else self.allies - 1 - (shot - MOVES)
                canvas.line(tuple(places[i]), tuple(places[victim]), f"{BLUE if ally else RED}70", 2)
        for i in np.flatnonzero(s.unit_alive):
            x, y = places[i]
            canvas.gauge(x, y, radius[i] + 0.16, s.unit_health[i] / full[i], GREEN, 3.5)
            canvas.disc(x, y, radius[i], BLUE if i < self.allies else RED)
            canvas.text(x, y, rules.unit_type_shorthands[s.unit_types[i]], "#ffffff", 13)
        canvas.caption(f"smax/{self.name}   step {int(s.step)}")
        return canvas.array()
