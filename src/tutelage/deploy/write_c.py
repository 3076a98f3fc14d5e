"""The folder c/ of an exported team: C99 without malloc, a header and a source per network, and the team's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tutelage.deploy.c_example import example, makefile
from tutelage.deploy.c_runner import runner_header, runner_source
from tutelage.deploy.c_text import BITS, NOT_FINITE, array, comment
from tutelage.deploy.contract import Contract
from tutelage.deploy.layers import Weights

TABLE_STEP, TABLE_END = 1 / 16, 9
"""Distance of the values of tanh in the table, and where it ends; beyond it tanh is 1 to 8 digits."""


def c_files(contract: Contract, weights: Sequence[Weights]) -> dict[str, bytes]:
    """Contents of the files by name."""
    name = contract["name"]
    texts = {f"{name}.h": runner_header(contract), f"{name}.c": runner_source(contract)}
    for i, network in enumerate(contract["networks"]):
        texts[f"{name}_{i}.h"] = network_header(f"{name}_{i}", network)
        texts[f"{name}_{i}.c"] = network_source(f"{name}_{i}", name, network, weights[i])
    return encoded("c", {**texts, **shared_files(contract)})


def shared_files(contract: Contract) -> dict[str, str]:
    """What networks in floats and in integers have alike: exp, sigmoid and tanh of floats, the example, a Makefile."""
    name = contract["name"]
    make = makefile(name, len(contract["networks"]), needs_math(contract))
    header = {f"{name}_math.h": math_header(name)} if needs_math(contract) else {}
    return {**header, "main.c": example(contract), "Makefile": make}


def needs_math(contract: Contract) -> bool:
    """Whether floats need tanh or exp: of gates, of draws, of attention."""
    gates = any(layer["kind"] == "gru" for network in contract["networks"] for layer in network["layers"])
    return gates or contract["act"]["rule"] == "sample" or contract["messages"] is not None


def encoded(folder: str, texts: dict[str, str]) -> dict[str, bytes]:
    """Texts as the contents of files in a folder."""
    return {f"{folder}/{file}": text.encode() for file, text in texts.items()}


def network_header(prefix: str, network: Contract) -> str:
    """The header of a network: its sizes and its step."""
    upper, sends = prefix.upper(), network["sends"]
    sent = "".join(f", float {name}[{width}]" for name, width in sends)
    return f"""{comment(f"A network of {network['width']} units: scores of actions from a row of inputs.")}
#ifndef {upper}_H
#define {upper}_H

#define {upper}_INPUTS {network["inputs"]}
#define {upper}_MEMORY {network["memory"]}
#define {upper}_OUTPUTS {network["outputs"]}

/* One step. `row` has {upper}_INPUTS numbers, `memory` {upper}_MEMORY (may be NULL where that is 0): zeros when an
   episode begins, changed by every step. `scores` are not masked. Returns 0, or -2 where a number in `row` is not
   finite; then nothing is changed. */
int {prefix}_step(const float *row, float *memory, float *scores{sent});

#endif
"""


def network_source(prefix: str, name: str, network: Contract, weights: Weights) -> str:
    """The source of a network: its weights as constants, and its layers as loops."""
    arrays = "\n".join(array(key.replace(".", "_"), value) for key, value in weights.items())
    widths: dict[str, int] = {"row": network["inputs"]}
    body: list[str] = []
    for layer in network["layers"]:
        body += layer_lines(layer, widths, name)
    sent = "".join(f", float {label}[{width}]" for label, width in network["sends"])
    given = {"row", "scores", *(label for label, _ in network["sends"])}
    values = "".join(f"    float {c_name(label)}[{width}];\n" for label, width in widths.items() if label not in given)
    memory = "" if network["memory"] else "    (void)memory;\n"
    recurrent = any(layer["kind"] == "gru" for layer in network["layers"])
    include = f'#include "{name}_math.h"\n' if recurrent else ""
    return f"""#include <stdint.h>

