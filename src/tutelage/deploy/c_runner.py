"""An agent in C: from an observation and a mask to an action, with its memory, last action and messages."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from tutelage.deploy.c_text import comment, number
from tutelage.deploy.contract import Contract
from tutelage.deploy.standalone import picks, width_of

FLOATS = {"memory": "float", "scores": "float"}
INTEGERS = {"memory": "int16_t", "scores": "int32_t"}
"""Types of an agent's memory and scores, of networks in floats and in integers."""

ERRORS = {
    "LENGTH": (-1, "the observation has another number of columns"),
    "NUMBER": (-2, "a number in the observation is not finite"),
    "AGENT": (-3, "there is no agent of that number"),
}


def runner_header(contract: Contract, types: dict[str, str] = FLOATS) -> str:
    """The team's header: agents, and how they act."""
    name, upper, networks = contract["name"], contract["name"].upper(), contract["networks"]
    memory = max(network["memory"] for network in networks)
    widths = (contract["messages"] or {"widths": {}})["widths"]
    fields = [f"    {types['memory']} memory[{memory}];"] if memory else []
    if widths:
        fields += [f"    float query[{widths['query']}];", f"    float heard[{widths['words']}];"]
        fields += [f"    float message[{widths['key'] + widths['words']}]; /* what it sent last: key, then words */"]
    hear = f"""
/* Takes in the messages of those whom the agent hears in this step (their `message`), after all of them acted; it reads
   them in its next step. */
void {name}_hear({name}_agent *agent, const float *const *messages, int count);
""" if widths else ""  # fmt: skip
    codes = "\n".join(f"#define {upper}_{label} ({code}) /* {text} */" for label, (code, text) in ERRORS.items())
    extra = "\n".join(fields) + "\n" if fields else ""
    return f"""{comment(f"{contract['name']}: agents that decide alone; ../team.json says what they read.")}
#ifndef {upper}_H
#define {upper}_H

{"#include <stdint.h>" + chr(10) * 2 if types is INTEGERS else ""}#define {upper}_AGENTS {len(contract["agents"])}
#define {upper}_OBSERVATION {contract["observation"]["width"]}
#define {upper}_ACTIONS {contract["actions"]["count"]}

{codes}

typedef struct {{
    int number; /* in the team, from 0 */
    int last;   /* its last action, -1 before the first */
{extra}}} {name}_agent;

/* Begins an episode. Returns 0, or {upper}_AGENT. */
int {name}_reset({name}_agent *agent, int number);

/* One step: returns the action, or a negative code (then nothing has changed). `columns` is the length of
   `observation`, {upper}_OBSERVATION. `available` has {upper}_ACTIONS entries, 0 where an action may not be taken; an
   agent without any takes action 0. `uniform`, from 0 to below 1, decides draws; a team that takes the best action does
   not read it. */
int {name}_act({name}_agent *agent, const float *observation, int columns,
    const unsigned char *available, float uniform);
{hear}
#endif
"""


def runner_source(contract: Contract, types: dict[str, str] = FLOATS) -> str:
    """The team's source."""
    name, upper, networks = contract["name"], contract["name"].upper(), contract["networks"]
    draws = contract["act"]["rule"] == "sample"
    includes = [f'#include "{name}.h"', *(f'#include "{name}_{i}.h"' for i in range(len(networks)))]
    talks = contract["messages"] is not None
    if draws or talks:
        includes.append(f'#include "{name}_math.h"')
    network_of = ", ".join(str(agent["network"]) for agent in contract["agents"])
    rows = "\n".join(row_function(name, i, network) for i, network in enumerate(networks))
    if any(part["kind"] == "entities" for network in networks for part in network["row"]):
        rows = f"{VISIBLE}\n{rows}"
    return f"""{chr(10).join(includes)}

static const unsigned char network_of[{upper}_AGENTS] = {{ {network_of} }};

{rows}
{choose_source(contract, draws, types)}
{reset_source(name, upper, contract)}
{act_source(name, upper, contract, types)}{hear_source(name, contract) if talks else ""}"""


