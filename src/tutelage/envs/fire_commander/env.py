"""`fire_commander/LEVEL`: perception agents find fires, action agents put them out before they spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.configs.envs import FireCommanderOptions
from tutelage.envs.canvas import board_bounds, places
from tutelage.envs.fire_commander.goals import goals
from tutelage.envs.fire_commander.levels import LEVELS
from tutelage.envs.fire_commander.notes import ACTION_NAMES, notes
from tutelage.envs.fire_commander.picture import picture
from tutelage.envs.fire_commander.rules import (
    DOUSE,
    STAY,
    Blaze,
    Rules,
    advance,
    in_range,
    init_blaze,
    start_noise_sizes,
)
from tutelage.envs.fire_commander.script import assigned_fires, nearest_known_fire, sweep_and_douse
from tutelage.envs.fire_commander.senses import (
    MAPS,
    REGION,
    REGION_COLUMNS,
    observations,
    sight_widths,
    world,
    world_width,
)
from tutelage.envs.from_batched import Batched, FromBatched, Noise, Outcome
from tutelage.envs.parts import Segment, blocks, map_columns, pick_controller, xy
from tutelage.errors import BadInput
from tutelage.types import EnvState, Goals, Places, Policy, Sensed, Spec


def make(name: str, options: FireCommanderOptions) -> FireCommander:
    """The level of that name."""
    return FireCommander(name, options)


class FireCommander(FromBatched):
    """The FireCommander environment. Success: no cell burns any more."""

    idle = STAY

    def __init__(self, name: str, options: FireCommanderOptions) -> None:
        self.name, self.options = name, options
        self.rules, radio = LEVELS[name]
        self.radio = radio if options.radio is None else options.radio
        p, a = self.rules.perception, self.rules.action
        wide, narrow = sight_widths(self.rules, self.radio)
        self.spec = Spec(
            n_agents=p + a,
            n_actions=6,
            obs_width=wide,
            state_width=world_width(self.rules),
            max_steps=options.max_steps,
            time_limit="truncation",
            agent_types=("perception",) * p + ("action",) * a,
            action_counts=(5,) * p + (6,) * a,
            obs_widths=(wide,) * p + (narrow,) * a,
            layout=blocks(
                Segment("own position", 2, columns=xy("position", "-1 to 1 across the map")),
                # No entities with a place that sight could restrict: what is known of a region was heard by radio.
                *(
                    Segment(f"region {i}", REGION, columns=REGION_COLUMNS)
                    for i in range(self.rules.regions if self.radio else 0)
                ),
                Segment("window", wide - narrow, columns=map_columns(MAPS, self.rules.vision)),
            ),
            version="1",
            links=True,
            reward_scale=0.1,
            action_names=ACTION_NAMES,
            notes=notes(self.rules, self.radio, options.max_steps),
        )

    @property
    def batched(self) -> Batched:
        begin, noise = lambda noise: init_blaze(self.rules, *noise), fire_noise(self.rules)
        # New episodes draw a number for every cell: only where one begins.
        return Batched(begin, self._advance, self._sense, self._goals, noise, rare=True, stored=without_fronts)

    def _advance(self, state: Blaze, action: Int[Array, "N B"], noise: Array) -> tuple[Blaze, Outcome]:
        after, told = advance(self.rules, state, action, noise)
        return after, Outcome(told.reward, told.won | (after.time >= self.spec.max_steps), told.won, told.won)

    def _sense(self, state: Blaze) -> Sensed:
        first, n, b = lambda x: jnp.moveaxis(x, -1, 0), self.rules.agents, state.time.shape[0]
        oracle, limit = self.options.knows == "oracle", self.spec.max_steps
        douses = (np.arange(n) >= self.rules.perception)[:, None] | (np.arange(6) != DOUSE)
        return Sensed(
            obs=first(observations(self.rules, state, self.radio, limit)),
            state=first(world(self.rules, state, oracle, limit)),
            avail=jnp.broadcast_to(douses, (b, n, 6)),
            alive=jnp.ones((b, n), bool),
            links=first(in_range(self.rules, state) & ~np.eye(n, dtype=bool)[..., None]),
        )

    def _goals(self, state: Blaze) -> Goals:
        """A goal per region: the nearest known fire for action agents, the cell seen longest ago for the others."""
        return goals(self.rules, state, self.options.knows == "oracle", self.spec.max_steps)

    def scripted(self, name: str = "local") -> Policy:
        """A controller: perception agents sweep strips, action agents go to fires.

        `local`: to the nearest that they know of; `pooled`: fires known to the team are assigned to agents;
        `omniscient`: all fires are assigned (needs `knows="oracle"`).
        """
        if name == "omniscient" and self.options.knows != "oracle":
            raise BadInput(f"knows = {self.options.knows!r}: the scripted controller 'omniscient' needs 'oracle'")
        table = {
            "local": lambda: sweep_and_douse(self.rules, nearest_known_fire(self.rules, self.radio)),
            "pooled": lambda: sweep_and_douse(self.rules, assigned_fires(self.rules)),
            "omniscient": lambda: sweep_and_douse(self.rules, assigned_fires(self.rules)),
        }
        return pick_controller(f"fire_commander/{self.name}", name, table)

    def draw(self, state: EnvState) -> np.ndarray:
        """See `picture`."""
        return picture(self.name, self.rules, state)

    def places(self, state: EnvState) -> Places:
        """Positions of agents, and of the cells of their goals."""
        offset = self.goals(state).features[..., 1:3] * self.rules.size
        return places(state.x, state.y, offset, *board_bounds(self.rules.size))


def fire_noise(rules: Rules) -> Noise:
    """Uniform and normal numbers for a new episode, and a uniform one per fire for a step, with keys of their own."""

    def begin(key: PRNGKeyArray, n: int) -> tuple[Array, Array]:
        (uniform, normal), keys = start_noise_sizes(rules), jax.random.split(key)
        return jax.random.uniform(keys[0], (uniform, n)), jax.random.normal(keys[1], (normal, n))

    def step(key: PRNGKeyArray, n: int) -> Array:
        return jax.random.uniform(key, (rules.fires, n))

    def both(key: PRNGKeyArray, n: int) -> tuple[Callable[[], tuple[Array, Array]], Array]:
        key_begin, key_step = jax.random.split(key)
        return lambda: begin(key_begin, n), step(key_step, n)

    return Noise(begin, step, both)


def without_fronts(state: Blaze) -> Blaze:
    """The part of a state that is sensed: nothing of fuel, wind and fronts is."""
    hidden: dict[str, Any] = dict.fromkeys(("rate", "drift_x", "drift_y", "front_x", "front_y", "active"), ())
    return state._replace(**hidden)
