"""Exported teams: every format gives the team's own scores and actions, integers are the same everywhere."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from dataclasses import asdict
from importlib.util import find_spec

import numpy as np
import pytest

from exported import KINDS, TEST, exported, make_kind
from helpers import rows
from tutelage import Fault
from tutelage.deploy import standalone, standalone_int8
from tutelage.deploy.backends import BACKENDS, INT8_BACKENDS, c_library, c_network
from tutelage.deploy.check import compare_rows, replay_all
from tutelage.deploy.layers import program_of
from tutelage.deploy.quantise import largest_values, quantise, steps_of
from tutelage.deploy.recorded import listen, recorded_rows
from tutelage.deploy.tune import fit_to_integers, forward

CC = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
ONNX = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnx and onnxruntime")
FORMATS = ["numpy", pytest.param("onnx", marks=ONNX), pytest.param("c", marks=CC)]
ALL = [*KINDS, "predicting", "normalised, predicts"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ALL)
def test_every_format_gives_the_teams_own_scores_and_memory(kind, name):
    team = exported(kind)
    found = compare_rows(name, BACKENDS[name](team.folder, team.contract), team.contract, team.recorded)
    assert found["same_action"] == 1.0
    assert found["probability_difference"] < 1e-5 and found["score_difference"] < 2e-5
    assert found["memory_difference"] < 5e-5


def test_one_wrong_weight_is_noticed():
    team = exported("tiers of gru")
    backend = BACKENDS["numpy"](team.folder, team.contract)
    wrong = [dict(weights) for weights in team.weights]
    wrong[1]["core.bias_n"] = wrong[1]["core.bias_n"] + 0.01
    networks = [standalone.compile_network(*pair) for pair in zip(team.contract["networks"], wrong, strict=True)]
    backend = type(backend)(networks, backend.agent)
    with pytest.raises(Fault, match="does not act as the team does"):
        compare_rows("numpy", backend, team.contract, team.recorded)


def actions(backend, team, uniform):
    """What agents of a backend do on the recorded observations of one environment, each with its own memory."""
    steps, agents = team.recorded.steps, [backend.agent(i) for i in range(len(team.contract["agents"]))]
    chosen = []
    for t in range(len(team.recorded.scores)):
        if steps.first[t, 0]:
            for agent in agents:
                agent.reset()
        x = zip(agents, steps.obs[t, 0], steps.avail[t, 0], uniform[t], strict=True)
        chosen.append([agent.act(obs, avail, float(u)) for agent, obs, avail, u in x])
        if team.contract["messages"]:
            listen(agents, steps.links[t, 0])
    return np.array(chosen)


@CC
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(("kind", "act"), rows(
    [("tiers of gru", "sample"), ("nearest", "greedy"), ("tarmac", "sample")],
    [(kind, "greedy") for kind in ALL if kind not in ("tiers of gru", "nearest", "tarmac")],
))  # fmt: skip
def test_agents_in_c_do_what_agents_in_numpy_do(kind, act, int8):
    team = exported(kind, act)
    backends = INT8_BACKENDS if int8 else BACKENDS
    uniform = np.random.default_rng(0).random((len(team.recorded.scores), len(team.contract["agents"])))
    in_c, in_numpy = (actions(backends[name](team.folder, team.contract), team, uniform) for name in ("c", "numpy"))
    assert (in_c == in_numpy).all()
    assert len(np.unique(in_c)) > 2


@CC
@pytest.mark.parametrize("kind", ["mlp", "tiers of gru", "predicting", "hetgat", "normalised, predicts"])
def test_integers_are_the_same_in_c_and_numpy_and_near_the_scores(kind):
    team = exported(kind)
    ours, theirs = (
        replay_all(INT8_BACKENDS[name](team.folder, team.contract), team.contract, team.recorded, False)[0]
        for name in ("numpy", "c")
    )
    assert (ours == theirs).all()
    spread = team.recorded.scores[team.recorded.scores > -1e8].std()
    assert np.abs(ours - team.recorded.scores)[team.recorded.scores > -1e8].mean() < 0.05 * spread


@CC
def test_without_math_h_scores_are_the_same_to_five_digits():
    team = exported("tiers of gru")
    library = c_library(team.folder / "c", "-DTEAM_TABLE", "-nodefaultlibs")
    tables = [c_network(library, team.contract, i) for i in range(2)]
    backend = BACKENDS["c"](team.folder, team.contract)
    found = compare_rows("c", type(backend)(tables, backend.agent), team.contract, team.recorded)
    assert found["score_difference"] < 2e-5


@CC
def test_c_refuses_a_wrong_length_a_nan_and_an_agent_that_is_not_there():
    team = exported("tiers of gru")
    agent = BACKENDS["c"](team.folder, team.contract).agent(1)
    obs, available = team.recorded.steps.obs[0, 0, 1].copy(), np.ones(team.contract["actions"]["count"], bool)
    before = agent.act(obs, available)
    memory = bytes(agent._state)
    assert agent.act(obs[:-1], available) == -1
    for wrong in (np.nan, np.inf):
        assert agent.act(np.where(np.arange(len(obs)) == 7, wrong, obs), available) == -2
    assert bytes(agent._state) == memory and before >= 0  # nothing has changed
    agent._state.number = 3
    assert agent.act(obs, available) == -3
    assert agent._reset(ctypes.byref(agent._state), 3) == -3


def test_numpy_refuses_a_wrong_length_a_nan_and_other_weights(tmp_path):
    team = exported("mlp")
    agent = standalone.Agent.load(1, team.folder / "numpy")
    obs, available = team.recorded.steps.obs[0, 0, 1].copy(), np.ones(team.contract["actions"]["count"], bool)
    with pytest.raises(ValueError, match=r"agent 1: observation has shape \(3,\), must be"):
        agent.act(obs[:3], available)
    with pytest.raises(ValueError, match=r"agent 1: observation\[4\] = nan, must be finite"):
        agent.act(np.where(np.arange(len(obs)) == 4, np.nan, obs), available)
    for number in (3, -1):
        with pytest.raises(ValueError, match=f"there is no agent {number}: the team has 0 to 2"):
            standalone.Agent.load(number, team.folder / "numpy")
    with pytest.raises(ValueError, match="available has shape"):
        agent.act(obs, available[1:])
    with pytest.raises(ValueError, match="must be at least 0 and below 1"):
        agent.act(obs, available, 1.0)
    shutil.copytree(team.folder / "numpy", tmp_path / "numpy")
    contract = json.loads((team.folder / "team.json").read_text())
    contract["files"]["numpy/weights.npz"] = "0" * 64
    (tmp_path / "team.json").write_text(json.dumps(contract))
    with pytest.raises(ValueError, match="its SHA-256 is another"):
        standalone.Team(tmp_path / "numpy")


def test_a_choice_is_drawn_by_its_uniform_number():
    scores = np.log(np.array([0.2, 0.3, 0.5], np.float32))
    all_three, last_two = np.ones(3, bool), np.array([False, True, True])
    assert [standalone.choose(scores, all_three, u) for u in (0.0, 0.19, 0.21, 0.49, 0.51, 0.99)] == [0, 0, 1, 1, 2, 2]
    assert [standalone.choose(scores, last_two, u) for u in (0.0, 0.37, 0.38, 0.99)] == [1, 1, 2, 2]
    assert standalone.choose(scores, all_three) == 2
    assert standalone.choose(scores, ~all_three, 0.9) == standalone.choose(scores, ~all_three) == 0


def test_columns_are_named_and_where_they_come_from_is_said():
    contract = exported("nearest").contract
    columns = contract["networks"][0]["columns"]
    assert len(columns) == contract["networks"][0]["inputs"]
    assert [c["index"] for c in columns] == list(range(len(columns)))
    assert columns[0]["source"].startswith("observation, the entity of ally number 0 by distance")
    assert columns[-1] == {
        "index": len(columns) - 1,
        "name": "is agent 2",
        "unit": "0 or 1",
        "source": "agent number",
        "from": 2,
    }
    plain = exported("tiers of gru").contract["networks"][0]["columns"]
    names = {c["name"]: c for c in plain}
    assert names["enemy 0: relative x"]["unit"] == "share of own sight range"
    assert names["last action was 4"]["source"] == "last action"


@ONNX
def test_graphs_have_rank_two_with_a_free_batch_and_few_nodes():
    import onnx

    team = exported("tiers of gru")
    model = onnx.load(team.folder / "onnx" / "network_1.onnx")
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    inputs = team.contract["networks"][1]["inputs"]
    assert shapes == {
        "row": ["batch", inputs], "memory": ["batch", 6], "scores": ["batch", 8], "next_memory": ["batch", 6]
    }  # fmt: skip
    assert len(model.graph.node) <= 23 and model.opset_import[0].version == 17


@CC
def test_the_example_reads_observations_and_prints_actions(tmp_path):
    team = exported("tarmac")
    shutil.copytree(team.folder / "c", tmp_path / "c")
    subprocess.run(["make", "-s", "-C", str(tmp_path / "c")], check=True, capture_output=True)
    steps, lines = team.recorded.steps, []
    for t in range(5):
        for i in range(len(team.contract["agents"])):
            masks = np.concatenate([steps.avail[t, 1, i], steps.links[t, 1, i]]).astype(int)
            lines.append(" ".join(map(str, [*steps.obs[t, 1, i].tolist(), *masks.tolist()])))
    run = lambda text: subprocess.run([tmp_path / "c" / "example"], input=text, capture_output=True, text=True)
    done = run("\n".join(lines) + "\n")
    assert done.returncode == 0
    scores = np.where(steps.avail[:5, 1], team.recorded.scores[:5, 1], -1e9)
    expected = np.where(steps.avail[:5, 1].any(-1), scores.argmax(-1), 0)
    assert [list(map(int, line.split())) for line in done.stdout.splitlines()] == expected.tolist()
    again = run("\n".join([*lines[: 2 * len(team.contract["agents"])], "", *lines, ""]))  # an empty line: a new episode
    assert again.stdout.splitlines()[2:] == done.stdout.splitlines()
    short = run(lines[0].rpartition(" ")[0] + "\n")
    assert short.returncode == 2 and "numbers in a line, must be" in short.stderr


def test_the_contract_tells_how_the_team_did():
    contract = exported("mlp").contract
    assert {key: contract["success"][key] for key in TEST} == TEST
    assert contract["cost"]["networks"][0]["macs"] == contract["networks"][0]["inputs"] * 5 + 25 + 5 * 8


@pytest.mark.parametrize("kind", ["mlp", "tiers of gru", "predicting", "hetgat"])
def test_what_is_fitted_to_integers_without_rounding_is_the_network_itself(kind):
    team = exported(kind)
    for group, weights, (x, memory) in zip(
        make_kind(kind)[0].blueprint.groups, team.weights, recorded_rows(team.contract, team.recorded), strict=True
    ):
        program = program_of(group.network)
        largest = largest_values(program, weights, x, memory)
        steps = {name: steps_of(size, None) for name, size in largest.items()}
        found = forward(program, weights, x, memory, steps, lambda x, step, low=0: x)
        run = standalone.compile_network({"layers": [asdict(layer) for layer in program.layers]}, weights)
        for i in range(0, len(x), 7):
            scores, following, values = run(x[i], memory[i])
            expected = {"scores": scores, "memory": following, **{name: values[name] for name, _ in program.sends}}
            for name, value in found.items():
                np.testing.assert_allclose(value[i], expected[name], atol=2e-5)


def test_fitting_to_integers_brings_them_nearer_to_the_floats():
    team = exported("tiers of gru")
    program = program_of(make_kind("tiers of gru")[0].blueprint.groups[1].network)
    weights, (x, memory) = team.weights[1], recorded_rows(team.contract, team.recorded)[1]
    exact = standalone.compile_network({"layers": [asdict(layer) for layer in program.layers]}, weights)

    def error(fitted):
        ints = quantise(program, fitted, x, memory)
        network = {"int8": {"layers": ints.layers, "scales": ints.scales}}
        run = standalone_int8.compile_network(network, ints.weights)
        pairs = ((exact(row, h)[0], run(row, np.rint(h * 32768))[0]) for row, h in zip(x, memory, strict=True))
        return np.mean([(a - b) ** 2 for a, b in pairs])

    assert error(fit_to_integers(program, weights, x, memory)) < 0.8 * error(weights)
