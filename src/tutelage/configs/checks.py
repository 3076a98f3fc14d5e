"""Checks that the configs share: an invalid value is refused, by name, before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, field, fields, is_dataclass
from decimal import Decimal
from functools import cache
from inspect import formatannotation
from math import isfinite
from numbers import Integral
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tutelage.errors import BadInput, short, unknown


def later(default: Any) -> Any:
    """A field that was added to a config after results were published; its default is what they were made with.

    At its default the field is left out of fingerprints, so that older results stay valid.
    """
    return field(default=default, metadata={"was": default})


def fingerprinted(config: Any) -> dict[str, Any]:
    """The settings that a fingerprint is made of: all except `later` fields at their defaults."""
    values = {f.name: (getattr(config, f.name), f.metadata) for f in fields(config)}
    return {
        name: value for name, (value, metadata) in values.items() if "was" not in metadata or value != metadata["was"]
    }


@cache
def field_types(cls: type) -> dict[str, Any]:
    """The type of each field of a config by name; resolved once, as every config asks for them."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def choices(hint: Any) -> tuple[Any, ...]:
    """The values that a field of type Literal (or Literal or None) allows; empty for other types."""
    return next((get_args(part) for part in (hint, *get_args(hint)) if get_origin(part) is Literal), ())


def allows(hint: Any, value: Any) -> bool:
    """Whether a field allows a value as far as its Literal says; `Literal[...] | str` allows a user's `module:name`."""
    unset = value is None and type(None) in get_args(hint)
    own = str in get_args(hint) and ":" in str(value)
    return not choices(hint) or value in choices(hint) or unset or own


MAX_NUMBER = 2**63 - 1
"""Largest integer that fits into an array."""


def check_fields(config: Any) -> None:
    """Raise BadInput for values outside the Literal of their field, for NaN and infinities, and for huge integers."""
    for name, hint in field_types(type(config)).items():  # type: ignore[arg-type]  # mypy takes classes for unhashable
        value = getattr(config, name)
        if isinstance(value, float) and not isfinite(value):
            raise BadInput(f"{name} = {value!r}: must be finite")
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise BadInput(f"{name} = {short(value)}: must be between -{MAX_NUMBER} and {MAX_NUMBER}")
        if not allows(hint, value):
            own = ["module:name"] if str in get_args(hint) else []
            raise unknown(name, str(value), [*choices(hint), *own])


def parse_whole(value: Any) -> int:
    """Convert to a whole number: 1000000, 1e6, "1e6" or "1_000_000"; raises ValueError for everything else."""
    try:
        number = Decimal(value)
        if number == number.to_integral_value() and number.adjusted() < 30:  # 1e999999999 would fill the memory
            return int(number)
    except ArithmeticError:  # not a number at all, or without end
        pass
    raise ValueError(f"{value!r} is no whole number")


def float_to_int(value: Any, hint: Any) -> Any:
    """Convert a float such as 1e6 to an int where a field is a whole number; everything else is returned unchanged."""
    if isinstance(value, float) and int in (hint, *get_args(hint)) and float not in get_args(hint) and isfinite(value):
        return int(value) if value.is_integer() else value
    return value


Config = TypeVar("Config")


def build(cls: type[Config], values: dict[str, Any], kind: str, also: Iterable[str] = (), prefix: str = "") -> Config:
    """Make a config from values of a file or of Python, with checks of names and types.

    Args:
        cls: a frozen dataclass, which may check further in `__post_init__`. Where a field is a dataclass too, it is
            made from a dict in the same way.
        values: its fields by name; the others take their defaults.
        kind: what a field is called, e.g. `"field of mappo"`.
        also: further names to suggest in messages about unknown ones.
        prefix: of a field's name in messages, e.g. `"teacher."`.

    Raises:
        BadInput: an unknown field, a missing one without a default, or a value of another type.
    """
    types, arguments = field_types(cls), {}  # type: ignore[arg-type]
    check_names(cls, values, kind, also)
    for name, value in values.items():
        nested = next((part for part in (types[name], *get_args(types[name])) if is_dataclass(part)), None)
        if nested is not None and isinstance(value, dict):
            nested_prefix = f"{prefix}{name}."
            arguments[name] = build(nested, value, f"field of {nested_prefix[:-1]}", prefix=nested_prefix)  # type: ignore[arg-type]
        else:
            arguments[name] = checked(prefix + name, value, types[name])
    try:
        return cls(**arguments)
    except BadInput as error:
        raise BadInput(with_prefix(prefix, error)) from None


