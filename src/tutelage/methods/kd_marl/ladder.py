"""Students of several widths, distilled side by side by one program from the same experience.

A narrow network is a wide one whose further units have only weights of 0, in and out. Such a unit puts out 0 and
nothing depends on it, so the gradients of its weights are 0 and they stay as they are. So all widths are given the
shapes of the widest, with one more axis for the students; cut to its width, each is what it would have become alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.errors import BadInput
from tutelage.learning.optim import Learner
from tutelage.methods.kd_marl.components import KdComponents, make_components, term_weights
from tutelage.methods.kd_marl.data import KdState, init_student
from tutelage.methods.kd_marl.method import Rollouts, one_epoch
from tutelage.types import Environment, Frozen, Metrics, Params, Policy, Stage


def padded(tree: Any, like: Any) -> Any:
    """Arrays with zeros behind their entries on every axis, up to the shapes of `like`."""
    behind = lambda x, y: [(0, b - a, 0) for a, b in zip(x.shape, y.shape, strict=True)]
    return jax.tree.map(lambda x, y: jax.lax.pad(x, jnp.zeros((), x.dtype), behind(x, y)), tree, like)


def cut(tree: Any, like: Any) -> Any:
    """The first entries of arrays on every axis, as many as `like` has: what was put into `padded`."""
    return jax.tree.map(lambda x, y: x[tuple(map(slice, y.shape))], tree, like)


@dataclass(frozen=True)
class Ladder:
    """K students of one core and different widths.

    Attributes:
        parts: policies and settings of each student's own distillation.
    """

    parts: tuple[KdComponents, ...]

    @property
    def widest(self) -> KdComponents:
        """That of the widest student, whose shapes all have while they learn."""
        return max(self.parts, key=lambda part: sum(group.agent.width for group in part.student.groups))

    @property
    def team(self) -> Policy:
        """The policy that plays with the padded parameters of any of the students."""
        return self.widest.student

    def init(self, key: PRNGKeyArray) -> Learner:
        """New students, leaves (K, ...); each as its own distillation begins with this key."""
        like = jax.eval_shape(partial(init_student, self.widest), key)
        return jax.tree.map(lambda *x: jnp.stack(x), *(padded(init_student(part, key), like) for part in self.parts))

    def students(self, state: KdState) -> list[Params]:
        """Parameters of each student, as its own network has them."""
        like = [jax.eval_shape(part.student.init, jax.random.key(0)) for part in self.parts]
        nets = state.student.params["net"]
        return [cut(jax.tree.map(lambda x, i=i: x[i], nets), own) for i, own in enumerate(like)]

    @property
    def distil(self) -> Stage:
        """The stage in which all learn; as in a distillation of each alone, with the same random numbers."""
        widest = self.widest

        def update(state: KdState, rollouts: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
            def epoch(students: Learner) -> tuple[Learner, Metrics]:
                after, metrics = one_epoch(widest, state._replace(student=students), key, progress)
                return after.student, metrics

            students, metrics = jax.vmap(epoch)(state.student)
            each = {f"{name} of student {i}": x[i] for name, x in metrics.items() for i in range(len(self.parts))}
            return state._replace(student=students), each

        return Stage("distil", {}, update, widest.config.passes, unit="updates")


def make_ladder(env: Environment, configs: Sequence[KdMarlConfig], teacher: Frozen) -> Ladder:
    """The students of these configs, which differ in size alone.

    Raises:
        BadInput: their networks differ in more than width, or students act while they learn.
    """
    if configs[0].data != "offline":
        raise BadInput(f"data = {configs[0].data!r}: students of several sizes learn from the teacher's play, offline")
    weight, _ = term_weights(configs[0], teacher.provides)
    parts = tuple(make_components(env, config, teacher, weight) for config in configs)
    shapes = [[(g.agents, g.agent.kind, g.agent.inputs) for g in part.student.groups] for part in parts]
    if any(shape != shapes[0] for shape in shapes) or parts[0].config.messages != "none":
        raise BadInput("students of several sizes must differ in width alone: leave capacity and messages as they are")
    return Ladder(parts)
