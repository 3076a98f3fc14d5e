"""Reading and writing trees of arrays as safetensors; what is read is checked by value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save

from tutelage.errors import Fault, short
from tutelage.experiment.files import parse_json, write_bytes
from tutelage.experiment.weights import check_weight, opened


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path) or "value", x) for path, x in jax.tree_util.tree_leaves_with_path(tree)]


def save_tree(path: Path, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Save a pytree of arrays as safetensors, `meta` in its header."""
    arrays = {}
    for name, x in _named_leaves(tree):
        x = jnp.asarray(x)
        arrays[name] = np.asarray(jax.random.key_data(x) if _is_key(x) else x, order="C")
    write_bytes(path, save(arrays, {"meta": json.dumps(meta or {})}))


def all_weights(name: str) -> bool:
    """Default of `load_tree`: every leaf is a weight."""
    return True


def load_tree(
    path: Path, template: Any, is_weight: Callable[[str], bool] = all_weights, exact: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Load a pytree saved by `save_tree`.

    Args:
        template: a pytree of the same structure; leaves need `shape` and `dtype` only.
        is_weight: whether the leaf of a name is a weight, and so must be finite and smaller than LARGEST_WEIGHT.
        exact: whether to refuse a file that holds more than the template.

    Returns:
        The tree and its meta.

    Raises:
        Fault: missing, damaged, of another structure, or not finite.
    """
    with opened(path) as file:
        names, meta = set(file.keys()), _meta(file)
        leaves = []
        for name, leaf in _named_leaves(template):
            if name not in names:
                raise Fault(f"{path} does not fit: it has no {name}; another version may have made it")
            leaves.append(_read_leaf(path, file, name, leaf, is_weight(name)))
        if exact and (unknown := sorted(names - {name for name, _ in _named_leaves(template)})):
            raise Fault(f"{path} does not fit: it has {short(unknown[0])}, which nothing here is called")
    return jax.tree.unflatten(jax.tree.structure(template), leaves), meta


def read_meta(path: Path) -> dict[str, Any]:
    """Only the meta of a saved tree (see `load_tree`)."""
    with opened(path) as file:
        return _meta(file)


def _meta(file: Any) -> dict[str, Any]:
    header = file.metadata() or {}
    meta = parse_json(header.get("meta", "null"))
    if header.keys() != {"meta"} or not isinstance(meta, dict):
        raise ValueError("its header is not one of ours")
    return meta


def _read_leaf(path: Path, file: Any, name: str, template: Any, is_weight: bool) -> Any:
    """One array of an open file, of the shape and type of `like`."""
    expected = jax.eval_shape(jax.random.key_data, template) if _is_key(template) else template
    shape = tuple(file.get_slice(name).get_shape())  # before anything is read
    if shape == expected.shape:
        array = file.get_tensor(name)
    if shape != expected.shape or array.dtype != expected.dtype:
        dtype = array.dtype if shape == expected.shape else ""
        raise Fault(f"{path} does not fit: {name} is {dtype}{shape}, expected {expected.dtype}{expected.shape}")
    if is_weight:
        check_weight(path, name, array)
    return jax.random.wrap_key_data(array) if _is_key(template) else jnp.asarray(array)
