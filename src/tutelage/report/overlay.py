"""What a team decides, drawn over a picture: who was sent where, and who listens to whom."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from tutelage.envs.canvas import FINE
from tutelage.policies.hierarchy import Drawn
from tutelage.policies.messages import Heard
from tutelage.types import Places

ORANGE, VIOLET = (224, 138, 0), (122, 79, 208)
HEAD = 9
"""Pixels from the tip of an arrow to where its barbs end."""
LEAST = 0.05
"""Attention below which a message is not drawn."""


class Marks(NamedTuple):
    """What there is to draw of a step; None where the policy decides no such thing.

    Attributes:
        goal: (N,) the goal of each agent; M is none.
        heard: (N, N) how much of what j said agent i took in.
    """

    goal: np.ndarray | None = None
    heard: np.ndarray | None = None


def marks(extra: Any) -> Marks | None:
    """The marks in what a policy of one environment decided besides its scores (`Out.extra`), if there are any."""
    if isinstance(extra, Drawn):
        return Marks(goal=np.asarray(extra.goal)[0])
    if isinstance(extra, Heard):
        return Marks(heard=np.asarray(extra.weight)[0])
    return None


def overlaid(picture: np.ndarray, places: Places, told: Marks) -> np.ndarray:
    """The picture with an orange arrow from each agent to its goal, and a violet line from speaker to listener, the
    thicker the more is taken in."""
    height, width = picture.shape[:2]
    sheet = Image.new("RGBA", (FINE * width, FINE * height))
    pen = ImageDraw.Draw(sheet)
    scale = FINE * np.array([width, height])
    agents, goals = places.agents * scale, places.goals * scale
    if told.heard is not None:
        for i, j in zip(*np.nonzero(told.heard > LEAST), strict=True):
            share = float(told.heard[i, j])
            pen.line([*agents[j], *agents[i]], fill=(*VIOLET, 150), width=round(FINE * (0.5 + 3 * share)))
            arrow(pen, agents[j], agents[i], (*VIOLET, 200), shaft=False)
    if told.goal is not None:
        for agent, goal in enumerate(told.goal):
            if goal < goals.shape[1]:
                arrow(pen, agents[agent], goals[agent, goal], (*ORANGE, 230))
    under = Image.fromarray(picture).convert("RGBA")
    return np.asarray(Image.alpha_composite(under, sheet.reduce(FINE)).convert("RGB"))


def arrow(pen: Any, start: np.ndarray, end: np.ndarray, colour: tuple[int, ...], shaft: bool = True) -> None:
    """An arrow; where it would be shorter than its head, a ring around the end: the agent is there."""
    way = end - start
    length, head = float(np.hypot(*way)), FINE * HEAD
    if length < head:
        pen.ellipse([*(end - head), *(end + head)], outline=colour, width=2 * FINE)
        return
    along = way / length
    across = np.array([-along[1], along[0]])
    back = end - head * along
    if shaft:
        pen.line([*start, *back], fill=colour, width=2 * FINE)
    pen.polygon([tuple(end), tuple(back + 0.5 * head * across), tuple(back - 0.5 * head * across)], fill=colour)
