"""SMAX of the `jaxmarl` package: `smax-jaxmarl/NAME`, the reference that the package's own engine is compared with.

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
from tutelage.envs.battle.controllers import attack_closest
from tutelage.envs.battle.notes import action_names, notes
from tutelage.envs.battle.picture import View, picture
from tutelage.envs.battle.rules import MOVES, Rules
from tutelage.envs.battle.senses import named_columns
from tutelage.envs.battle.units import MAP_SIZE, MAPS
from tutelage.envs.jaxmarl_env import quiet
from tutelage.envs.parts import blocks, first_timestep, next_timestep, pick_controller
from tutelage.errors import BadInput
from tutelage.types import Environment, EnvState, Policy, Sensed, Spec, TimeStep

with quiet():
    import jaxmarl
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

OWN = 10
"""Columns of the world state per unit."""


JAXMARL_VERSION = "0.2.0"
"""The required version of jaxmarl: others may have other dynamics."""


def make(name: str, options: SmaxOptions) -> SmaxJaxmarl:
    """The environment of a native map; raises BadInput where another version of jaxmarl is installed."""
    if (found := getattr(jaxmarl, "__version__", "unknown")) != JAXMARL_VERSION:
        raise BadInput(f"smax-jaxmarl needs jaxmarl {JAXMARL_VERSION}, not {found}: pip install 'tutelage[jaxmarl]'")
    return SmaxJaxmarl(name, options)


class SmaxJaxmarl(Environment):
    """One battle: allies are the agents, enemies follow jaxmarl's heuristic (attack the closest)."""

    idle = MOVES - 1

    def __init__(self, name: str, options: SmaxOptions) -> None:
        self.name = name
        limit = options.max_steps or MAPS[name].max_steps
        self.game: Any = HeuristicEnemySMAX(
            scenario=map_name_to_scenario(name),
            see_enemy_actions=options.see_enemy_actions,
            walls_cause_death=options.walls_cause_death,
            max_steps=limit,
            attack_mode="closest",
        )
        self.allies, self.enemies = self.game.num_allies, self.game.num_enemies
        units = self.allies + self.enemies
        rules = self.game._env
        self.cooldowns = jnp.asarray(rules.unit_type_weapon_cooldowns)
        self.rules = Rules(MAPS[name], options.walls_cause_death)
        random_types = bool(map_name_to_scenario(name).smacv2_unit_type_generation)
        types = np.asarray(map_name_to_scenario(name).unit_types)[: self.allies]
        layout = blocks(*named_columns(self.rules, options.see_enemy_actions))
        width = layout[-1].stop
        self.spec = Spec(
            n_agents=self.allies,
            n_actions=MOVES + self.enemies,
            obs_width=width,
            state_width=OWN * units + 1,
            max_steps=limit,
            time_limit="terminal",
            agent_types=tuple("random" if random_types else rules.unit_type_names[t] for t in types),
            action_counts=(MOVES + self.enemies,) * self.allies,
            obs_widths=(width,) * self.allies,
            layout=layout,
            version=f"jaxmarl-{JAXMARL_VERSION}/2",
            reward_scale=10.0,
            action_names=action_names(self.rules),
            notes=notes(self.rules, limit, options.see_enemy_actions),
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
        unit = jnp.concatenate([unit[:, :1], unit[:, 1:3] / MAP_SIZE, cooldown[:, None], types], 1)
        return jnp.append(unit.reshape(-1), state.state.step / self.spec.max_steps)

    def scripted(self, name: str = "local") -> Policy:
        """`local`: the enemies' script, from what an agent sees."""
        return pick_controller(f"smax-jaxmarl/{self.name}", name, {"local": lambda: attack_closest(self.rules)})

    def draw(self, state: EnvState) -> np.ndarray:
        """See `picture`."""
        s = jax.device_get(state.state)
        full = np.asarray(self.game._env.unit_type_health)[s.unit_types]
        share = np.where(s.unit_alive, s.unit_health / full, 0.0)
        view = View(s.unit_positions, share, s.unit_types, s.prev_attack_actions, int(s.step))
        return picture(self.rules, f"smax-jaxmarl/{self.name}", view)
