"""A trained team in plain NumPy. This file needs Python 3.9 and NumPy, `weights.npz` beside it, and `team.json` beside
it or one folder up.

    from team import Team
    team = Team()                                   # once
    team.reset()                                    # when an episode begins
    actions = team.act(observations, available)     # every step: one action number per agent

`observations` are the agents' observations as the environment gives them, `available` says for each agent which actions
it may take. One process per agent works as well: `agent = Agent.load(0)`, `agent.reset()`, `agent.act(observation,
available)`. Agents that talk also send: `agent.message` after `act`, and `agent.hear(messages)` with the messages of
those whom it hears in this step. team.json says in words what each column of a network's input is.
"""

import hashlib
import json
import math
import random
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
BLOCKED = np.float32(-1e9)  # score of an action that is not available


def compile_network(network, weights):
    """A function (row, memory) -> (scores, memory, values by name) of a network of team.json with weights by name."""
    steps = [LAYERS[layer["kind"]](layer, weights) for layer in network["layers"]]

    def run(row, memory):
        values = {"row": row}
        following = np.empty_like(memory) if len(memory) else memory
        for step in steps:
            step(values, memory, following)
        return values["scores"], following, values

    return run


def scale(layer, weights):
    """target = (source - mean) * factor, held between -limit and limit."""
    mean, factor, limit = (weights[layer["name"] + "." + part] for part in ("mean", "factor", "limit"))

    def step(values, memory, following):
        out = (values[layer["source"]] - mean) * factor
        values[layer["target"]] = np.minimum(np.maximum(out, -limit), limit)

    return step


def dense(layer, weights):
    """target = source @ kernel + bias, negative numbers set to zero where `relu`."""
    kernel, bias = weights[layer["name"] + ".kernel"], weights[layer["name"] + ".bias"]
    source, target, relu = layer["source"], layer["target"], layer["relu"]

    def step(values, memory, following):
        out = values[source].dot(kernel)
        out += bias
        if relu:
            np.maximum(out, 0, out=out)
        values[target] = out

    return step


def gru(layer, weights):
    """target = the memory after a step: r, z = sigmoid(x + h), n = tanh(x + r (h + b)), h' = n + z (h - n)."""
    name, source, target, width = layer["name"], layer["source"], layer["target"], layer["width"]
    kernel_x, bias_x = weights[name + ".kernel_x"], weights[name + ".bias_x"]
    kernel_h, bias_n = weights[name + ".kernel_h"], weights[name + ".bias_n"]
    part, half, one = slice(layer["start"], layer["start"] + width), np.float32(0.5), np.float32(1)

    def step(values, memory, following):
        h = memory[part]
        from_x, from_h = values[source].dot(kernel_x), h.dot(kernel_h)
        from_x += bias_x
        gates = half * (np.tanh(half * (from_x[: 2 * width] + from_h[: 2 * width])) + one)  # sigmoid; exp overflows
        n = np.tanh(from_x[2 * width :] + gates[:width] * (from_h[2 * width :] + bias_n))
        values[target] = following[part] = n + gates[width:] * (h - n)

    return step


def join(layer, weights):
    """target = the sources one after another."""

    def step(values, memory, following):
        values[layer["target"]] = np.concatenate([values[name] for name in layer["sources"]])

    return step


LAYERS = {"scale": scale, "dense": dense, "gru": gru, "join": join}


def width_of(part):
    """Columns of a part of a row."""
    if part["kind"] == "entities":
        n, chosen = len(part["starts"]), part["nearest"]
        return chosen * (part["columns"] + n) if part["compact"] and picks(part) else n * part["columns"]
    return part["width"] if "width" in part else part["stop"] - part["start"]


def picks(part):
    """Whether a part shows only some of its entities, the nearest."""
    return part["nearest"] is not None and part["nearest"] < len(part["starts"])


