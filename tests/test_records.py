"""Files of a run that are damaged, strange or of another kind: one line that names file, field, value and what may be.

Most of it is asked of a run of the zoo, whose record holds its teacher's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from conftest import ROOT
from helpers import assert_same
from tutelage import BadInput, Fault
from tutelage.configs.checks import build
from tutelage.experiment.arrays import load_tree, read_meta, save_tree
from tutelage.experiment.checkpoint_meta import CheckpointMeta
from tutelage.experiment.files import read_json
from tutelage.experiment.job import read_job
from tutelage.experiment.read_records import as_damage, check_field_types, read_checked, read_metrics
from tutelage.experiment.records import FinalTest
from tutelage.experiment.run_record import read_record, read_settings, read_test
from tutelage.experiment.sweep_row import RowJob

ZOO = ROOT / "zoo" / "kd_marl" / "smax-2s3z"
RECORD = json.loads((ZOO / "config.json").read_text())
TEST = json.loads((ZOO / "eval.json").read_text())
JOB = {name: RECORD[name] for name in ("method", "env", "env_options", "config", "fit", "seed")} | {
    "seeds": 1, "teacher": None, "teacher_config": RECORD["teacher"]["record"]["config"], "together": False,
}  # fmt: skip


def places(value: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The way to everything in a record: names from the top."""
    deeper = (
        [place for name, x in value.items() for place in places(x, (*above, name))] if value.__class__ is dict else []
    )
    return ([above] if above else []) + deeper


