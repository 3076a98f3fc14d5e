"""The networks of an exported team in integers, as the C of `c_int8/` computes them. It needs NumPy and `team.py`.

    from team import Agent, Team
    from int8 import compile_network
    team = Team(int8=compile_network)               # or agent = Agent.load(0, int8=compile_network)

Inputs are normalised in floats, where the network does so, and rounded to 8 bits, each column in steps of its own. A
layer is a sum of products of 8-bit numbers; the sum is multiplied by an integer and shifted, which gives the next
layer's 8 bits. A GRU's memory has 16 bits (steps of 1/32768), its gates 12 bits behind the point. All sums are whole
numbers below 2^53, so products of doubles are exact.
"""

import numpy as np

ONE, HALF, POINT = 32767, 1 << 14, 12
"""The largest number of 16 bits; a half of 1/32768, to round; bits behind the point at a gate's input."""
WIDE, LARGE = 2**18 - 1, 2**22
STEP_BITS, STEPS = 7, 256
"""A step of tanh's table is 2^-5, that is 2^7 at POINT bits; it ends at 8."""
TABLE = np.rint(np.tanh(np.arange(STEPS + 2) / 32) * ONE).astype(np.int64)


def rescale(total, multiplier, shift):
    """total * multiplier / 2^shift, rounded."""
    return (total * multiplier + (np.int64(1) << (shift - 1))) >> shift


def tanh(x):
    """tanh of a gate's input (POINT bits behind the point), in 1/32768."""
    size = np.minimum(np.abs(x), (STEPS << STEP_BITS) - 1)
    index, part = size >> STEP_BITS, size & ((1 << STEP_BITS) - 1)
    y = TABLE[index] + (((TABLE[index + 1] - TABLE[index]) * part + (1 << (STEP_BITS - 1))) >> STEP_BITS)
    return np.where(x < 0, -y, y)


def sigmoid(x):
    """sigmoid(x) = (tanh(x / 2) + 1) / 2, in 1/32768."""
    return (tanh(x >> 1) + ONE + 1) >> 1


def clip19(x):
    """At most 64 at POINT bits behind the point, so that 32-bit products with 12 bits of a gate do not overflow."""
    return np.clip(x, -WIDE, WIDE)


def high8(h):
    """A memory of 16 bits as 8 bits, rounded."""
    return np.minimum((h + 128) >> 8, 127)


def product(x, kernel):
    """x @ kernel of whole numbers."""
    return (x @ kernel).astype(np.int64)


def dense(layer, weights):
    """target = (source @ kernel + bias), rescaled; 8 bits, of scores 32."""
    name, source, target, final = layer["name"], layer["source"], layer["target"], layer["final"]
    kernel, bias = weights[name + ".kernel"].astype(float), weights[name + ".bias"].astype(np.int64)
    multiplier, shift = (weights[f"{name}.{part}"].astype(np.int64) for part in ("multiplier", "shift"))
    low = 0 if layer["relu"] else -127

    def step(values, memory, following):
        x = rescale(product(values[source], kernel) + bias, multiplier, shift)
        values[target] = x if final else np.clip(x, low, 127)

    return step


def gru(layer, weights):
    """r, z = sigmoid(x + h), n = tanh(x + r (h + b)), h' = n + z (h - n)."""
    name, source, target, width = layer["name"], layer["source"], layer["target"], layer["width"]
    kernel_x, kernel_h = (weights[f"{name}.kernel_{side}"].astype(float) for side in "xh")
    whole = {part: weights[f"{name}.{part}"].astype(np.int64) for part in INTEGERS}
    place = slice(layer["start"], layer["start"] + width)

    def step(values, memory, following):
        h = memory[place].astype(np.int64)
        total_x = product(values[source], kernel_x) + whole["bias_x"]
        x = rescale(total_x, whole["multiplier_x"], whole["shift_x"])
        from_h = rescale(product(high8(h), kernel_h), whole["multiplier_h"], whole["shift_h"])
        gates = sigmoid(x[: 2 * width] + from_h[: 2 * width])
        candidate = clip19(from_h[2 * width :] + whole["bias_n"])
        n = tanh(x[2 * width :] + (((gates[:width] >> 3) * candidate + (1 << 11)) >> 12))
        following[place] = h = n + ((gates[width:] * (h - n) + HALF) >> 15)
        values[target] = high8(h)

    return step


INTEGERS = ("bias_x", "multiplier_x", "shift_x", "multiplier_h", "shift_h", "bias_n")


def join(layer, weights):
    """target = the sources one after another."""

    def step(values, memory, following):
        values[layer["target"]] = np.concatenate([values[name] for name in layer["sources"]])

    return step


LAYERS = {"dense": dense, "gru": gru, "join": join}


def compile_network(network, weights):
    """A function (row, memory) -> (scores, memory, values), as that of team.py; memory holds whole numbers.

    Args:
        network: of team.json. weights: its integers by name.
    """
    steps = [LAYERS[layer["kind"]](layer, weights) for layer in network["int8"]["layers"]]
    inverse, scales = weights["row.inverse"], network["int8"]["scales"]
    mean, factor, limit = (weights.get(f"row.{part}") for part in ("mean", "factor", "limit"))

    def run(row, memory):
        if mean is not None:
            row = np.minimum(np.maximum((row - mean) * factor, -limit), limit)
        place = np.clip(row * inverse, -LARGE, LARGE).astype(np.int64)  # 8 bits behind the point
        values = dict.fromkeys(("row", "normalised"), np.clip((place + 128) >> 8, -127, 127))
        following = np.empty_like(memory)
        for step in steps:
            step(values, memory, following)
        floats = {name: values[name].astype(np.float32) * np.float32(scale) for name, scale in scales.items()}
        return floats["scores"], following, floats

    return run
