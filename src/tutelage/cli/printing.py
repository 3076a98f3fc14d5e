"""Printing JSON, and tables that are split into blocks of columns where the terminal is narrow."""

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
    """Print one JSON object; raises Fault for NaN and infinities."""
    print(to_json(value, indent=1))


def print_table(title: str, labels: Column, columns: Sequence[Column]) -> None:
    """Print a table; where it is too wide for the terminal, as several blocks of columns that repeat the labels."""
    print(title)
    for block in blocks(labels, columns, line_width(sys.stdout)):
        print()
        for line in lines(labels, block):
            print(line.rstrip())


def print_note(text: str, indent: int = 0) -> None:
    """Print a paragraph, whose lines but the first are indented."""
    print(textwrap.fill(text, line_width(sys.stdout) or 80, subsequent_indent=" " * indent))


def width(column: Column) -> int:
    return max(len(line) for text in (column[0], *column[1]) for line in text.split("\n"))


def blocks(labels: Column, columns: Sequence[Column], limit: int | None) -> Iterator[list[Column]]:
    """Split columns into blocks that fit beside the labels; each block has at least one column.

    Args:
        limit: characters in a line; None: unlimited.
    """
    block: list[Column] = []
    used = width(labels)
    for column in columns:
        added = len(GAP) + width(column)
        if block and limit is not None and used + added > limit:
            yield block
            block, used = [], width(labels)
        block.append(column)
        used += added
    yield block


def lines(labels: Column, columns: Sequence[Column]) -> Iterator[str]:
    """The lines of one block: headings aligned at the bottom, a rule, and one line per row."""
    all_columns = [labels, *columns]
    heads = [column[0].split("\n") for column in all_columns]
    depth = max(map(len, heads))
    heads = [[""] * (depth - len(head)) + head for head in heads]
    widths = [width(column) for column in all_columns]
    rows = [[head[i] for head in heads] for i in range(depth)]
    for i, row in enumerate(rows + [[column[1][j] for column in all_columns] for j in range(len(labels[1]))]):
        if i == depth:
            yield "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
        cells = [f"{text:>{w}}" for text, w in zip(row, widths, strict=True)]
        yield GAP.join([f"{row[0]:<{widths[0]}}", *cells[1:]])
