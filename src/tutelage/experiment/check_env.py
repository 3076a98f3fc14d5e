"""Checking an environment before hours are spent on it: it is played, and what is wrong is told."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tutelage.configs.checks import check_seeds
from tutelage.envs.build import make
from tutelage.errors import BadInput
from tutelage.experiment.check_findings import Finding, findings_of
from tutelage.experiment.check_inputs import columns_as_dict
from tutelage.experiment.check_play import Play, Seen, play_env
from tutelage.experiment.evaluate import check_episodes, evaluation_of
from tutelage.experiment.records import Evaluation
from tutelage.experiment.user_code import find_controller
from tutelage.policies.acting import greedy, random_policy, sample
from tutelage.types import Environment


@dataclass(frozen=True)
class Check:
    """What was found in an environment.

    Attributes:
        env, version: of the environment. seed: of the play. facts: counts, widths and limits of its spec.
        findings: the worst first.
        random, scripted: outcomes of whole episodes; None where none ended, or nobody is scripted.
        columns: `obs` (N, D) and `state` (S,): min, max, mean and std of living agents' rows, as lists.
        available: (N, A) share of a living agent's steps in which it could take the action, as lists.
        envs: instances side by side. steps_per_second: of all together. compile_seconds: of the compiled piece.
    """

    env: str
    version: str
    seed: int
    facts: dict[str, Any]
    findings: tuple[Finding, ...]
    random: Evaluation | None
    scripted: Evaluation | None
    columns: dict[str, Any]
    available: list[list[float]]
    envs: int
    steps_per_second: float
    compile_seconds: float

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What must be repaired before training."""
        return tuple(finding for finding in self.findings if finding.level == "fault")

    def as_dict(self) -> dict[str, Any]:
        outcomes = {name: x.as_dict() if (x := getattr(self, name)) else None for name in ("random", "scripted")}
        return asdict(self) | {"faults": len(self.faults), "findings": [asdict(x) for x in self.findings], **outcomes}


def check(env: str | Environment, episodes: int = 64, seed: int = 0, **options: Any) -> Check:
    """Play an environment and tell what is wrong with it.

    Args:
        env: a name as `make` takes it, or an Environment.
        episodes: how many of random play, and of scripted play where there is a controller.
        seed: of the play.
        **options: of the environment, where a name is given.

    Raises:
        BadInput: it cannot be made, its shapes or types contradict its spec, or its code raises. Fault: a process
            that plays it failed.
    """
    check_episodes(episodes)
    check_seeds(seed)
    if not isinstance(env, str) and options:
        raise BadInput(f"options {', '.join(options)}: only used where the environment is given by its name")
    made = make(env, **options) if isinstance(env, str) else env
    name = env if isinstance(env, str) else env.watched or type(env).__name__
    random = play_env(made, name, random_policy(), sample, episodes, seed)
    scripted = scripted_play(made, name, episodes, seed)
    seen = Seen(name, made.spec, random, scripted, unlike_programs(made))
    alive = np.maximum(random.flow.alive.sum((0, 1)), 1)[:, None]
    facts = {name: x for name, x in asdict(made.spec).items() if isinstance(x, int | float | str) and name != "version"}
    return Check(
        env=name,
        version=made.spec.version,
        seed=seed,
        facts=facts,
        findings=findings_of(seen),
        random=outcome(random),
        scripted=outcome(scripted) if scripted else None,
        columns={field: columns_as_dict([getattr(x.tally, field) for x in seen.plays]) for field in ("obs", "state")},
        available=(random.tally.available / alive).tolist(),
        envs=random.envs,
        steps_per_second=round(random.speed, 1),
        compile_seconds=round(random.compiling, 3),
    )


def scripted_play(env: Environment, name: str, episodes: int, seed: int) -> Play | None:
    """Play of the environment's own controller; None where it has none."""
    try:
        policy = find_controller(env, "local")
    except BadInput:
        return None
    return play_env(env, name, policy, greedy, episodes, seed, repeats=False)


def outcome(play: Play) -> Evaluation | None:
    """The outcomes of whole episodes with intervals; None where none ended, or a return is no number."""
    length, returns, success, _ = play.episodes
    if not len(length) or not np.isfinite(returns).all():
        return None
    return evaluation_of(success, returns, length)


def unlike_programs(env: Environment) -> tuple[str, ...]:
    """Functions of a user's environment that are another program each time they are traced.

    Numbers drawn by NumPy or Python become constants of the program: they are the same in every step, and others after
    the next compilation.
    """
    if not env.watched or env.on_host or env.vector:
        return ()
    key, action = jax.random.key(0), jnp.zeros(env.spec.n_agents, jnp.int32)
    state = jax.eval_shape(env.reset, key)[0]
    calls = {"reset": (env.reset, (key,)), "step": (env.step, (key, state, action))}
    return tuple(name for name, (call, args) in calls.items() if program(call, args) != program(call, args))


def program(call: Any, args: tuple[Any, ...]) -> str:
    """A function as text, constants included, without addresses in memory."""
    closed = jax.make_jaxpr(lambda *x: call(*x))(*args)
    constants = [
        np.asarray(x).tobytes().hex() for x in closed.consts if not jnp.issubdtype(x.dtype, jax.dtypes.extended)
    ]
    return re.sub(r"0x[0-9a-f]+", "", str(closed)) + "".join(constants)
