"""How much faster an update is with the hand-written reading of GRU sequences than with a plain scan over steps.

Both are compiled in one process and run in turn; the ratio is of medians. The reading stays in the package where it is
1.3 or more: docs/lab/speed.md.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax

from tutelage import make
from tutelage.data import collect
from tutelage.data.vector import make_vector_env
from tutelage.experiment.user_code import make_method
from tutelage.registry import method_config

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qmix": ("smax/3s_vs_5z", dict(warm_up=0, capacity_steps=20_000)),
    "ddn": ("smax/3s_vs_5z", dict(warm_up=0, capacity_steps=20_000)),
    "maddpg": ("smax/3s_vs_5z", dict(warm_up=0, capacity_steps=20_000)),
    "hint": ("fire_commander/easy", dict(pretrain=0, store=2)),
}
ROUNDS = 7
KEY = jax.random.key(0)


def updater(name: str, env_id: str, settings: dict[str, Any]) -> Callable[[], Any]:
    """A compiled update of the method's last stage, on a rollout that it has played."""
    env = make(env_id)
    method = make_method(name, env, method_config(name, **settings), None)
    stage = method.stages[-1]

    @jax.jit
    def begin(key: Any) -> tuple[Any, Any]:
        state, rollouts = method.init(key), {}
        for part, behaviour in stage.behaviours.items():
            vector = make_vector_env(env, behaviour.envs, behaviour.goals or behaviour.policy.goals)
            collector = collect.init_collector(vector, behaviour.policy, key)
            rollouts[part] = collect.play(vector, behaviour, state, 0.0, collector, key)[1]
        return state, rollouts

    state, rollouts = begin(KEY)
    update = jax.jit(lambda state, rollouts: stage.update(state, rollouts, KEY, 0.0))
    go = lambda: jax.block_until_ready(update(state, rollouts))
    go()
    return go


def main() -> None:
    """Print a line per method."""
    for name, (env_id, settings) in CASES.items():
        written = updater(name, env_id, settings)
        with mock.patch.object(collect, "FEW", 0):
            scanned = updater(name, env_id, settings)
        seconds: dict[str, list[float]] = {"written": [], "scanned": []}
        for _ in range(ROUNDS):
            for label, go in (("written", written), ("scanned", scanned)):
                start = time.perf_counter()
                go()
                seconds[label].append(time.perf_counter() - start)
        medians = {label: statistics.median(values) for label, values in seconds.items()}
        ratio = medians["scanned"] / medians["written"]
        print(
            f"{name}: {medians['written']:.3f} s, plain scan {medians['scanned']:.3f} s, ratio {ratio:.2f}", flush=True
        )


if __name__ == "__main__":
    main()
