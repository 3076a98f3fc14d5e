"""Speed of the battle engine, and of training on 3s_vs_5z, measured in one go: `make bench`.

Each part runs in a child process of its own, so that peak memory and compile time are its own. Rates are stated
beside jaxmarl's raw step in the same batch, measured before and after, because machines differ and change.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WINDOW = 81_920
"""Environment steps over which a success rate is taken."""
LEVELS = (0.5, 0.8, 0.9, 0.95)
ANCHOR = 80_000
"""Raw jaxmarl steps/s of the machine that the targets were stated for."""
B, T = 128, 32
ENVS = ("smax-jaxmarl/3s_vs_5z", "smax/3s_vs_5z")
MAPS = ("3s_vs_5z", "3s5z", "MMM2")
"""Where the engine is compared with jaxmarl. jaxmarl has no medivacs: it plays MMM2 with marines in their place."""
SETTINGS = {
    "mlp": {"core": "mlp", "size": "width=64", "critic_width": 64, "chunk": 1},
    "gru": {"core": "gru", "size": "width=64", "critic_width": 64, "chunk": 16},
}


def rate(step, carry, rounds: int = 12, n: int = B) -> dict[str, float]:
    """Steps per second of a function that plays n x T steps: median and best of `rounds`."""
    import jax
    import numpy as np

    run, key = jax.jit(step), jax.random.key(0)
    carry = jax.block_until_ready(run(carry, key))
    seconds = []
    for i in range(rounds):
        started = time.perf_counter()
        carry = jax.block_until_ready(run(carry, jax.random.fold_in(key, i)))
        seconds.append(time.perf_counter() - started)
    return {"median": round(n * T / float(np.median(seconds))), "best": round(n * T / min(seconds))}


def raw(name: str = "3s_vs_5z") -> dict[str, float]:
    """jaxmarl alone: auto-resetting `step`, random available actions, B side by side."""
    import jax
    import jax.numpy as jnp
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario
    from jaxmarl.environments.smax.smax_env import Scenario

    mmm2 = Scenario(jnp.array([0] * 7 + [1] * 2 + [0] + [0] * 8 + [1] * 3 + [0], jnp.uint8), 10, 12, False, False)
    scenario = mmm2 if name == "MMM2" else map_name_to_scenario(name)
    game = HeuristicEnemySMAX(scenario=scenario, see_enemy_actions=True, attack_mode="closest")

    def play(state, key):
        def body(state, key):
            key_step, key_act = jax.random.split(key)
            avail = jax.vmap(game.get_avail_actions)(state)
            draws = jax.random.uniform(key_act, (game.num_agents, B, game.num_enemies + 5))
            actions = {a: jnp.where(avail[a], draws[i], -1).argmax(-1) for i, a in enumerate(game.agents)}
            obs, state, reward, _, _ = jax.vmap(game.step)(jax.random.split(key_step, B), state, actions)
            return state, (reward["ally_0"], sum(obs[a].sum(-1) for a in game.agents))

        return jax.lax.scan(body, state, jax.random.split(key, T))[0]

    return rate(play, jax.vmap(game.reset)(jax.random.split(jax.random.key(0), B))[1])


def alone(env_id: str, n: str = str(B)) -> dict[str, float]:
    """An environment of ours alone: random available actions, n side by side, new episodes where one ended."""
    import jax

    import tutelage
    from tutelage.data.vector import make_vector_env

    vector = make_vector_env(tutelage.make(env_id), int(n))
    return rate(random_play(vector), vector.reset(jax.random.key(0)), n=vector.n)


def random_play(vector):
    """T steps of random available actions."""
    import jax
    import jax.numpy as jnp

    def play(carry, key):
        def body(carry, key):
            key_step, key_act = jax.random.split(key)
            env_state, ts = carry
            action = jnp.where(ts.avail, jax.random.uniform(key_act, ts.avail.shape), -1).argmax(-1)
            carry = vector.step(key_step, env_state, ts, action)
            return carry, (carry[1].reward, carry[1].obs.sum((1, 2)))

        return jax.lax.scan(body, carry, jax.random.split(key, T))[0]

    return play


def engine() -> dict[str, dict[str, object]]:
    """The engine against jaxmarl's step, in turn, three times each; the median of the ratios counts."""
    results = {}
    for name in MAPS:
        pairs = [(child("raw", name)["median"], child("alone", f"smax/{name}")["median"]) for _ in range(3)]
        ratios = sorted(ours / theirs for theirs, ours in pairs)
        results[name] = {"jaxmarl": pairs[1][0], "engine": pairs[1][1], "ratios": [round(r, 2) for r in ratios]}
    return results


