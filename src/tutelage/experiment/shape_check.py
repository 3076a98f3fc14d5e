"""Building methods from shapes alone, so that what cannot be trained is refused before training begins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from tutelage.envs.build import make
from tutelage.errors import BadInput
from tutelage.experiment.init_source import Source, drafted, take, with_settings_of
from tutelage.experiment.plan import FLOORS, Row, Rows, row_and_role, settings_of
from tutelage.experiment.teachers import callable_teacher, scripted_teacher, teaching_team
from tutelage.experiment.user_code import make_method
from tutelage.registry import method_config, method_row
from tutelage.types import Method


def draft_method(row: Row, rows: Rows, drafts: dict[str, Method]) -> Method:
    """The method of a plan's row, with a teacher of which only shapes are known; raises BadInput where it cannot be.

    Args:
        row, rows: the row and the whole plan, in which its teacher is looked up.
        drafts: methods built so far, by row name; the result is added, so that a shared teacher is built once.
    """
    if row.name in drafts:
        return drafts[row.name]
    env = make(row.env, **row.env_options)
    default_teacher, teacher = method_row(row.method).teacher, None
    if default_teacher is not None and row.teacher in rows:
        teacher_row = rows[row.teacher]
        teacher = teaching_team(teacher_row.method, draft_method(teacher_row, rows, drafts))
    elif default_teacher is not None and row.teacher is None:
        teacher = teaching_team(
            default_teacher, make_method(default_teacher, env, method_config(default_teacher), None)
        )
    elif default_teacher is not None and row.teacher is not None:
        kind, _, name = row.teacher.partition(":")
        teacher = scripted_teacher(name, env) if kind == "scripted" else callable_teacher(row.teacher, env)
    source = draft_source(row, rows, drafts)
    method = make_method(row.method, env, draft_settings(row, source), teacher)
    if source is not None:
        take(source, row.method, method, env.spec)
    drafts[row.name] = method
    return method


def draft_source(row: Row, rows: Rows, drafts: dict[str, Method]) -> Source | None:
    """What the training of a row starts from, of which only shapes are known; None where all is new."""
    if row.init is None:
        return None
    other, role = row_and_role(row, rows)
    spec, settings = make(other.env, **other.env_options).spec, draft_settings(other, draft_source(other, rows, drafts))
    return drafted(row.init, role, other.method, draft_method(other, rows, drafts), asdict(settings), spec)


def draft_settings(row: Row, source: Source | None) -> Any:
    """The config of a row's method, with networks as in what its training starts from."""
    if source is None:
        return settings_of(row)
    return method_config(row.method, row.preset, **with_settings_of(source, row.method, row.config, row.preset))


def check_rows(names: Collection[str], rows: Rows) -> None:
    """Raise BadInput for a row that cannot be trained with its settings, before the first row is run."""
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
