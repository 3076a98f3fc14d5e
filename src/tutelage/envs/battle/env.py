"""SMAX battles on the own engine: `smax/NAME`. Results are labelled SMAX, never SMAC."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.configs.envs import SmaxOptions
from tutelage.envs.battle.controllers import attack_closest
from tutelage.envs.battle.goals import goals
from tutelage.envs.battle.picture import View, picture, reach
from tutelage.envs.battle.rules import Battle, Outcome, Rules, advance, judge
from tutelage.envs.battle.script import enemy_actions
from tutelage.envs.battle.senses import OWN, PLACE, UNIT, bits, n_actions, sense
from tutelage.envs.battle.starts import begin, numbers
from tutelage.envs.battle.units import MAP_SIZE, MAPS, Map
from tutelage.envs.canvas import places
from tutelage.envs.parts import batch_last, blocks, first_timestep, lift, next_timestep, pick_controller, several
from tutelage.types import EnvState, Goals, Places, Policy, Sensed, Spec, TimeStep, VectorEnv

VERSION = "battle/1"


def make(name: str, options: SmaxOptions) -> Smax:
    """The environment of a map in the table."""
    return Smax(MAPS[name], options, f"smax/{name}")


def smax(map: Map, name: str = "smax", **options: Any) -> Smax:
    """The environment of a map of your own.

    Args:
        map: who meets whom.
        name: for pictures.
        **options: as of `smax/...`, e.g. `see_enemy_actions=False`.
    """
    return Smax(map, SmaxOptions(**options), name)


class Smax:
    """Battles: allies are the agents, enemies follow the script."""

    def __init__(self, map: Map, options: SmaxOptions, name: str) -> None:
        self.name, self.options = name, options
        self.rules = rules = Rules(map, options.walls_cause_death)
        self.limit = options.max_steps or map.max_steps
        self.spec = describe(rules, self.limit)

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        """One battle; `vector` plays many at once, and faster."""
        state = begin(self.rules, jax.random.uniform(key, (numbers(self.rules), 1)))
        state = jax.tree.map(lambda x: x[..., 0], state)
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        luck = jax.random.uniform(key, (self._numbers, 1))
        state, outcome = self._advance(lift(state), action[:, None], luck)
        state, outcome = jax.tree.map(lambda x: x[..., 0], (state, outcome))
        sensed = self.sense(state)
        return state, next_timestep(sensed, action, outcome.reward, outcome.last, outcome.won, terminal=True)

    def sense(self, state: EnvState) -> Sensed:
        sensed = self._sense(lift(state))
        return jax.tree.map(lambda x: x[0], sensed)

    def goals(self, state: EnvState) -> Goals:
        """The enemies."""
        found = self._goals(lift(state))
        return jax.tree.map(lambda x: x[0], found)

    def _goals(self, state: Battle) -> Goals:
        return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), goals(self.rules, state))

    @property
    def _numbers(self) -> int:
        """Uniform numbers of a step: a whim per enemy, and a cooldown per unit and attack."""
        return self.rules.enemies + self.rules.shots * len(self.rules.units)

    def _advance(self, state: Battle, action: Int[Array, "N B"], luck: Array) -> tuple[Battle, Outcome]:
        """One step of B battles; `luck` (numbers, B)."""
        enemies, units = self.rules.enemies, len(self.rules.units)
        theirs, target = enemy_actions(self.rules, state, luck[:enemies])
        noise = luck[enemies:].reshape(-1, units, luck.shape[-1])
        after = advance(self.rules, state, jnp.concatenate([action, theirs]), noise)._replace(target=target)
        return after, judge(self.rules, state, after, self.limit)

    def _sense(self, state: Battle) -> Sensed:
        return sense(self.rules, state, self.limit, self.options.see_enemy_actions)

    def vector(self, n: int) -> VectorEnv:
        """`n` battles side by side, their axis last inside the state."""
        starts = numbers(self.rules)

        def reset(key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
            state = begin(self.rules, jax.random.uniform(key, (starts, n)))
            return state, jax.vmap(first_timestep)(self._sense(state))

        def step(
            key: PRNGKeyArray, state: EnvState, timestep: TimeStep, action: Int[Array, "B N"]
        ) -> tuple[EnvState, TimeStep]:
            luck = jax.random.uniform(key, (starts + self._numbers, n))
            going, outcome = self._advance(state, action.T, luck[starts:])
            new = timestep.last
            state = jax.tree.map(lambda a, b: jnp.where(new, a, b), begin(self.rules, luck[:starts]), going)
            # Observing once, after the choice, spares the observations of the branch not taken.
            sensed = self._sense(state)
            opening = jax.vmap(first_timestep)(sensed)
            following = jax.vmap(partial(next_timestep, terminal=True))(sensed, action, *outcome)
            pick = lambda a, b: jnp.where(new.reshape(-1, *[1] * (a.ndim - 1)), a, b)
            told = {name: pick(getattr(opening, name), getattr(following, name)) for name in CHOSEN}
            return state, following._replace(**told)

        return batch_last(reset, step, n, self._sense, self._goals)

    def scripted(self, name: str = "local") -> Policy:
        """`local`: the enemies' script, from what an agent sees."""
        return pick_controller(self.name, name, {"local": lambda: attack_closest(self.rules)})

    def draw(self, state: EnvState) -> np.ndarray:
        """See `picture`."""
        rules, s = self.rules, jax.device_get(state)
        types = rules.map.types
        kind = s.kind if rules.map.draws_units else np.array([types.index(unit) for unit in rules.map.roster])
        units = [rules.map.kinds[types[k]] for k in kind]
        full = np.array([unit.health + unit.shield for unit in units])
        left = (s.health + s.shield) if rules.shielded else s.health
        where = np.stack([s.x, s.y], -1)
        share = np.where(s.health > 0, left / full, 0.0)
        return picture(rules, self.name, View(where, share, kind, s.attack, int(s.time)))

    def places(self, state: EnvState) -> Places:
        """Allies and the enemies that they may be sent to bring down."""
        s, n, middle = jax.device_get(state), self.rules.allies, MAP_SIZE / 2
        half = reach(np.stack([s.x, s.y], -1)[s.health > 0])
        way = self.goals(state).features[..., :2] * MAP_SIZE
        return places(s.x[:n], s.y[:n], way, middle - half, middle + half)


CHOSEN = ("action", "reward", "discount", "first", "last", "success")
"""What differs between the first step of a battle and any other."""


def describe(rules: Rules, limit: int) -> Spec:
    """The static facts."""
    n, m, columns = rules.allies, rules.enemies, bits(rules)
    unit, own, actions = UNIT + columns, OWN + columns, n_actions(rules)
    layout = blocks(*several("ally", n - 1, unit, PLACE), *several("enemy", m, unit, PLACE), ("own", own))
    width = layout[-1].stop
    return Spec(
        n_agents=n,
        n_actions=actions,
        obs_width=width,
        state_width=own * (n + m) + 1,
        max_steps=limit,
        time_limit="terminal",
        agent_types=("random",) * n if rules.map.draws_units else rules.map.roster[:n],
        action_counts=(actions,) * n,
        obs_widths=(width,) * n,
        layout=layout,
        version=VERSION,
        reward_scale=10.0,
    )