#include "{prefix}.h"
{include}
{arrays}
{BITS}int {prefix}_step(const float *row, float *memory, float *scores{sent}) {{
{values}    int i, j;
{memory}
    for (i = 0; i < {network["inputs"]}; i++)
        if (bits(row[i]) >= {NOT_FINITE}) return -2;
{"".join(f"    {line}" + chr(10) if line else chr(10) for line in body)}    return 0;
}}
"""


def c_name(value: str) -> str:
    """A value's name as one of C's."""
    return value.replace(".", "_")


def layer_lines(layer: Contract, widths: dict[str, int], name: str) -> Iterator[str]:
    """The statements of a layer; the width of what it writes is put into `widths`."""
    match layer["kind"]:
        case "scale":
            widths[layer["target"]] = layer["inputs"]
            yield from scale_lines(c_name(layer["name"]), layer["inputs"], c_name(layer["target"]))
        case "dense":
            widths[layer["target"]] = layer["outputs"]
            yield from dense_lines(layer)
        case "gru":
            widths[layer["target"]] = layer["width"]
            for side in "xh":
                widths[f"{layer['name']}_{side}"] = 3 * layer["width"]
            yield from gru_lines(layer, name)
        case "join":
            yield from join_lines(layer, widths, c_name)


def join_lines(layer: Contract, widths: dict[str, int], label: Callable[[str], str]) -> Iterator[str]:
    """The sources one after another; `label`: what a value is called in C."""
    widths[layer["target"]], start = sum(widths[source] for source in layer["sources"]), 0
    for source in layer["sources"]:
        target = f"{c_name(layer['target'])}[{start} + i]"
        yield f"for (i = 0; i < {widths[source]}; i++) {target} = {label(source)}[i];"
        start += widths[source]


def product_lines(source: str, target: str, kernel: str, inputs: int, outputs: int) -> Iterator[str]:
    """`target += source @ kernel`, four rows at a time: the inner loop is over outputs, which compilers vectorise."""
    fours = inputs - inputs % 4
    if fours:
        yield f"for (i = 0; i < {fours}; i += 4) {{"
        yield f"    const float a = {source}[i], b = {source}[i + 1], c = {source}[i + 2], d = {source}[i + 3];"
        yield f"    const float *k = {kernel} + i * {outputs};"
        terms = " + ".join(f"{x} * k[{f'{n * outputs} + ' if n else ''}j]" for n, x in enumerate("abcd"))
        yield f"    for (j = 0; j < {outputs}; j++) {target}[j] += {terms};"
        yield "}"
    for i in range(fours, inputs):
        yield f"for (j = 0; j < {outputs}; j++) {target}[j] += {source}[{i}] * {kernel}[{i * outputs} + j];"


def scale_lines(own: str, inputs: int, target: str) -> Iterator[str]:
    """(row - mean) * factor, held between -limit and limit."""
    yield ""
    yield f"for (i = 0; i < {inputs}; i++) {{"
    yield f"    const float x = (row[i] - {own}_mean[i]) * {own}_factor[i], most = {own}_limit[i];"
    yield f"    {target}[i] = x > most ? most : x < -most ? -most : x;"
    yield "}"


def dense_lines(layer: Contract) -> Iterator[str]:
    source, target, kernel = c_name(layer["source"]), c_name(layer["target"]), c_name(layer["name"])
    outputs = layer["outputs"]
    yield ""
    yield f"for (j = 0; j < {outputs}; j++) {target}[j] = {kernel}_bias[j];"
    yield from product_lines(source, target, f"{kernel}_kernel", layer["inputs"], outputs)
    if layer["relu"]:
        yield f"for (j = 0; j < {outputs}; j++) {target}[j] = {target}[j] > 0.0f ? {target}[j] : 0.0f;"


def gru_lines(layer: Contract, name: str) -> Iterator[str]:
    """r, z = sigmoid(x + h), n = tanh(x + r (h + b)), h' = n + z (h - n)."""
    source, target, own, width = c_name(layer["source"]), c_name(layer["target"]), c_name(layer["name"]), layer["width"]
    memory = "memory" if not layer["start"] else f"(memory + {layer['start']})"
    yield ""
    yield f"for (j = 0; j < {3 * width}; j++) {own}_x[j] = {own}_bias_x[j];"
    yield from product_lines(source, f"{own}_x", f"{own}_kernel_x", layer["inputs"], 3 * width)
    yield f"for (j = 0; j < {2 * width}; j++) {own}_h[j] = 0.0f;"
    yield f"for (j = 0; j < {width}; j++) {own}_h[{2 * width} + j] = {own}_bias_n[j];"
    yield from product_lines(memory, f"{own}_h", f"{own}_kernel_h", width, 3 * width)
    yield f"for (j = 0; j < {width}; j++) {{"
    yield f"    const float r = {name}_sigmoid({own}_x[j] + {own}_h[j]);"
    yield f"    const float z = {name}_sigmoid({own}_x[{width} + j] + {own}_h[{width} + j]);"
    yield f"    const float n = {name}_tanh({own}_x[{2 * width} + j] + r * {own}_h[{2 * width} + j]);"
    yield f"    {target}[j] = {memory}[j] = n + z * ({memory}[j] - n);"
    yield "}"


def math_header(name: str) -> str:
    """sigmoid, tanh and exp: of math.h, or with NAME_TABLE defined from a table, without math.h."""
    upper, steps = name.upper(), round(TABLE_END / TABLE_STEP)
    table = np.tanh(np.arange(steps + 2) * TABLE_STEP).astype(np.float32)
    return f"""{comment("sigmoid, tanh and exp: of math.h, or from a table where " + upper + "_TABLE is defined.")}
#ifndef {upper}_MATH_H
#define {upper}_MATH_H

#ifdef {upper}_TABLE

{array(f"{name}_tanh_table", table)}
/* Between two values of the table a cubic that has tanh's slope, 1 - tanh^2, at both: exact to 2e-7. */
static inline float {name}_tanh(float x) {{
    const float a = x < 0.0f ? -x : x, place = a * {1 / TABLE_STEP:.1f}f;
    int i;
    float low, high, rise, fall, t, y;
    if (!(a < {TABLE_END}.0f)) return x != x ? x : x < 0.0f ? -1.0f : 1.0f;
    i = (int)place;
    t = place - (float)i;
    low = {name}_tanh_table[i];
    high = {name}_tanh_table[i + 1];
    rise = (1.0f - low * low) * {TABLE_STEP}f - (high - low);
    fall = (high - low) - (1.0f - high * high) * {TABLE_STEP}f;
    y = low + t * (high - low) + t * (1.0f - t) * (rise * (1.0f - t) + fall * t);
    return x < 0.0f ? -y : y;
}}

/* Of x up to 0: (1 + t) / (1 - t) with t = tanh(x / 32) is exp(x / 16). */
static inline float {name}_exp(float x) {{
    float t = {name}_tanh(x > -24.0f ? x * 0.03125f : -0.75f), y = (1.0f + t) / (1.0f - t);
    y *= y;
    y *= y;
    y *= y;
    return y * y;
}}

#else

#include <math.h>

static inline float {name}_tanh(float x) {{ return tanhf(x); }}
static inline float {name}_exp(float x) {{ return expf(x); }}

#endif

static inline float {name}_sigmoid(float x) {{ return 0.5f * ({name}_tanh(0.5f * x) + 1.0f); }}

#endif
"""
