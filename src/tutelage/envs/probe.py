"""Six tiny environments with known optimal values, for tests that show *which* part of a learner is broken.

| name | optimum |
| --- | --- |
| value | return 1, V = 1 |
| delayed | return 1 at the second step, V = gamma then 1 |
| observation | V = the observed sign, +1 or -1 |
| action | return 1: both agents take action 1 |
| memory | return 1: repeat the cue of the first step at the third; 0.5 without memory |
| coordination | return 1: joint action (0, 0); other matches pay 0.6, mismatches 0 |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.configs.envs import ProbeOptions
from tutelage.envs.canvas import Canvas
from tutelage.envs.parts import NOTHING, Segment, blocks, controller, first_timestep, next_timestep, pick_controller
from tutelage.types import Carry, Environment, Policy, Sensed, Spec, TimeStep

N, A = 2, 3


class ProbeState(NamedTuple):
    """The episode's hidden cue (0 or 1) and the step."""

    cue: Int[Array, ""]
    t: Int[Array, ""]


class Rules(NamedTuple):
    """A probe.

    Attributes:
        length: steps per episode.
        shown: the observed number, from the state.
        paid: the reward, from the state and the actions (N,).
        best: optimal actions, from the observation and the remembered cue.
        column: the observed number's name.
        task: what is paid, in words.
        names: of the actions.
    """

    length: int
    shown: Callable[[ProbeState], Array]
    paid: Callable[[ProbeState, Int[Array, " N"]], Array]
    best: Callable[[Float[Array, "B N 1"], Int[Array, "B N"]], Int[Array, "B N"]]
    column: str = NOTHING
    task: str = "Every action is paid 1; the most is 1."
    names: tuple[str, ...] = ("choose 0", "choose 1", "choose 2")


def _cue_sign(state: ProbeState) -> Array:
    return 2.0 * state.cue - 1.0


def _always(action: int) -> Callable[[Array, Array], Array]:
    return lambda shown, remembered: jnp.full(remembered.shape, action)


PROBES: dict[str, Rules] = {
    "value": Rules(1, lambda s: jnp.zeros(()), lambda s, a: jnp.ones(()), _always(0)),
    "delayed": Rules(
        2,
        lambda s: s.t.astype(jnp.float32),
        lambda s, a: (s.t == 1).astype(jnp.float32),
        _always(0),
        "time [steps]",
        "Whatever is done, the first step is paid 0 and the second 1; the most is 1.",
    ),
    "observation": Rules(
        1, _cue_sign, lambda s, a: _cue_sign(s), _always(0), "cue [-1 or 1]", "Whatever is done, the cue is paid."
    ),
    "action": Rules(
        1,
        lambda s: jnp.zeros(()),
        lambda s, a: (a == 1).mean(),
        _always(1),
        task="The share of agents that choose 1 is paid; the most is 1.",
    ),
    "memory": Rules(
        3,
        lambda s: jnp.where(s.t == 0, _cue_sign(s), 0.0),
        lambda s, a: jnp.where(s.t == 2, (a == s.cue).mean(), 0.0),
        lambda shown, remembered: remembered,
        "cue, 0 after the first step [-1, 0 or 1]",
        "The share of agents that name the cue of the first step at the third is paid then; the most is 1.",
        ("say that the cue was -1", "say that the cue was 1", "say neither"),
    ),
    "coordination": Rules(
        1,
        lambda s: jnp.zeros(()),
        lambda s, a: jnp.where(a[0] == a[1], jnp.where(a[0] == 0, 1.0, 0.6), 0.0),
        _always(0),
        task="Agents that choose the same are paid, 1 for 0 and 0.6 for 1 or 2; the most is 1.",
    ),
}


def make(name: str, options: ProbeOptions) -> Probe:
    """The probe of that name."""
    return Probe(name)


def notes(rules: Rules) -> tuple[str, ...]:
    """What a person must know beyond the names of columns and actions."""
    return (
        f"A test of learners with {N} agents, which see the same. {rules.task} There are no opponents.",
        f"The episode takes {rules.length} step{'s' * (rules.length > 1)}. Success: the last one is paid at least 1.",
        "Every agent is alive, and every action available, at every step.",
    )


class Probe(Environment):
    """Two agents, three actions, one observed number, one to three steps, ending terminally."""

    def __init__(self, name: str) -> None:
        self.name, self.rules = name, PROBES[name]
        self.spec = Spec(
            n_agents=N,
            n_actions=A,
            obs_width=1,
            state_width=2,
            max_steps=self.rules.length,
            time_limit="terminal",
            agent_types=("probe",) * N,
            action_counts=(A,) * N,
            obs_widths=(1,) * N,
            layout=blocks(Segment("shown", 1, columns=(self.rules.column,))),
            version="1",
            action_names=self.rules.names,
            notes=notes(self.rules),
        )

    def reset(self, key: PRNGKeyArray) -> tuple[ProbeState, TimeStep]:
        state = ProbeState(jax.random.bernoulli(key).astype(jnp.int32), jnp.zeros((), jnp.int32))
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: ProbeState, action: Int[Array, " N"]) -> tuple[ProbeState, TimeStep]:
        reward = self.rules.paid(state, action)
        state = state._replace(t=state.t + 1)
        last = state.t >= self.rules.length
        return state, next_timestep(self.sense(state), action, reward, last, last & (reward >= 1), terminal=True)

    def sense(self, state: ProbeState) -> Sensed:
        return Sensed(
            obs=jnp.full((N, 1), self.rules.shown(state)),
            state=jnp.stack([_cue_sign(state), state.t / self.rules.length]),
            avail=jnp.ones((N, A), bool),
            alive=jnp.ones(N, bool),
        )

    def scripted(self, name: str = "local") -> Policy:
        """`local`: an optimal controller."""

        def act(remembered: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            cue = jnp.where(ts.obs[..., 0] != 0, (ts.obs[..., 0] > 0).astype(jnp.int32), remembered)
            return cue, self.rules.best(ts.obs, cue)

        table = {"local": lambda: controller(act, lambda n: jnp.zeros((n, N), jnp.int32))}
        return pick_controller(f"probe/{self.name}", name, table)

    def draw(self, state: ProbeState) -> np.ndarray:
        canvas = Canvas(0, 1)
        canvas.caption(f"probe/{self.name}   step {int(state.t)}")
        canvas.disc(0.5, 0.5, 0.2, "#3f9b57" if int(state.cue) else "#cc4b37")
        canvas.text(0.5, 0.5, f"cue {int(state.cue)}", "#ffffff")
        return canvas.array()
