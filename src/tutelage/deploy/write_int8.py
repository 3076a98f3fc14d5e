"""The folders of a team in 8-bit integers: `c_int8/`, and `int8.py` with its weights beside numpy/team.py."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tutelage.deploy import standalone_int8
from tutelage.deploy.c_runner import INTEGERS, runner_header, runner_source
from tutelage.deploy.c_text import BITS, NOT_FINITE, array, comment, number
from tutelage.deploy.contract import Contract
from tutelage.deploy.layers import NORMALISED
from tutelage.deploy.quantise import IntNetwork
from tutelage.deploy.standalone_int8 import HALF, ONE, POINT, STEP_BITS, STEPS, TABLE, WIDE
from tutelage.deploy.write_c import c_name, encoded, join_lines, shared_files
from tutelage.deploy.write_numpy import packed

LARGE = "0x4B000000u"
"""The bits of 2^23: floats from there on are beyond 8 bits, and are not made whole numbers."""


INPUTS = ("row", NORMALISED)
"""Names of a network's input once it is rounded."""
AS_IT_IS = "        const float seen = row[i];\n"
NORMALISE = """        const float scaled = (row[i] - row_mean[i]) * row_factor[i], most = row_limit[i];
        const float seen = scaled > most ? most : scaled < -most ? -most : scaled;
"""


def int8_files(contract: Contract, networks: Sequence[IntNetwork]) -> dict[str, bytes]:
    """Contents of the files by name; the contract's networks are given their integers' layers."""
    for entry, ints in zip(contract["networks"], networks, strict=True):
        entry["int8"] = {"layers": ints.layers, "scales": ints.scales}
    source, numbers = Path(standalone_int8.__file__).read_bytes(), packed([ints.weights for ints in networks])
    return {"numpy/int8.py": source, "numpy/weights_int8.npz": numbers, **c_files(contract, networks)}


def named_int8(contract: Contract) -> Contract:
    """The contract under the name of the integers' C, so that both can be linked into one program."""
    renamed = copy.copy(contract)
    renamed["name"] = f"{contract['name']}_int8"
    return renamed


def c_files(contract: Contract, networks: Sequence[IntNetwork]) -> dict[str, bytes]:
    """Contents of the C files by name."""
    contract = named_int8(contract)
    name = contract["name"]
    texts = {f"{name}.h": runner_header(contract, INTEGERS), f"{name}.c": runner_source(contract, INTEGERS)}
    texts[f"{name}_whole.h"] = integer_header(name)
    for i, (network, ints) in enumerate(zip(contract["networks"], networks, strict=True)):
        texts[f"{name}_{i}.h"] = network_header(f"{name}_{i}", network, ints)
        texts[f"{name}_{i}.c"] = network_source(f"{name}_{i}", name, network, ints)
    return encoded("c_int8", {**texts, **shared_files(contract)})


def network_header(prefix: str, network: Contract, ints: IntNetwork) -> str:
    """The header of a network: its sizes and its step."""
    upper = prefix.upper()
    sent = "".join(f", float {name}[{width}]" for name, width in network["sends"])
    return f"""{comment(f"A network of {network['width']} units in integers: scores of actions from a row of inputs.")}
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_INPUTS {network["inputs"]}
#define {upper}_MEMORY {network["memory"]}
#define {upper}_OUTPUTS {network["outputs"]}
#define {upper}_SCALE {number(np.float32(ints.scales["scores"]))} /* what 1 of the scores stands for */

/* One step. `row` has {upper}_INPUTS numbers, `memory` {upper}_MEMORY (may be NULL where that is 0): zeros when an
   episode begins, changed by every step. `scores` are not masked. Returns 0, or -2 where a number in `row` is not
   finite; then nothing is changed. */
int {prefix}_step(const float *row, int16_t *memory, int32_t *scores{sent});

#endif
"""


def network_source(prefix: str, name: str, network: Contract, ints: IntNetwork) -> str:
    """The source of a network: its integers as constants, and its layers as loops."""
    by_output = lambda key, value: value.T if ".kernel" in key else value  # so that a sum reads one run of numbers
    arrays = "\n".join(array(c_name(key), by_output(key, value)) for key, value in ints.weights.items())
    normalised = "row.mean" in ints.weights
    widths: dict[str, int] = {NORMALISED if normalised else "row": network["inputs"]}
    body: list[str] = []
    for layer in ints.layers:
        body += layer_lines(layer, widths, name, ints)
    sent = "".join(f", float {label}[{width}]" for label, width in network["sends"])
    given = {"scores", *(label for label, _ in network["sends"])}
    values = "".join(
        f"    int8_t {'input' if label in INPUTS else c_name(label)}[{width}];\n"
        for label, width in widths.items()
        if label not in given
    )
    widest = max(layer["width"] for layer in ints.layers if layer["kind"] == "gru") if network["memory"] else 0
    gates = f"    int32_t x[{3 * widest}], h[{3 * widest}];\n" if widest else ""
    memory = "" if network["memory"] else "    (void)memory;\n"
    return f"""#include "{prefix}.h"
#include "{name}_whole.h"

{arrays}
{BITS}int {prefix}_step(const float *row, int16_t *memory, int32_t *scores{sent}) {{
{values}{gates}    const int8_t *k;
    int i, j;
{memory}
    for (i = 0; i < {network["inputs"]}; i++)
        if (bits(row[i]) >= {NOT_FINITE}) return -2;
    for (i = 0; i < {network["inputs"]}; i++) {{
{NORMALISE if normalised else AS_IT_IS}        const float place = seen * row_inverse[i]; /* 8 bits behind the point */
        int32_t q;
        if (bits(place) == 0) {{
            input[i] = 0;
            continue;
        }}
        q = bits(place) >= {LARGE} ? (seen < 0.0f ? -127 : 127) : ((int32_t)place + 128) >> 8;
        input[i] = (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
    }}
{"".join(f"    {line}" + chr(10) if line else chr(10) for line in body)}    return 0;
}}
"""


