"""Typed arguments through tyro, with errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from tutelage.configs.checks import whole
from tutelage.errors import BadInput
from tutelage.registry import EVERYWHERE, environment_options, names_environment

T = TypeVar("T")
RULES = ConstructorRegistry()


@RULES.primitive_rule
def whole_numbers(wanted: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Whole numbers are also written as 1e6 and 1_000_000."""
    if wanted.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def parse(cls: type[T], verb: str, argv: Sequence[str], about: str, default: Any = tyro.MISSING) -> T:
    """Parse `argv` into a dataclass.

    Raises:
        BadInput: one line that says what was wrong.
    """
    said = io.StringIO()
    extra = {} if default is tyro.MISSING else {"default": default}
    try:
        with contextlib.redirect_stderr(said), unwrapped(argv):
            return tyro.cli(cls, prog=f"tutelage {verb}", args=list(argv), description=about, registry=RULES, **extra)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(one_line(said.getvalue(), f"tutelage {verb} --help")) from None


@contextlib.contextmanager
def unwrapped(argv: Sequence[str]) -> Iterator[None]:
    """What is said of wrong words has no end of a line inside them; help keeps to the terminal's width."""
    before = os.environ.get("COLUMNS")
    if not {"-h", "--help"} & set(argv):
        os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        os.environ |= {} if before is None else {"COLUMNS": before}


def beside_environment(cls: type[T], argv: Sequence[str]) -> type[T]:
    """The class of arguments, with an environment's options as `env` where the target names one that has any.

    The target is the first word or, behind options, the first that is an environment of the package.
    """
    words = [word for word in argv[:1] if not word.startswith("-")] + [word for word in argv if word in EVERYWHERE]
    if not words or not names_environment(words[0]):
        return cls
    options = environment_options(words[0])
    if not dataclasses.fields(options):
        return cls
    more = [("env", type(options), dataclasses.field(default=options))]
    return dataclasses.make_dataclass(cls.__name__, more, bases=(cls,), frozen=True)


def changed(value: Any, default: Any) -> dict[str, Any]:
    """The fields that differ from their default."""
    return {k: v for k, v in dataclasses.asdict(value).items() if v != getattr(default, k)}


def options_given(args: Any) -> dict[str, Any]:
    """The environment's options that were asked for, of arguments with an `env`; of others none."""
    return changed(args.env, environment_options(args.target)) if hasattr(args, "env") else {}


def one_line(box: str, help_command: str) -> str:
    """The message inside tyro's box, with its suggestions, on one line."""
    lines = [line.strip("│|").strip() for line in box.splitlines()]
    # Titles and rules go; on terminals without Unicode they are made of + and -.
    lines = [line for line in lines if re.search(r"\w", line) and not re.match(r"[╭+]", line)]
    message = []
    for line in lines:
        if line.startswith(("Perhaps", "Similar", "Argument helptext", "For full", "Full list")):
            break
        message.append(line)
    names = re.findall(r"^(--[a-z][\w.-]*)", "\n".join(lines[len(message) :]), re.MULTILINE)
    near = f"; did you mean {' or '.join(dict.fromkeys(names))}?" if names and "Unrecognized" in box else ""
    # What a config says of itself comes wrapped in where it was read; it names its field anyway.
    told = re.sub(r"^.*?Error parsing [\w.-]+: (?=\w+ = )", "", " ".join(message)).rstrip(".")
    return f"{told}{near} (see `{help_command}`)"