def row_function(name: str, index: int, network: Contract) -> str:
    """A function that composes the row of a network."""
    lines: list[str] = []
    start = 0
    for part in network["row"]:
        lines += part_lines(part, start)
        start += width_of(part)
    text = "\n".join(f"    {line}" for line in lines)
    return f"""static void row_{index}(const {name}_agent *agent, const float *observation, float *row) {{
    int i;
    (void)agent;
{text}
}}
"""


def part_lines(part: Contract, start: int) -> Iterator[str]:
    """Statements that fill in one part of a row, from column `start` on."""
    width = width_of(part)
    kind, source = part["kind"], part.get("source")
    if kind == "entities":
        starts = ", ".join(map(str, part["starts"]))
        radius = -1.0 if part["radius"] is None else part["radius"]
        chosen = part["nearest"] if picks(part) else 0
        yield "{"
        yield f"    static const int starts[{len(part['starts'])}] = {{ {starts} }};"
        yield f"    float distance[{len(part['starts'])}];"
        yield (
            f"    visible(observation, starts, {len(part['starts'])}, {part['columns']}, {part['place']}, "
            f"{number(np.float32(radius))}, {chosen}, {int(part['compact'])}, distance, row + {start});"
        )
        yield "    (void)i;"
        yield "}"
    elif kind == "slice" and source == "heard":
        yield f"for (i = 0; i < {width}; i++) row[{start} + i] = agent->heard[i];"
    elif kind == "slice":
        low = f"{part['start']} + " if part["start"] else ""
        at = f"{start} + " if start else ""
        yield f"for (i = 0; i < {width}; i++) row[{at}i] = observation[{low}i];"
    else:
        value = {"agent": "i == agent->number", "action": "i == agent->last"}.get(source or "", "0")
        yield f"for (i = 0; i < {width}; i++) row[{start} + i] = (float)({value});"


VISIBLE = """/* The entities that a restricted sight shows; those that the environment hides are all zeros.
   radius < 0: at any distance. chosen: only so many of the nearest, 0: all. compact: the nearest first, each with its
   number as a one-hot; otherwise in places of their own, the others zeros. */
static void visible(const float *observation, const int *starts, int n, int columns, int place, float radius,
    int chosen, int compact, float *distance, float *out) {
    const float far = 1e30f;
    int e, i, k, rank, total;
    for (e = 0; e < n; e++) {
        const float *x = observation + starts[e];
        int shown = 0;
        for (i = 0; i < columns; i++) shown |= x[i] != 0.0f;
        distance[e] = x[place] * x[place] + x[place + 1] * x[place + 1];
        if (!shown || (radius >= 0.0f && distance[e] > radius * radius)) distance[e] = far;
    }
    total = chosen && compact ? chosen * (columns + n) : n * columns;
    for (i = 0; i < total; i++) out[i] = 0.0f;
    for (e = 0; e < n; e++) {
        for (rank = 0, k = 0; k < n; k++) rank += distance[k] < distance[e] || (distance[k] == distance[e] && k < e);
        if (distance[e] == far || (chosen && rank >= chosen)) continue;
        {
            float *to = out + (chosen && compact ? rank * (columns + n) : e * columns);
            for (i = 0; i < columns; i++) to[i] = observation[starts[e] + i];
            if (chosen && compact) to[columns + e] = 1.0f;
        }
    }
}
"""


def choose_source(contract: Contract, draws: bool, types: dict[str, str]) -> str:
    """From scores to an action; of integers `scale` is what 1 stands for."""
    name, upper, integers = contract["name"], contract["name"].upper(), types is INTEGERS
    difference = "(float)(scores[i] - scores[best]) * scale" if integers else "scores[i] - scores[best]"
    draw = f"""    for (i = 0; i < {upper}_ACTIONS; i++)
        if (available[i]) total += {name}_exp({difference});
    for (i = 0; i < {upper}_ACTIONS; i++) {{
        if (!available[i]) continue;
        sum += {name}_exp({difference});
        if (sum > uniform * total) return i;
    }}
    return best;
""" if draws else "    (void)uniform;\n    return best < 0 ? 0 : best;\n"  # fmt: skip
    variables = "    float sum = 0.0f, total = 0.0f;\n" if draws else ""
    none = "    if (best < 0) return 0;\n" if draws else ""
    scale = ", float scale" if draws and integers else ""
    given = f"const {types['scores']} *scores, const unsigned char *available, float uniform{scale}"
    return f"""static int choose({given}) {{
    int i, best = -1;
{variables}    for (i = 0; i < {upper}_ACTIONS; i++)
        if (available[i] && (best < 0 || scores[i] > scores[best])) best = i;
{none}{draw}}}
"""


