"""Evaluations while a method is trained, and its final test; the parameters of the best one are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from tutelage.configs.experiment import FitConfig
from tutelage.data.episodes import Episodes
from tutelage.experiment.evaluate import Evaluation, make_player, play_episodes, ranking, summarise, test_key
from tutelage.experiment.memo import memoize
from tutelage.experiment.seed_axis import SeedAxis
from tutelage.experiment.status import Best, Recorder, Status
from tutelage.policies.acting import RULES
from tutelage.types import ActRule, Environment, Measure, Method, Params


def evaluation_key(seed_key: PRNGKeyArray, stage: int, update: Any) -> PRNGKeyArray:
    """The key of an evaluation's episodes: never used in training."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(seed_key, 0xE7A1), stage), update)


def record_evaluation(
    status: Status,
    method: Method,
    result: Evaluation,
    measure: Measure,
    params: Callable[[], Params],
    recorder: Recorder,
) -> Status:
    """Record an evaluation; where no earlier one was better, keep the parameters.

    Args:
        params: gives a copy of them; called only where they are kept.
    """
    recorder.evaluation(
        {
            "stage": method.stages[status.stage].name,
            "update": int(status.loop.update),
            "total_steps": status.steps + int(status.loop.steps),
            "seconds": round(status.seconds, 3),
            **result.as_dict(),
        },
        measure,
    )
    scores = result.success_rate, result.return_mean
    if status.best and ranking(measure, *scores) < ranking(measure, *status.best[:2]):
        return status
    return status._replace(best=Best(*scores, params()))


@memoize
def compile_player(env: Environment, method: Method, role: str, n: int, act: ActRule) -> Future[Any]:
    """Compile the evaluation of a role in a thread, while the first stage compiles on another core."""
    shapes = jax.eval_shape(lambda key: method.params(method.init(key))[role], jax.random.key(0))
    play = make_player(env, method.roles[role], n, act)
    threads = ThreadPoolExecutor(1)
    compiled = threads.submit(lambda: play.lower(shapes, jax.random.key(0)).compile())
    threads.shutdown(wait=False)
    return compiled


class Evaluator:
    """Plays the episodes of evaluations and of the final test of the acting role, for all seeds of a training."""

    def __init__(self, env: Environment, method: Method, config: FitConfig, seeds: Sequence[int]) -> None:
        self.role, self.config, self.seeds, self.axis = method.actor, config, seeds, SeedAxis(len(seeds))
        if self.axis.n == 1:
            compiling = compile_player(env, method, self.role, config.eval_episodes, RULES[config.act])
            self._play: Any = lambda params, keys: compiling.result()(params, keys)
        else:  # compiled when it is first called: compiling beside another program can block on a CPU
            self._play = make_player(env, method.roles[self.role], config.eval_episodes, RULES[config.act], True)

    def play(self, params: Params, keys: PRNGKeyArray, episodes: int) -> list[list[Episodes]]:
        """For every seed so many episodes; `params` by role, which like `keys` have the seeds' axis."""
        return play_episodes(self._play, params[self.role], keys, episodes, self.config.eval_episodes, self.axis)

    def test(self, params: Sequence[Params]) -> list[Evaluation]:
        """The final test of every seed's parameters: more episodes, with a key of its own."""
        keys, episodes = self.axis.join([test_key(seed) for seed in self.seeds]), self.config.test_episodes
        acting = self.axis.join([{self.role: own[self.role]} for own in params])
        return [summarise(played, episodes) for played in self.play(acting, keys, episodes)]