def changed(record: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with another value there; Ellipsis: without it."""
    copy = json.loads(json.dumps(record))
    inner = copy
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    if value is ...:
        del inner[place[-1]]
    return copy


def wrong(value: Any) -> Any:
    """A value of another kind."""
    return "x" if isinstance(value, bool | int | float | list | dict) or value is None else 5


def at(record: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        record = record[name]
    return record


def refused(path: Path, content: Any, read: Any) -> str:
    """What is said of a file with that content: one line that names it."""
    path.write_text(json.dumps(content))
    with pytest.raises(Fault) as fault:
        read()
    message = str(fault.value)
    assert str(path) in message and "\n" not in message
    return message


# ---- kinds and names ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", places(RECORD), ids=".".join)
def test_a_wrong_kind_in_config_json_is_one_line_that_names_the_field(tmp_path, place):
    value = at(RECORD, place)
    message = refused(
        tmp_path / "config.json", changed(RECORD, place, wrong(value)), lambda: read_settings(tmp_path, True)
    )
    assert place[-1] in message or place == ("format",)


@pytest.mark.parametrize("place", places(JOB), ids=".".join)
def test_a_wrong_kind_in_plan_json_is_one_line_that_names_the_field(tmp_path, place):
    path = tmp_path / "plan.json"
    value = 5 if place == ("teacher",) else wrong(at(JOB, place))
    assert place[-1] in refused(path, changed(JOB, place, value), lambda: read_job(path))


@pytest.mark.parametrize("place", places(TEST), ids=".".join)
def test_a_wrong_kind_in_eval_json_is_one_line_that_names_the_field(tmp_path, place):
    path = tmp_path / "eval.json"
    assert place[-1] in refused(path, changed(TEST, place, "x"), lambda: read_checked(path, FinalTest))


@pytest.mark.parametrize("place", [p for p in places(RECORD) if isinstance(at(RECORD, p), dict)], ids=".".join)
def test_an_unknown_field_is_damage(tmp_path, place):
    message = refused(
        tmp_path / "config.json", changed(RECORD, (*place, "seee"), 0), lambda: read_settings(tmp_path, True)
    )
    assert "'seee'" in message


def test_an_unknown_field_is_told_with_the_nearest_known_one(tmp_path):
    message = refused(tmp_path / "config.json", changed(RECORD, ("sead",), 0), lambda: read_settings(tmp_path, True))
    assert message == f"{tmp_path}/config.json is damaged: unknown field 'sead'; did you mean 'seed' or 'method'?"


@pytest.mark.parametrize("name", [name for name in RECORD if name != "format"])
def test_a_field_that_is_missing_is_named(tmp_path, name):
    message = refused(tmp_path / "config.json", changed(RECORD, (name,), ...), lambda: read_settings(tmp_path, True))
    assert message.endswith(f"{name} is missing")


def test_fit_that_is_a_number_is_told_with_its_value(tmp_path):
    message = refused(tmp_path / "config.json", RECORD | {"fit": 5}, lambda: read_settings(tmp_path, True))
    assert message == f"{tmp_path}/config.json is damaged: fit = 5: must be dict[str, Any]"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("seed",), -1, "seed = -1: must be a whole number from 0 to"),
        (("seed",), True, "seed = True: must be int"),
        (("fit", "evaluations"), 0, "evaluations = 0: must be greater than 0"),
        (("config", "lr"), 10**400, "lr = 1000.*: must be between"),
        (("config", "share"), "nobody", "'nobody'"),
        (("config", "core"), "x" * 10**6, r"'x{97}\.\.\.'"),
        (("env",), "smax/2s3x", "teacher.env = 'smax/2s3z' {}: must be that of the run, 'smax/2s3x' {}"),
        (("method",), "kd_marm", "'kd_marm'; did you mean"),
        (("device", "cores"), 0, "device.cores = 0: must be greater than 0"),
        (("versions", "jax"), "0.1,2", "versions.jax = '0.1,2': must be a version"),
        (("teacher", "kind"), "scripted", "teacher.kind = 'scripted': must be 'run' with a record"),
        (("teacher", "kind"), "runs", "unknown teacher.kind 'runs'; did you mean 'run'"),
        (("teacher", "env"), "smax/3m", "teacher.env = 'smax/3m'.*must be that of the run"),
        (("teacher", "test", "success_rate"), 1.5, "teacher.test.success_rate = 1.5: must be between 0 and 1"),
        (("teacher", "record", "config", "lr"), "fast", "teacher.record.lr = 'fast': must be float"),
    ],
)
def test_values_out_of_range_are_told_with_what_is_allowed(tmp_path, place, value, message):
    (tmp_path / "config.json").write_text(json.dumps(changed(RECORD, place, value)))
    with pytest.raises(Fault, match=f"config.json is damaged: .*{message}") as fault:
        read_settings(tmp_path, trust=True)
    assert len(str(fault.value)) < 600


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("success_rate", 1.1, "success_rate = 1.1: must be between 0 and 1"),
        ("success_rate", 0.98, "success_rate = 0.98: must be so many of 320 episodes"),
        ("episodes", 0, "episodes = 0: must be greater than 0"),
        ("ci95", [1.0, 0.9], r"ci95 = \[1.0, 0.9\]: must be an interval between 0 and 1"),
        ("ci95", [0.9, 5.0], r"ci95 = \[0.9, 5.0\]: must be an interval between 0 and 1"),
        ("ci95", [0.99, 1.0], r"ci95 = \[0.99, 1.0\]: must be an interval around 0.9875"),
        ("seed", None, "seed = None: must be int"),
        ("ci95", [0.9], r"ci95 = \(0.9,\): must be tuple\[float, float\]"),
        ("return_ci95", [5.0, 6.0], r"return_ci95 = \[5.0, 6.0\]: must be an interval around"),
        ("steps", -1, "steps = -1: must not be negative"),
        ("beside", {"teacher": 3}, "beside.teacher = 3: must be an object"),
        ("beside", {"teacher": TEST | {"steps": 1}}, "unknown field of beside.teacher 'seed'"),
    ],
)
def test_a_test_that_cannot_be_is_told(tmp_path, name, value, message):
    (tmp_path / "eval.json").write_text(json.dumps(TEST | {name: value}))
    with pytest.raises(Fault, match=f"eval.json is damaged: .*{message}"):
        read_checked(tmp_path / "eval.json", FinalTest)


def test_the_test_of_another_run_is_told(tmp_path):
    (tmp_path / "eval.json").write_text(json.dumps(TEST | {"seed": 3}))
    with pytest.raises(Fault, match=r"eval.json is damaged or of another run: seed = 3, config.json says 0"):
        read_test(tmp_path / "eval.json", RECORD)


def test_runs_of_the_zoo_are_read_as_they_are():
    assert read_record(ZOO) == RECORD and read_test(ZOO / "eval.json", RECORD) == TEST


LINE = {"kind": "metrics", "stage": "train", "update": 2, "total_steps": 64, "seconds": 0.5, "loss": 1.0}
EVALUATION = {"kind": "evaluation", "stage": "train", "update": 2, "total_steps": 64, "seconds": 0.5} | {
    name: TEST[name] for name in ("episodes", "success_rate", "ci95", "return_mean", "return_ci95", "length_mean")
}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([5], "line 1: content = 5: must be an object"),
        ([LINE, {"kind": "metric"}], "line 2: kind = 'metric': must be 'metrics', 'compiled' or 'evaluation'"),
        (
            [LINE, {"lnss" if k == "loss" else k: v for k, v in LINE.items()}],
            "unknown line 2: field 'lnss'; did you mean",
        ),
        ([LINE, {k: v for k, v in LINE.items() if k != "update"}], "line 2: update is missing"),
        ([LINE, LINE | {"loss": "1"}], r"line 2: loss = '1': must be float \| None"),
        ([LINE, LINE | {"stage": "trail"}, LINE], "line 3: stage = 'train': must be 'trail', which came after it"),
        ([LINE, LINE | {"update": 1}], "line 2: update = 1: must not be less than 2"),
        ([EVALUATION | {"success_rate": 2}], "line 1: success_rate = 2: must be between 0 and 1"),
        ([{k: v for k, v in EVALUATION.items() if k != "total_steps"}], "total_steps is missing"),
    ],
)
def test_lines_of_metrics_that_are_none_are_told(tmp_path, lines, message):
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(Fault, match=f"metrics.jsonl is damaged: .*{message}"):
        read_metrics(path)


def test_of_lines_that_a_checkpoint_counts_on_the_rest_may_be_torn_but_none_of_them(tmp_path):
    path, line = tmp_path / "metrics.jsonl", json.dumps(LINE) + "\n"
    path.write_text(2 * line + line[:20])
    assert read_metrics(path, 2 * len(line)) == [LINE, LINE]
    path.write_text(line.replace("64", "6400") + line + line[:20])
    with pytest.raises(Fault, match=f"damaged: its first {2 * len(line)} bytes, .* end inside a line"):
        read_metrics(path, 2 * len(line))


def test_lines_of_metrics_come_back(tmp_path):
    more = {k: v for k, v in LINE.items() if k != "loss"} | {"update": 4, "policy_loss": 1.0}  # of another version
    lines = [LINE, EVALUATION, LINE | {"update": 4}, more, LINE | {"stage": "next", "update": 0}, {"kind": "compiled"}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_metrics(tmp_path / "metrics.jsonl") == lines


MARK = {"stage": 0, "fixed": [], "steps": 64, "seconds": 0.5, "offset": 7, "best": [0.5, 1.0]}


@pytest.mark.parametrize("name", MARK)
def test_a_wrong_kind_in_the_mark_of_a_checkpoint_is_told(name):
    with pytest.raises(Fault, match=f"checkpoint is damaged: {name} = 'x': must be"), as_damage(Path("checkpoint")):
        build(CheckpointMeta, MARK | {name: "x"}, "field")


def test_an_unknown_name_in_plan_json_is_told_with_the_nearest(tmp_path):
    message = refused(tmp_path / "plan.json", JOB | {"env": "smax/2s3x"}, lambda: read_job(tmp_path / "plan.json"))
    assert "plan.json is damaged: unknown environment 'smax/2s3x'; did you mean 'smax/2s3z'" in message


def test_a_best_evaluation_that_cannot_be_is_told():
    with pytest.raises(BadInput, match=r"best = \[1.5, 1.0\]: must be a success rate from 0 to 1, and a return"):
        build(CheckpointMeta, MARK | {"best": [1.5, 1.0]}, "field")


def test_the_mark_of_a_checkpoint_comes_back():
    assert (
        build(CheckpointMeta, MARK, "field").best == (0.5, 1.0)
        and build(CheckpointMeta, MARK | {"best": None}, "field").best is None
    )


@pytest.mark.parametrize("name", JOB)
def test_a_wrong_kind_in_row_json_is_told_and_more_or_fewer_fields_are_another_versions(tmp_path, name):
    path = tmp_path / "row.json"
    message = refused(path, JOB | {name: 1.5, "fingerprint": "1"}, lambda: check_field_types(path, RowJob))
    assert f"row.json is damaged: {name} = 1.5: must be" in message
    path.write_text(json.dumps({"fingerprint": "1", "later": 1}))
    check_field_types(path, RowJob)


# ---- files that are none ---------------------------------------------------------------------------------------------
CONTENTS = {
    "empty": (b"", "is damaged"),
    "not UTF-8": (b'{"a": "\xff"}', "is damaged: 'utf-8' codec"),
    "NaN": (b'{"a": NaN}', "is damaged: NaN is no number"),
    "without end": (b'{"a": 1e999}', "is damaged: 1e999 is no number"),
    "a field twice": (b'{"a": 1, "a": 2}', "it has a field twice: 'a'"),
    "200,000 levels": (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    "500 levels": (b"[" * 500 + b"]" * 500, "nested more than 100 levels deep"),
    "a number of 5000 digits": (b"1" * 5000, "is damaged"),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_json_that_is_none_of_ours_is_one_line(tmp_path, what):
    (tmp_path / "x.json").write_bytes(CONTENTS[what][0])
    with pytest.raises(Fault, match=rf"x\.json .*{CONTENTS[what][1]}") as fault:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("name", ["x.json", "x.safetensors"])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path, name):
    read = read_json if name == "x.json" else read_meta
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(Fault, match=f"cannot read {path}: it is a pipe or device, must be a file"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Fault, match=f"cannot read {path}: it is a directory, must be a file"):
        read(path)


@pytest.mark.parametrize("name", ["x.json", "x.safetensors"])
def test_a_link_out_of_a_run_is_not_followed(tmp_path, name):
    read = read_json if name == "x.json" else read_meta
    outside, run = tmp_path / name, tmp_path / "run"
    run.mkdir()
    outside.write_text("1")
    (run / name).symlink_to(outside)
    with pytest.raises(Fault, match=f"{run / name} is a link that leads out of its directory"):
        read(run / name)
    (run / name).unlink()
    (run / name).symlink_to(name)
    with pytest.raises(Fault, match=f"cannot read {run / name}"):
        read(run / name)


def test_a_link_within_a_run_and_a_run_that_is_a_link_are_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x.json").write_text("1")
    (tmp_path / "run" / "y.json").symlink_to("x.json")
    (tmp_path / "other").symlink_to("run")
    assert read_json(tmp_path / "other" / "y.json") == 1


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with open(tmp_path / "x.json", "wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(Fault, match=r"it has 10,737,418,240 bytes, more than the 16,777,216 that are read"):
        read_json(tmp_path / "x.json")


def header(path: Path, content: bytes, size: int | None = None) -> None:
    """A file of weights with that header, and nothing else."""
    path.write_bytes((len(content) if size is None else size).to_bytes(8, "little") + content)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"{}", 10**15),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, None),
        (json.dumps({"__metadata__": {"meta": "[" * 200_000 + "]" * 200_000}}).encode(), None),
        (json.dumps({"__metadata__": {"meta": "[]"}}).encode(), None),
        (json.dumps({"__metadata__": {"mets": "{}"}}).encode(), None),
        (b'{"__metadata__": {"meta": "\xff"}}', None),
    ],
    ids=["petabytes", "deep", "deep meta", "a list", "another name", "not UTF-8"],
)
def test_headers_that_are_none_of_ours_are_one_line(tmp_path, content, size):
    path = tmp_path / "x.safetensors"
    header(path, content, size)
    with pytest.raises(Fault, match=f"{path} is damaged") as fault:
        read_meta(path)
    assert "\n" not in str(fault.value) and len(str(fault.value)) < 400


def test_a_tensor_of_gigabytes_is_refused_by_its_shape(tmp_path):
    path = tmp_path / "x.safetensors"
    size = 4 * 10**10
    content = json.dumps(
        {"__metadata__": {"meta": "{}"}, "['a']": {"dtype": "F32", "shape": [10**10], "data_offsets": [0, size]}}
    ).encode()
    header(path, content)
    with open(path, "r+b") as file:
        file.truncate(8 + len(content) + size)
    with pytest.raises(Fault, match=r"does not fit: \['a'\] is \(10000000000,\), expected float32\(3,\)"):
        load_tree(path, {"a": jnp.zeros(3)})


def test_an_array_that_nothing_is_called_is_told(tmp_path):
    save_tree(tmp_path / "x.safetensors", {"a": jnp.zeros(3), "b": jnp.zeros(2)})
    with pytest.raises(Fault, match=r"does not fit: it has \"\['b'\]\", which nothing here is called"):
        load_tree(tmp_path / "x.safetensors", {"a": jnp.zeros(3)})
    assert load_tree(tmp_path / "x.safetensors", {"a": jnp.zeros(3)}, exact=False)[0]["a"].shape == (3,)


# ---- weights ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e+30"])
def test_weights_that_are_no_numbers_or_without_measure_are_named(tmp_path, value):
    path = tmp_path / "x.safetensors"
    save_tree(path, {"a": jnp.zeros((2, 3)).at[1, 2].set(float(value))})
    with pytest.raises(Fault) as fault:
        load_tree(path, {"a": jnp.zeros((2, 3))})
    place = "holds 1.0000000150474662e+30" if value == "1e+30" else f"holds {value}"
    assert str(fault.value).startswith(f"{path}: ['a'] {place} at [1, 2], must be a number of magnitude below 1e+20")


def test_what_is_no_weight_may_hold_what_it_likes(tmp_path):
    tree = {"distance": jnp.array(np.inf), "weight": jnp.array(1.0)}
    save_tree(tmp_path / "x.safetensors", tree)
    assert_same(load_tree(tmp_path / "x.safetensors", tree, lambda name: "weight" in name)[0], tree)
