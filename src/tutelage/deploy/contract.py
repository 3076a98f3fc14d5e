"""team.json, the contract of an exported team: what each agent reads, how it decides, and what was measured.

It is made from a role's blueprint alone; this module does not import jax.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tutelage import __version__
from tutelage.deploy.layers import Program, program_of
from tutelage.errors import BadInput
from tutelage.experiment.records import Record
from tutelage.policies.blueprint import Members, Role, Team, unwrapped
from tutelage.policies.columns import Columns, Entities, OneHot, Slice, Zeros
from tutelage.policies.cost import network_cost
from tutelage.types import Spec

FORMAT = 1
"""Of team.json."""

Contract = dict[str, Any]
EXPLAINED = {
    "agents": "each agent's type, and which of `networks` it runs",
    "networks.columns": "every column of a network's input in order; `from` is the column of its source",
    "networks.row": "the same for machines: parts one after another (`living`: zeros for a dead agent)",
    "networks.layers": "in order; dense: target = source @ kernel + bias, negatives set to 0 where relu; scale: "
    "target = (source - mean) * factor, held between -limit and limit",
    "networks.normalised": "whether the first layer normalises the row; what is observed is given as it is",
    "act.rule": "greedy or sample, see act.in_words",
    "success": "of the best parameters on fresh episodes; seconds and steps are those of training",
    "parameters": "SHA-256 of the parameters that were exported",
    "files": "SHA-256 of the files; SHA256SUMS holds the same for `sha256sum -c`",
    "check.formats": "against the team itself: differences of scores and probabilities, share of equal best actions; "
    "nearly_tied: best actions that differ where two scores are within 1e-5",
    "int8": "bytes of all numbers, and as shares of floats; tuned: the weights were fitted to their integers; "
    "scales: what 1 of an integer stands for",
}
"""What keys of team.json mean that do not say it themselves."""
RULES = {
    "greedy": "the available action with the highest score; of equal ones the one with the lowest number",
    "sample": "drawn from softmax over the scores of the available actions: with a uniform number u in [0, 1) the "
    "first action whose cumulated probability is above u",
}
NOTHING = (
    "for an agent without any available action the answer is 0, and the environment ignores it; a "
    "system of yours must ignore it too"
)
MEMORY = "zeros when an episode begins; after every step what the network gave"
MESSAGES = (
    "after its decision every agent sends `key` and `words`. Then agent i hears those whom the environment links to it "
    "in this step: softmax over j of (its own query . key_j / sqrt(key width)) weighs their words, and the weighted "
    "sum is what agent i reads, as the columns `heard`, in its next step; zeros where it hears nobody, and on a first "
    "step"
)


def exportable_team(role: Role, path: str) -> Team:
    """The team of agents that a role is made of.

    Raises:
        BadInput: it is no such team; the message says what it is.
    """
    made_of = unwrapped(role.made_of)
    if isinstance(made_of, Team) and all(group.view.decentralised for group in made_of.groups):
        return made_of
    kinds = {
        "fused": "a central teacher: it reads the world state, and no agent can decide alone",
        "hierarchy": "a central teacher: its coordinator reads the world state, and no agent can decide alone",
        "controller": "a controller of the environment, which is code and not data",
        "code": "a policy that is a user's code and not data",
        "critic": "a critic, which does not act",
        "team": "made of agents that read the world state",
    }
    raise BadInput(f"role = {role.role!r}: cannot be exported from {path}; it is {kinds[made_of.kind]}")


def make_contract(name: str, role: Role, team: Team, record: Record, test: Record) -> Contract:
    """team.json without what the exported files add (`files`, `formats`, `check`).

    Args:
        name: prefix of names in the files. record, test: config.json and eval.json of the run.
    """
    spec, programs = role.spec, [program_of(group.network) for group in team.groups]
    network_by_agent = {agent: i for i, group in enumerate(team.groups) for agent in group.agents}
    deterministic = role.made_of is not team
    rule = "greedy" if deterministic else role.act
    return {
        "format": FORMAT,
        "explained": EXPLAINED,
        "name": name,
        "made_by": f"tutelage {__version__}",
        "role": role.role,
        "method": record["method"],
        "environment": {"id": role.env, "options": role.env_options, "version": spec.version},
        "measure": spec.measure,
        "agents": [
            {"number": i, "type": spec.agent_types[i], "network": network_by_agent[i]} for i in range(spec.n_agents)
        ],
        "observation": {"width": spec.obs_width, "agents": list(spec.obs_widths)},
        "notes": list(spec.notes),
        "actions": {
            "count": spec.n_actions,
            "agents": list(spec.action_counts),
            "names": [{"number": i, "name": name} for i, name in enumerate(spec.action_names)],
        },
        "act": {"rule": rule, "in_words": RULES[rule], "no_action_available": NOTHING},
        "memory": MEMORY if any(program.memory for program in programs) else None,
        "messages": {"in_words": MESSAGES, "widths": dict(programs[0].sends)} if team.talks else None,
        "networks": [network_entry(*pair, spec) for pair in zip(team.groups, programs, strict=True)],
        "cost": cost_entry(team),
        "success": {"of": "the best parameters on fresh episodes when training ended", **test}
        if role.role == "student"
        else None,
        "seed": record["seed"],
        "versions": record["versions"],
    }


def network_entry(group: Members, program: Program, spec: Spec) -> Contract:
    """A network of the contract, with the meaning of every input column."""
    return {
        "core": group.network.label,
        "width": group.network.width,
        "agents": list(group.agents),
        "inputs": program.inputs,
        "normalised": group.network.normalised,
        "memory": program.memory,
        "outputs": program.outputs,
        "sends": [list(pair) for pair in program.sends],
        "row": [asdict(part) for part in group.view.columns],
        "columns": [{"index": i, **column} for i, column in enumerate(columns_of(group, spec))],
        "layers": [asdict(layer) for layer in program.layers],
        "weights": {name: list(shape) for name, shape in program.weight_shapes.items()},
    }


def cost_entry(team: Team) -> Contract:
    """Cost of a decision of an agent of every network, and of the whole team."""
    costs = [network_cost(group.network) for group in team.groups]
    counts = [len(group.agents) for group in team.groups]
    entry = lambda macs, params: {"macs": macs, "flops": 2 * macs, "params": params, "float_bytes": 4 * params}
    total = [sum(n * getattr(c, name) for n, c in zip(counts, costs, strict=True)) for name in ("macs", "params")]
    return {
        "of": "one decision: multiply-adds of matrix products, FLOPs of these, numbers stored",
        "networks": [entry(cost.macs, cost.params) for cost in costs],
        "team": entry(*total),
    }


def columns_of(group: Members, spec: Spec) -> Iterator[Contract]:
    """Name, unit and source of every column that a group's network reads, in order."""
    named = observation_columns(group, spec)
    for part in group.view.columns:
        yield from part_columns(part, spec, named)


