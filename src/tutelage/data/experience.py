"""Which parts of a train state are gathered experience: large, and gathered again where they are missing."""

from __future__ import annotations

from typing import Any, TypeVar

import jax

Class = TypeVar("Class", bound=type)
KINDS: list[type] = []


def experience(cls: Class) -> Class:
    """Mark a class of arrays as gathered experience."""
    KINDS.append(cls)
    return cls


def is_experience(node: Any) -> bool:
    return isinstance(node, tuple(KINDS))


def without_experience(state: Any) -> Any:
    """A train state with () in place of gathered experience."""
    return jax.tree.map(lambda x: () if is_experience(x) else x, state, is_leaf=is_experience)


def with_experience(state: Any, other: Any) -> Any:
    """A state of `without_experience` with the experience of another one."""
    nodes, structure = jax.tree.flatten(other, is_leaf=is_experience)
    leaves = iter(jax.tree.leaves(state))
    return jax.tree.unflatten(structure, [node if is_experience(node) else next(leaves) for node in nodes])
