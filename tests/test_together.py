"""Seeds trained together: each draws, learns and ends as it does alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tutelage
from helpers import BREAKS, QUICK, TINY, Silent, Uneven, build, lines_of
from tutelage import BadInput, FitConfig, make
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment import fit as T
from tutelage.experiment.fit import fit, fit_together
from tutelage.experiment.recorder import RunRecorder

GRU = {**TINY, "core": "gru", "size": "width=4", "rollout": 5, "chunk": 5, "steps": 1000}


def numbers_agree(some, others):
    """Records of two trainings, but for the clock."""
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"seconds"}:
            if isinstance(a[name], str):
                assert a[name] == b[name]
            else:
                np.testing.assert_allclose(a[name], b[name], rtol=2e-3, atol=2e-4, err_msg=name)


def train(out, **more):
    settings = dict(seed=2, seeds=3, quiet=True, fit=replace(QUICK, act="sample"), **GRU)
    return tutelage.train("mappo", "probe/memory", out=out, **settings, **more)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three seeds, trained together."""
    return train(tmp_path_factory.mktemp("together") / "runs", together=True)


def test_a_seed_learns_together_what_it_learns_alone(runs, tmp_path):
    alone = train(tmp_path / "alone")
    assert [run.path.name for run in runs] == ["seed-2", "seed-3", "seed-4"]
    for run, other in zip(runs, alone, strict=True):
        numbers_agree(lines_of(run.path), lines_of(other.path))
        for tested, expected in ((run.test, other.test), (run.test["greedy"], other.test["greedy"])):
            assert tested["success_rate"] == pytest.approx(expected["success_rate"], abs=0.04)
        assert run.record["device"]["together"] == 3 and "together" not in other.record["device"]
        assert {p.name for p in run.path.iterdir()} == {p.name for p in other.path.iterdir()}
    assert lines_of(runs[0].path) != lines_of(runs[1].path)


def test_seeds_that_are_through_wait_for_the_last():
    env, config = Uneven(), FitConfig(3, 16, 16)
    method = build("mappo", env, **{**TINY, "steps": 600})
    together = [Silent() for _ in range(4)]
    results = fit_together(env, method, config, range(4), together)
    assert len({recorder.records[-1]["update"] for recorder in together}) > 1  # or nobody had to wait
    for seed, (result, recorder) in enumerate(zip(results, together, strict=True)):
        alone = Silent()
        assert fit(env, method, config, seed, alone).steps == result.steps
        numbers_agree(recorder.records, alone.records)
        numbers_agree(recorder.evaluations, alone.evaluations)


def test_stopped_together_they_are_resumed_one_by_one(runs, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "interrupted", lambda self: len(lines_of(self.path)) > 6)
        with pytest.raises(Interrupted, match="tutelage resume"):
            train(tmp_path / "stopped", together=True)
    assert len([*(tmp_path / "stopped").glob("seed-*/checkpoint.safetensors")]) == 3
    for run, other in zip(tutelage.resume(tmp_path / "stopped", quiet=True), runs, strict=True):
        numbers_agree(lines_of(run.path), lines_of(other.path))


def test_a_loss_that_is_no_number_names_the_seed_and_spoils_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(BREAKS, "on", True)
    out = tmp_path / "runs"
    with pytest.raises(NonFinite, match=r"seed 1 of 2: policy became nan in update \d+ of stage train; seed 2 of 2"):
        tutelage.train("helpers:breaking", "probe/action", out=out, seeds=2, together=True, quiet=True, **TINY)
    assert not [*out.glob("seed-*/checkpoint.safetensors")]


def test_a_seed_that_breaks_costs_the_others_no_evaluation(monkeypatch):
    class Keeps(Silent):
        def checkpoint(self, status, force):
            self.saved = status

    def record_piece(runner, status, loop, *rest, record_piece=T.record_piece):
        if rest[-1] is recorders[0] and int(loop.steps) >= runner.stage.budget:
            raise NonFinite("policy became nan")
        return record_piece(runner, status, loop, *rest)

    env, recorders = make("probe/action"), [Keeps(), Keeps()]
    monkeypatch.setattr(T, "record_piece", record_piece)
    with pytest.raises(NonFinite, match="seed 1 of 2: policy became nan"):
        fit_together(env, build("mappo", env, **{**TINY, "steps": 512}), FitConfig(1, 8, 8), range(2), recorders)
    assert not hasattr(recorders[0], "saved") and int(recorders[1].saved.loop.steps) >= 512
    assert len(recorders[1].evaluations) == 1 + len(recorders[0].evaluations)


@pytest.mark.parametrize(
    ("method", "seeds", "why"), [("mappo", 1, "seeds = 1, must be at least 2"), ("bc", 2, "bc has a teacher")]
)
def test_what_cannot_be_trained_together_is_refused(tmp_path, method, seeds, why):
    with pytest.raises(BadInput, match=why):
        tutelage.train(method, "probe/action", out=tmp_path / "run", seeds=seeds, together=True, quiet=True)
    assert not (tmp_path / "run").exists()
