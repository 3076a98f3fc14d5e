"""Settings of HINT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_fields, check_not_negative, check_positive, check_unit
from tutelage.configs.team import TeamSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class HintConfig(TeamSettings):
    """Settings of a hierarchical teacher and students that learn together.

    `size`, `core`, `sight`, `capacity` and `share` are the students'.
    """

    steps: int = 4_000_000
    """Environment steps to train for: pre-training, teacher and students together."""
    share: Literal["team", "type"] = "type"
    """Who shares weights: every student of one width, or only those of one agent type as well."""
    teacher_view: Literal["local", "local+state"] = "local"
    """What an executor reads beside its goal."""
    teacher_width: int = 64
    """Width of executors and values."""
    pair_width: int = 32
    """Width of the coordinator."""
    flat: bool = False
    """No coordinator: nobody ever has a goal, nothing is pre-trained, and what is set for goals alone does nothing."""
    every: int = 5
    """Steps that goals are held, and between the states from which both play on (filter_student = fork)."""
    spread: float = 1.0
    """What a goal's logit loses for every agent that has it already."""
    pretrain: int = 200_000
    """Environment steps of executors with random goals, before anything else; part of `steps`."""
    shaping: float = 5.0
    """Weight of progress towards the goal in the executors' rewards."""
    off_policy: float = 1.0
    """Weight of what the students' experience says about acts and goals; 0: the teacher learns from its own alone."""
    explain: Literal["posterior", "relabel"] = "posterior"
    """Which goals students' actions are said to have served: those that explain them, or the coordinator's draw."""
    labels: Literal["held", "best", "all"] = "all"
    """Under which goals the teacher tells students what it would do: the best ones by its own schedule of decisions,
    the best ones of every step, or all of them, each as likely as the coordinator and what was done make it."""
    renew: float = 0.5
    """Probability that goals are given anew at a step where labels sum them out; 1: what was done does not count."""
    sharpness: float = 1.0
    """Power of the coordinator's likelihood (labels = all); 1: the teacher's distribution with the goal summed out."""
    temperature: float = 0.5
    """Of the teacher's distribution over actions where it is a label; below 1 students are surer than their teacher."""
    filter_own: Literal["episode", "none"] = "episode"
    """What students learn of teacher episodes: those that did at least as well as students would, or all."""
    filter_student: Literal["advantage", "none", "fork"] = "advantage"
    """What students learn on states they reached: where the teacher is thought to do better, everything, or where it
    does: both play on from there (fork)."""
    fork_envs: int = 16
    """Environments in which both play on from students' states (filter_student = fork)."""
    margin: float = 0.0
    """By how much better, in deviations of the returns."""
    store: int = 16
    """Iterations whose labels students go on learning from."""
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
    """The teacher's passes over each iteration."""
    goal_epochs: int = 2
    """The coordinator's passes over each iteration's decisions."""
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
            self, "steps", "teacher_width", "pair_width", "every", "fork_envs", "store", "distil", "batch",
            "memory_gb", "sharpness", "temperature", "envs", "rollout", "epochs", "goal_epochs", "minibatches", "lr",
            "student_lr", "grad_clip",
        )  # fmt: skip
        check_unit(self, "gamma", "lam", "clip", "renew")
        check_not_negative(
            self, "spread", "pretrain", "shaping", "off_policy", "entropy", "goal_entropy", "student_entropy", "rl"
        )
        if self.pretrain >= self.steps and not self.flat:
            raise BadInput(f"pretrain = {self.pretrain}: must be less than steps = {self.steps}")
        if self.batch > self.store * self.envs:
            raise BadInput(f"batch = {self.batch}: a store holds no more than {self.store * self.envs} sequences")
        if self.envs % (2 * self.minibatches):
            raise BadInput(f"envs = {self.envs}: must be a multiple of 2 x minibatches = {2 * self.minibatches}")
        if self.rollout % self.every:
            raise BadInput(f"every = {self.every}: must divide rollout = {self.rollout}")
