"""Comparing students with their teacher on the states that the students reach: from each, both play to the end.

The environment is pure, so both can continue from the same state with the same random numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.configs.checks import check_seeds
from tutelage.data.collect import CollectorState, collect, init_collector
from tutelage.data.episodes import Episodes, play_on_each
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import first_faults, raise_first_fault
from tutelage.errors import BadInput
from tutelage.experiment.evaluate import test_key
from tutelage.experiment.find_teacher import check_same_environment
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.memory_check import check_instances
from tutelage.experiment.run_directory import LoadedRun
from tutelage.experiment.run_record import check_version
from tutelage.experiment.stats import mean_interval
from tutelage.policies.acting import RULES
from tutelage.policies.compose import with_shadow
from tutelage.types import ActRule, Environment, Params, Policy


class Fork(NamedTuple):
    """How students and teacher continue from the states that the students reach after some steps.

    Attributes:
        step: number of steps after which both continue.
        going: (n,) whether the episode had not ended by then.
        student, teacher: the rest of the episodes, played by the students or by the teacher alone.
    """

    step: int
    going: np.ndarray
    student: Episodes
    teacher: Episodes

    def as_dict(self) -> dict[str, Any]:
        """Means over the episodes that had not ended; `regret` is the teacher's return minus the students'."""
        going = self.going
        regret = (self.teacher.returns - self.student.returns)[going]
        rate = lambda x: float(x.success[going].mean()) if going.any() else None
        return {
            "step": self.step,
            "going": int(going.sum()),
            "student_success": rate(self.student),
            "teacher_success": rate(self.teacher),
            "saved": int((self.teacher.success & ~self.student.success)[going].sum()),
            "lost": int((self.student.success & ~self.teacher.success)[going].sum()),
            "regret": float(regret.mean()) if going.any() else None,
            "regret_ci95": list(mean_interval(regret)) if going.any() else None,
        }


def forks(
    env: Environment,
    student: tuple[Policy, Params],
    teacher: tuple[Policy, Params],
    episodes: int = 64,
    every: int | None = None,
    seed: int = 0,
    act: ActRule = RULES["greedy"],
) -> list[Fork]:
    """Play students' episodes, and from every so many steps on let students and teacher play to the end.

    Args:
        env: from `make`.
        student, teacher: policies with their parameters.
        episodes: how many.
        every: steps between two forks; by default a tenth of the longest episode.
        seed: of the episodes; student and teacher meet the same random numbers.

    Raises:
        BadInput: fewer than one episode or step, an invalid seed, or an environment on the host. NonFinite: as in
            `evaluate`.
    """
    if env.on_host:
        raise BadInput("fork: this environment runs on the host, where no state can be gone back to")
    every = max(1, env.spec.max_steps // 10) if every is None else every
    for name, value in (("episodes", episodes), ("every", every)):
        if value < 1:
            raise BadInput(f"{name} = {value}: must be at least 1")
    check_seeds(seed)
    check_instances(env, "episodes", episodes)
    shadowed, params = with_shadow(student[0], teacher[0]), (student[1], teacher[1])
    vector = make_vector_env(env, episodes, shadowed.goals)
    keys = jax.random.split(test_key(seed))
    collector, ended = init_collector(vector, shadowed, keys[0]), jnp.zeros(episodes, bool)

    def play_steps(
        collector: CollectorState, ended: Bool[Array, " B"], key: PRNGKeyArray
    ) -> tuple[CollectorState, Array, dict[str, Any]]:
        collector, rollout = collect(vector, shadowed, params, act, collector, key, every)
        return collector, ended | rollout.steps.last[1:].any(0), first_faults((rollout.watch, rollout.steps.watch))

    def play_ends(collector: CollectorState, ended: Bool[Array, " B"], key: PRNGKeyArray) -> list[Episodes]:
        return play_on_each(vector, (student, teacher), act, collector, ended, key)

    play_some, play_out, found_forks = jit_unoptimised(play_steps), jit_unoptimised(play_ends), list[Fork]()
    for step in range(0, env.spec.max_steps, every):
        if bool(ended.all()):
            break
        key = jax.random.fold_in(keys[1], step)
        outcomes = jax.device_get(play_out(collector, ended, jax.random.fold_in(key, 1)))
        for outcome in outcomes:
            raise_first_fault(outcome.wrong)
        found_forks.append(Fork(step, ~np.asarray(ended), *outcomes))
        collector, ended, wrong = play_some(collector, ended, jax.random.fold_in(key, 2))
        raise_first_fault(wrong)
    return found_forks


def fork_run(
    run: LoadedRun,
    episodes: int,
    every: int | None,
    seed: int,
    act: str | None = None,
    teacher: LoadedRun | None = None,
) -> list[Fork]:
    """`forks` of the students of a run, with its own teacher or the teacher of another run.

    With another run's teacher, two teachers can be compared on the same states.

    Raises:
        BadInput: a run lacks the role, or the environments of the two runs differ.
    """
    teacher_run = teacher or run
    check_same_environment(teacher_run, run.record["env"], run.record["env_options"])
    check_version(teacher_run.record, run.env)
    student_pair, teacher_pair = (
        (source.policy(role), source.params(role)) for source, role in ((run, "student"), (teacher_run, "teacher"))
    )
    rule = RULES[act or run.record["fit"].get("act", "greedy")]
    return forks(run.env, student_pair, teacher_pair, episodes, every, seed, rule)
