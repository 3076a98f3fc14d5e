"""How a trained team fails: its score under disturbances of several levels, against the same episodes without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from tutelage.configs.checks import build, check_seeds
from tutelage.configs.disturb import UNDISTURBED
from tutelage.configs.stress import StressLevels
from tutelage.data.episodes import Episodes
from tutelage.envs.disturb import Amounts, Disturbed
from tutelage.errors import BadInput, unknown
from tutelage.experiment.evaluate import (
    BATCH,
    Evaluation,
    check_episodes,
    make_player,
    play_episodes,
    play_whole,
    summarise,
    test_key,
)
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.seed_axis import SeedAxis
from tutelage.experiment.stats import Interval, mean_interval, paired_shares
from tutelage.experiment.stress_levels import DELAYS, LADDERS, Level, check_levels
from tutelage.policies.acting import RULES
from tutelage.policies.blueprint import OwnCode
from tutelage.policies.blueprint import Team as TeamBlueprint
from tutelage.policies.compose import with_teammates
from tutelage.registry import split_options
from tutelage.types import ActRule, Environment, Measure, Params, Policy

Team = tuple[Policy, Params]


class Difference(NamedTuple):
    """A score minus that of the same episodes undisturbed, with a 95 % interval."""

    mean: float
    ci95: Interval

    @property
    def decides(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.ci95[0] <= 0 <= self.ci95[1]


@dataclass(frozen=True)
class StressedLevel:
    """The scores of a team at one level.

    Attributes:
        kind, label, value: which level.
        evaluation: of the episodes played at it.
        differences: of success and return to the same episodes undisturbed.
    """

    kind: str
    label: str
    value: Any
    evaluation: Evaluation
    differences: dict[Measure, Difference]

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"kind": self.kind, "level": self.value, **self.evaluation.as_dict()}
        for measure, difference in self.differences.items():
            told[f"{measure}_difference"] = difference.mean
            told[f"{measure}_difference_ci95"] = list(difference.ci95)
            told[f"{measure}_decides"] = difference.decides
        return told


@dataclass(frozen=True)
class Stress:
    """How a team fails.

    Attributes:
        env, env_options: the environment, without the disturbances of its training. method, role: who was played.
        measure: what table and picture show: `success`; `return` where the environment is judged by it, and for a team
            that never succeeds undisturbed either.
        act: how actions follow from scores. episodes, seed: what was played at every level.
        undisturbed: the evaluation without disturbances.
        levels: in order of their kinds.
        left_out: kinds that do not apply, with the reason.
    """

    env: str
    env_options: dict[str, Any]
    method: str
    role: str
    measure: Measure
    act: str
    episodes: int
    seed: int
    undisturbed: Evaluation
    levels: tuple[StressedLevel, ...]
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        levels = [level.as_dict() for level in self.levels]
        plain = {name: value for name, value in vars(self).items() if name not in ("undisturbed", "levels")}
        return {**plain, "undisturbed": self.undisturbed.as_dict(), "levels": levels}


def reasons_against(run: LoadedRun, role: str) -> dict[str, str]:
    """Kinds that do not apply to a role of a run, each with the reason."""
    made_of, mates = run.roles[role].made_of, run.roles.get("teacher")
    talks = isinstance(made_of, OwnCode) or (isinstance(made_of, TeamBlueprint) and made_of.talks)
    found = {"delay": "an episode has one step"} if run.spec.max_steps == 1 else {}
    if not (run.spec.links and talks):
        found["lost_messages"] = "these agents do not talk"
    if role == "teacher" or mates is None:
        found["teammates"] = "there is no teacher beside them"
    elif not (run.policy(role).groups and run.policy("teacher").groups):
        found["teammates"] = "student and teacher are not both made of agents"
    return found


def stress(
    run: LoadedRun,
    role: str = "student",
    episodes: int = 320,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    act: str | None = None,
    **levels: Any,
) -> Stress:
    """Play a trained team under disturbances of several levels, and the same episodes without them.

    Args:
        run: from `load`.
        role: which of its teams.
        episodes: at every level.
        kinds: of `noise`, `dropout`, `delay`, `lost`, `lost_messages`, `teammates`; None: all that apply.
        seed: of the episodes.
        act: `greedy` or `sample`; None: as the run was evaluated.
        **levels: of each kind, e.g. `noise=(0.1, 0.3)`; see `configs.stress.StressLevels`.

    Raises:
        BadInput: an unknown role, kind or level, a kind that does not apply, fewer than two episodes, or an invalid
            seed. NonFinite: as in `evaluate`.
    """
    checked = build(StressLevels, levels, "level")
    check_episodes(episodes, least=2)
    check_seeds(seed)
    rule = act or run.record["fit"].get("act", "greedy")
    if rule not in RULES:
        raise unknown("act", rule, RULES)
    team, left_out = (run.policy(role), run.params(role)), reasons_against(run, role)
    kinds = check_kinds(kinds, left_out)
    env_id, options = run.record["env"], run.record["env_options"]
    env = run.env_with(**split_options(env_id, UNDISTURBED)[1])
    check_levels(checked, kinds, env_id, env.spec)
    mates = (run.policy("teacher"), run.params("teacher")) if "teammates" in kinds else None
    play = make_players(env, team, mates, RULES[rule], episodes, seed, max(checked.delay or DELAYS))
    plain = play(Level("undisturbed", None))
    undisturbed = summarise(plain, episodes)
    found = [
        compare(kind, level, play(level), plain, episodes)
        for kind in kinds
        for level in LADDERS[kind](checked, env.spec, int(undisturbed.length_mean))
    ]
    return Stress(
        env=env_id,
        env_options=split_options(env_id, options)[0],
        method=run.record["method"],
        role=role,
        measure="return" if not undisturbed.success_rate else env.spec.measure,
        act=rule,
        episodes=episodes,
        seed=seed,
        undisturbed=undisturbed,
        levels=tuple(found),
        left_out=left_out,
    )


def check_kinds(kinds: Sequence[str] | None, left_out: dict[str, str]) -> tuple[str, ...]:
    """The kinds that were asked for; raises BadInput where one is unknown or does not apply."""
    for kind in kinds or ():
        if kind not in LADDERS:
            raise unknown("kind", kind, LADDERS)
        if kind in left_out:
            raise BadInput(f"kind = {kind!r}: {left_out[kind]}")
    return tuple(kind for kind in LADDERS if (kind in kinds if kinds else kind not in left_out))


def make_players(
    env: Environment, team: Team, mates: Team | None, act: ActRule, episodes: int, seed: int, longest: int
) -> Callable[[Level], list[Episodes]]:
    """A function that plays the same episodes at a level; levels of one kind share one compiled program.

    Args:
        mates: who plays the agents that are replaced; None where none is. longest: no delay is above it.
    """
    policy, params = team
    n, agents = min(episodes, BATCH), np.arange(env.spec.n_agents)
    mixed = with_teammates(policy, mates[0]) if mates else policy

    @jit_unoptimised
    def disturbed(params: Params, key: PRNGKeyArray, amounts: Amounts) -> Episodes:
        return play_whole(Disturbed(env, amounts, longest), policy, n, act)(params, key)

    def play(level: Level) -> list[Episodes]:
        player, played_with = make_player(env, policy, n, act), params
        if level.amounts != Amounts():
            player = partial(disturbed, amounts=level.amounts)
        elif level.replaced and mates:
            player = make_player(env, mixed, n, act)
            played_with = jnp.asarray(np.isin(agents, level.replaced)), params, mates[1]
        return play_episodes(player, played_with, test_key(seed), episodes, n, SeedAxis(1))[0]

    return play


def compare(kind: str, level: Level, played: list[Episodes], plain: list[Episodes], episodes: int) -> StressedLevel:
    """The scores at a level, against those of the same episodes undisturbed."""
    each = lambda name: (np.concatenate([getattr(x, name) for x in batches])[:episodes] for batches in (played, plain))
    success, (returns, returns_before) = paired_shares(*each("success")), each("returns")
    gained = returns - returns_before
    differences: dict[Measure, Difference] = {
        "success": Difference(*success),
        "return": Difference(float(gained.mean()), mean_interval(gained)),
    }
    return StressedLevel(kind, level.label, level.value, summarise(played, episodes), differences)
