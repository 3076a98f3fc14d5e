"""The check that ends an export: recorded steps replayed in every format, and whole episodes played by it.

What is exported must give the scores of the team that was trained, and must do as well when each agent decides alone.
Of integers, which cannot, it is measured what they cost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.deploy import standalone
from tutelage.deploy.backends import BACKENDS, INT8_BACKENDS, Backend, python_backend, why_not_run
from tutelage.deploy.contract import Contract
from tutelage.deploy.play import DeployedPlayer, Played, play
from tutelage.deploy.recorded import Recorded, replay
from tutelage.errors import BadInput, Fault
from tutelage.experiment.records import Evaluation
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.stats import mean_interval, paired_shares
from tutelage.policies.acting import RULES

NEAR = 1e-5
"""Scores that differ by less may be in another order; probabilities may differ by as much."""


def why_not_played(run: LoadedRun) -> str | None:
    """Why the environment of a run cannot be played here; None where it can."""
    try:
        run.env  # noqa: B018
    except BadInput as error:
        return f"the environment cannot be made here: {error}"
    return None


def check_formats(
    folder: Path, run: LoadedRun, contract: Contract, recorded: Recorded, episodes: int, int8: bool
) -> dict[str, Any]:
    """Replay and play every format of a folder.

    Returns:
        `rows`, `jax` (how the team itself does), and `formats`: by name `score_difference`,
        `probability_difference`, `same_action` (shares of the rows), and an evaluation; or why it was not run. With
        `int8` also what integers cost, see `check_int8`.

    Raises:
        Fault: a format does not act as the team does.
    """
    role, seed, rule = contract["role"], contract["seed"], RULES[contract["act"]["rule"]]
    itself = play(run, run.policy(role), run.params(role), rule, episodes, seed)
    player = DeployedPlayer(run, contract["messages"] is not None)
    results: dict[str, Any] = {}
    for name in contract["formats"]:
        if reason := why_not_run(name):
            results[name] = {"skipped": reason}
            continue
        backend = BACKENDS[name](folder, contract)
        agreement = compare_rows(name, backend, contract, recorded)
        played = player.play(backend, episodes, seed).test
        check_score(name, played, itself.test, run.spec.measure)
        results[name] = {**agreement, **scores_of(played)}
    scores = recorded.scores[recorded.steps.avail[:-1]]
    found = {
        "rows": decisions(recorded),
        "scores": [float(scores.min()), float(scores.max())],
        "episodes": episodes,
        "seed": seed,
        "jax": scores_of(itself.test),
    }
    costs = {"int8": check_int8(folder, contract, recorded, player, itself, seed)} if int8 else {}
    return {**found, "formats": results, **costs}


def decisions(recorded: Recorded) -> int:
    """How many decisions were recorded: of agents that have an action."""
    return int(recorded.steps.avail.any(-1)[:-1].sum())


def compare_rows(name: str, backend: Backend, contract: Contract, recorded: Recorded) -> dict[str, float]:
    """Scores, probabilities, best actions and memory of a format beside the team's own on the recorded steps.

    Every step begins with the memory that the team itself had, so that what is compared is the step. (From episode to
    episode roundings of a recurrent network may grow; that is seen when the team plays.)

    Raises:
        Fault: another action is the best one although its score is not near, or a probability differs by more.
    """
    ours, drift = replay_all(backend, contract, recorded, follow_memory=True)
    mine, theirs, mask, blocked = masked(ours, recorded)
    best_two = -np.sort(-blocked(theirs), -1)[:, :2]
    same = blocked(mine).argmax(-1) == blocked(theirs).argmax(-1)
    tied = best_two[:, 0] - best_two[:, 1] < NEAR
    score = float(np.abs(np.where(mask, mine - theirs, 0)).max())
    probability = float(np.abs(softmax(blocked(mine)) - softmax(blocked(theirs))).max())
    if not (same | tied).all() or not probability <= NEAR:
        raise Fault(
            f"format {name} does not act as the team does: of {len(same)} recorded decisions "
            f"{int((~(same | tied)).sum())} differ, probabilities by up to {probability:.2g} (allowed are {NEAR:g}); "
            "nothing was exported"
        )
    return {
        "score_difference": score,
        "probability_difference": probability,
        "memory_difference": drift,
        "same_action": float(same.mean()),
        "nearly_tied": int((tied & ~same).sum()),
    }


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def replay_all(
    backend: Backend, contract: Contract, recorded: Recorded, follow_memory: bool
) -> tuple[np.ndarray, float]:
    """Scores (T, B, N, A) of a format on the recorded steps, and how far its memories are off, see `replay`."""
    rows_of = python_backend(contract, backend.networks)
    agents = [rows_of.agent(i) for i in range(len(contract["agents"]))]
    replayed = [replay(agents, recorded, b, follow_memory) for b in range(recorded.scores.shape[1])]
    return np.stack([scores for scores, _ in replayed], 1), max(memory for _, memory in replayed)


def masked(ours: np.ndarray, recorded: Recorded) -> tuple[Any, Any, Any, Callable[..., Any]]:
    """Scores (R, A) of a format and of the team in its decisions, the masks, and the function that applies these."""
    avail = recorded.steps.avail[:-1]
    acts = avail.any(-1)
    mask = avail[acts]
    return ours[acts], recorded.scores[acts], mask, lambda x: np.where(mask, x, standalone.BLOCKED)


def check_int8(
    folder: Path, contract: Contract, recorded: Recorded, player: DeployedPlayer, itself: Played, seed: int
) -> dict[str, Any]:
    """What integers cost: shares of equal actions, and success and return against the team's own, episode by episode.

    Returns:
        `same_action`, `probability_difference` (mean), an evaluation, `success_change` and `return_change` with
        `..._ci95`, and `c`: whether the C gives the same integers, or why it was not run.

    Raises:
        Fault: the C gives other integers.
    """
    backend = INT8_BACKENDS["numpy"](folder, contract)
    ours, _ = replay_all(backend, contract, recorded, follow_memory=False)
    mine, theirs, mask, blocked = masked(ours, recorded)
    played = player.play(backend, len(itself.success), seed)
    share, interval = paired_shares(played.success, itself.success)
    change = played.returns.astype(float) - itself.returns
    changes = {"success_change": share, "success_change_ci95": list(interval)}
    changes |= {"returns_change": float(change.mean()), "returns_change_ci95": list(mean_interval(change))}
    same_c: Any = why_not_run("c")
    if same_c is None:
        in_c, _ = replay_all(INT8_BACKENDS["c"](folder, contract), contract, recorded, follow_memory=False)
        same_c = bool((in_c == ours).all())
        if not same_c:
            raise Fault("int8: the C gives other integers than numpy/int8.py; nothing was exported")
    return {
        "score_difference": float(np.abs(np.where(mask, mine - theirs, 0)).max()),
        "same_action": float((blocked(mine).argmax(-1) == blocked(theirs).argmax(-1)).mean()),
        "probability_difference": float(np.abs(softmax(blocked(mine)) - softmax(blocked(theirs))).sum(-1).mean() / 2),
        **scores_of(played.test),
        **changes,
        "same_in_c": same_c,
    }


def scores_of(test: Evaluation) -> dict[str, Any]:
    """What the contract keeps of an evaluation."""
    return {name: test.as_dict()[name] for name in ("success_rate", "ci95", "return_mean", "return_ci95")}


def check_score(name: str, played: Evaluation, jax_test: Evaluation, measure: str) -> None:
    """Raise Fault where a format does worse or better than the team itself by more than chance."""
    score, interval = ("success_rate", "ci95") if measure == "success" else ("return_mean", "return_ci95")
    (low, high), ours = getattr(jax_test, interval), getattr(played, score)
    if not low <= ours <= high:
        raise Fault(
            f"format {name} has {score} {ours:.3f} when it plays, the team itself {getattr(jax_test, score):.3f} "
            f"[{low:.3f}, {high:.3f}]; nothing was exported"
        )
