"""What an exported team costs on a small board: flash, RAM and instructions, on Cortex-M0+ and M4, floats and integers.

    python benchmarks/board.py zoo/kd_marl/smax-2s3z zoo/ddn/smax-3s_vs_5z    # prints, and keeps benchmarks/board.json

The C of `tutelage export` is cross-compiled and run in QEMU (`PACKAGES` are what that takes) on recorded observations:
its actions are compared with the team's own, and its instructions counted (`-icount`: so many nanoseconds per
instruction, read from the core's own timer).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

KEPT = Path(__file__).parent / "board.json"
PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
"""Debian's."""
GCC, SIZE, QEMU = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
STEPS = 60
"""Recorded steps that an agent goes through."""
NANOSECONDS_SHIFT, TICK = 6, 40
"""An instruction takes 2^6 ns of virtual time; a tick of the boards' 25 MHz timer has 40 ns."""


@dataclass(frozen=True)
class Cpu:
    """A core: what the compiler is told, and the board that runs its code in QEMU (an M3 runs an M0+'s)."""

    flags: tuple[str, ...]
    board: str


CPUS = {
    "cortex-m0plus": Cpu(("-mcpu=cortex-m0plus",), "mps2-an385"),
    "cortex-m4": Cpu(("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"), "mps2-an386"),
}
COMMON = (
    "-std=c99", "-O2", "-mthumb", "-ffunction-sections", "-fdata-sections",
    "-Wall", "-Wextra", "-Wpedantic", "-Werror",
)  # fmt: skip

LINKER = """
MEMORY { FLASH (rx) : ORIGIN = 0x0, LENGTH = 4M RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.ARM.ex*) . = ALIGN(4); } > FLASH
  .data : { *(.data*) . = ALIGN(4); } > RAM AT > FLASH
  .bss : { *(.bss*) *(COMMON) . = ALIGN(4); } > RAM
}
"""
STARTUP = """
#include <stdint.h>
extern int main(void);
static void start(void);
__attribute__((section(".vectors"), used)) static void (*const vectors[2])(void) = {
    (void (*)(void))0x20400000, start
};
static int call(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
void say(const char *text) { call(0x04, text); }
static void start(void) {
    static const uint32_t success[2] = { 0x20026, 0 };
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000; /* turn the floating-point unit on */
    __asm__ volatile("dsb\\n isb");
#endif
    main();
    call(0x20, success);
    for (;;) {}
}
"""


def missing_tools() -> list[str]:
    """Which of the tools are not installed here."""
    return [tool for tool in (GCC, SIZE, QEMU) if shutil.which(tool) is None]


def harness(name: str, agent: int, observations: np.ndarray, available: np.ndarray, first: np.ndarray) -> str:
    """A program that lets one agent go through recorded steps and says its actions and the timer's ticks."""
    floats = ",".join(
        f"{x:.9g}f" if "." in f"{x:.9g}" or "e" in f"{x:.9g}" else f"{x:.9g}.0f" for x in observations.flat
    )
    flags = lambda x: ",".join(str(int(v)) for v in x.flat)
    steps, width = observations.shape
    return f"""
#include <stdint.h>
#include "{name}.h"
void say(const char *text);
static const float observations[] = {{ {floats} }};
static const unsigned char available[] = {{ {flags(available)} }};
static const unsigned char first[] = {{ {flags(first)} }};
static void say_number(uint32_t x, const char *end) {{
    char text[12];
    int i = 11;
    text[i] = 0;
    do text[--i] = (char)('0' + x % 10); while (x /= 10);
    say(text + i);
    say(end);
}}
static {name}_agent agent;
int main(void) {{
    volatile uint32_t *timer = (volatile uint32_t *)0xE000E010;
    int t;
    timer[1] = 0xFFFFFF;
    timer[2] = 0;
    timer[0] = 5;
    for (t = 0; t < {steps}; t++) {{
        uint32_t before, ticks;
        int action;
        if (first[t]) {name}_reset(&agent, {agent});
        before = timer[2];
        action = {name}_act(&agent, observations + t * {width}, {width}, available + t * {available.shape[1]}, 0.5f);
        ticks = (before - timer[2]) & 0xFFFFFF;
        say_number((uint32_t)(action + 100), " ");
        say_number(ticks, "\\n");
    }}
    return 0;
}}
"""