def with_prefix(prefix: str, error: BadInput) -> str:
    """The message of an error about a field, with a prefix before the field's name."""
    message = str(error)
    return f"unknown {prefix}{message[8:]}" if message.startswith("unknown ") else f"{prefix}{message}"


def checked(name: str, value: Any, hint: Any) -> Any:
    """The value, with a list turned into a tuple where the type is one; raises BadInput for another type."""
    from typeguard import TypeCheckError, check_type  # not above: listing what there is need not wait for it

    if choices(hint):  # check_fields names the nearest one
        return value
    value = float_to_int(value, hint)
    try:
        pairs = any(get_origin(part) is tuple for part in (hint, *get_args(hint)))
        value = tuple(value) if pairs and isinstance(value, list) else value
        if isinstance(value, bool) and bool not in (hint, *get_args(hint)) and hint is not Any:
            raise TypeCheckError("True is no number here")
        return check_type(value, hint)
    except TypeCheckError:
        raise BadInput(f"{name} = {short(value)}: must be {type_text(hint)}") from None


def type_text(hint: Any) -> str:
    """A type as text for messages, without module names."""
    return re.sub(r"(?:\w+\.)+(?=\w)", "", formatannotation(hint))


def check_names(cls: type[Any], values: Iterable[str], kind: str, also: Iterable[str]) -> None:
    """Raise BadInput for unknown names and for missing fields without a default, all in one message."""
    names = [f.name for f in fields(cls)]
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    unknown_names = [name for name in values if name not in names]
    missing = [name for name in required if name not in values]
    messages = [
        str(unknown(kind, name, {*names, *also}) if names else f"unknown {kind} {name!r}; it has none")
        for name in unknown_names
    ]
    if missing:
        messages.append(f"{kind}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    if messages:
        raise BadInput("; ".join(messages))


MAX_COUNT = 2**31
"""Counts must be smaller: they are kept in 32 bits."""


def counts(config: Any) -> list[str]:
    """The names of a config's whole numbers."""
    return [name for name, hint in field_types(type(config)).items() if hint is int]  # type: ignore[arg-type]


def check_positive(config: Any, *names: str) -> None:
    """Raise BadInput for values of zero or less, and for counts of MAX_COUNT or more."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise BadInput(f"{name} = {value!r}: must be greater than 0")
        if isinstance(value, int) and value >= MAX_COUNT:
            raise BadInput(f"{name} = {value}: must be less than {MAX_COUNT}")


def check_seeds(seed: Any, seeds: int = 1) -> None:
    """Raise BadInput unless `seeds` seeds from `seed` on are whole numbers of 32 bits."""
    if not isinstance(seed, Integral) or not 0 <= int(seed) <= 2**32 - seeds:
        raise BadInput(f"seed = {seed!r}: must be a whole number from 0 to {2**32 - seeds}")


def check_not_negative(config: Any, *names: str) -> None:
    """Raise BadInput for values below zero."""
    for name in names:
        if getattr(config, name) < 0:
            raise BadInput(f"{name} = {getattr(config, name)!r}: must not be negative")


def check_unit(config: Any, *names: str) -> None:
    """Raise BadInput for values outside [0, 1]."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise BadInput(f"{name} = {getattr(config, name)!r}: must be between 0 and 1")
