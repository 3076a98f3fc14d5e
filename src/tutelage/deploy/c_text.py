"""Pieces of C."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np


def comment(text: str) -> str:
    """A comment of its own."""
    return f"/* {text} */"


def number(value: Any) -> str:
    """A number as a constant of C; floats with as many digits as give the same float again."""
    if not isinstance(value, np.floating):
        return str(int(value))
    text = f"{float(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


BITS = """static uint32_t bits(float x) {
    union {
        float number;
        uint32_t bits;
    } both;
    both.number = x;
    return both.bits & 0x7FFFFFFFu;
}

"""
"""The bits of a magnitude: comparing these costs little where floats are computed by software."""
NOT_FINITE = "0x7F800000u"

TYPES = {"float32": "float", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "uint8": "uint8_t"}


def array(name: str, values: np.ndarray) -> str:
    """A constant array."""
    items = ", ".join(number(x) for x in values.reshape(-1))
    lines = textwrap.fill(items, 118, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return f"static const {TYPES[str(values.dtype)]} {name}[{values.size}] = {{\n{lines}\n}};\n"