def run_tool(*command: str) -> str:
    """The output of a tool; raises RuntimeError with its first message."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr.strip().splitlines() or ['no message'])[0]}")
    return done.stdout


def sources(folder: Path) -> list[Path]:
    """The exported sources but for the example."""
    return sorted(file for file in folder.glob("*.c") if file.name != "main.c")


def measure(folder: Path, name: str, cpu: str, recorded: Any, agent: int, table: bool = True) -> dict[str, Any]:
    """Sizes and instructions of one agent of an exported folder of C.

    Args:
        folder: `c` or `c_int8` of an export. name: its prefix. recorded: see `tutelage.deploy.recorded`.
        table: sigmoid and tanh of floats from the table, not of math.h.

    Returns:
        `flash` and `stack` in bytes, `instructions` (median of a decision), `actions`.
    """
    steps, n = recorded.steps, min(STEPS, len(recorded.scores))
    obs, avail, first = (np.asarray(x[:n, 0]) for x in (steps.obs, steps.avail, steps.first))
    flags = [*COMMON, *CPUS[cpu].flags, f"-I{folder}", *([f"-D{name.upper()}_TABLE"] if table else [])]
    with tempfile.TemporaryDirectory() as build_folder:
        build = Path(build_folder)
        (build / "startup.c").write_text(STARTUP)
        (build / "main.c").write_text(harness(name, agent, obs[:, agent], avail[:, agent], first))
        # -Wpedantic is for what is exported; the startup code casts numbers to functions.
        lenient = [flag for flag in flags if flag not in ("-Wpedantic", "-Werror")]
        ours = [compiled(build / file, build, lenient) for file in ("startup.c", "main.c")]
        objects = [compiled(file, build, [*flags, "-fstack-usage"]) for file in sources(folder)]
        image = linked([*ours, *objects], build, flags)
        said = [tuple(map(int, line.split())) for line in run_image(image, CPUS[cpu].board).splitlines()]
        return {
            "flash": flash_of(objects, build, flags),
            "stack": stack_of(build),
            "instructions": round(float(np.median([ticks for _, ticks in said])) * TICK / 2**NANOSECONDS_SHIFT),
            "actions": [action - 100 for action, _ in said],
        }


def compiled(file: Path, build: Path, flags: list[str]) -> str:
    """The object of a source."""
    target = str(build / f"{file.stem}.o")
    run_tool(GCC, *flags, "-c", str(file), "-o", target)
    return target


def linked(objects: list[str], build: Path, flags: list[str], *extra: str) -> str:
    """A program of objects, with what they call of the compiler's libraries."""
    (build / "link.ld").write_text(LINKER)
    target = str(build / "image.elf")
    script = ["-nostartfiles", f"-T{build / 'link.ld'}", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
    run_tool(GCC, *flags, *script, *extra, *objects, "-lm", "-lgcc", "-o", target)
    return target


def run_image(image: str, board: str) -> str:
    """What a program says when QEMU runs it."""
    said = ["-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out"]
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    return run_tool(QEMU, "-M", board, *quiet, *said, "-icount", f"shift={NANOSECONDS_SHIFT}", "-kernel", image)


def flash_of(objects: list[str], build: Path, flags: list[str]) -> int:
    """Bytes of code and constants of the team, with what it calls of the compiler's libraries."""
    (build / "bare.c").write_text("int main(void) { return 0; }\n")
    bare = compiled(build / "bare.c", build, flags)
    defined = re.findall(r" T (\w+)", run_tool("arm-none-eabi-nm", *objects))
    keep = [f"-Wl,-u,{symbol}" for symbol in defined if symbol.endswith(("_act", "_reset"))]

    def size(files: list[str], *extra: str) -> int:
        text, data = map(int, run_tool(SIZE, linked(files, build, flags, *extra)).splitlines()[1].split()[:2])
        return text + data

    return size([bare, *objects], "-Wl,-e,main", *keep) - size([bare], "-Wl,-e,main")


def stack_of(build: Path) -> int:
    """Bytes of the stack of `act` and of the deepest network that it calls."""
    lines = [line.split("\t") for file in build.glob("*.su") for line in file.read_text().splitlines()]
    usage = {place.rpartition(":")[2]: int(size) for place, size, _ in lines}
    deepest = max(size for name, size in usage.items() if name.endswith("_step"))
    return deepest + sum(size for name, size in usage.items() if name.endswith("_act"))


def report(run: Path) -> dict[str, Any]:
    """All measurements of a run's student."""
    from tutelage.deploy.export import export
    from tutelage.deploy.recorded import record
    from tutelage.experiment.run_directory import load

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "team"
        contract = export(run, out, formats=["c"], int8=True, check=False)
        recorded = record(load(run), contract)
        best = np.where(recorded.steps.avail[:-1], recorded.scores, -1e9).argmax(-1)[:STEPS, 0, 0].tolist()
        found: dict[str, Any] = {}
        for kind, table in (("floats", True), ("floats, math.h", False), ("integers", True)):
            integers = kind == "integers"
            name, code = contract["name"] + "_int8" * integers, out / ("c_int8" if integers else "c")
            for cpu in CPUS:
                result = measure(code, name, cpu, recorded, 0, table)
                actions = result.pop("actions")
                same = float(np.mean([a == b for a, b in zip(actions, best, strict=True)]))
                found[f"{kind}, {cpu}"] = {**result, "same_action": same}
        return found


def main() -> None:
    """Measure, print, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    args = parser.parse_args()
    if missing := missing_tools():
        raise SystemExit(f"missing: {', '.join(missing)} (Debian: apt install {PACKAGES})")
    results = {"/".join(run.parts[-2:]): report(run) for run in args.runs}
    print(json.dumps(results, indent=1))
    KEPT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
