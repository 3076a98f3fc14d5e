"""`fire_commander/LEVEL`: perception agents find fires, action agents put them out before they spread."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.configs.envs import FireCommanderOptions
from tutelage.envs.canvas import board_bounds, places
from tutelage.envs.fire_commander.goals import goals
from tutelage.envs.fire_commander.levels import LEVELS
from tutelage.envs.fire_commander.picture import picture
from tutelage.envs.fire_commander.rules import DOUSE, Blaze, Outcome, advance, in_range, init_blaze, start_noise_sizes
from tutelage.envs.fire_commander.script import assigned_fires, nearest_known_fire, sweep_and_douse
from tutelage.envs.fire_commander.senses import REGION, observations, sight_widths, world, world_width
from tutelage.envs.parts import (
    add_batch_axis,
    batch_last,
    blocks,
    first_or_next,
    first_timestep,
    next_timestep,
    pick_controller,
)
from tutelage.errors import BadInput
from tutelage.types import EnvState, Goals, Places, Policy, Sensed, Spec, TimeStep, VectorEnv


def make(name: str, options: FireCommanderOptions) -> FireCommander:
    """The level of that name."""
    return FireCommander(name, options)


class FireCommander:
    """The FireCommander environment. Success: no cell burns any more."""

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
                ("own position", 2),
                # No entities with a place that sight could restrict: what is known of a region was heard by radio.
                *((f"region {i}", REGION) for i in range(self.rules.regions if self.radio else 0)),
                ("window", wide - narrow),
            ),
            version="1",
            links=True,
            reward_scale=0.1,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        state = jax.tree.map(lambda x: x[..., 0], self._begin(key, 1))
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        noise = jax.random.uniform(key, (self.rules.fires, 1))
        after, outcome = advance(self.rules, add_batch_axis(state), action[:, None], noise)
        after, outcome = jax.tree.map(lambda x: x[..., 0], (after, outcome))
        return after, next_timestep(self.sense(after), action, *self._outcome(after, outcome))

    def sense(self, state: EnvState) -> Sensed:
        return jax.tree.map(lambda x: x[0], self._sense(add_batch_axis(state)))

    def goals(self, state: EnvState) -> Goals:
        """A goal per region: the nearest known fire for action agents, the cell seen longest ago for the others."""
        return jax.tree.map(lambda x: x[0], self._goals(add_batch_axis(state)))

    def _begin(self, key: PRNGKeyArray, n: int) -> Blaze:
        uniform, normal = start_noise_sizes(self.rules)
        keys = jax.random.split(key)
        return init_blaze(
            self.rules, jax.random.uniform(keys[0], (uniform, n)), jax.random.normal(keys[1], (normal, n))
        )

    def _outcome(self, state: Blaze, outcome: Outcome) -> tuple[Array, Array, Array, Array]:
        """Reward, last, success, and whether an end is terminal, (B,) each."""
        return outcome.reward, outcome.won | (state.time >= self.spec.max_steps), outcome.won, outcome.won

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
        found = goals(self.rules, state, self.options.knows == "oracle", self.spec.max_steps)
        return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), found)

    def vector(self, n: int) -> VectorEnv:
        """`n` episodes side by side, their axis last inside the state."""

        def reset(key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
            state = self._begin(key, n)
            return state, jax.vmap(first_timestep)(self._sense(state))

        def step(
            key: PRNGKeyArray, state: EnvState, timestep: TimeStep, action: Int[Array, "B N"]
        ) -> tuple[EnvState, TimeStep]:
            key_begin, key_step = jax.random.split(key)
            after, outcome = advance(self.rules, state, action.T, jax.random.uniform(key_step, (self.rules.fires, n)))
            # New episodes draw a number for every cell: only where one begins.
            initial = jax.lax.cond(timestep.last.any(), lambda: self._begin(key_begin, n), lambda: after)
            return first_or_next(self._sense, timestep.last, initial, after, action, self._outcome(after, outcome))

        vector_env = batch_last(reset, step, n, self._sense, self._goals)
        # Nothing that is sensed depends on fuel, wind and fronts: replay need not keep them.
        hidden = dict.fromkeys(("rate", "drift_x", "drift_y", "front_x", "front_y", "active"), ())
        return vector_env._replace(pack=lambda state: vector_env.pack(state._replace(**hidden)))

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