def profile(env_id: str, core: str) -> dict[str, dict[str, float]]:
    """Where time goes: the environment alone, playing with the policy, and the update alone."""
    import jax

    import tutelage
    from tutelage.data.collect import init_collector, play
    from tutelage.data.vector import make_vector_env
    from tutelage.methods.ppo import mappo
    from tutelage.registry import method_config

    env = tutelage.make(env_id)
    method = mappo(env, method_config("mappo", **SETTINGS[core]))
    behaviour, update = method.stages[0].behaviours["actor"], method.stages[0].update
    vector, state = make_vector_env(env, B), method.init(jax.random.key(0))

    collector = init_collector(vector, behaviour.policy, jax.random.key(1))
    rollout = jax.jit(lambda h, k: play(vector, behaviour, state, 0.0, h, k)[1])(collector, jax.random.key(2))
    return {
        "environment": rate(random_play(vector), vector.reset(jax.random.key(0))),
        "playing": rate(lambda h, k: play(vector, behaviour, state, 0.0, h, k)[0], collector),
        "update": rate(lambda s, k: update(s, {"actor": rollout}, k, 0.0)[0], state),
    }


def train(env_id: str, core: str, steps: str, seed: str) -> dict[str, object]:
    """MAPPO from the first step: rate, cores used, seconds to each level, compile time, peak memory."""
    import tutelage

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started, cpu = time.perf_counter(), time.process_time()
        settings = {**SETTINGS[core], "steps": int(steps), "fit": tutelage.FitConfig(evaluations=1)}
        run = tutelage.train("mappo", env_id, out=out, seed=int(seed), quiet=True, **settings)[0]
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [line for line in lines if line["kind"] == "metrics"]
    return {
        "steps_per_second": round(rows[-1]["total_steps"] / rows[-1]["seconds"]),
        "seconds_to": {str(level): reached(rows, level) for level in LEVELS},
        "compile_seconds": sum(line["seconds"] for line in lines if line["kind"] == "compiled"),
        "cores_used": round(cpu / wall, 2),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "greedy": run.test["success_rate"],
        "steps": rows[-1]["total_steps"],
        "seed": int(seed),
    }


def reached(rows: list[dict], level: float) -> float | None:
    """Seconds of learning after which the success rate over the last WINDOW steps is at `level`."""
    for i, row in enumerate(rows):
        window, steps = [], 0.0
        for past in rows[i::-1]:
            window.append(past)
            steps += past["steps"]
            if steps >= WINDOW:
                break
        won, played = sum(r["successes"] for r in window), sum(r["episodes"] for r in window)
        if steps >= WINDOW and played and won / played >= level:
            return row["seconds"]
    return None


def child(part: str, *args: object, script: str = __file__) -> dict:
    """Run one part of a script in a process of its own."""
    command = [sys.executable, script, "--part", part, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure everything, print it, keep it in benchmarks/results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_500_000, help="environment steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per core")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        name, *rest = args.part
        known = {"raw": raw, "alone": alone, "profile": profile, "train": train}
        print(json.dumps(known[name](*rest)))
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
        results: dict[str, object] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "engine": engine(),
            "raw_before": child("raw"),
        }
        for env_id in ENVS:
            results[env_id] = {
                core: {
                    "profile": child("profile", env_id, core),
                    "trainings": [child("train", env_id, core, args.steps, seed) for seed in range(args.seeds)],
                }
                for core in SETTINGS
            }
        results["raw_after"] = child("raw")
    results["scale"] = round(max(results["raw_before"]["best"], results["raw_after"]["best"]) / ANCHOR, 3)  # type: ignore[index]
    print(json.dumps(results, indent=1))
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
