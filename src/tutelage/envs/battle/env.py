"""SMAX battles on the package's own engine: `smax/NAME`. Results are labelled SMAX, never SMAC."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from tutelage.configs.envs import SmaxOptions
from tutelage.envs.battle.controllers import attack_closest
from tutelage.envs.battle.goals import goals
from tutelage.envs.battle.notes import action_names, notes
from tutelage.envs.battle.picture import View, picture, view_radius
from tutelage.envs.battle.rules import MOVES, Battle, Rules
from tutelage.envs.battle.script import enemy_actions
from tutelage.envs.battle.senses import OWN, n_actions, n_unit_columns, named_columns, sense
from tutelage.envs.battle.starts import init_battle, start_noise_size
from tutelage.envs.battle.ticks import advance, step_outcome
from tutelage.envs.battle.units import MAP_SIZE, MAPS, Map
from tutelage.envs.canvas import places
from tutelage.envs.disturb import disturb
from tutelage.envs.from_batched import Batched, FromBatched, Outcome, uniform_noise
from tutelage.envs.parts import blocks, pick_controller
from tutelage.types import Environment, EnvState, Places, Policy, Sensed, Spec

VERSION = "battle/1"


def make(name: str, options: SmaxOptions) -> Smax:
    """The environment of a map in the table."""
    return Smax(MAPS[name], options, f"smax/{name}")


def smax(map: Map, name: str = "smax", **options: Any) -> Environment:
    """The environment of a user's own map.

    Args:
        map: units and their positions.
        name: for pictures.
        **options: as of `smax/...`, e.g. `see_enemy_actions=False`.
    """
    checked = SmaxOptions(**options)
    return disturb(name, Smax(map, checked, name), checked)


class Smax(FromBatched):
    """Battles: allies are the agents, enemies follow the script."""

    idle = MOVES - 1

    def __init__(self, map: Map, options: SmaxOptions, name: str) -> None:
        self.name, self.options = name, options
        self.rules = rules = Rules(map, options.walls_cause_death)
        self.limit = options.max_steps or map.max_steps
        self.spec = make_spec(rules, self.limit, options.see_enemy_actions)

    @property
    def batched(self) -> Batched:
        noise = uniform_noise(start_noise_size(self.rules), step_noise_size(self.rules))
        begin, enemies = partial(init_battle, self.rules), partial(goals, self.rules)
        return Batched(begin, self._advance, self._sense, enemies, noise)

    def _advance(self, state: Battle, action: Int[Array, "N B"], all_noise: Array) -> tuple[Battle, Outcome]:
        """One step of B battles; `all_noise` (`step_noise_size`, B) is uniform."""
        enemies, units = self.rules.enemies, len(self.rules.units)
        enemy_action, target = enemy_actions(self.rules, state, all_noise[:enemies])
        noise = all_noise[enemies:].reshape(-1, units, all_noise.shape[-1])
        after = advance(self.rules, state, jnp.concatenate([action, enemy_action]), noise)._replace(target=target)
        return after, step_outcome(self.rules, state, after, self.limit)

    def _sense(self, state: Battle) -> Sensed:
        return sense(self.rules, state, self.limit, self.options.see_enemy_actions)

    def scripted(self, name: str = "local") -> Policy:
        """`local`: the enemies' script, from what an agent sees."""
        return pick_controller(self.name, name, {"local": lambda: attack_closest(self.rules)})

    def draw(self, state: EnvState) -> np.ndarray:
        """See `picture`."""
        rules, s = self.rules, jax.device_get(state)
        types = rules.map.types
        kind = s.kind if rules.map.draws_units else np.array([types.index(unit) for unit in rules.map.roster])
        units = [rules.map.kinds[types[k]] for k in kind]
        full_points = np.array([unit.health + unit.shield for unit in units])
        points = (s.health + s.shield) if rules.shielded else s.health
        positions = np.stack([s.x, s.y], -1)
        share = np.where(s.health > 0, points / full_points, 0.0)
        return picture(rules, self.name, View(positions, share, kind, s.attack, int(s.time)))

    def places(self, state: EnvState) -> Places:
        """Positions of allies, and of the enemies that are their goals."""
        s, n, middle = jax.device_get(state), self.rules.allies, MAP_SIZE / 2
        half = view_radius(np.stack([s.x, s.y], -1)[s.health > 0])
        offset = self.goals(state).features[..., :2] * MAP_SIZE
        return places(s.x[:n], s.y[:n], offset, middle - half, middle + half)


def step_noise_size(rules: Rules) -> int:
    """How many uniform numbers a step needs: one choice per enemy, and a cooldown per unit and attack."""
    return rules.enemies + rules.shots * len(rules.units)


def make_spec(rules: Rules, limit: int, see_enemy_actions: bool) -> Spec:
    """The spec of a map."""
    n, actions, layout = rules.allies, n_actions(rules), blocks(*named_columns(rules, see_enemy_actions))
    width = layout[-1].stop
    return Spec(
        n_agents=n,
        n_actions=actions,
        obs_width=width,
        state_width=(OWN + n_unit_columns(rules)) * len(rules.units) + 1,
        max_steps=limit,
        time_limit="terminal",
        agent_types=("random",) * n if rules.map.draws_units else rules.map.roster[:n],
        action_counts=(actions,) * n,
        obs_widths=(width,) * n,
        layout=layout,
        version=VERSION,
        reward_scale=10.0,
        action_names=action_names(rules),
        notes=notes(rules, limit, see_enemy_actions),
    )
