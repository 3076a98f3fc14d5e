"""`marine/LEVEL`: routing ships must reach port before their fuel ends; logistics ships refuel them at sea."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.configs.envs import MarineOptions
from tutelage.envs.canvas import board_bounds, places
from tutelage.envs.marine.goals import goals
from tutelage.envs.marine.levels import LEVELS
from tutelage.envs.marine.picture import picture
from tutelage.envs.marine.rules import Voyage, advance, init_voyage, start_noise_size
from tutelage.envs.marine.script import meet_when_short
from tutelage.envs.marine.sea import load_heights, recorded, synthetic
from tutelage.envs.marine.senses import (
    NEIGHBOURS,
    SHIP,
    in_range,
    observations,
    sight_width,
    window_width,
    world,
    world_width,
)
from tutelage.envs.parts import (
    add_batch_axis,
    batch_last,
    blocks,
    entity_columns,
    first_or_next,
    first_timestep,
    next_timestep,
    pick_controller,
)
from tutelage.types import EnvState, Goals, Places, Policy, Sensed, Spec, TimeStep, VectorEnv


def make(name: str, options: MarineOptions) -> Marine:
    """The level of that name."""
    return Marine(name, options)


class Marine:
    """The MARINE environment. Success: all routing ships arrive within the limit, and none runs out of fuel."""

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
        width, window = sight_width(self.rules, self.ais), window_width(self.rules)
        ais_width = NEIGHBOURS * SHIP if self.ais else 0
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
            layout=blocks(
                ("own", width - window - ais_width),
                *(entity_columns("ship", NEIGHBOURS, SHIP, 1) if self.ais else ()),
                ("window", window),
            ),
            version="1",
            links=True,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        state = jax.tree.map(lambda x: x[..., 0], self._begin(key, 1))
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        after, outcome = advance(self.rules, self.sea, add_batch_axis(state), action[:, None])
        after, outcome = jax.tree.map(lambda x: x[..., 0], (after, outcome))
        return after, next_timestep(self.sense(after), action, outcome.reward, outcome.over, outcome.won, True)

    def sense(self, state: EnvState) -> Sensed:
        return jax.tree.map(lambda x: x[0], self._sense(add_batch_axis(state)))

    def goals(self, state: EnvState) -> Goals:
        """Goals: the ship's own destination, and meeting each other ship."""
        return jax.tree.map(lambda x: x[0], self._goals(add_batch_axis(state)))

    def _begin(self, key: PRNGKeyArray, n: int) -> Voyage:
        return init_voyage(self.rules, self.sea, jax.random.uniform(key, (start_noise_size(self.rules, self.sea), n)))

    def _sense(self, state: Voyage) -> Sensed:
        first, n, b = lambda x: jnp.moveaxis(x, -1, 0), self.rules.ships, state.time.shape[0]
        return Sensed(
            obs=first(observations(self.rules, self.sea, state, self.ais)),
            state=first(world(self.rules, state)),
            avail=jnp.ones((b, n, 5), bool),
            alive=jnp.ones((b, n), bool),
            links=first(in_range(self.rules, state)),
        )

    def _goals(self, state: Voyage) -> Goals:
        return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), goals(self.rules, state))

    def vector(self, n: int) -> VectorEnv:
        """`n` episodes side by side, their axis last inside the state."""

        def reset(key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
            state = self._begin(key, n)
            return state, jax.vmap(first_timestep)(self._sense(state))

        def step(
            key: PRNGKeyArray, state: EnvState, timestep: TimeStep, action: Int[Array, "B N"]
        ) -> tuple[EnvState, TimeStep]:
            after, outcome = advance(self.rules, self.sea, state, action.T)
            step_outcome = outcome.reward, outcome.over, outcome.won, jnp.ones(n, bool)
            return first_or_next(self._sense, timestep.last, self._begin(key, n), after, action, step_outcome)

        return batch_last(reset, step, n, self._sense, self._goals)

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
