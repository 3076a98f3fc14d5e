"""`predator_prey/NAME`: hunters must catch stags in pairs; a lone attempt may be punished."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tutelage.configs.envs import PredatorPreyOptions
from tutelage.envs.canvas import BLUE, GREY, INK, RED, Canvas, board_bounds, places
from tutelage.envs.from_batched import Batched, FromBatched, Outcome, uniform_noise
from tutelage.envs.parts import Segment, blocks, controller, map_columns, pick_controller
from tutelage.envs.predator_prey.notes import ACTION_NAMES, notes
from tutelage.envs.predator_prey.rules import (
    CATCH,
    DX,
    DY,
    STAY,
    Hunt,
    Rules,
    advance,
    available,
    board,
    goals,
    init_hunt,
    step_noise_size,
    windows,
)
from tutelage.types import Carry, EnvState, Places, Policy, Sensed, Spec, TimeStep

PUNISHMENTS = {"punish0": 0.0, "punish2": -2.0}


def make(name: str, options: PredatorPreyOptions) -> PredatorPrey:
    """The game of that name."""
    return PredatorPrey(name, options)


class PredatorPrey(FromBatched):
    """The stag hunt. Success: as many stags caught as pairs of hunters can."""

    idle = STAY

    def __init__(self, name: str, options: PredatorPreyOptions) -> None:
        self.name, self.options = name, options
        self.rules = Rules(options.size, options.n_agents, options.n_stags, options.n_hares, PUNISHMENTS[name])
        window, n = (2 * options.vision + 1) ** 2, options.n_agents
        self.spec = Spec(
            n_agents=n,
            n_actions=6,
            obs_width=3 * window,
            state_width=3 * options.size**2,
            max_steps=options.max_steps,
            time_limit="truncation",
            agent_types=("hunter",) * n,
            action_counts=(6,) * n,
            obs_widths=(3 * window,) * n,
            layout=blocks(
                *(
                    Segment(f"{thing} map", window, columns=map_columns((thing,), options.vision))
                    for thing in ("hunter", "stag", "hare")
                )
            ),
            version="1",
            measure="return",
            action_names=ACTION_NAMES,
            notes=notes(self.rules, options.vision, options.max_steps),
        )

    @property
    def batched(self) -> Batched:
        noise = uniform_noise(self.rules.hunters + self.rules.prey, step_noise_size(self.rules))
        begin, prey = partial(init_hunt, self.rules), partial(goals, self.rules)
        return Batched(begin, self._advance, self._sense, prey, noise)

    def _advance(self, state: Hunt, action: Int[Array, "N B"], noise: Array) -> tuple[Hunt, Outcome]:
        after, told = advance(self.rules, state, action, noise)
        last = told.over | (after.time >= self.spec.max_steps)
        return after, Outcome(told.reward, last, told.won & last, told.over)

    def _sense(self, state: Hunt) -> Sensed:
        first = lambda x: jnp.moveaxis(x, -1, 0)
        seen_maps, full_board = windows(self.rules, state, self.options.vision), board(self.rules, state)
        return Sensed(
            obs=first(seen_maps.reshape(self.rules.hunters, -1, seen_maps.shape[-1])).astype(jnp.float32),
            state=first(full_board.reshape(-1, full_board.shape[-1])).astype(jnp.float32),
            avail=first(available(self.rules, state)),
            alive=first(state.free[: self.rules.hunters]),
        )

    def scripted(self, name: str = "local") -> Policy:
        """`local`: go to the nearest visible stag, wait next to it, and catch when a second hunter is there too."""
        vision, side = self.options.vision, 2 * self.options.vision + 1
        dx, dy = (z.ravel() for z in np.meshgrid(np.arange(side) - vision, np.arange(side) - vision))
        around = np.abs(dx) + np.abs(dy) == 1
        apart = (np.abs(dx[:, None] - dx) + np.abs(dy[:, None] - dy)) == 1
        others = (dx != 0) | (dy != 0)

        def one(obs: Float[Array, " D"], key: Array) -> Int[Array, ""]:
            hunters, stags, _ = obs.reshape(3, -1) > 0
            near = stags & around
            joined = (near[:, None] & apart & (hunters & others)[None]).any()
            distance = jnp.where(stags, np.abs(dx) + np.abs(dy), 99)
            target = distance.argmin()
            toward = jnp.stack([dx[i] * DX + dy[i] * DY for i in range(len(dx))])[target]
            go = jax.random.categorical(key, jnp.where(toward > 0, 0.0, -99.0))
            wander = jax.random.randint(key, (), 0, 4)
            move = jnp.where(stags.any(), go, wander)
            return jnp.where(joined, CATCH, jnp.where(near.any(), STAY, move))

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            keys = jax.random.split(key, ts.obs.shape[:2])
            return carry, jax.vmap(jax.vmap(one))(ts.obs, keys)

        return pick_controller(f"predator_prey/{self.name}", name, {"local": lambda: controller(act)})

    def draw(self, state: EnvState) -> np.ndarray:
        """Hunters are blue (grey once frozen), stags red, hares small and red."""
        size, n, s = self.rules.size, self.rules.hunters, self.rules.stags
        canvas = Canvas(*board_bounds(size))
        canvas.grid(1)
        canvas.caption(f"predator_prey/{self.name}   step {int(state.time)}   stags caught {int(state.stags)}")
        for i, (x, y, free) in enumerate(zip(*map(np.asarray, (state.x, state.y, state.free)), strict=True)):
            if i < n:
                canvas.disc(x, y, 0.32 if free else 0.14, BLUE if free else GREY, INK, 1)
            elif free:
                canvas.disc(x, y, 0.3 if i < n + s else 0.15, RED, INK, 1)
        return canvas.array()

    def places(self, state: EnvState) -> Places:
        """Positions of hunters, and of the prey."""
        offset, n = self.goals(state).features[..., :2] * self.rules.size, self.rules.hunters
        return places(state.x[:n], state.y[:n], offset, *board_bounds(self.rules.size))
