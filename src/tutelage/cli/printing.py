"""What commands print: JSON, and tables that fit where they are read without a figure being cut."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from tutelage.experiment.streams import line_width
from tutelage.jsons import to_json

Column = tuple[str, Sequence[str]]
"""Heading, which may have several lines, and cells."""
GAP = "   "


def print_json(value: Any) -> None:
    """Print one JSON object; raises Fault for a number that is none."""
    print(to_json(value, indent=1))


def print_table(title: str, labels: Column, columns: Sequence[Column]) -> None:
    """Print a table; where it is too wide for the terminal, its columns in several blocks, each behind the labels."""
    print(title)
    for block in blocks(labels, columns, line_width(sys.stdout)):
        print()
        for line in lines(labels, block):
            print(line.rstrip())


def print_note(text: str) -> None:
    """Print a paragraph."""
    print(textwrap.fill(text, line_width(sys.stdout) or 80))


def width(column: Column) -> int:
    return max(len(line) for text in (column[0], *column[1]) for line in text.split("\n"))


def blocks(labels: Column, columns: Sequence[Column], limit: int | None) -> Iterator[list[Column]]:
    """The columns in order, as many at a time as fit beside the labels, at least one.

    Args:
        limit: characters in a line; None: as many as there are.
    """
    block: list[Column] = []
    used = width(labels)
    for column in columns:
        wide = len(GAP) + width(column)
        if block and limit is not None and used + wide > limit:
            yield block
            block, used = [], width(labels)
        block.append(column)
        used += wide
    yield block


def lines(labels: Column, columns: Sequence[Column]) -> Iterator[str]:
    """One block: headings, whose last lines stand above the rule, and a line per row."""
    all_of = [labels, *columns]
    heads = [column[0].split("\n") for column in all_of]
    deep = max(map(len, heads))
    heads = [[""] * (deep - len(head)) + head for head in heads]
    wide = [width(column) for column in all_of]
    rows = [[head[i] for head in heads] for i in range(deep)]
    for i, row in enumerate(rows + [[column[1][j] for column in all_of] for j in range(len(labels[1]))]):
        if i == deep:
            yield "─" * (sum(wide) + len(GAP) * (len(wide) - 1))
        cells = [f"{text:>{w}}" for text, w in zip(row, wide, strict=True)]
        yield GAP.join([f"{row[0]:<{wide[0]}}", *cells[1:]])
