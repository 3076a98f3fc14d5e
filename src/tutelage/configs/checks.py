"""Checks shared by the configs: bad values are refused by name before anything is built."""

from __future__ import annotations

from dataclasses import MISSING, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from typeguard import TypeCheckError, check_type

from tutelage.errors import BadInput, unknown


def later(default: Any) -> Any:
    """A field that joined a config after results were published; its default is what those were made with.

    At that value it leaves the fingerprint of a result as it was.
    """
    return field(default=default, metadata={"was": default})


def lasting(config: Any) -> dict[str, Any]:
    """The settings that a fingerprint is made of: all but later fields at what they were before they existed."""
    values = {f.name: (getattr(config, f.name), f.metadata) for f in fields(config)}
    return {name: value for name, (value, about) in values.items() if "was" not in about or value != about["was"]}


Config = TypeVar("Config")


def build(cls: type[Config], values: dict[str, Any], kind: str) -> Config:
    """The config that `values` describe, for those that no parser has seen: from a file or from Python.

    Args:
        cls: a frozen dataclass; what it checks itself comes after what is checked here.
        values: its fields by name; the others take their defaults.
        kind: what a field is called, e.g. `"field of mappo"`.

    Raises:
        BadInput: an unknown field, one without a default left out, or a value of another type.
    """
    all_hints = get_type_hints(cls)
    own = fields(cls)  # type: ignore[arg-type]
    hints = {f.name: all_hints[f.name] for f in own}
    for name, value in values.items():
        if name not in hints:
            raise unknown(kind, name, hints) if hints else BadInput(f"unknown {kind} {name!r}; it has none")
        if get_origin(hints[name]) is not Literal:  # those name the nearest choice in check_choices
            try:
                check_type(value, hints[name])
            except TypeCheckError:
                allowed = getattr(hints[name], "__name__", None) or str(hints[name]).replace("typing.", "")
                raise BadInput(f"{name} = {value!r}: must be {allowed}") from None
    for f in own:
        if f.default is MISSING and f.default_factory is MISSING and f.name not in values:
            raise BadInput(f"{kind}: {f.name} is missing")
    return cls(**values)


def check_choices(config: Any) -> None:
    """Refuse values outside the Literal of their field (also those that came from a file or from Python)."""
    hints = get_type_hints(type(config))
    for f in fields(config):
        value = getattr(config, f.name)
        if get_origin(hints[f.name]) is Literal and value not in get_args(hints[f.name]):
            raise unknown(f.name, str(value), get_args(hints[f.name]))


def silent(config: Any) -> None:
    """Refuse agents that talk, where a method looks into every agent by itself."""
    if config.messages != "none":
        raise BadInput(f"messages = {config.messages!r}: agents of this method do not talk")


def check_positive(config: Any, *names: str) -> None:
    """Refuse values below or equal to zero."""
    for name in names:
        if not getattr(config, name) > 0:
            raise BadInput(f"{name} = {getattr(config, name)!r}: must be greater than 0")


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
