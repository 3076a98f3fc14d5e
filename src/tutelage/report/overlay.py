"""Drawing goals and messages of a team over a picture of the environment."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from tutelage.envs.canvas import FINE
from tutelage.policies.hierarchy import GoalDecision
from tutelage.policies.messages import MessageWeights
from tutelage.types import Places

ORANGE, VIOLET = (224, 138, 0), (122, 79, 208)
HEAD = 9
"""Pixels from the tip of an arrow to where its barbs end."""
LEAST = 0.05
"""Messages with less attention are not drawn."""


class Marks(NamedTuple):
    """What is drawn for one step; a field is None where the policy has no goals or no messages.

    Attributes:
        goal: (N,) the goal of each agent; M means no goal.
        heard: (N, N) attention of agent i to the message of agent j.
    """

    goal: np.ndarray | None = None
    heard: np.ndarray | None = None


def marks(extra: Any) -> Marks | None:
    """The marks of one environment from `Out.extra` of its policy; None where there is nothing to draw."""
    if isinstance(extra, GoalDecision):
        return Marks(goal=np.asarray(extra.goal)[0])
    if isinstance(extra, MessageWeights):
        return Marks(heard=np.asarray(extra.weight)[0])
    return None


def draw_overlay(picture: np.ndarray, places: Places, decided: Marks) -> np.ndarray:
    """The picture with an orange arrow from each agent to its goal and a violet line from each speaker to listener.

    Lines are thicker for higher attention.
    """
    height, width = picture.shape[:2]
    layer = Image.new("RGBA", (FINE * width, FINE * height))
    pen = ImageDraw.Draw(layer)
    scale = FINE * np.array([width, height])
    agents, goals = places.agents * scale, places.goals * scale
    if decided.heard is not None:
        for i, j in zip(*np.nonzero(decided.heard > LEAST), strict=True):
            share = float(decided.heard[i, j])
            pen.line([*agents[j], *agents[i]], fill=(*VIOLET, 150), width=round(FINE * (0.5 + 3 * share)))
            arrow(pen, agents[j], agents[i], (*VIOLET, 200), shaft=False)
    if decided.goal is not None:
        for agent, goal in enumerate(decided.goal):
            if goal < goals.shape[1]:
                arrow(pen, agents[agent], goals[agent, goal], (*ORANGE, 230))
    background = Image.fromarray(picture).convert("RGBA")
    return np.asarray(Image.alpha_composite(background, layer.reduce(FINE)).convert("RGB"))


def arrow(pen: Any, start: np.ndarray, end: np.ndarray, colour: tuple[int, ...], shaft: bool = True) -> None:
    """Draw an arrow; where it would be shorter than its head, a ring around the end, where the agent is."""
    offset = end - start
    length, head = float(np.hypot(*offset)), FINE * HEAD
    if length < head:
        pen.ellipse([*(end - head), *(end + head)], outline=colour, width=2 * FINE)
        return
    direction = offset / length
    normal = np.array([-direction[1], direction[0]])
    base = end - head * direction
    if shaft:
        pen.line([*start, *base], fill=colour, width=2 * FINE)
    pen.polygon([tuple(end), tuple(base + 0.5 * head * normal), tuple(base - 0.5 * head * normal)], fill=colour)
