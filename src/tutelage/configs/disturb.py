"""Disturbances: options of every environment (`--env.noise`, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tutelage.configs.checks import check_fields, check_not_negative, check_unit
from tutelage.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What goes wrong in an environment; by default nothing does."""

    noise: float = 0.0
    """Standard deviation of normal noise on what agents observe."""
    dropout: float = 0.0
    """Probability that an agent observes nothing (zeros) in a step."""
    delay: int = 0
    """Steps by which observations are late."""
    lost: int | None = None
    """Number of an agent that is lost: it observes nothing and does nothing; None: none is."""
    lost_from: int = 0
    """Step of the episode from which it is."""
    lost_messages: float = 0.0
    """Probability that what one agent tells another is lost in a step, where agents talk."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_not_negative(self, "noise", "delay", "lost_from")
        check_unit(self, "dropout", "lost_messages")
        if self.lost is not None:
            check_not_negative(self, "lost")
        elif self.lost_from:
            raise BadInput(f"lost_from = {self.lost_from}: only with lost, the number of the agent")


DISTURBANCES = tuple(f.name for f in fields(Disturbance))
UNDISTURBED = asdict(Disturbance())


def undisturbed(options: Mapping[str, Any]) -> dict[str, Any]:
    """An environment's options without its disturbances."""
    return {name: value for name, value in options.items() if name not in DISTURBANCES}
