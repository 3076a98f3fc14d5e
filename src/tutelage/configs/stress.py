"""Levels of `tutelage stress`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tutelage.configs.disturb import Disturbance
from tutelage.errors import BadInput


@dataclass(frozen=True)
class StressLevels:
    """How much is disturbed, from level to level."""

    noise: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    """Standard deviations of normal noise on what agents observe."""
    dropout: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    """Probabilities that an agent observes nothing in a step."""
    delay: tuple[int, ...] | None = None
    """Steps by which observations are late; None: 1, 2 and 4, as far as an episode has more steps."""
    lost: tuple[int, ...] | None = None
    """Agents that are lost, one at a time; None: each."""
    lost_from: tuple[int, ...] | None = None
    """Steps from which they are; None: 0, and a third of the usual length of an episode."""
    lost_messages: tuple[float, ...] = (0.1, 0.3, 0.5, 1.0)
    """Probabilities that a message is lost."""
    teammates: tuple[int, ...] | None = None
    """Agents that the teacher's replace, one at a time; None: each, and every second one together."""

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            values = getattr(self, name)
            if values == ():
                raise BadInput(f"{name} = (): must be at least one level")
            for value in values or ():
                option = {"teammates": "lost"}.get(name, name)
                try:
                    Disturbance(**{option: value}, **({"lost": 0} if option == "lost_from" else {}))
                except BadInput as error:
                    raise BadInput(str(error).replace(option, name, 1)) from None