def observation_columns(group: Members, spec: Spec) -> list[tuple[str, str]]:
    """Name and unit of the observation's columns; where agents of a network differ, what it is for each of them."""
    texts = zip(*(spec.column_names(agent) for agent in group.agents), strict=True)
    split = lambda text: text.removesuffix("]").partition(" [")
    parts = [[split(text) for text in dict.fromkeys(names)] for names in texts]
    return [
        (
            " / ".join(name for name, _, _ in each) or f"observation [{i}]",
            " / ".join(dict.fromkeys(u for _, _, u in each)),
        )
        for i, each in enumerate(parts)
    ]


def part_columns(part: Columns, spec: Spec, named: Sequence[tuple[str, str]]) -> Iterator[Contract]:
    """The columns of one part of a view."""
    match part:
        case Slice(source="heard"):
            for i in range(part.width):
                yield {"name": f"heard [{i}]", "unit": "", "source": "heard", "from": i}
        case Slice():
            for i in range(part.start, part.stop):
                yield {"name": named[i][0], "unit": named[i][1], "source": "observation", "from": i}
        case OneHot(source="agent"):
            for i in range(part.width):
                yield {"name": f"is agent {i}", "unit": "0 or 1", "source": "agent number", "from": i}
        case OneHot():
            for i in range(part.width):
                yield {"name": f"last action was {i}", "unit": "0 or 1", "source": "last action", "from": i}
        case Zeros():
            yield from ({"name": "hidden", "unit": "", "source": "zero", "from": None} for _ in range(part.width))
        case Entities():
            yield from entity_columns(part, spec, named)


def entity_columns(part: Entities, spec: Spec, named: Sequence[tuple[str, str]]) -> Iterator[Contract]:
    """The columns of entities of a restricted sight: in places of their own, or the nearest ones sorted."""
    n, within = len(part.starts), f"; zeros beyond {part.radius:g}" if part.radius is not None else ""
    blocks = {block.start: block.name for block in spec.layout}
    if not (part.compact and part.chosen):
        hidden = f"{within}; zeros unless among the {part.chosen} nearest" if part.chosen else within
        for start in part.starts:
            for i in range(start, start + part.columns):
                yield {"name": named[i][0], "unit": named[i][1], "source": f"observation{hidden}", "from": i}
        return
    kind = blocks.get(part.starts[0], "entity").split()[0]
    for rank in range(part.chosen):
        source = f"observation, the entity of {kind} number {rank} by distance{within}"
        for i in range(part.columns):
            name, unit = named[part.starts[0] + i]
            label = name.partition(": ")[2] or f"[{i}]"
            yield {"name": f"{kind} at rank {rank}: {label}", "unit": unit, "source": source, "from": i}
        for j in range(n):
            name = f"{kind} at rank {rank}: is {blocks.get(part.starts[j], j)}"
            yield {"name": name, "unit": "0 or 1", "source": source, "from": None}