def layer_lines(layer: Contract, widths: dict[str, int], name: str, ints: IntNetwork) -> Iterator[str]:
    """The statements of a layer; the width of what it writes is put into `widths`."""
    label = lambda value: "input" if value in INPUTS else c_name(value)
    match layer["kind"]:
        case "dense":
            widths[layer["target"]] = layer["outputs"]
            yield from dense_lines(layer, label(layer["source"]), c_name(layer["target"]), name, ints)
        case "gru":
            widths[layer["target"]] = layer["width"]
            yield from gru_lines(layer, label(layer["source"]), c_name(layer["target"]), name)
        case "join":
            yield from join_lines(layer, widths, label)


def sum_lines(source: str, kernel: str, inputs: int) -> Iterator[str]:
    """`sum += source @ kernel[:, j]`, of a kernel whose numbers for one output lie together."""
    yield f"    for (k = {kernel} + j * {inputs}, i = 0; i < {inputs}; i++) sum += (int32_t){source}[i] * k[i];"


def dense_lines(layer: Contract, source: str, target: str, name: str, ints: IntNetwork) -> Iterator[str]:
    own, outputs, final = c_name(layer["name"]), layer["outputs"], layer["final"]
    low = 0 if layer["relu"] else -127
    yield ""
    yield f"for (j = 0; j < {outputs}; j++) {{"
    yield f"    int32_t sum = {own}_bias[j];"
    yield from sum_lines(source, f"{own}_kernel", layer["inputs"])
    yield f"    sum = {name}_rescale(sum, {own}_multiplier[j], {own}_shift[j]);"
    if not final:
        yield f"    {target}[j] = (int8_t)(sum > 127 ? 127 : sum < {low} ? {low} : sum);"
    elif layer["target"] == "scores":
        yield f"    {target}[j] = sum;"
    else:
        yield f"    {target}[j] = (float)sum * {number(np.float32(ints.scales[layer['target']]))};"
    yield "}"


def gru_lines(layer: Contract, source: str, target: str, name: str) -> Iterator[str]:
    """r, z = sigmoid(x + h), n = tanh(x + r (h + b)), h' = n + z (h - n)."""
    own, width = c_name(layer["name"]), layer["width"]
    memory = "memory" if not layer["start"] else f"(memory + {layer['start']})"
    yield ""
    yield f"for (j = 0; j < {width}; j++) {target}[j] = {name}_high8({memory}[j]);"
    yield f"for (j = 0; j < {3 * width}; j++) {{"
    yield f"    int32_t sum = {own}_bias_x[j];"
    yield from sum_lines(source, f"{own}_kernel_x", layer["inputs"])
    yield f"    x[j] = {name}_rescale(sum, {own}_multiplier_x[j], {own}_shift_x[j]);"
    yield "    sum = 0;"
    yield from sum_lines(target, f"{own}_kernel_h", width)
    yield f"    h[j] = {name}_rescale(sum, {own}_multiplier_h[j], {own}_shift_h[j]);"
    yield "}"
    yield f"for (j = 0; j < {width}; j++) {{"
    yield f"    const int32_t r = {name}_sigmoid(x[j] + h[j]);"
    yield f"    const int32_t z = {name}_sigmoid(x[{width} + j] + h[{width} + j]);"
    yield f"    const int32_t candidate = {name}_clip19(h[{2 * width} + j] + {own}_bias_n[j]);"
    yield f"    const int32_t n = {name}_tanh(x[{2 * width} + j] + (((r >> 3) * candidate + 2048) >> 12));"
    yield f"    {memory}[j] = (int16_t)(n + ((z * ({memory}[j] - n) + {HALF}) >> 15));"
    yield f"    {target}[j] = {name}_high8({memory}[j]);"
    yield "}"


def integer_header(name: str) -> str:
    """Rescaling, sigmoid and tanh of integers, equal to those of numpy/int8.py."""
    upper, last, wide = name.upper(), (STEPS << STEP_BITS) - 1, WIDE
    return f"""/* Sums of 8-bit products rescaled, and sigmoid and tanh: inputs with {POINT} bits behind the point,
   results in 1/32768. Right shifts of negative numbers round down, as all compilers for boards have it. */
#ifndef {upper}_WHOLE_H
#define {upper}_WHOLE_H

#include <stdint.h>

{array(f"{name}_tanh_whole", TABLE.astype(np.int16))}
static inline int32_t {name}_rescale(int32_t sum, int32_t multiplier, int shift) {{
    return (int32_t)(((int64_t)sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift);
}}

static inline int32_t {name}_clip19(int32_t x) {{ return x > {wide} ? {wide} : x < -{wide} ? -{wide} : x; }}

static inline int8_t {name}_high8(int32_t h) {{
    const int32_t q = (h + 128) >> 8;
    return (int8_t)(q > 127 ? 127 : q);
}}

static inline int32_t {name}_tanh(int32_t x) {{
    int32_t size = x < 0 ? -x : x, low, high, y;
    if (size > {last}) size = {last};
    low = {name}_tanh_whole[size >> {STEP_BITS}];
    high = {name}_tanh_whole[(size >> {STEP_BITS}) + 1];
    y = low + (((high - low) * (size & {(1 << STEP_BITS) - 1}) + {1 << (STEP_BITS - 1)}) >> {STEP_BITS});
    return x < 0 ? -y : y;
}}

static inline int32_t {name}_sigmoid(int32_t x) {{ return ({name}_tanh(x >> 1) + {ONE + 1}) >> 1; }}

#endif
"""
