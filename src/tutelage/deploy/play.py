"""Whole episodes in which exported agents decide alone, in the environment of the team itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array

from tutelage.deploy.backends import Backend
from tutelage.deploy.recorded import listen
from tutelage.errors import Fault
from tutelage.experiment.evaluate import BATCH, make_player, play_episodes, summarise, test_key
from tutelage.experiment.records import Evaluation
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.seed_axis import SeedAxis
from tutelage.types import Out, Policy, TimeStep


class Played(NamedTuple):
    """Whole episodes: their evaluation, and the success and the return (episodes,) of each."""

    test: Evaluation
    success: np.ndarray
    returns: np.ndarray


def play(run: LoadedRun, policy: Policy, params: Any, rule: Any, episodes: int, seed: int) -> Played:
    """The episodes of a final test, see `evaluate`, and what came of each."""
    n, axis = min(episodes, BATCH), SeedAxis(1)
    player = make_player(run.env, policy, n, rule)
    batches = play_episodes(player, params, axis.join([test_key(seed)]), episodes, n, axis)[0]
    success, returns = (np.concatenate([batch[i] for batch in batches])[:episodes] for i in (0, 1))
    return Played(summarise(batches, episodes), success.astype(bool), returns)


class DeployedPlayer:
    """Plays episodes in which exported agents decide alone, each with its own memory. Formats share one program.

    Draws are decided by the random numbers that the acting rule `sample` uses in the same episodes.
    """

    def __init__(self, run: LoadedRun, talks: bool) -> None:
        self._run, self._talks = run, talks
        self._idle = Policy(
            lambda key: (), lambda n: (), lambda params, carry, timestep, key: (carry, Out(timestep.avail))
        )

    def play(self, backend: Backend, episodes: int, seed: int) -> Played:
        """How the agents of a format do."""
        agents = range(self._run.spec.n_agents)
        self._teams = [[backend.agent(i) for i in agents] for _ in range(min(episodes, BATCH))]
        return play(self._run, self._idle, (), self._act, episodes, seed)

    def _act(self, key: Any, out: Out, timestep: TimeStep) -> tuple[Array, Array]:
        shape = jax.ShapeDtypeStruct(timestep.action.shape, jnp.int32)
        linked = timestep.links if self._talks else jnp.zeros(timestep.action.shape[0], bool)
        inputs = timestep.obs, timestep.avail, timestep.first, linked, jax.random.uniform(key, shape.shape)
        action = io_callback(self._decide, shape, *inputs, ordered=True)
        return action, jnp.zeros(action.shape)

    def _decide(self, *inputs: Any) -> np.ndarray:
        """Actions (B, N) of all teams, on the host."""
        obs, avail, first, linked, uniform = map(np.asarray, inputs)
        actions = np.zeros(obs.shape[:2], np.int32)
        for b, team in enumerate(self._teams):
            for i, agent in enumerate(team):
                if first[b]:
                    agent.reset()
                actions[b, i] = agent.act(obs[b, i], avail[b, i], float(uniform[b, i]))
            if self._talks:
                listen(team, linked[b])
        if (actions < 0).any():
            raise Fault(f"an exported agent refused what it observed (code {actions.min()})")
        return actions
