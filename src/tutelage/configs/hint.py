"""Settings of HINT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_fields, check_not_negative, check_positive, check_unit
from tutelage.configs.rewards import CuriositySettings
from tutelage.configs.team import TalkingTeamSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class HintConfig(TalkingTeamSettings, CuriositySettings):
    """Settings of a hierarchical teacher and students that learn together.

    `size`, `core`, `sight`, `capacity` and `share` are the students'.
    """

    steps: int = 4_000_000
    """Environment steps to train for: pre-training, teacher and students together."""
    share: Literal["team", "type"] = "type"
    """Who shares weights: every student of one width, or only those of one agent type as well."""
    teacher_width: int = 64
    """Width of executors and values."""
    flat: bool = False
    """No coordinator: no agent has a goal, nothing is pre-trained, and settings that concern goals have no effect."""
    every: int = 5
    """Steps that a goal is held; with filter_student = fork also the steps between two forks."""
    pretrain: int = 200_000
    """Environment steps in which executors first train with random goals; part of `steps`."""
    shaping: float = 5.0
    """Weight of progress towards the goal in the executors' rewards."""
    off_policy: float = 1.0
    """Weight of the students' experience in the teacher's policy losses; 0: it learns from its own experience alone."""
    explain: Literal["posterior", "relabel"] = "posterior"
    """Goals given to the students' experience: the posterior given their actions, or a draw of the coordinator."""
    labels: Literal["held", "best", "all"] = "all"
    """Goals under which the teacher labels states: the best ones, held as long as the teacher holds them; the best ones
    of every step; or all, weighted by their probability under the coordinator and given past actions."""
    renew: float = 0.5
    """Probability that a goal changes at a step (labels = all); 1: past actions do not count."""
    filter_own: Literal["episode", "none"] = "episode"
    """Teacher episodes that students learn from: those at least as good as the students' expected return, or all."""
    filter_student: Literal["advantage", "none", "fork"] = "advantage"
    """States reached by students that they learn from: where the teacher's estimated value is higher (advantage), all
    (none), or where it is better when both continue from the same state (fork)."""
    store: int = 16
    """How many of the last iterations are kept for the students to learn from."""
    memory_gb: float = 1.0
    """Refuse a store larger than this."""
    distil: int = 128
    """Gradient steps of the students per iteration."""
    batch: int = 4
    """Sequences per such step."""
    student_entropy: float = 0.001
    """Weight of the students' entropy bonus."""
    rl: float = 0.0
    """Weight of PPO in the students' loss."""
    envs: int = 128
    """Environments played side by side, half by the teacher."""
    rollout: int = 40
    """Steps per environment between updates."""
    epochs: int = 4
    """Passes of executors and values over each iteration."""
    minibatches: int = 4
    """Parts each pass is split into."""
    lr: float = 1e-3
    """Learning rate of the teacher and of the values."""
    student_lr: float = 8e-3
    """Learning rate of the students."""
    anneal: bool = True
    """Let the learning rate fall to 0 over the budget."""
    gamma: float = 0.99
    """Discount."""
    lam: float = 0.95
    """Lambda of V-trace."""
    clip: float = 0.2
    """Clip range of the probability ratios."""
    entropy: float = 0.01
    """Weight of the executors' entropy bonus."""
    goal_entropy: float = 0.01
    """Weight of the coordinator's entropy bonus."""
    grad_clip: float = 0.5
    """Global-norm gradient clip of each part."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(
            self, "steps", "teacher_width", "every", "store", "distil", "batch", "memory_gb", "envs", "rollout",
            "epochs", "minibatches", "lr", "student_lr", "grad_clip",
        )  # fmt: skip
        check_unit(self, "gamma", "lam", "clip", "renew")
        check_not_negative(
            self, "curiosity", "pretrain", "shaping", "off_policy", "entropy", "goal_entropy", "student_entropy", "rl"
        )
        if self.pretrain >= self.steps and not self.flat:
            raise BadInput(f"pretrain = {self.pretrain}: must be less than steps = {self.steps}")
        if self.batch > self.store * self.envs:
            raise BadInput(f"batch = {self.batch}: a store holds no more than {self.store * self.envs} sequences")
        if self.envs % (2 * self.minibatches):
            raise BadInput(f"envs = {self.envs}: must be a multiple of 2 x minibatches = {2 * self.minibatches}")
        if self.rollout % self.every:
            raise BadInput(f"every = {self.every}: must divide rollout = {self.rollout}")
