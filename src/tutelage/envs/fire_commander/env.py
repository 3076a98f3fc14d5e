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
from tutelage.envs.fire_commander.rules import DOUSE, Blaze, Outcome, advance, begin, in_range, luck_to_begin
from tutelage.envs.fire_commander.script import assigned, crew, nearest_heard
from tutelage.envs.fire_commander.senses import REGION, observations, sight_widths, world, world_width
from tutelage.envs.parts import batch_last, blocks, first_timestep, go_on, lift, next_timestep, pick_controller
from tutelage.errors import BadInput
from tutelage.types import EnvState, Goals, Places, Policy, Sensed, Spec, TimeStep, VectorEnv


def make(name: str, options: FireCommanderOptions) -> FireCommander:
    """The level of that name."""
    return FireCommander(name, options)


class FireCommander:
    """Success: no cell burns any more."""

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
        luck = jax.random.uniform(key, (self.rules.fires, 1))
        after, outcome = advance(self.rules, lift(state), action[:, None], luck)
        after, outcome = jax.tree.map(lambda x: x[..., 0], (after, outcome))
        return after, next_timestep(self.sense(after), action, *self._verdict(after, outcome))

    def sense(self, state: EnvState) -> Sensed:
        return jax.tree.map(lambda x: x[0], self._sense(lift(state)))

    def goals(self, state: EnvState) -> Goals:
        """Regions: an action agent's nearest known fire in it, a perception agent's cell not seen for longest."""
        return jax.tree.map(lambda x: x[0], self._goals(lift(state)))

    def _begin(self, key: PRNGKeyArray, n: int) -> Blaze:
        uniform, normal = luck_to_begin(self.rules)
        keys = jax.random.split(key)
        return begin(self.rules, jax.random.uniform(keys[0], (uniform, n)), jax.random.normal(keys[1], (normal, n)))

    def _verdict(self, state: Blaze, outcome: Outcome) -> tuple[Array, Array, Array, Array]:
        """Reward, last, success, and whether the end is a true one."""
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
            fresh = jax.lax.cond(timestep.last.any(), lambda: self._begin(key_begin, n), lambda: after)
            return go_on(self._sense, timestep.last, fresh, after, action, self._verdict(after, outcome))

        whole = batch_last(reset, step, n, self._sense, self._goals)
        # Nothing that is sensed depends on fuel, wind and fronts: replay need not keep them.
        hidden = dict.fromkeys(("rate", "drift_x", "drift_y", "front_x", "front_y", "active"), ())
        return whole._replace(pack=lambda state: whole.pack(state._replace(**hidden)))

    def scripted(self, name: str = "local") -> Policy:
        """`local`: strips are swept, who hears of a fire goes to the nearest; `pooled`: all that the team knows is
        shared out; `omniscient`: all fires are (needs `knows="oracle"`)."""
        if name == "omniscient" and self.options.knows != "oracle":
            raise BadInput(f"knows = {self.options.knows!r}: the scripted controller 'omniscient' needs 'oracle'")
        table = {
            "local": lambda: crew(self.rules, nearest_heard(self.rules, self.radio)),
            "pooled": lambda: crew(self.rules, assigned(self.rules)),
            "omniscient": lambda: crew(self.rules, assigned(self.rules)),
        }
        return pick_controller(f"fire_commander/{self.name}", name, table)

    def draw(self, state: EnvState) -> np.ndarray:
        """See `picture`."""
        return picture(self.name, self.rules, state)

    def places(self, state: EnvState) -> Places:
        """Agents, and the cells that goals send them to."""
        way = self.goals(state).features[..., 1:3] * self.rules.size
        return places(state.x, state.y, way, *board_bounds(self.rules.size))
