"""Cost per environment step of methods beside each other, and speed of environments: `make bench`.

A method's cost is that of whole iterations in its steady state (replay warm): playing, and learning from it. Methods of
a group are measured in turn, three times each, in processes of their own; the median of the ratios counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

from bench import child

KEPT = Path(__file__).parent / "methods.json"
CHUNK, ROUNDS = 4, 3
"""Updates per measured chunk, and chunks."""
WIDE = 256
"""Environments side by side where environments are measured alone."""
ENVIRONMENTS = ("smax/3s_vs_5z", "predator_prey/punish2", "fire_commander/easy", "marine/easy", "mpe/simple_spread")

MLP = {"core": "mlp"}
WIDTH = {"size": "width=64", "critic_width": 64}
GROUPS = {
    "value-based, smax/3s_vs_5z": ("smax/3s_vs_5z", {
        "qmix": ("qmix", {}), "ddn, full": ("ddn", {}), "ddn, film": ("ddn", {"fusion": "film"}),
        "ctds": ("ctds", {}), "maddpg": ("maddpg", {}), "mappo": ("mappo", {}),
    }),
    "value-based, smax/MMM2": ("smax/MMM2", {
        "qmix": ("qmix", {}), "ddn, full": ("ddn", {}), "ddn, film": ("ddn", {"fusion": "film"}),
    }),
    "recurrent, fire_commander/medium": ("fire_commander/medium", {
        "mappo": ("mappo", WIDTH), "hint": ("hint", {}), "happo": ("happo", WIDTH),
    }),
    "feed-forward, fire_commander/medium": ("fire_commander/medium", {
        "mappo": ("mappo", {**WIDTH, **MLP, "chunk": 1}), "hint": ("hint", MLP),
    }),
    "recurrent, marine/medium": ("marine/medium", {"mappo": ("mappo", WIDTH), "hint": ("hint", {})}),
}  # fmt: skip
"""Methods by group; the first of each is what the others are compared with."""


def cost(method: str, env_id: str, settings: str) -> dict[str, float]:
    """Microseconds per environment step of whole iterations, and of playing alone."""
    import jax
    import numpy as np

    import tutelage
    from tutelage.data.collect import play
    from tutelage.experiment.stage_loop import StageLoop
    from tutelage.registry import method_config, method_row, resolve

    env, root = tutelage.make(env_id), jax.random.key(0)
    config = method_config(method, **json.loads(settings))
    built = resolve(method_row(method).factory)(env, config, None)
    index = [stage.name for stage in built.stages].index("train")
    runner = StageLoop(env, built.stages[index], index, CHUNK)
    loop = runner.init_state(jax.jit(built.init)(root), root)
    runner.compile(loop, root)
    until, spent = 0, []
    per_update = sum(b.envs * b.steps for b in runner.stage.behaviours.values())
    warm = -(-getattr(config, "warm_up", 0) // (CHUNK * per_update)) + 1
    for i in range(warm + ROUNDS):
        before, started = int(loop.steps), time.perf_counter()
        until += CHUNK
        loop, _ = runner.run(loop, root, until)
        if i >= warm:
            spent.append((time.perf_counter() - started) / (int(loop.steps) - before))

    @jax.jit
    def collect(collectors, key):
        after = {}
        for i, (name, b) in enumerate(runner.stage.behaviours.items()):
            key = jax.random.fold_in(key, i)
            after[name] = play(runner.vectors[name], b, loop.train_state, 0.5, collectors[name], key)[0]
        return after

    collectors, playing = jax.block_until_ready(collect(loop.collectors, root)), []
    for i in range(ROUNDS):
        started = time.perf_counter()
        collectors = jax.block_until_ready(collect(collectors, jax.random.fold_in(root, i)))
        playing.append((time.perf_counter() - started) / per_update)
    micro = lambda x: round(1e6 * float(np.median(x)), 2)
    return {"microseconds": micro(spent), "playing": micro(playing), "steps_per_second": round(1 / np.median(spent))}


def compare(env_id: str, methods: dict[str, tuple[str, dict]]) -> dict[str, dict]:
    """Every method of a group, in turn, three times."""
    ask = lambda method, settings: child("cost", method, env_id, json.dumps(settings), script=__file__)
    runs = [{name: ask(*what) for name, what in methods.items()} for _ in range(3)]
    first = next(iter(methods))
    results = {}
    for name in methods:
        ratios = sorted(run[name]["microseconds"] / run[first]["microseconds"] for run in runs)
        results[name] = {**runs[1][name], "ratios": [round(r, 2) for r in ratios]}
    return results


def main() -> None:
    """Measure everything or some groups, print it, keep it in benchmarks/methods.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    known = "; ".join(GROUPS)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, metavar="GROUP", help=f"measure these alone: {known}")
    args = parser.parse_args()
    if args.part:
        print(json.dumps(cost(*args.part[1:])))  # "cost" is the only part
        return
    if args.groups:
        results = json.loads(KEPT.read_text()) | {name: compare(*GROUPS[name]) for name in args.groups}
    else:
        results = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "environments": {name: child("alone", name, WIDE) for name in ENVIRONMENTS},
            **{name: compare(*group) for name, group in GROUPS.items()},
        }
    print(json.dumps(results, indent=1))
    KEPT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
