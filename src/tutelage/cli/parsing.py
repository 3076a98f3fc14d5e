"""Typed arguments through tyro, with errors of one line."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from tutelage.configs.checks import build, parse_whole
from tutelage.configs.disturb import DISTURBANCES, Disturbance
from tutelage.errors import BadInput, Fault
from tutelage.registry import ALL_ENVIRONMENTS, environment_options, environment_row, names_environment

T = TypeVar("T")
RULES = ConstructorRegistry()


@RULES.primitive_rule
def whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Whole numbers are also written as 1e6 and 1_000_000."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda strings: parse_whole(strings[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def parse(cls: type[T], verb: str, argv: Sequence[str], about: str, default: Any = tyro.MISSING) -> T:
    """Parse `argv` into a dataclass.

    Raises:
        BadInput: one line that says what was wrong.
    """
    errors = io.StringIO()
    extra = {} if default is tyro.MISSING else {"default": default}
    try:
        with contextlib.redirect_stderr(errors), without_line_breaks(argv):
            return tyro.cli(cls, prog=f"tutelage {verb}", args=list(argv), description=about, registry=RULES, **extra)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(one_line(errors.getvalue(), f"tutelage {verb} --help")) from None


@contextlib.contextmanager
def without_line_breaks(argv: Sequence[str]) -> Iterator[None]:
    """Keep tyro from breaking lines of error messages, which are parsed; help keeps the width of the terminal."""
    before = os.environ.get("COLUMNS")
    if not {"-h", "--help"} & set(argv):
        os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        os.environ |= {} if before is None else {"COLUMNS": before}


def with_environment_options(cls: type[T], argv: Sequence[str]) -> type[T]:
    """The class of arguments, with a field `env` for the options of the environment, or of the run, that they name.

    It is the first word or, after options, the first word that is an environment of the package or a directory. Of a
    run's environment the disturbances can be given; they are those of its training unless given.
    """
    words = [word for word in argv[:1] if not word.startswith("-")] + [
        word for word in argv if word in ALL_ENVIRONMENTS or os.path.isdir(word)
    ]
    options = options_of(words[0]) if words else None
    if options is None:
        return cls
    if names_environment(words[0]):
        options = with_free_options(options, words[0], argv)
    fields_added = [("env", type(options), dataclasses.field(default=options))]
    return dataclasses.make_dataclass(cls.__name__, fields_added, bases=(cls,), frozen=True)


def with_free_options(options: T, env_id: str, argv: Sequence[str]) -> T:
    """The options of an environment that is not of this package, with a field for each `--env.KEY` that is given.

    What such an environment takes is known to itself alone.
    """
    if environment_row(env_id).ours:
        return options
    words = (word.removeprefix("--env.").partition("=")[0] for word in argv if word.startswith("--env."))
    known = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}  # type: ignore[arg-type]
    keys = dict.fromkeys(key for word in words if (key := word.replace("-", "_")) not in known)
    free = [(key, str, dataclasses.field(default="", metadata={"free": True})) for key in keys]
    return dataclasses.make_dataclass("Options", free, bases=(type(options),), frozen=True, kw_only=True)(**known)


def given_options(value: Any, default: Any) -> dict[str, Any]:
    """The options that were given; those that only the environment knows as Python's literals, or else as text."""
    free = {f.name for f in dataclasses.fields(value) if "free" in f.metadata}
    return {name: literal(x) if name in free else x for name, x in changed(value, default).items()}


def literal(text: str) -> Any:
    """A number, a truth value, ... as Python writes them; a text as it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def changed(value: Any, default: Any) -> dict[str, Any]:
    """The fields that differ from their default."""
    return {k: v for k, v in dataclasses.asdict(value).items() if v != getattr(default, k, "")}


def options_given(args: Any) -> dict[str, Any]:
    """The options of the environment that differ from their defaults; none for arguments without a field `env`."""
    return given_options(args.env, options_of(args.target)) if hasattr(args, "env") else {}


def options_of(target: str) -> Any:
    """The options of an environment with their defaults, or a run's disturbances; None for neither."""
    if names_environment(target):
        return environment_options(target)
    from tutelage.experiment.run_record import read_record, seed_runs

    try:
        options = read_record(seed_runs(Path(target))[0])["env_options"]
        return build(Disturbance, {name: options[name] for name in DISTURBANCES if name in options}, "option")
    except (BadInput, Fault):  # no run, or a damaged one, which is told when it is opened
        return None


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
    suggestion = f"; did you mean {' or '.join(dict.fromkeys(names))}?" if names and "Unrecognized" in box else ""
    # What a config says of itself comes wrapped in where it was read; it names its field anyway.
    text = re.sub(r"^.*?Error parsing [\w.-]+: (?=\w+ = )", "", " ".join(message)).rstrip(".")
    return f"{text}{suggestion} (see `{help_command}`)"
