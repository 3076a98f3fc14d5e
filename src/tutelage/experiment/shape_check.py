"""Building methods from shapes alone, so that what cannot be trained is refused before training begins."""

from __future__ import annotations

from collections.abc import Collection

from tutelage.envs.build import make
from tutelage.errors import BadInput
from tutelage.experiment.plan import FLOORS, Row, Rows, settings_of
from tutelage.experiment.run_directory import (
    callable_teacher,
    param_shapes,
    provided_outputs,
    scripted_teacher,
    teaching_roles,
)
from tutelage.experiment.user_code import make_method
from tutelage.registry import method_config, method_row
from tutelage.types import Frozen, Method


def abstract_team(name: str, method: Method, distilled: bool = False) -> Frozen:
    """What a run of a method will teach with; its parameters are shapes.

    Args:
        distilled: whether the method has a teacher itself.
    """
    roles = teaching_roles(method.roles, distilled)
    return Frozen(roles, param_shapes(roles), provided_outputs(name, roles), {})


def draft_method(row: Row, rows: Rows, drafts: dict[str, Method]) -> Method:
    """The method of a plan's row, taught by a draft of the row's teacher; raises BadInput where it cannot be had.

    Args:
        made: drafts by row, of which this becomes one: a teacher of many is made once.
    """
    if row.name in drafts:
        return drafts[row.name]
    env = make(row.env, **row.env_options)
    default_teacher, teacher = method_row(row.method).teacher, None
    if default_teacher is not None and row.teacher in rows:
        teacher_row = rows[row.teacher]
        teacher = abstract_team(
            teacher_row.method,
            draft_method(teacher_row, rows, drafts),
            method_row(teacher_row.method).teacher is not None,
        )
    elif default_teacher is not None and row.teacher is None:
        teacher = abstract_team(
            default_teacher, make_method(default_teacher, env, method_config(default_teacher), None)
        )
    elif default_teacher is not None and row.teacher is not None:
        kind, _, name = row.teacher.partition(":")
        teacher = scripted_teacher(name, env) if kind == "scripted" else callable_teacher(row.teacher, env)
    drafts[row.name] = make_method(row.method, env, settings_of(row), teacher)
    return drafts[row.name]


def check_rows(names: Collection[str], rows: Rows) -> None:
    """Refuse, as BadInput, a row that cannot be trained as it is set: at once, not when its turn comes."""
    drafts: dict[str, Method] = {}
    for row in [row for name, row in rows.items() if name in names]:
        try:
            if row.method == "scripted":
                make(row.env, **row.env_options).scripted()
            elif row.method not in FLOORS:
                draft_method(row, rows, drafts)
        except BadInput as error:
            if error.frames:
                raise
            raise BadInput(f"row {row.name!r}: {error}") from error
