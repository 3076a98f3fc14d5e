"""README.md of an exported folder: a card for the person who deploys the team."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tutelage.deploy.contract import Contract
from tutelage.deploy.write_c import needs_math


def card(contract: Contract) -> str:
    """The text of the card."""
    parts = (head, use, rows, costs, checked, *([integers] if "int8" in contract else []), limits)
    return "\n\n".join("\n".join(part(contract)) for part in parts) + "\n"


def head(contract: Contract) -> Iterator[str]:
    env, agents = contract["environment"], contract["agents"]
    options = "".join(f", {key} = {value}" for key, value in env["options"].items())
    yield f"# {contract['name']}"
    yield ""
    yield (
        f"A team of {len(agents)} agents for the simulated task `{env['id']}`{options} (version {env['version']}): the "
        f"{contract['role']} of a training by the method {contract['method']}. Each agent decides alone, from its own "
        "observation"
        + (" and the messages that it hears." if contract["messages"] else ".")
        + " Nothing here needs the software that trained it."
    )
    if contract["notes"]:
        yield ""
        yield from (f"- {note}" for note in contract["notes"])
    if test := contract["success"]:
        yield ""
        yield f"Tested when training ended, its best parameters had {outcome(test)} in {test['episodes']} episodes."


def outcome(test: Any) -> str:
    """Success and return with their intervals."""
    low, high = test["ci95"]
    worst, best = test["return_ci95"]
    return (
        f"a success rate of {test['success_rate']:.3f} [{low:.3f}, {high:.3f}] and a return of "
        f"{test['return_mean']:.2f} [{worst:.2f}, {best:.2f}] (95 % intervals)"
    )


def use(contract: Contract) -> Iterator[str]:
    agents, width, actions = len(contract["agents"]), contract["observation"]["width"], contract["actions"]["count"]
    yield "## Use"
    yield ""
    yield (
        f"Every step each agent is given its observation ({width} numbers, float32) and a mask of the {actions} "
        f"actions (1: may be taken), and answers with the number of its action: {contract['act']['in_words']}. "
        f"{contract['act']['no_action_available'].capitalize()}. {remembers(contract)}"
    )
    if contract["act"]["rule"] == "sample":
        yield "Draws are decided by a number from 0 to below 1 per agent and step (`uniform`), so they can be repeated."
    if contract["messages"]:
        yield f"Agents talk: {contract['messages']['in_words']}."
    yield ""
    yield (
        "NumPy and C refuse an observation of another length, or with NaN or an infinity in it (ValueError; a negative "
        "code): what is done then is for your system to decide. A graph of ONNX accepts them. Values that are finite "
        "but out of range are acted on by all."
    )
    if "examples.json" in contract.get("also", ()):
        yield (
            "`examples.json` holds the first steps of an episode (observations, masks, scores, actions): feed them to "
            "your deployment and compare."
        )
    for each in contract["formats"]:
        title, language, code = SNIPPETS[each](contract)
        yield f"\n{title}:\n\n```{language}\n{code}\n```"
    if names := contract["actions"]["names"]:
        yield "\n| action | what it is |"
        yield "| ---: | --- |"
        yield from (f"| {action['number']} | {action['name']} |" for action in names)
    yield ""
    yield f"Agents are numbered 0 to {agents - 1}. `sha256sum -c SHA256SUMS` checks that all files are as written."


def numpy_snippet(contract: Contract) -> tuple[str, str, str]:
    agents, width, actions = len(contract["agents"]), contract["observation"]["width"], contract["actions"]["count"]
    links = f", links=links)  # and {agents} x {agents}: whether i hears j" if contract["messages"] else ")"
    one = "" if contract["messages"] else (
        f"\n\nagent = Agent.load({agents - 1}); agent.reset()  # or one agent in a process of its own\n"
        "action = agent.act(observation, mask)"
    )  # fmt: skip
    return (
        "`numpy/` (Python 3.9 and NumPy; take `team.json` along; run it in that folder)",
        "python",
        "from team import Agent, Team\n\nteam = Team(); team.reset()\n"
        f"actions = team.act(observations, masks{links}  # {agents} x {width}, {agents} x {actions}{one}",
    )


def onnx_snippet(contract: Contract) -> tuple[str, str, str]:
    network = contract["networks"][0]
    memory = network["memory"]
    inputs = '"row": row, "memory": memory' if memory else '"row": row'
    sends = "".join(f", {name}" for name, _ in network["sends"])
    begin = f"memory = np.zeros((1, {memory}), np.float32)  # when an episode begins\n" if memory else ""
    out = f"scores, {'memory' if memory else '_'}{sends}" if memory or sends else "(scores,)"
    return (
        "`onnx/` (one graph per network, float32, any batch; run it in this folder; rows as `team.json` says)",
        "python",
        f'import numpy as np, onnxruntime\n\nnetwork = onnxruntime.InferenceSession("onnx/network_0.onnx")\n{begin}'
        f"{out} = network.run(None, {{{inputs}}})  # row: (1, {network['inputs']})\n"
        "action = int(np.where(mask, scores[0], -np.inf).argmax())",
    )


def c_snippet(contract: Contract) -> tuple[str, str, str]:
    name, width, agents = contract["name"], contract["observation"]["width"], len(contract["agents"])
    draws = contract["act"]["rule"] == "sample"
    table = f"; with `-D{name.upper()}_TABLE` no math.h" if needs_math(contract) else "; needs no math.h"
    uniform = "uniform);" if draws else "0.0f); /* the last is not read by this team */"
    return (
        f"`c/` (C99, no malloc{table}; `make -C c` builds `main.c`, which reads lines of numbers)",
        "c",
        f"{name}_agent agent;\n"
        f"if ({name}_reset(&agent, {agents - 1})) return 1; /* no such agent: 0 to {agents - 1} */\n"
        f"action = {name}_act(&agent, observation, {width}, mask, {uniform}\n"
        "if (action < 0) ... /* -1: another length, -2: NaN or infinity, -3: no such agent */",
    )


SNIPPETS = {"numpy": numpy_snippet, "onnx": onnx_snippet, "c": c_snippet}


def remembers(contract: Contract) -> str:
    """What an agent keeps from step to step, and so why it is reset."""
    kept = []
    if any(network["memory"] for network in contract["networks"]):
        kept.append("its network's memory")
    if any(column["source"] == "last action" for network in contract["networks"] for column in network["columns"]):
        kept.append("its last action")
    if contract["messages"]:
        kept.append("what it heard")
    if not kept:
        return "It keeps nothing from step to step."
    return f"From step to step it keeps {' and '.join(kept)}: call `reset` when an episode begins."


def rows(contract: Contract) -> Iterator[str]:
    yield "## What the networks read"
    yield ""
    yield "`team.json` lists every column with its name, unit and source. In short:"
    yield ""
    yield "| agents | network | row |"
    yield "| --- | --- | --- |"
    for network in contract["networks"]:
        groups: dict[str, int] = {}
        for column in network["columns"]:
            groups[column["source"]] = groups.get(column["source"], 0) + 1
        row = ", ".join(f"{n} of {source}" for source, n in groups.items())
        agents = ", ".join(map(str, network["agents"]))
        yield f"| {agents} | {network['core']}, {network['width']} wide | {network['inputs']}: {row} |"
    if any(network["normalised"] for network in contract["networks"]):
        yield ""
        yield (
            "The first layer of a network normalises its row, with means and deviations that are fixed since training "
            "ended: observations are given as the environment has them."
        )


def costs(contract: Contract) -> Iterator[str]:
    yield "## Cost of a decision"
    yield ""
    yield "| network | multiply-adds | stored numbers | their bytes as floats |"
    yield "| --- | ---: | ---: | ---: |"
    for i, cost in enumerate(contract["cost"]["networks"]):
        yield f"| {i} | {cost['macs']:,} | {cost['params']:,} | {cost['float_bytes']:,} |"
    team = contract["cost"]["team"]
    yield f"| all agents, each with a copy | {team['macs']:,} | {team['params']:,} | {team['float_bytes']:,} |"
    yield ""
    yield "Code comes on top: some kB in C. Nothing is allocated; a network's values and its row lie on the stack."


def checked(contract: Contract) -> Iterator[str]:
    check = contract["check"]
    yield "## Checked"
    yield ""
    if "skipped" in check:
        yield f"**Not checked**: {check['skipped']}."
        return
    low, high = check["scores"]
    yield (
        f"The team itself, before it was exported, made {check['rows']:,} decisions, which every format went through, "
        f"with scores from {low:.2f} to {high:.2f}. Then {check['episodes']} episodes (seed {check['seed']}) were "
        "played in which every agent decided alone. On these the team itself had "
        f"{outcome(check['jax'])}."
    )
    yield ""
    yield "| format | same best action | scores differ by at most | success rate | return |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, result in check["formats"].items():
        if "skipped" in result:
            yield f"| {name} | not checked: {result['skipped']} | | | |"
            continue
        tied = f" ({result['nearly_tied']} nearly tied)" if result["nearly_tied"] else ""
        low, high = result["ci95"]
        yield (
            f"| {name} | {result['same_action']:.2%}{tied} | {result['score_difference']:.1g} | "
            f"{result['success_rate']:.3f} [{low:.3f}, {high:.3f}] | {result['return_mean']:.2f} |"
        )


def integers(contract: Contract) -> Iterator[str]:
    size, found = contract["int8"], contract["check"].get("int8")
    normalised = any(network["normalised"] for network in contract["networks"])
    first = "a subtraction, two multiplications and two comparisons" if normalised else "one multiplication"
    yield "## In 8-bit integers"
    yield ""
    yield (
        "`c_int8/` (names begin with "
        f"`{contract['name']}_int8`) and `numpy/int8.py` (`from int8 import compile_network`, then "
        "`Team(int8=compile_network)`) compute nearly the same with weights and values of 8 bits. Observations are "
        f"still given as floats, which costs {first} of floats per column; all else is integers of up to 64 "
        f"bits. The numbers take {size['bytes']:,} bytes, {size['share']:.2f} of those of floats; the weight matrices "
        f"alone {size['matrices_share']:.2f}."
        + (" The weights were fitted to these integers on recorded decisions." if size["tuned"] else "")
    )
    if found is None:
        yield "What that costs was not measured: the check was left out."
        return
    low, high = found["success_change_ci95"]
    worst, best = found["returns_change_ci95"]
    yield (
        f"In the same episodes the success rate changes by {points(found['success_change'])} percentage points "
        f"[{points(low)}, {points(high)}], the return by {change(found['returns_change'])} "
        f"[{change(worst)}, {change(best)}]; "
        f"the best action is the same in {found['same_action']:.1%} of the recorded decisions, scores differ by up to "
        f"{found['score_difference']:.2g}."
    )
    if loses(contract):
        yield ""
        yield "**Not advised**: it loses more than a hundredth." + advice(size["tuned"])
    elif found["same_in_c"] is not True:
        yield f"The C was not run: {found['same_in_c']}."
    else:
        yield "The C gives the same integers as `numpy/int8.py`."


def points(share: float) -> str:
    """A change of a share in percentage points."""
    return f"{100 * share:+.1f}"


def change(x: float) -> str:
    """A change of a return; nothing is +0.00."""
    return f"{round(x, 2) + 0.0:+.2f}"


def advice(tuned: bool) -> str:
    """What may help."""
    return "" if tuned else " `tutelage export --int8 --tune` fits the weights to their integers first."


def loses(contract: Contract) -> bool:
    """Whether integers lose more than a point of success, or a hundredth of the return where teams are judged by it."""
    found, itself = contract["check"]["int8"], contract["check"]["jax"]
    if contract["measure"] == "success":
        return found["success_change"] < -0.01
    return found["returns_change"] < -0.01 * abs(itself["return_mean"])


def limits(contract: Contract) -> Iterator[str]:
    env = contract["environment"]
    yield "## What it must not be used for"
    yield ""
    yield (
        f"It learned in the simulation `{env['id']}` alone, with {len(contract['agents'])} agents, each in its own "
        "place and with these team-mates. What it does in any other task, with other numbers, units or rules, or where "
        "people can come to harm, was not tested. It knows no faults: an observation that is wrong but finite is acted "
        "on. Success in the simulation says nothing of a world that differs from it."
    )
    yield ""
    yield (
        f"Files and their SHA-256 are in `team.json`; `numpy/team.py` refuses weights that are not those. Made by "
        f"{contract['made_by']}, seed {contract['seed']}."
    )
