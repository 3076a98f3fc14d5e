"""BenchMARL trains MAPPO on MARINE: our environments for users of another framework.

In an environment of its own: `pip install benchmarl 'tutelage[pettingzoo]'`, then `python benchmarl_marine.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarl.algorithms import MappoConfig
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from torchrl.envs import PettingZooWrapper

import tutelage


class TutelageTask(PettingZooClass):
    """A task of BenchMARL: the environment of tutelage that its config names, `{"env_id": "marine/easy"}`."""

    def get_env_fun(self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any) -> Callable[[], Any]:
        def make() -> Any:
            env = tutelage.to_pettingzoo(tutelage.make(**self.config))
            return PettingZooWrapper(
                env, categorical_actions=True, use_mask=True, return_state=True, seed=seed, device=device
            )

        return make

    def supports_continuous_actions(self) -> bool:
        return False

    def supports_discrete_actions(self) -> bool:
        return True

    def has_state(self) -> bool:
        return True

    def has_render(self, env: Any) -> bool:
        return False

    def max_steps(self, env: Any) -> int:
        return tutelage.make(**self.config).spec.max_steps

    @staticmethod
    def env_name() -> str:
        return "tutelage"


def main() -> None:
    """Train for some iterations and print the mean return of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--env", default="marine/easy")
    parser.add_argument("--iterations", type=int, default=3)
    args = parser.parse_args()
    config = ExperimentConfig.get_from_yaml()
    config.max_n_iters, config.max_n_frames = args.iterations, None
    config.on_policy_collected_frames_per_batch, config.on_policy_n_envs_per_worker = 2000, 2
    config.on_policy_minibatch_size, config.on_policy_n_minibatch_iters = 500, 4
    config.evaluation, config.render, config.loggers, config.create_json = False, False, [], False
    task, model = TutelageTask(args.env.replace("/", "_"), {"env_id": args.env}), MlpConfig.get_from_yaml()
    experiment = Experiment(task, MappoConfig.get_from_yaml(), model, seed=0, config=config)
    experiment.run()
    print(f"mean return of the last iteration: {experiment.mean_return:.3f}")


if __name__ == "__main__":
    main()
