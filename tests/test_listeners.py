"""Functions that are told what a training measures."""

from __future__ import annotations

import json

import pytest

import tutelage
from tutelage import BadInput, FitConfig


def train(out, **more):
    fit = FitConfig(6, 8, 8)
    return tutelage.train("helpers:counting", "probe/action", out=out, quiet=True, fit=fit, **more)


def test_they_are_told_what_is_written_and_of_which_run(tmp_path):
    told = {"metrics": [], "evaluation": []}
    listeners = {f"on_{kind}": records.append for kind, records in told.items()}
    train(tmp_path / "runs", seeds=2, **listeners)
    for kind, records in told.items():
        written = []
        for seed in (0, 1):
            run = tmp_path / "runs" / f"seed-{seed}"
            lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            written += [line | {"run": str(run)} for line in lines if line["kind"] == kind]
        assert [record | {"kind": kind} for record in records] == written and len(written) >= 2


def test_one_that_raises_ends_the_training_in_one_line_and_it_can_go_on(tmp_path):
    def broken(record):
        raise KeyError("no such score")

    with pytest.raises(BadInput, match="on_evaluation raised KeyError: 'no such score'"):
        train(tmp_path / "run", on_evaluation=broken)
    assert tutelage.resume(tmp_path / "run", quiet=True, trust=True)[0].test["episodes"] == 8