def visible(part):
    """A function observation -> columns of the entities that a restricted sight shows, nearest first where compact."""
    starts, place, radius, chosen = part["starts"], part["place"], part["radius"], part["nearest"]
    index, identity = np.array([[start + i for i in range(part["columns"])] for start in starts]), np.eye(len(starts))

    def columns(observation):
        shown = observation[index]
        offset = shown[:, place : place + 2]
        distance = np.sqrt((offset * offset).sum(1))
        hidden = ~(shown != 0).any(1)  # what the environment itself does not show
        if radius is not None:
            hidden |= distance > np.float32(radius)
        distance, shown = np.where(hidden, np.inf, distance), np.where(hidden[:, None], 0, shown)
        if picks(part):
            order = np.argsort(distance, kind="stable")
            if part["compact"]:
                return np.concatenate([shown, ~hidden[:, None] * identity], 1)[order[:chosen]].reshape(-1)
            shown[order[chosen:]] = 0
        return shown.reshape(-1)

    return columns


def choose(scores, available, uniform=None):
    """The action number: the available one with the highest score, or drawn from softmax by `uniform`, in [0, 1).

    For an agent without any available action it is 0, which the environment ignores. Scores and `available` are (A,).
    """
    masked = np.where(available, scores, BLOCKED)
    best = int(masked.argmax())
    if uniform is None or not available[best]:
        return best
    total = np.exp(masked - masked[best]).cumsum(dtype=np.float32)
    action = int((total <= np.float32(uniform) * total[-1]).sum())
    return action if action < len(total) and available[action] else best


class Agent:
    """One agent with its own memory.

    Attributes:
        number: in the team. memory: of its network. last: its last action, None before the first.
        message: what it sent in its last step; None for one that does not talk. heard: what it reads in its next step.
    """

    def __init__(self, contract, run, number):
        self.number, self.run = number, run
        self.network = contract["networks"][contract["agents"][number]["network"]]
        self.actions, self.draws = self.network["outputs"], contract["act"]["rule"] == "sample"
        self.width, self.talks = contract["observation"]["width"], bool(self.network["sends"])
        self._row, self._readers, start = np.zeros(self.network["inputs"], np.float32), [], 0
        for part in self.network["row"]:
            columns = self._row[start : start + width_of(part)]
            start += len(columns)
            if (part["kind"], part.get("source")) == ("one-hot", "agent"):
                columns[number] = 1
            elif part["kind"] != "zeros":
                self._readers.append((self._reader(part), columns))
        self.reset()

    @classmethod
    def load(cls, number, folder=HERE, int8=None):
        """The agent of a number from an exported folder. `int8`: as of Team."""
        contract, weights = read(folder, int8)
        if not 0 <= number < len(contract["agents"]):
            raise ValueError(f"there is no agent {number}: the team has 0 to {len(contract['agents']) - 1}")
        index = contract["agents"][number]["network"]
        return cls(contract, (int8 or compile_network)(contract["networks"][index], weights[index]), number)

    def _reader(self, part):
        """A function observation -> the columns of one part of the row."""
        if part["kind"] == "entities":
            return visible(part)
        if part["kind"] == "one-hot":
            identity = np.eye(part["width"], dtype=np.float32)
            return lambda observation: 0 if self.last is None else identity[self.last]
        if part["source"] == "heard":
            return lambda observation: self.heard
        low, high = part["start"], part["stop"]
        return lambda observation: observation[low:high]

    def reset(self):
        """Begin an episode: the memory is empty, nothing was done or heard."""
        self.memory = np.zeros(self.network["memory"], np.float32)
        self.last, self.message = None, None
        self.heard = np.zeros(dict(self.network["sends"]).get("words", 0), np.float32)

    def scores(self, observation):
        """The scores of all actions, not masked, and a step of the memory; raises ValueError as `act` does."""
        observation = np.asarray(observation, np.float32)
        if observation.shape != (self.width,):
            raise ValueError(f"agent {self.number}: observation has shape {observation.shape}, must be ({self.width},)")
        finite = np.isfinite(observation)
        if not finite.all():
            wrong = int(finite.argmin())
            raise ValueError(f"agent {self.number}: observation[{wrong}] = {observation[wrong]}, must be finite")
        for read_part, columns in self._readers:
            columns[:] = read_part(observation)
        scores, self.memory, values = self.run(self._row, self.memory)
        if self.talks:
            self._query, self.message = values["query"], np.concatenate([values["key"], values["words"]])
            self.heard = np.zeros_like(self.heard)
        return scores

    def act(self, observation, available, uniform=None):
        """The action number of this step; raises ValueError for a wrong length or a number that is not finite.

        Args:
            observation: (D,) as the environment gives it. available: (A,), which actions it may take.
            uniform: where the team's rule is to draw, a number in [0, 1); None draws one.
        """
        available = np.asarray(available, bool)
        if available.shape != (self.actions,):
            raise ValueError(f"agent {self.number}: available has shape {available.shape}, must be ({self.actions},)")
        if uniform is not None and not 0 <= uniform < 1:
            raise ValueError(f"agent {self.number}: uniform = {uniform}, must be at least 0 and below 1")
        scores = self.scores(observation)
        if self.draws:
            uniform = random.random() if uniform is None else uniform
        self.last = choose(scores, available, uniform if self.draws else None)
        return self.last

    def hear(self, messages):
        """Take in the messages of those whom this agent hears in this step; it reads them in the next one.

        Args:
            messages: a list of their `message`s, in any order, after all of them acted. An empty list: silence.
        """
        if not self.talks:
            raise ValueError(f"agent {self.number} does not talk")
        if len(messages):
            sent = np.asarray(messages, np.float32)
            keys = len(self._query)
            score = sent[:, :keys] @ self._query / np.float32(math.sqrt(keys))
            weight = np.exp(score - score.max())
            self.heard = (weight / weight.sum()) @ sent[:, keys:]


