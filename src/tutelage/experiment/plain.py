"""Dataclasses to JSON and back; what is read is checked field by field."""

from __future__ import annotations

from dataclasses import is_dataclass
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from tutelage.configs.checks import check_fields, check_names, checked, field_types, fingerprinted, type_text
from tutelage.errors import BadInput, short, unknown
from tutelage.policies.blueprint import BY_KIND


def to_plain(value: Any) -> Any:
    """A dataclass as the JSON object that `from_plain` reads.

    Fields that joined later are left out at the value that older files have for it: these stay as they are.
    """
    if is_dataclass(value):
        return {name: to_plain(x) for name, x in fingerprinted(value).items()}
    if isinstance(value, dict):
        return {name: to_plain(x) for name, x in value.items()}
    return [to_plain(x) for x in value] if isinstance(value, tuple | list) else value


def from_plain(hint: Any, value: Any, name: str = "") -> Any:
    """A value of the type `hint`, which may be a dataclass, a tuple of such, or one of several with a `kind`.

    Args:
        name: of the field, for messages.

    Raises:
        BadInput: it is of another type; names the field.
    """
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            refuse(name, value, hint)
        (item, _) = get_args(hint)
        return tuple(from_plain(item, x, f"{name}[{i}]") for i, x in enumerate(value))
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    classes = [part for part in options if is_dataclass(part)]
    if classes and not (value is None and type(None) in options):
        if not isinstance(value, dict):
            refuse(name, value, hint)
        return build_plain(pick(classes, value, name), value, name)
    if hasattr(hint, "_fields"):  # a NamedTuple
        hints = get_type_hints(hint)
        needed = len(hints) - len(hint._field_defaults)  # a field that joined later has a default
        if not isinstance(value, list | tuple) or not needed <= len(value) <= len(hints):
            refuse(name, value, hint)
        return hint(*(from_plain(h, x, f"{name}.{n}") for (n, h), x in zip(hints.items(), value, strict=False)))
    return checked(name, value, hint)


def refuse(name: str, value: Any, hint: Any) -> NoReturn:
    """Raise BadInput for a value of another type than `hint`."""
    raise BadInput(f"{name} = {short(value)}: must be {type_text(hint)}")


def pick(classes: list[Any], value: dict[str, Any], name: str) -> Any:
    """The class that a `kind` names, where there are several."""
    if len(classes) == 1:
        return classes[0]
    allowed = {kind: cls for kind, cls in BY_KIND.items() if cls in classes}
    if value.get("kind") not in allowed:
        raise unknown(f"{name}.kind", short(value.get("kind"), str), allowed)
    return allowed[value["kind"]]


def build_plain(cls: Any, value: dict[str, Any], name: str) -> Any:
    """A dataclass of a JSON object."""
    prefix = f"{name}." if name else ""
    check_names(cls, value, f"field of {name}" if name else "field", ())
    types = field_types(cls)
    arguments = {key: from_plain(types[key], x, prefix + key) for key, x in value.items()}
    try:
        built = cls(**arguments)
        check_fields(built)
    except BadInput as error:
        raise BadInput(f"{prefix}{error}") from None
    return built