def reset_source(name: str, upper: str, contract: Contract) -> str:
    """Beginning an episode."""
    memory = max(network["memory"] for network in contract["networks"])
    widths = (contract["messages"] or {"widths": {}})["widths"]
    zeros = [f"    for (i = 0; i < {memory}; i++) agent->memory[i] = 0.0f;"] if memory else []
    if widths:
        zeros += [f"    for (i = 0; i < {widths['words']}; i++) agent->heard[i] = 0.0f;"]
    text = "".join(f"{line}\n" for line in zeros)
    index = "    int i;\n" if zeros else ""
    return f"""int {name}_reset({name}_agent *agent, int number) {{
{index}    if (number < 0 || number >= {upper}_AGENTS) return {upper}_AGENT;
    agent->number = number;
    agent->last = -1;
{text}    return 0;
}}
"""


def act_source(name: str, upper: str, contract: Contract, types: dict[str, str]) -> str:
    """One step of an agent: its row, its network, its choice."""
    networks, cases, talks = contract["networks"], [], contract["messages"] is not None
    widths = contract["messages"]["widths"] if talks else {}
    scaled = types is INTEGERS and contract["act"]["rule"] == "sample"
    for i, network in enumerate(networks):
        memory = "agent->memory" if network["memory"] else "0"
        scale = f"            scale = {name.upper()}_{i}_SCALE;\n" if scaled else ""
        sent = f", agent->query, agent->message, agent->message + {widths['key']}" if talks else ""
        cases.append(f"""        case {i}: {{
            float row[{network["inputs"]}];
            row_{i}(agent, observation, row);
            code = {name}_{i}_step(row, {memory}, scores{sent});
{scale}            break;
        }}""")
    silence = f"    for (i = 0; i < {widths['words']}; i++) agent->heard[i] = 0.0f;\n" if talks else ""
    index = "    int i;\n" if talks else ""
    return f"""int {name}_act({name}_agent *agent, const float *observation, int columns,
    const unsigned char *available, float uniform) {{
    {types["scores"]} scores[{upper}_ACTIONS];
    int code;
{"    float scale;" + chr(10) if scaled else ""}{index}    if (columns != {upper}_OBSERVATION) return {upper}_LENGTH;
    if (agent->number < 0 || agent->number >= {upper}_AGENTS) return {upper}_AGENT;
    switch (network_of[agent->number]) {{
{chr(10).join(cases)}
        default: return {upper}_AGENT;
    }}
    if (code) return code;
{silence}    agent->last = choose(scores, available, uniform{", scale" if scaled else ""});
    return agent->last;
}}
"""


def hear_source(name: str, contract: Contract) -> str:
    """Attention over the messages that are heard."""
    widths = contract["messages"]["widths"]
    keys, words = widths["key"], widths["words"]
    return f"""
static float attention(const {name}_agent *agent, const float *message) {{
    float score = 0.0f;
    int i;
    for (i = 0; i < {keys}; i++) score += agent->query[i] * message[i];
    return score * {1 / sqrt(keys):.9g}f;
}}

void {name}_hear({name}_agent *agent, const float *const *messages, int count) {{
    float largest = 0.0f, total = 0.0f;
    int i, j;
    for (i = 0; i < {words}; i++) agent->heard[i] = 0.0f;
    for (j = 0; j < count; j++) {{
        const float score = attention(agent, messages[j]);
        if (j == 0 || score > largest) largest = score;
    }}
    for (j = 0; j < count; j++) {{
        const float weight = {name}_exp(attention(agent, messages[j]) - largest);
        total += weight;
        for (i = 0; i < {words}; i++) agent->heard[i] += weight * messages[j][{keys} + i];
    }}
    for (i = 0; i < {words} && total > 0.0f; i++) agent->heard[i] /= total;
}}
"""