class Team:
    """All agents of an exported team, each with its own memory."""

    def __init__(self, folder=HERE, int8=None):
        """`int8`: the function `compile_network` of int8.py, for a team in integers."""
        contract, weights = read(folder, int8)
        compile_with = int8 or compile_network
        runs = [compile_with(network, w) for network, w in zip(contract["networks"], weights)]
        self.agents = [Agent(contract, runs[a["network"]], i) for i, a in enumerate(contract["agents"])]

    def reset(self):
        """Begin an episode."""
        for agent in self.agents:
            agent.reset()

    def act(self, observations, available, links=None, uniform=None):
        """The action numbers of all agents; raises ValueError as `Agent.act`.

        Args:
            observations: one per agent. available: one mask per agent.
            links: of a team that talks: `links[i][j]`, whether agent i hears agent j in this step.
            uniform: one number in [0, 1) per agent, where the team's rule is to draw.
        """
        for name, value in (("observations", observations), ("available", available), ("uniform", uniform)):
            if value is not None and len(value) != len(self.agents):
                raise ValueError(f"{name} are of {len(value)} agents, must be of {len(self.agents)}")
        draws = [None] * len(self.agents) if uniform is None else uniform
        actions = [a.act(*x) for a, *x in zip(self.agents, observations, available, draws)]
        if self.agents[0].talks:
            if links is None:
                raise ValueError("links are missing: this team talks")
            for i, agent in enumerate(self.agents):
                agent.hear([other.message for j, other in enumerate(self.agents) if links[i][j]])
        return actions


def read(folder=HERE, int8=None):
    """The contract and every network's weights (floats, or of `int8`); ValueError for weights that it is not about."""
    folder, name = Path(folder), "weights_int8.npz" if int8 else "weights.npz"
    contract_file = next((f for f in (folder / "team.json", folder.parent / "team.json") if f.exists()), None)
    if contract_file is None:
        raise ValueError(f"{folder / 'team.json'} is missing")
    contract, file = json.loads(contract_file.read_text()), folder / name
    if hashlib.sha256(file.read_bytes()).hexdigest() != contract["files"]["numpy/" + name]:
        raise ValueError(f"{file} is not the file that {contract_file} is about (its SHA-256 is another)")
    arrays = np.load(file)
    weights: list = [{} for _ in contract["networks"]]
    for name in arrays.files:
        network, _, rest = name.partition(".")
        weights[int(network)][rest] = arrays[name]
    return contract, weights
