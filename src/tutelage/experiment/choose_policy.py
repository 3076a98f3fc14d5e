"""Choosing what to play: a run or an environment, and a policy for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tutelage.envs.build import make
from tutelage.errors import BadInput, unknown
from tutelage.experiment.run_directory import LoadedRun, load
from tutelage.experiment.user_code import find_controller
from tutelage.policies.acting import RULES, greedy, random_policy, sample
from tutelage.registry import names_environment
from tutelage.types import ActRule, Environment, Params, Policy


class RunOrEnvironment(NamedTuple):
    """A loaded run with its environment, or an environment alone.

    Attributes:
        name: of the run or environment, as the user wrote it.
        env_id: name of the environment.
        env: the environment.
        run: the run; None for an environment alone.
    """

    name: str
    env_id: str
    env: Environment
    run: LoadedRun | None


class ChosenPolicy(NamedTuple):
    """The policy that plays.

    Attributes:
        name: `student`, `teacher`, `scripted[:NAME]` or `random`.
        policy, params: the policy and its parameters.
        act: how actions follow from its scores. rule: the name of that rule; None for a policy with a fixed rule.
    """

    name: str
    policy: Policy
    params: Params
    act: ActRule
    rule: str | None = None


def open_run_or_environment(name: str | Path, trust: bool = False, **options: Any) -> RunOrEnvironment:
    """Load a run (of a parent with several seeds, the first) or make an environment.

    Args:
        name: a run directory or the name of an environment.
        trust: import code that a run names and that is not built in.
        **options: of the environment; for a run, which has its own, disturbances alone.

    Raises:
        BadInput: neither, or other options for a run. Fault: a damaged run.
    """
    if names_environment(str(name)):
        return RunOrEnvironment(str(name), str(name), make(str(name), **options), None)
    run = load(name, trust)
    return RunOrEnvironment(str(name), run.record["env"], run.env_with(**options) if options else run.env, run)


def choose_policy(opened: RunOrEnvironment, name: str | None = None, act: str | None = None) -> ChosenPolicy:
    """The policy that plays in a run or environment.

    Args:
        opened: from `open_run_or_environment`.
        name: `student`, `teacher`, `scripted[:NAME]` or `random`; None: the student of a run (its teacher where it
            has no student), the scripted controller of an environment.
        act: `greedy` or `sample`, for the policies of a run; None: as the run was evaluated.

    Raises:
        BadInput: there is no such policy.
    """
    run = opened.run
    name = name or ("scripted" if run is None else run.frozen.actor)
    kind, _, controller = name.partition(":")
    if act is not None and kind in ("random", "scripted"):
        raise BadInput(f"act = {act!r}: {name} acts in its own way; only for the policies of a run")
    if kind == "random":
        return ChosenPolicy(name, random_policy(), (), sample)
    if kind == "scripted":
        return ChosenPolicy(name, find_controller(opened.env, controller or "local"), (), greedy)
    if run is None:
        raise BadInput(f"policy = {name!r}: {opened.name} is an environment; allowed are scripted[:NAME] and random")
    rule = act or run.record["fit"].get("act", "greedy")
    if rule not in RULES:
        raise unknown("act", rule, RULES)
    return ChosenPolicy(name, run.policy(name), run.params(name), RULES[rule], rule)
