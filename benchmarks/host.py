"""Speed of environments on the host: `python benchmarks/host.py [ENV ...]`.

Bare processes step instances with random actions as fast as they can; then as many processes do it behind the compiled
loop, with random actions too, and while a team learns. In turn, three times each; medians. Prints, and keeps
benchmarks/host.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

KEPT = Path(__file__).parent / "host.json"
INSTANCES, SECONDS, STEPS = 64, 8.0, 100


def bare(env_id: str, instances: int, seconds: float, answer: Any) -> None:
    """A process: steps instances one after another for so many seconds, and answers how many steps it made."""
    from tutelage.envs.host.build import Maker
    from tutelage.envs.host.world import Settings

    worlds = [Maker(*env_id.split(":", 1), (), Settings())() for _ in range(instances)]
    rng, counts = np.random.default_rng(0), np.array(worlds[0].facts.action_counts)
    moments = [world.reset(i) for i, world in enumerate(worlds)]
    steps, until = 0, time.perf_counter() + seconds
    begin = time.perf_counter()
    while time.perf_counter() < until:
        for i, world in enumerate(worlds):
            over = moments[i].terminated or moments[i].truncated
            moments[i] = world.reset(steps) if over else world.step(rng.integers(counts))
            steps += 1
    answer.put(steps / (time.perf_counter() - begin))


def bare_rate(env_id: str, workers: int) -> float:
    """Steps per second of bare processes together."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    arguments = env_id, INSTANCES // workers, SECONDS, answer
    processes = [context.Process(target=bare, args=arguments) for _ in range(workers)]
    for process in processes:
        process.start()
    rates = [answer.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def engine_rate(env_id: str, workers: int) -> float:
    """Steps per second of the compiled loop with random actions."""
    import jax

    import tutelage
    from tutelage.data.collect import collect, init_collector
    from tutelage.data.vector import make_vector_env
    from tutelage.policies.acting import random_policy, sample

    vector, policy = make_vector_env(tutelage.make(env_id, workers=workers), INSTANCES), random_policy()
    start = jax.jit(lambda key: init_collector(vector, policy, key))(jax.random.key(0))
    run = jax.jit(lambda collector, key: collect(vector, policy, (), sample, collector, key, STEPS)[0])
    state = jax.block_until_ready(run(start, jax.random.key(0)))
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        state = jax.block_until_ready(run(state, jax.random.key(steps)))
        steps += STEPS * INSTANCES
    return steps / (time.perf_counter() - begin)


def learning_rate(env_id: str, workers: int) -> float:
    """Steps per second of MAPPO in its steady state."""
    import jax

    import tutelage
    from tutelage.experiment.stage_loop import StageLoop
    from tutelage.registry import method_config, method_row, resolve

    env, root = tutelage.make(env_id, workers=workers), jax.random.key(0)
    config = method_config("mappo", core="mlp", chunk=1, envs=INSTANCES)
    method = resolve(method_row("mappo").factory)(env, config, None)
    runner = StageLoop(env, method.stages[0], 0, 2)
    loop = runner.init_state(jax.jit(method.init)(root), root)
    runner.compile(loop, root)
    loop, _ = runner.run(loop, root, 2)
    begin, before, until = time.perf_counter(), int(loop.steps), 2
    while time.perf_counter() - begin < SECONDS:
        until += 2
        loop, _ = runner.run(loop, root, until)
    return (int(loop.steps) - before) / (time.perf_counter() - begin)


def memory_growth(env_id: str, workers: int, steps: int) -> dict[str, float]:
    """Peak memory of this process in MB after a tenth and after all of so many steps."""
    import jax

    import tutelage
    from tutelage.data.collect import collect, init_collector
    from tutelage.data.vector import make_vector_env
    from tutelage.policies.acting import random_policy, sample

    vector, policy = make_vector_env(tutelage.make(env_id, workers=workers), INSTANCES), random_policy()
    state = jax.jit(lambda key: init_collector(vector, policy, key))(jax.random.key(0))
    run = jax.jit(lambda collector, key: collect(vector, policy, (), sample, collector, key, STEPS)[0])
    peaks, done = {}, 0
    for share in (0.1, 1.0):
        while done < share * steps:
            state = jax.block_until_ready(run(state, jax.random.key(done)))
            done += STEPS * INSTANCES
        peaks[f"{share:g} of the steps"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"steps": done, **peaks}


def main() -> None:
    """Measure, print, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("envs", nargs="*", default=["pettingzoo:mpe2.simple_spread_v3"])
    parser.add_argument("--million", action="store_true", help="also a million steps, for growth of memory")
    args = parser.parse_args()
    workers = os.cpu_count() or 1
    results: dict[str, Any] = {"machine": f"{platform.machine()}, {workers} cores"}
    for env_id in args.envs:
        runs = [[f(env_id, workers) for f in (bare_rate, engine_rate, learning_rate)] for _ in range(3)]
        ratio = lambda i, runs=runs: sorted(round(run[i] / run[0], 3) for run in runs)
        medians = np.median(np.array(runs), 0).round().tolist()
        results[env_id] = {
            "steps per second": dict(zip(("bare", "random", "learning"), medians, strict=True)),
            "random / bare": ratio(1),
            "learning / bare": ratio(2),
        }
        if args.million:
            results[env_id]["memory"] = memory_growth(env_id, workers, 1_000_000)
        print(json.dumps(results, indent=1), flush=True)
    KEPT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
