"""The full circle: `python benchmarks/circle.py FOLDER [--episodes 320]`.

FOLDER is what `tutelage export` wrote of a team that was trained on `pettingzoo:mpe2.simple_spread_v3`. It is played in
mpe2 itself, with NumPy alone: neither jax nor this package is imported. Prints one JSON object: the mean return of the
team (the agents' mean) and its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def play(folder: Path, episodes: int, seed: int) -> np.ndarray:
    """The returns of so many episodes, seeded one after another."""
    sys.path.insert(0, str(folder / "numpy"))
    from mpe2 import simple_spread_v3
    from team import Team  # type: ignore[import-not-found]

    env, team = simple_spread_v3.parallel_env(), Team()
    returns = np.zeros(episodes)
    for episode in range(episodes):
        seen, _ = env.reset(seed=seed + episode)
        team.reset()
        masks = [np.ones(env.action_space(agent).n, bool) for agent in env.possible_agents]
        while env.agents:
            actions = team.act([seen[agent] for agent in env.possible_agents], masks)
            chosen = {agent: int(action) for agent, action in zip(env.possible_agents, actions, strict=True)}
            seen, rewards, *_ = env.step(chosen)
            returns[episode] += np.mean(list(rewards.values()))
    return returns


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description="An exported team in mpe2, with NumPy alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1_000_000)
    args = parser.parse_args()
    returns = play(args.folder, args.episodes, args.seed)
    imported = [name for name in ("jax", "tutelage") if name in sys.modules]
    half = 1.96 * returns.std(ddof=1) / np.sqrt(len(returns))
    mean = float(returns.mean())
    interval = [round(mean - half, 3), round(mean + half, 3)]
    print(json.dumps({"episodes": len(returns), "return": round(mean, 3), "ci95": interval, "imported": imported}))


if __name__ == "__main__":
    main()
