"""Writing so that a file is either the old one or the new one, and reading so that damage is named."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tutelage.errors import Fault, NotWritten


def write_bytes(path: Path, content: bytes) -> None:
    """Write through a temporary file and a rename.

    Raises:
        Fault: the disk is full, read-only, ...
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise NotWritten(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON (see `write_bytes`)."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def _read(path: Path, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        raise Fault(f"{path} is missing") from None
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Fault(f"{path} is damaged: {error}") from None


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        Fault: missing or damaged.
    """
    return _read(path, json.loads)


def read_lines(path: Path) -> list[Any]:
    """Read a file of one JSON value per line.

    Raises:
        Fault: missing or damaged.
    """
    return _read(path, lambda content: [json.loads(line) for line in content.splitlines()])


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path) or "value", x) for path, x in jax.tree_util.tree_leaves_with_path(tree)]


def save_tree(path: Path, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Save a pytree of arrays as safetensors, `meta` in its header."""
    arrays = {}
    for name, x in _named(tree):
        x = jnp.asarray(x)
        arrays[name] = np.asarray(jax.random.key_data(x) if _is_key(x) else x, order="C")
    write_bytes(path, save(arrays, {"meta": json.dumps(meta or {})}))


def load_tree(path: Path, template: Any) -> tuple[Any, dict[str, Any]]:
    """Load a pytree saved by `save_tree`.

    Args:
        template: a pytree of the same structure; leaves need `shape` and `dtype` only.

    Returns:
        The tree and its meta.

    Raises:
        Fault: missing, damaged, or of another structure.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            leaves = []
            for name, like in _named(template):
                if name not in names:
                    raise Fault(f"{path} does not fit: it has no {name}")
                x = file.get_tensor(name)
                if _is_key(like):
                    leaves.append(jax.random.wrap_key_data(x))
                    continue
                if x.shape != like.shape or x.dtype != like.dtype:
                    raise Fault(f"{path} does not fit: {name} is {x.dtype}{x.shape}, expected {like.dtype}{like.shape}")
                leaves.append(jnp.asarray(x))
    except FileNotFoundError:
        raise Fault(f"{path} is missing") from None
    except (SafetensorError, ValueError) as error:
        raise Fault(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror or error}") from error
    return jax.tree.unflatten(jax.tree.structure(template), leaves), meta


def read_meta(path: Path) -> dict[str, Any]:
    """Only the meta of a saved tree (see `load_tree`)."""
    return load_tree(path, ())[1]
