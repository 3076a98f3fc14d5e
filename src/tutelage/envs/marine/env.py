"""`marine/LEVEL`: routing ships must reach port before their fuel ends; logistics ships refuel them at sea."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from tutelage.configs.envs import MarineOptions
from tutelage.envs.canvas import board_bounds, places
from tutelage.envs.from_batched import Batched, FromBatched, Outcome, uniform_noise
from tutelage.envs.marine.goals import goals
from tutelage.envs.marine.levels import LEVELS
from tutelage.envs.marine.notes import ACTION_NAMES, notes
from tutelage.envs.marine.picture import picture
from tutelage.envs.marine.rules import STAY, Voyage, advance, init_voyage, start_noise_size
from tutelage.envs.marine.script import meet_when_short
from tutelage.envs.marine.sea import load_heights, recorded, synthetic
from tutelage.envs.marine.senses import in_range, named_columns, observations, sight_width, world, world_width
from tutelage.envs.parts import blocks, pick_controller
from tutelage.types import EnvState, Places, Policy, Sensed, Spec


def make(name: str, options: MarineOptions) -> Marine:
    """The level of that name."""
    return Marine(name, options)


class Marine(FromBatched):
    """The MARINE environment. Success: all routing ships arrive within the limit, and none runs out of fuel."""

    idle = STAY

    def __init__(self, name: str, options: MarineOptions) -> None:
        self.name, self.options = name, options
        level, ais = LEVELS[name]
        reward = options.reward or level.reward
        self.rules = replace(level, limit=options.max_steps, reward=reward, supply=options.supply)
        self.ais = ais if options.ais is None else options.ais
        self.sea = (
            recorded(load_heights(Path(options.waves)), self.rules.size)
            if options.waves
            else synthetic(self.rules.size)
        )
        r, n = self.rules.routing, self.rules.ships
        width = sight_width(self.rules, self.ais)
        self.spec = Spec(
            n_agents=n,
            n_actions=5,
            obs_width=width,
            state_width=world_width(self.rules),
            max_steps=self.rules.limit,
            time_limit="terminal",
            agent_types=("routing",) * r + ("logistics",) * (n - r),
            action_counts=(5,) * n,
            obs_widths=(width,) * n,
            layout=blocks(*named_columns(self.rules, self.ais)),
            version="1",
            links=True,
            action_names=ACTION_NAMES,
            notes=notes(self.rules, self.ais),
        )

    @property
    def batched(self) -> Batched:
        noise = uniform_noise(start_noise_size(self.rules, self.sea), 0)
        begin, places_to_go = partial(init_voyage, self.rules, self.sea), partial(goals, self.rules)
        return Batched(begin, self._advance, self._sense, places_to_go, noise)

    def _advance(self, state: Voyage, action: Int[Array, "N B"], noise: Array) -> tuple[Voyage, Outcome]:
        after, told = advance(self.rules, self.sea, state, action)
        return after, Outcome(told.reward, told.over, told.won, jnp.ones_like(told.over))

    def _sense(self, state: Voyage) -> Sensed:
        first, n, b = lambda x: jnp.moveaxis(x, -1, 0), self.rules.ships, state.time.shape[0]
        return Sensed(
            obs=first(observations(self.rules, self.sea, state, self.ais)),
            state=first(world(self.rules, state)),
            avail=jnp.ones((b, n, 5), bool),
            alive=jnp.ones((b, n), bool),
            links=first(in_range(self.rules, state)),
        )

    def scripted(self, name: str = "local") -> Policy:
        """A controller in which ships short of fuel meet a logistics ship within a range.

        `blind`: none; `window`: an adjacent one; `local`: one within the range of AIS; `full`: any.
        """
        ranges = {"blind": -1.0, "window": 1.5, "local": self.rules.size / 4, "full": 10.0 * self.rules.size}
        table = {key: partial(meet_when_short, self.rules, cells) for key, cells in ranges.items()}
        return pick_controller(f"marine/{self.name}", name, table)

    def draw(self, state: EnvState) -> np.ndarray:
        """See `picture`."""
        return picture(self.name, self.rules, self.sea, state, self.ais)

    def places(self, state: EnvState) -> Places:
        """Positions of ships, of their destinations and of the ships they may meet."""
        offset, n = self.goals(state).features[..., 2:4] * self.rules.size, self.rules.ships
        return places(state.x[:n], state.y[:n], offset, *board_bounds(self.rules.size))
