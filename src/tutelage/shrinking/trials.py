"""Distilling students of several sizes from one gathered experience, and playing them beside their teacher."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.episodes import Episodes
from tutelage.data.watch import raise_first_fault
from tutelage.errors import NonFinite
from tutelage.experiment.evaluate import make_player, play_episodes
from tutelage.experiment.evaluator import evaluation_key
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.nonfinite import first_bad_metric
from tutelage.experiment.seed_axis import SeedAxis
from tutelage.experiment.sinks import Display
from tutelage.experiment.stage_loop import StageLoop
from tutelage.methods.kd_marl.data import KdState
from tutelage.methods.kd_marl.ladder import Ladder, make_ladder
from tutelage.policies.acting import greedy, random_policy, sample
from tutelage.policies.blueprint import Core
from tutelage.policies.normalising import with_moments_of
from tutelage.shrinking.retention import EPISODES, LOOKS, Z_LOOKS, Scores, share_kept, verdict
from tutelage.shrinking.search import Judged
from tutelage.shrinking.sizes import Size
from tutelage.types import ActRule, Environment, Frozen, Method, Params, Policy, Stage

SIDE_BY_SIDE = 32
"""Episodes that are played side by side, as in the evaluations of training."""


class Trials:
    """What is tried on one task: one experience, one set of episodes for all.

    Attributes:
        params: of every student that was distilled, by size.
        teacher_scores: of the teacher in the episodes of all trials.
        floor: the return of random play; 0 where the task is judged by success.
        steps: environment steps that were gathered. gathered: parameters of the students of the method that gathered,
            which have the moments of what students read.
        seconds: what took how long, by name.
    """

    def __init__(
        self, env: Environment, teacher: Frozen, act: ActRule, config: KdMarlConfig, seed: int, display: Display
    ) -> None:
        self.env, self.teacher, self.act, self.config, self.display = env, teacher, act, config, display
        self.measure = env.spec.measure
        self.root = jax.random.key(seed)
        self.key = evaluation_key(self.root, 0, 0)
        self.params: dict[Size, Params] = {}
        self.seconds: dict[str, float] = {}
        self.floor, self.steps = 0.0, 0
        self.experience: KdState | None = None
        self.gathered: Params = ()
        with self.timed("evaluate"):
            self.teacher_scores = self.teacher_plays(self.key, LOOKS * EPISODES)
            if self.measure == "return":
                random = play(env, random_policy(), (), sample, self.key, LOOKS * EPISODES)
                self.floor = scores(random).mean("return")

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to those of `name`."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def teacher_plays(self, key: PRNGKeyArray, episodes: int) -> Scores:
        """Scores of the teacher, which acts as it was tested."""
        name = self.teacher.actor
        return scores(play(self.env, self.teacher.roles[name], self.teacher.params[name], self.act, key, episodes))

    def gather(self, method: Method) -> None:
        """The teacher plays; its experience is labelled and kept. `method`: a distillation of its by KD-MARL."""
        for note in method.notes:
            self.display.say(note)
        with self.timed("gather"):
            state = jit_unoptimised(method.init)(jax.random.fold_in(self.root, 0x1417))
            stage, root = method.stages[0], self.root
            self.experience, counts = run_stage(self.env, stage, 0, state, root, self.display, "gather")
        self.steps, self.gathered = int(counts["steps"].sum()), self.experience.student.params["net"]

    def judge(self, core: Core, widths: Sequence[int], keep: float, looks: bool = True) -> list[Judged]:
        """Distil students of one core together, and play them until it is decided whether each keeps a share.

        Args:
            looks: stop as soon as all are decided; else all episodes are played.
        """
        configs = [replace(self.config, core=core, size=f"width={width}") for width in widths]
        ladder, sizes = make_ladder(self.env, configs, self.teacher), [Size(core, width) for width in widths]
        with self.timed("distil"):
            nets = self.distil(ladder, f"distil {core} {', '.join(map(str, widths))}")
        self.params |= dict(zip(sizes, ladder.students(self.experience), strict=True))  # type: ignore[arg-type]
        with self.timed("evaluate"):
            judged = self.evaluate(ladder.team, nets, sizes, keep, looks)
        for each in judged:
            self.display.say(f"  {each.size}: keeps {each.share:.3f} [{each.low:.3f}, {each.high:.3f}]")
        return judged

    def distil(self, ladder: Ladder, name: str) -> Params:
        """Distil the students of a ladder; their padded parameters, leaves (K, ...)."""
        assert self.experience is not None
        students = jit_unoptimised(ladder.init)(jax.random.fold_in(self.root, 0x1417))
        if self.config.normalise:
            students = students._replace(params=with_moments_of(students.params, self.gathered))
        state = self.experience._replace(student=students)
        self.experience, metrics = run_stage(self.env, ladder.distil, 1, state, self.root, self.display, name)
        if bad := first_bad_metric(metrics):
            raise NonFinite(f"{name}: {bad[1]} in epoch {bad[0] + 1}")
        return self.experience.student.params["net"]

    def evaluate(self, team: Policy, nets: Params, sizes: Sequence[Size], keep: float, looks: bool) -> list[Judged]:
        """Play students on the teacher's episodes, some at a time, until each is decided or all are played."""
        n, judged = len(sizes), dict[Size, Judged]()
        player = make_player(self.env, team, SIDE_BY_SIDE, greedy, True)
        played: list[Episodes] = []
        for look in range(1, LOOKS + 1):
            for i in range(len(played), look * EPISODES // SIDE_BY_SIDE):
                played.append(jax.device_get(player(nets, jnp.stack([jax.random.fold_in(self.key, i)] * n))))
            for i, size in enumerate(sizes):
                if size not in judged or not judged[size].decided or not looks:
                    own = scores([jax.tree.map(lambda x, i=i: x[i], batch) for batch in played])
                    judged[size] = self.judged(size, own, keep)
            if looks and all(each.decided for each in judged.values()):
                break
        return list(judged.values())

    def judged(self, size: Size, own: Scores, keep: float) -> Judged:
        share, (low, high) = share_kept(own, self.teacher_scores, self.measure, self.floor, Z_LOOKS)
        how = verdict(share, (low, high), keep)
        return Judged(size, len(own.success), own.mean(self.measure), share, low, high, how.keeps, how.decided)


def run_stage(
    env: Environment, stage: Stage, index: int, state: KdState, root: PRNGKeyArray, display: Display, name: str
) -> tuple[KdState, dict[str, np.ndarray]]:
    """Run a stage to its end; `state` is used up. Returns the state after it and its metrics, (updates,) each."""
    runner = StageLoop(env, stage, index, 1)
    loop = jax.block_until_ready(runner.init_state(state, root))
    display.announce_later(f"{name}: compiling, which is kept for the next start ...")
    runner.compile(loop, root)
    display.cancel_announcement()
    rows: list[dict[str, np.ndarray]] = []
    while not runner.finished(loop):
        loop, metrics = runner.run(loop, root, len(rows) + 1)
        rows.append(metrics)
        display.progress(name, len(rows), stage.budget, stage.unit, 0.0)
    return loop.train_state, {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def play(
    env: Environment, policy: Policy, params: Params, act: ActRule, key: PRNGKeyArray, episodes: int
) -> list[Episodes]:
    """Play episodes, in batches of SIDE_BY_SIDE."""
    player = make_player(env, policy, SIDE_BY_SIDE, act)
    (batches,) = play_episodes(player, params, key, episodes, SIDE_BY_SIDE, SeedAxis(1))
    return batches


def scores(batches: Sequence[Episodes]) -> Scores:
    """Scores of all episodes; raises NonFinite where a user's code returned bad values."""
    for batch in batches:
        raise_first_fault(batch.wrong)
    return Scores(*(np.concatenate([np.asarray(x[i]) for x in batches]) for i in (0, 1)))
