"""Files: what is saved is what is loaded, half-written files never appear, and damage is named."""

from __future__ import annotations

import errno
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_same
from tutelage import Fault
from tutelage.experiment.arrays import load_tree, read_meta, save_tree
from tutelage.experiment.compilation_cache import VerifiedCache
from tutelage.experiment.files import read_json, write_bytes, write_json
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.sinks import JsonLines


class State(NamedTuple):
    """A train state with everything that occurs in one."""

    weights: Any
    key: Any
    keys: Any
    scalar: Any
    flag: Any
    nothing: Any


def state() -> State:
    return State(
        weights={"a": jnp.arange(6.0).reshape(2, 3).T, "b": [jnp.ones(2, jnp.int32), jnp.zeros((0, 3))]},
        key=jax.random.key(7),
        keys=jax.random.split(jax.random.key(1), 3),
        scalar=jnp.array(2.5),
        flag=jnp.array([True, False]),
        nothing=(),
    )


def test_a_tree_comes_back_bit_for_bit(tmp_path):
    save_tree(tmp_path / "x.safetensors", state(), {"stage": 1, "best": [0.5, None]})
    template = jax.eval_shape(state)
    loaded, meta = load_tree(tmp_path / "x.safetensors", template)
    assert_same(loaded, state())
    assert isinstance(loaded, State) and meta == {"stage": 1, "best": [0.5, None]} == read_meta(
        tmp_path / "x.safetensors"
    )
    assert loaded.scalar.shape == () and loaded.flag.dtype == bool
    np.testing.assert_array_equal(jax.random.normal(loaded.key), jax.random.normal(jax.random.key(7)))
    np.testing.assert_array_equal(jax.random.bits(loaded.keys[2]), jax.random.bits(state().keys[2]))


@pytest.mark.parametrize("tree", [jnp.array(3.0), jax.random.key(0), jnp.array(True), ()])
def test_a_single_leaf_comes_back(tmp_path, tree):
    save_tree(tmp_path / "x.safetensors", tree)
    assert_same(load_tree(tmp_path / "x.safetensors", tree)[0], tree)


@pytest.mark.parametrize(
    "other",
    [
        {"a": jnp.zeros(3), "more": jnp.zeros(1)},
        {"b": jnp.zeros(3)},
        {"a": jnp.zeros(4)},
        {"a": jnp.zeros(3, jnp.int32)},
        [jnp.zeros(3)],
    ],
    ids=["one more", "another name", "another shape", "another type", "another structure"],
)
def test_a_file_of_another_structure_is_refused(tmp_path, other):
    path = tmp_path / "x.safetensors"
    save_tree(path, {"a": jnp.zeros(3)})
    with pytest.raises(Fault, match=r"x\.safetensors does not fit"):
        load_tree(path, other)


def damaged(content: bytes) -> dict[str, bytes]:
    return {"empty": b"", "cut short": content[: len(content) // 2], "garbage": b"\xff" * len(content)}


@pytest.mark.parametrize("how", ["empty", "cut short", "garbage"])
def test_a_damaged_tree_is_named(tmp_path, how):
    path = tmp_path / "x.safetensors"
    save_tree(path, state())
    path.write_bytes(damaged(path.read_bytes())[how])
    with pytest.raises(Fault, match=r"x\.safetensors is damaged"):
        load_tree(path, jax.eval_shape(state))


@pytest.mark.parametrize("how", ["empty", "cut short", "garbage"])
def test_damaged_json_is_named(tmp_path, how):
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    path.write_bytes(damaged(path.read_bytes())[how])
    with pytest.raises(Fault, match=r"x\.json is damaged"):
        read_json(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(Fault, match=r"gone\.json is missing"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(Fault, match=r"gone\.safetensors is missing"):
        load_tree(tmp_path / "gone.safetensors", state())


def test_a_directory_in_place_of_a_file_is_a_fault(tmp_path):
    with pytest.raises(Fault, match=str(tmp_path)):
        read_json(tmp_path)
    with pytest.raises(Fault, match=str(tmp_path)):
        load_tree(tmp_path, state())


WRITERS = {
    "bytes": lambda path: write_bytes(path, b"x"),
    "json": lambda path: write_json(path, {}),
    "tree": lambda path: save_tree(path, state()),
    "lines": lambda path: JsonLines(path, None),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_cannot_be_written_is_a_fault_that_names_the_file(tmp_path, writer):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "below"
    with pytest.raises(Fault, match=f"cannot write {path}"):
        WRITERS[writer](path)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "x.json"
    write_json(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(Fault, match=r"x\.json: No space left"):
        write_json(path, "new")
    monkeypatch.undo()
    assert read_json(path) == "old" and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_what_is_not_a_number_is_not_written_as_json(tmp_path):
    with pytest.raises(Fault, match="a is nan"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_lines_go_on_from_where_they_are_told_to(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    lines = JsonLines(path, None)
    lines.write("metrics", {"a": 1})
    kept = lines.synced_size()
    lines.write("metrics", {"a": 2})
    lines.close()
    again = JsonLines(path, kept)
    again.write("metrics", {"a": 3})
    again.close()
    assert path.read_text().splitlines() == ['{"kind": "metrics", "a": 1}', '{"kind": "metrics", "a": 3}']
    JsonLines(path, None).close()
    assert path.read_text() == ""


# ---- compiled programs -----------------------------------------------------------------------------------------------
class Folder:
    """jax's cache, as far as it is needed."""

    def __init__(self, path):
        self._path = path

    def get(self, key):
        file = self._path / f"{key}-cache"
        return file.read_bytes() if file.exists() else None


def test_a_compiled_program_is_read_under_its_own_key_alone(tmp_path):
    sealed = VerifiedCache(Folder(tmp_path))
    sealed.put("a", b"program a")
    sealed.put("b", b"program b")
    assert (sealed.get("a"), sealed.get("b"), sealed.get("c")) == (b"program a", b"program b", None)
    for ending in ("cache", "digest"):  # as if somebody had swapped them
        one, other = tmp_path / f"a-{ending}", tmp_path / f"b-{ending}"
        one.rename(tmp_path / "x"), other.rename(one), (tmp_path / "x").rename(other)
        assert sealed.get("a") is None and sealed.get("b") is None


def test_a_program_that_is_half_written_is_made_again(tmp_path):
    sealed = VerifiedCache(Folder(tmp_path))
    (tmp_path / "a-cache").write_bytes(b"prog")
    assert sealed.get("a") is None
    sealed.put("a", b"program a")
    assert sealed.get("a") == b"program a"


def test_jax_reads_its_cache_through_the_seal():
    """jax has no public way to it, so another version may need another one."""
    from jax._src import compilation_cache

    jit_unoptimised(lambda x: x + 1)(jnp.zeros(3))
    assert isinstance(compilation_cache._cache, VerifiedCache)
