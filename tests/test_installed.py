"""What other packages add by entry points, and methods of one's own that are taught."""

from __future__ import annotations

from importlib.metadata import Distribution

import pytest

import tutelage
from helpers import QUICK
from tutelage import BadInput, make
from tutelage.cli.main import run_and_flush
from tutelage.registry import installed, method_row

SMALL = dict(steps=64, envs=4, rollout=8, chunk=1, core="mlp", size="width=8", critic_width=8)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package, as pip leaves one: its metadata on the path."""
    info = tmp_path / "foraging-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foraging\nVersion: 1.2\n")
    points = "[tutelage.methods]\nforager = helpers:counting\n[tutelage.environments]\nberries = host_worlds:Foragers\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    installed.cache_clear()
    assert Distribution.from_name("foraging").version == "1.2"
    yield
    installed.cache_clear()


def test_a_packages_names_are_listed_and_nothing_of_it_is_imported(package, capsys):
    code, out = run_and_flush(["list"]), capsys.readouterr().out
    assert code == 0 and "forager    of foraging 1.2" in out and "berries                  of foraging 1.2" in out


def test_a_packages_names_are_trained_and_opened_without_trust(package, tmp_path):
    tutelage.train("forager", "berries", env_options={"cells": 5}, out=tmp_path / "run", fit=QUICK, **SMALL)
    run = tutelage.load(tmp_path / "run")
    assert (run.record["method"], run.record["env"]) == ("forager", "berries") and run.env.spec.n_agents == 3


def test_a_name_that_nobody_adds_names_the_nearest(package):
    with pytest.raises(BadInput, match="unknown method 'foragr'; did you mean 'forager'"):
        method_row("foragr")
    with pytest.raises(BadInput, match="unknown environment 'beries'; did you mean 'berries'"):
        make("beries")


def test_a_method_of_ones_own_is_taught_where_it_says_by_whom(tmp_path):
    small = dict(gather=64, envs=4, passes=1, core="mlp", size="width=8")
    given = dict(teacher="scripted:local", out=tmp_path / "run", fit=QUICK, **small)
    run = tutelage.train("helpers:pupil", "probe/action", **given)[0]
    assert run.record["teacher"]["name"] == "local" and method_row("helpers:pupil").teacher == "mappo"
    with pytest.raises(BadInput, match="helpers:counting learns by itself and takes none"):
        tutelage.train("helpers:counting", "probe/action", teacher="scripted:local", out=tmp_path / "none")
