"""Warnings about observations that are far from unit size, from which networks learn badly."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from tutelage.data.collect import collect, init_collector
from tutelage.data.vector import make_vector_env
from tutelage.experiment.jit import jit_unoptimised
from tutelage.policies.acting import random_policy, sample
from tutelage.types import Environment

LARGEST_USUAL, SMALLEST_USUAL = 100.0, 0.01
"""A warning is given where the largest value lies outside. At 100 MAPPO still learned a small task, at 10,000 not."""
STEPS, ENVS = 64, 8
"""Length and number of environments of the random play that is looked at."""


def column_maxima(env: Environment) -> tuple[np.ndarray, np.ndarray]:
    """Largest absolute value of each column of observations (D,) and state (S,) in a short random play."""
    vector, policy = make_vector_env(env, ENVS), random_policy()

    def play(key: PRNGKeyArray) -> tuple[Array, Array]:
        steps = collect(vector, policy, (), sample, init_collector(vector, policy, key), key, STEPS)[1].steps
        return jnp.abs(steps.obs).max((0, 1, 2)), jnp.abs(steps.state).max((0, 1))

    obs, state = jax.device_get(jit_unoptimised(play)(jax.random.key(0)))
    return obs, state


def scale_warnings(env: Environment) -> tuple[str, ...]:
    """Warnings for a user's environment whose observations or state are far from unit size."""
    if not env.watched:
        return ()
    found = []
    for field, maxima in zip(("obs", "state"), column_maxima(env), strict=True):
        column = int(np.nan_to_num(maxima).argmax())
        size = float(maxima[column])
        if LARGEST_USUAL < size < float("inf") or 0 < size < SMALLEST_USUAL:
            verb = "reaches" if size > 1 else "is at most"
            found.append(
                f"warning: {field} of {env.watched} {verb} {size:.3g} (column {column}); networks learn from numbers "
                "of about 1: divide each by its usual size"
            )
    return tuple(found)
