"""`mpe/NAME`."""

from __future__ import annotations

from typing import Any

from tutelage.envs.mpe.base import Mpe
from tutelage.envs.mpe.reference import Reference
from tutelage.envs.mpe.speaker_listener import SpeakerListener
from tutelage.envs.mpe.spread import Spread
from tutelage.envs.mpe.tag import Tag

GAMES: dict[str, Any] = {game.name: game for game in (Spread, Reference, SpeakerListener, Tag)}


def make(name: str, options: Any) -> Mpe:
    """The environment of that name, with its options of `configs.envs`."""
    return GAMES[name](options)
