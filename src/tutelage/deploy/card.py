"""README.md of an exported folder: a card for the person who deploys the team."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tutelage.deploy.contract import Contract


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
        f"A team of {len(agents)} agents for `{env['id']}`{options} (version {env['version']}): the "
        f"{contract['role']} of a run of {contract['method']}. Each agent decides alone, from its own observation"
        + (" and the messages that it hears." if contract["messages"] else ".")
        + " Nothing here needs the software that trained it."
    )
    if contract["success"]:
        yield ""
        test = contract["success"]
        yield f"When training ended it had {outcome(test)} in {test['episodes']} episodes."


def outcome(test: Any) -> str:
    """Success and return with their intervals."""
    low, high = test["ci95"]
    worst, best = test["return_ci95"]
    return (
        f"a success rate of {test['success_rate']:.3f} [{low:.3f}, {high:.3f}] and a return of "
        f"{test['return_mean']:.2f} [{worst:.2f}, {best:.2f}] (95 % intervals)"
    )


def use(contract: Contract) -> Iterator[str]:
    name, draws, talks = contract["name"], contract["act"]["rule"] == "sample", contract["messages"]
    width, actions = contract["observation"]["width"], contract["actions"]["count"]
    yield "## Use"
    yield ""
    yield (
        f"Every step each agent is given its observation ({width} numbers, as the environment gives them) and which "
        f"of the {actions} actions it may take, and says the number of its action: {contract['act']['in_words']}. "
        f"{contract['act']['no_action_available'].capitalize()}. " + remembers(contract)
    )
    if draws:
        yield "Draws are decided by a number from 0 to below 1 per agent and step (`uniform`), so they can be repeated."
    if talks:
        yield f"Agents talk: {talks['in_words']}."
    links, uniform = (", links=links" if talks else ""), (", uniform=uniform" if draws else "")
    snippets = {
        "numpy": (
            "`numpy/` (Python 3.9 and NumPy; run it in that folder)",
            "python",
            f"from team import Team\n\nteam = Team(); team.reset()\n"
            f"actions = team.act(observations, available{links}{uniform})",
        ),
        "onnx": (
            "`onnx/` (one graph per network: the row goes in, scores come out; rows, masks and choices are yours, or "
            "those of `numpy/team.py`)",
            "python",
            'import onnxruntime\n\nnetwork = onnxruntime.InferenceSession("onnx/network_0.onnx")\n'
            "scores, *next_memory = network.run(None, "
            + ('{"row": rows, "memory": memory})' if contract["networks"][0]["memory"] else '{"row": rows})'),
        ),
        "c": (
            f"`c/` (C99, no malloc; `make -C c` builds the example `main.c`; with `-D{name.upper()}_TABLE` no math.h)",
            "c",
            f"{name}_agent agent;\n{name}_reset(&agent, 3); /* agent number 3 */\n"
            f"action = {name}_act(&agent, observation, {width}, available, {'uniform' if draws else '0.0f'}); "
            "/* negative: refused */",
        ),
    }
    for each in contract["formats"]:
        title, language, code = snippets[each]
        yield f"\n{title}:\n\n```{language}\n{code}\n```"


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


def costs(contract: Contract) -> Iterator[str]:
    yield "## Cost of a decision"
    yield ""
    yield "| network | multiply-adds | numbers | bytes as floats |"
    yield "| --- | ---: | ---: | ---: |"
    for i, cost in enumerate(contract["cost"]["networks"]):
        yield f"| {i} | {cost['macs']:,} | {cost['params']:,} | {cost['float_bytes']:,} |"
    team = contract["cost"]["team"]
    yield f"| all agents, each with a copy | {team['macs']:,} | {team['params']:,} | {team['float_bytes']:,} |"


def checked(contract: Contract) -> Iterator[str]:
    check = contract["check"]
    yield "## Checked"
    yield ""
    if "skipped" in check:
        yield f"**Not checked**: {check['skipped']}."
        return
    yield (
        f"{check['rows']:,} recorded decisions were replayed, and {check['episodes']} episodes (seed {check['seed']}) "
        "were played in which every agent decided alone, with its own memory. The team where it was trained had "
        f"{outcome(check['jax'])} on the same episodes."
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
    yield "## In 8-bit integers"
    yield ""
    yield (
        f"`c_int8/` and `numpy/int8.py` compute the same in integers. They take {size['bytes']:,} bytes, "
        f"{size['share']:.2f} of those of floats; the weight matrices alone {size['matrices_share']:.2f}."
        + (" Its weights were fitted to these integers on recorded decisions." if size["tuned"] else "")
    )
    if found is None:
        yield "What that costs was not measured: the check was left out."
        return
    low, high = found["success_change_ci95"]
    worst, best = found["returns_change_ci95"]
    yield (
        f"In the same episodes the success rate changes by {found['success_change']:+.1%} [{low:+.1%}, {high:+.1%}], "
        f"the return by {found['returns_change']:+.2f} [{worst:+.2f}, {best:+.2f}]; the best action is the same in "
        f"{found['same_action']:.1%} of the recorded decisions."
    )
    if loses(contract):
        yield ""
        yield "**Not advised**: it loses more than a hundredth." + advice(size["tuned"])
    elif found["same_in_c"] is not True:
        yield f"The C was not run: {found['same_in_c']}."
    else:
        yield "The C gives the same integers as `numpy/int8.py`."


def advice(tuned: bool) -> str:
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
