"""Types of the package: timesteps, environments, policies, rollouts, stages, methods. Importing it does not import jax,
so that `--help` stays quick.

Axis letters: T time, B batch (environments), N agents, A actions, D observation, S world state, H hidden; T1 and M1 are
T + 1 and M + 1, where T and M themselves are the length of no argument before.
Inside `envs/` a TimeStep describes one instance; above it has a leading B; in a Rollout leading (T, B).
"""

from tutelage.types.environment import (
    Block,
    Environment,
    EnvState,
    Measure,
    Places,
    Spec,
    VectorEnv,
    wrong_action_names,
    wrong_names,
)
from tutelage.types.policy import ActRule, Carry, Critic, Out, Params, Policy
from tutelage.types.timestep import Goals, Sensed, TimeStep
from tutelage.types.training import Behaviour, Frozen, Method, Metrics, Rollout, Stage, TrainState, acting

__all__ = [
    "ActRule",
    "Behaviour",
    "Block",
    "Carry",
    "Critic",
    "EnvState",
    "Environment",
    "Frozen",
    "Goals",
    "Measure",
    "Method",
    "Metrics",
    "Out",
    "Params",
    "Places",
    "Policy",
    "Rollout",
    "Sensed",
    "Spec",
    "Stage",
    "TimeStep",
    "TrainState",
    "VectorEnv",
    "acting",
    "wrong_action_names",
    "wrong_names",
]
