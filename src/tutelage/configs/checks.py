"""Checks shared by the configs: bad values are refused by name before anything is built."""

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
    """A field that joined a config after results were published; its default is what those were made with.

    At that value it leaves the fingerprint of a result as it was.
    """
    return field(default=default, metadata={"was": default})


def lasting(config: Any) -> dict[str, Any]:
    """The settings that a fingerprint is made of: all but later fields at what they were before they existed."""
    values = {f.name: (getattr(config, f.name), f.metadata) for f in fields(config)}
    return {name: value for name, (value, about) in values.items() if "was" not in about or value != about["was"]}


@cache
def field_types(cls: type) -> dict[str, Any]:
    """The type of each field of a config by name; resolved once, as every config asks for them."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def choices(hint: Any) -> tuple[Any, ...]:
    """What the Literal of a field allows, also of one that may be None; empty where there is no Literal."""
    return next((get_args(part) for part in (hint, *get_args(hint)) if get_origin(part) is Literal), ())


LARGEST = 2**63 - 1
"""A number beyond it fits into no array."""


def check_fields(config: Any) -> None:
    """Refuse values outside the Literal of their field (also those that came from a file or from Python), and numbers
    that are none or have no end."""
    for name, hint in field_types(type(config)).items():  # type: ignore[arg-type]  # mypy takes classes for unhashable
        value, allowed = getattr(config, name), choices(hint)
        if isinstance(value, float) and not isfinite(value):
            raise BadInput(f"{name} = {value!r}: must be finite")
        if isinstance(value, int) and abs(value) > LARGEST:
            raise BadInput(f"{name} = {short(value)}: must be between -{LARGEST} and {LARGEST}")
        unset = value is None and type(None) in get_args(hint)
        if allowed and value not in allowed and not unset:
            raise unknown(name, str(value), allowed)


def whole(value: Any) -> int:
    """A whole number of what may stand for one: 1000000, 1e6, "1e6" or "1_000_000"; raises ValueError for others."""
    try:
        number = Decimal(value)
        if number == number.to_integral_value() and number.adjusted() < 30:  # 1e999999999 would fill the memory
            return int(number)
    except ArithmeticError:  # not a number at all, or without end
        pass
    raise ValueError(f"{value!r} is no whole number")


def understood(value: Any, hint: Any) -> Any:
    """1e6 for a whole number, as TOML and Python understand it: a float; everything else as it is."""
    if isinstance(value, float) and int in (hint, *get_args(hint)) and float not in get_args(hint) and isfinite(value):
        return int(value) if value.is_integer() else value
    return value


Config = TypeVar("Config")


def build(cls: type[Config], values: dict[str, Any], kind: str, also: Iterable[str] = (), inside: str = "") -> Config:
    """The config that `values` describe, for those that no parser has seen: from a file or from Python.

    Args:
        cls: a frozen dataclass; what it checks itself, such as its choices, comes after what is checked here. Where a
            field is a dataclass too, a dict becomes one in the same way.
        values: its fields by name; the others take their defaults.
        kind: what a field is called, e.g. `"field of mappo"`.
        also: names that are allowed where `values` come from and were taken out before.
        inside: what comes before a field's name in messages, e.g. `"teacher."`.

    Raises:
        BadInput: an unknown field, one without a default left out, or a value of another type.
    """
    types, made = field_types(cls), {}  # type: ignore[arg-type]
    check_names(cls, values, kind, also)
    for name, value in values.items():
        inner = next((part for part in (types[name], *get_args(types[name])) if is_dataclass(part)), None)
        if inner is not None and isinstance(value, dict):
            deeper = f"{inside}{name}."
            made[name] = build(inner, value, f"field of {deeper[:-1]}", inside=deeper)  # type: ignore[arg-type]
        else:
            made[name] = checked(inside + name, value, types[name])
    try:
        return cls(**made)
    except BadInput as error:
        raise BadInput(within(inside, error)) from None


def within(inside: str, error: BadInput) -> str:
    """What is wrong with a field, which is told with where it is."""
    told = str(error)
    return f"unknown {inside}{told[8:]}" if told.startswith("unknown ") else f"{inside}{told}"


def checked(name: str, value: Any, hint: Any) -> Any:
    """A value of a field of that type, lists for tuples as a tuple; raises BadInput for one of another type."""
    from typeguard import TypeCheckError, check_type  # not above: listing what there is need not wait for it

    if choices(hint):  # check_fields names the nearest one
        return value
    value = understood(value, hint)
    try:
        pairs = any(get_origin(part) is tuple for part in (hint, *get_args(hint)))
        value = tuple(value) if pairs and isinstance(value, list) else value
        if isinstance(value, bool) and bool not in (hint, *get_args(hint)) and hint is not Any:
            raise TypeCheckError("True is no number here")
        return check_type(value, hint)
    except TypeCheckError:
        raise BadInput(f"{name} = {short(value)}: must be {spoken(hint)}") from None


def spoken(hint: Any) -> str:
    """A type in a message, without the modules that its names come from."""
    return re.sub(r"(?:\w+\.)+(?=\w)", "", formatannotation(hint))


def check_names(cls: type[Any], values: Iterable[str], kind: str, also: Iterable[str]) -> None:
    """Refuse names that are no fields, and fields without a default that are left out: all of them at once."""
    names = [f.name for f in fields(cls)]
    needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    odd = [name for name in values if name not in names]
    lacking = [name for name in needed if name not in values]
    told = [
        str(unknown(kind, name, {*names, *also}) if names else f"unknown {kind} {name!r}; it has none") for name in odd
    ]
    if lacking:
        told.append(f"{kind}: {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing")
    if told:
        raise BadInput("; ".join(told))


def silent(config: Any) -> None:
    """Refuse agents that talk, where a method looks into every agent by itself."""
    if config.messages != "none":
        raise BadInput(f"messages = {config.messages!r}: agents of this method do not talk")


MOST = 2**31
"""Counts are kept in 32 bits."""


def check_positive(config: Any, *names: str) -> None:
    """Refuse values below or equal to zero, and numbers too large to count to."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise BadInput(f"{name} = {value!r}: must be greater than 0")
        if isinstance(value, int) and value >= MOST:
            raise BadInput(f"{name} = {value}: must be less than {MOST}")


def check_seeds(seed: Any, seeds: int = 1) -> None:
    """Refuse seeds that are none, or would be the same as others: 32 bits decide."""
    if not isinstance(seed, Integral) or not 0 <= int(seed) <= 2**32 - seeds:
        raise BadInput(f"seed = {seed!r}: must be a whole number from 0 to {2**32 - seeds}")


def check_not_negative(config: Any, *names: str) -> None:
    """Refuse values below zero."""
    for name in names:
        if getattr(config, name) < 0:
            raise BadInput(f"{name} = {getattr(config, name)!r}: must not be negative")


def check_unit(config: Any, *names: str) -> None:
    """Refuse values outside [0, 1]."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise BadInput(f"{name} = {getattr(config, name)!r}: must be between 0 and 1")
