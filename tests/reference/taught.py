"""A value-based teacher that reads the state, the students that learn from it, and curiosity."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import nets, values
from reference.maths import Array, Descent, Scale, at, log_softmax, mean


def teacher_rows(kind: str, fuse: Any, steps: Any) -> Array:
    """What the teacher reads of every agent."""
    own = nets.history(steps)
    if kind == "local+state":
        return nets.beside_state(steps, own)
    z = nets.personal(fuse, own, steps["state"])
    return np.concatenate([own, z], -1) if kind == "beside own" else z


def living(c: Any, steps: Any) -> Array:
    """(T, B, N) decisions that students learn from."""
    return values.counting(c, steps)[..., None] & steps["alive"][:-1] & steps["avail"][:-1].any(-1)


def student_loss(c: Any, steps: Any, p: Any, teacher_output: dict[str, Array]) -> float:
    """Every level's difference to the teacher's output: {first, features, scores}."""
    where, rows, avail = living(c, steps), nets.history(steps), steps["avail"]
    first, features = nets.think(p[0], rows)
    scores = nets.agent(p[0], rows, avail)
    squares = lambda a, b: ((a - b) ** 2)[:-1]
    many = np.maximum(avail[:-1].sum(-1), 1)
    gap = np.where(avail[:-1], squares(scores, teacher_output["scores"]), 0.0).sum(-1) / many
    best = teacher_output["scores"][:-1].argmax(-1)
    return (
        c.encoder * mean(squares(first, teacher_output["first"]).mean(-1), where)
        + c.features * mean(squares(features, teacher_output["features"]).mean(-1), where)
        + c.values * mean(gap, where)
        - c.imitate * mean(at(log_softmax(scores[:-1]), best), where)
    )


class Curiosity:
    """A predictor of a frozen network's output, and the bonus of states that it does not know."""

    def __init__(
        self, c: Any, steps: Any, predictor: Any, frozen: Any, seen: Scale, mask: Array, success: float
    ) -> None:
        self.c, self.steps, self.frozen, self.seen, self.mask = c, steps, frozen, seen, mask
        self.share = 1 - success if c.adaptive else 1.0
        self.now = Descent(predictor, c)

    def error(self, p: Any) -> Array:
        """Of every next state."""
        net = lambda p, s: nets.dense(p["out"], nets.relu(nets.dense(p["hidden"], np.clip(s, -5, 5))))
        state = self.steps["state"][1:]
        return ((net(p, state) - net(self.frozen, state)) ** 2).mean(-1)

    def step(self, lr: float) -> Array:
        """The bonus, by what was known before the step."""
        c, where, error = self.c, values.counting(self.c, self.steps), self.error(self.now.params)
        self.seen = self.seen.after(error, where)
        bonus = c.beta * self.share * self.mask * error / self.seen.deviation(0.1 * self.seen.mean + 1e-9)
        self.now.step(lambda p: mean(self.error(p), where), lr)
        return bonus


def learn(
    c: Any, steps: Any, teacher: Any, target: Any, student: Any, curiosity: Curiosity | None, lr: float
) -> tuple[Descent, Any, Descent]:
    """Curiosity, teacher, students, target; and again. Students see the teacher as it was before its step."""
    t, s = Descent(teacher, c), Descent(student, c)
    scores = lambda p: nets.agent(p["team"][0], teacher_rows(c.fusion, p["fuse"], steps), steps["avail"])
    for step in range(1, c.updates + 1):
        bonus = curiosity.step(lr) if curiosity else 0.0
        before = t.params["agent"]
        chooser = None
        if c.chooses == "student":
            chooser = nets.agent(s.params[0], nets.history(steps), steps["avail"])
        td = values.Values(c, steps, scores, target)
        fixed = td.frozen(t.params, bonus, chooser)
        first, features = nets.think(before["team"][0], teacher_rows(c.fusion, before["fuse"], steps))
        teacher_output = dict(first=first, features=features, scores=scores(before))
        t.step(lambda p, td=td, fixed=fixed: td.loss(p, fixed), lr)
        s.step(lambda p, teacher_output=teacher_output: student_loss(c, steps, p, teacher_output), lr)
        target = values.follow(c, target, t.params, step)
    return t, target, s
