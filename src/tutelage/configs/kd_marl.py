"""Settings of KD-MARL and of its single-term relatives (bc, kl)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_fields, check_positive, check_unit, later
from tutelage.configs.team import TalkingTeamSettings
from tutelage.configs.term import TermSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class KdMarlConfig(TalkingTeamSettings, TermSettings):
    """Settings of the distillation of a frozen teacher into small students.

    A weight of None means its default where the teacher provides what the term needs, else 0.
    """

    size: str = "ratio=28.6"
    """Student size: ratio=R (R times fewer FLOPs than the teacher's actor; than a 128-GRU where it has no network),
    flops=F or params=P per agent, width=W, or tiers=0,1:16;2-4:32."""
    share: Literal["type", "team"] = "type"
    """Who shares weights: agents of one width and one agent type, or every agent of one width."""
    student_view: Literal["local", "local-no-id"] = "local"
    """What a student reads: its observation and its number, or the observation alone."""
    adv: float | None = None
    """Weight of the teacher-guided advantage term; None: 0.5."""
    kl: float | None = None
    """Weight of the KL divergence from the teacher's action distribution; None: 1."""
    ce: float | None = None
    """Weight of the cross-entropy to the teacher's best action; None: 0.5, of an action-only teacher 1."""
    rel: float | None = None
    """Weight of the structural relation term between agents' features; None: 0.1."""
    role: float | None = None
    """Weight of the role alignment term; None: 0.1."""
    adv_form: Literal["clip", "awr"] = later("clip")
    """Advantage term: clipped probability ratio, or log-likelihood weighted by the exponential of the advantage."""
    awr_beta: float = later(1.0)
    """Temperature of those weights."""
    role_form: Literal["align", "prototype"] = later("align")
    """Role term: cosine to the teacher's features, or KL between soft assignments to their k-means prototypes."""
    prototypes: int = later(8)
    """How many prototypes."""
    entropy: float = 0.001
    """Weight of the students' entropy bonus."""
    temperature: float = 1.0
    """Softening of both distributions in the KL term."""
    clip: float = 0.2
    """Clip range of the advantage term's probability ratio."""
    gamma: float = 0.99
    """Discount of the teacher's advantages."""
    lam: float = 0.95
    """Lambda of the teacher's advantages."""
    gather: int = 150_000
    """Environment steps of the teacher's play to learn from (in whole episodes where these have at most 256 steps)."""
    tempered: float = 0.2
    """Share of environments in which the teacher samples at `hot`, so that recovery states exist."""
    hot: float = 1.5
    """Sampling temperature in those environments."""
    data: Literal["offline", "dagger"] = later("offline")
    """Whose states are learned from: the teacher's alone, or those that the learning students reach (labelled by the
    teacher)."""
    beta: float = later(0.5)
    """DAgger: the teacher acts with probability beta^round, the students otherwise."""
    envs: int = 256
    """Environments played side by side while gathering."""
    passes: int = 20
    """Passes over the gathered data (under DAgger half as many, and as many steps again between the rounds)."""
    batch: int = 16
    """Sequences per gradient step (of at most one episode's length each)."""
    lr: float = 6e-3
    """Learning rate (Adam)."""
    anneal: bool = True
    """Let the learning rate fall to 0 over the passes."""
    grad_clip: float = 10.0
    """Global-norm gradient clip."""
    memory_gb: float = 6.0
    """Refuse gathered data larger than this."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "temperature", "gather", "hot", "envs", "passes", "batch", "lr", "grad_clip", "memory_gb")
        check_positive(self, "awr_beta", "prototypes")
        check_unit(self, "gamma", "lam", "clip", "tempered", "beta")
        if self.data == "dagger" and self.adv and self.lam != 1:
            raise BadInput(f"adv = {self.adv!r} with data = 'dagger' needs lam = 1: the critic is the teacher's")
        for name in ("adv", "kl", "ce", "rel", "role", "entropy"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise BadInput(f"{name} = {value!r}: a weight must not be negative")
