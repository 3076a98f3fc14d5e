"""Exported teams beside the team itself: `python benchmarks/deploy.py [--teams ...] [--tuned ...] [--speed ...]`.

Each team of the zoo is exported in every format and in integers, with the whole check; then one decision is timed in C,
NumPy and compiled by XLA, in turn. Prints, and keeps benchmarks/deploy.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "deploy.json"
ZOO = Path(__file__).parents[1] / "zoo"
TEAMS = (
    "kd_marl/smax-2s3z", "kd_marl/smax-3s_vs_5z", "kd_marl/smax-MMM2", "kd_marl/mpe-simple_spread",
    "ddn/smax-3s_vs_5z", "ddn/predator_prey-punish2", "hint/fire_commander-medium", "happo/marine-medium",
    "ptde_mappo/marine-medium", "tarmac/marine-medium",
)  # fmt: skip
"""Ten teams of every kind: feed-forward and recurrent, of values, of messages, one network for all or one each."""
ROUNDS, CALLS = 40, 2000
TIMER = """
#define _POSIX_C_SOURCE 199309L
#include <time.h>
#include "{name}.h"
static {name}_agent agent;
double time_act(const float *rows, const unsigned char *available, int n) {{
    struct timespec a, b;
    volatile int action = 0;
    int i;
    {name}_reset(&agent, 0);
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (i = 0; i < n; i++) action = {name}_act(&agent, rows + (i % 64) * {width}, {width}, available, 0.5f);
    (void)action;
    clock_gettime(CLOCK_MONOTONIC, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / n;
}}
/* What reading all weights once costs at least: they are added up, in as many lanes as the machine has. */
static float weights[{params}];
double time_read(int n) {{
    struct timespec a, b;
    volatile float kept = 0.0f;
    float sums[32];
    int i, j, k;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (i = 0; i < n; i++) {{
        weights[i % {params}] = 1.0f;
        for (k = 0; k < 32; k++) sums[k] = 0.0f;
        for (j = 0; j + 32 <= {params}; j += 32)
            for (k = 0; k < 32; k++) sums[k] += weights[j + k];
        for (k = 1; k < 32; k++) sums[0] += sums[k];
        kept = sums[0];
    }}
    (void)kept;
    clock_gettime(CLOCK_MONOTONIC, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / n;
}}
"""


def checked(team: str, tune: bool = False) -> dict[str, Any]:
    """What the check of an export finds; with `tune` of one whose integers are fitted first, in NumPy alone."""
    from tutelage.deploy.export import export

    formats = ["numpy"] if tune else ["numpy", "onnx", "c"]
    with tempfile.TemporaryDirectory() as folder:
        contract = export(ZOO / team, Path(folder) / "team", formats=formats, int8=True, tune=tune)
    return {
        "check": contract["check"],
        "int8": contract["int8"],
        "cost": contract["cost"],
        "measure": contract["measure"],
    }


def table(results: dict[str, Any]) -> str:
    """The teams as rows of Markdown."""
    heads = (
        "team",
        "same best action",
        "probabilities differ by",
        "success (or return)",
        "integers: change",
        "same",
        "bytes",
    )
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    rows = [(team, found) for team, found in results["teams"].items()]
    rows += [(f"{team}, `--tune`", found) for team, found in results.get("tuned", {}).items()]
    for team, found in rows:
        check, success = found["check"], found["measure"] == "success"
        name, change = ("success_rate", "success_change") if success else ("return_mean", "returns_change")
        formats, itself, integers = check["formats"].values(), check["jax"], check["int8"]
        played = sorted({round(x[name], 3) for x in (itself, *formats)})
        scale, digits = (100, 1) if success else (1, 2)
        low, high = (f"{scale * x:+.{digits}f}" for x in integers[f"{change}_ci95"])
        cells = [
            team if team.endswith("`") else f"`{team}`",
            f"{min(x['same_action'] for x in formats):.2%}",
            f"{max(x['probability_difference'] for x in formats):.0e}",
            ", ".join(f"{x:.3f}" for x in played),
            f"{scale * integers[change]:+.{digits}f}{' points' if success else ''} [{low}, {high}]",
            f"{integers['same_action']:.1%}",
            f"{found['int8']['share']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def timers(folder: Path, contract: dict[str, Any], native: bool) -> dict[str, Any]:
    """The C of floats, and of integers, behind functions that time them."""
    found = {}
    for kind, suffix in (("c", ""), ("c_int8", "_int8")):
        source = folder / kind / "timer.c"
        params = contract["cost"]["networks"][0]["params"]
        text = TIMER.format(name=contract["name"] + suffix, width=contract["observation"]["width"], params=params)
        source.write_text(text)
        target = folder / f"{kind}{native}.so"
        sources = [str(x) for x in (folder / kind).glob("*.c") if x.name != "main.c"]
        flags = ["-O3", "-std=c99", *(["-march=native"] if native else [])]
        subprocess.run(["cc", *flags, "-shared", "-fPIC", "-o", target, *sources, "-lm"], check=True)
        library = ctypes.CDLL(str(target))
        library.time_act.restype = library.time_read.restype = ctypes.c_double
        found[kind] = library
    return found


def speed(run_path: str) -> dict[str, Any]:
    """Microseconds of a decision of agent 0 of student and teacher, medians of rounds in turn."""
    import numpy as np

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    from tutelage.deploy import latency
    from tutelage.deploy.export import export
    from tutelage.experiment.run_directory import load

    run, calls, reads = load(run_path), {}, {}
    for role in ("student", "teacher"):
        folder = Path(tempfile.mkdtemp()) / "team"
        contract = export(run_path, folder, role=role, formats=["numpy", "c"], int8=True, check=False)
        group, params = run.policy(role).groups[0], run.params(role)[0]
        rows = np.random.default_rng(0).standard_normal((64, contract["observation"]["width"])).astype(np.float32)
        mask = np.ones(contract["actions"]["count"], np.uint8)
        pointers = rows.ctypes.data_as(ctypes.c_void_p), mask.ctypes.data_as(ctypes.c_void_p)
        for native in (False, True):
            label = ", native" if native else ""
            libraries = timers(folder, contract, native)
            for kind, library in libraries.items():
                timed = lambda library=library, p=pointers, keep=(rows, mask): library.time_act(*p, CALLS) / 1000
                calls[f"{role}: {kind}{label}"] = timed
            read = libraries["c"].time_read
            reads[f"{role}: weights read once{label}"] = lambda read=read: read(CALLS) / 1000
        for name, call in (("XLA", latency.compiled_call), ("NumPy", latency.numpy_call)):
            made = call(group.agent, params)
            calls[f"{role}: {name}"] = lambda made=made: float(np.median(latency.nanoseconds(made, 200))) / 1000
    everything = {**calls, **reads}
    samples: dict[str, list[float]] = {name: [] for name in everything}
    for i in range(ROUNDS):
        for name in list(everything)[:: 1 if i % 2 else -1]:
            samples[name].append(everything[name]())
    return {name: round(float(np.median(x)), 3) for name, x in samples.items()}


def main() -> None:
    """Measure, print, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teams", nargs="*", default=list(TEAMS))
    parser.add_argument("--speed", nargs="*", default=["kd_marl/smax-2s3z"])
    parser.add_argument("--tuned", nargs="*", default=["ddn/smax-3s_vs_5z", "hint/fire_commander-medium"])
    parser.add_argument("--table", action="store_true", help="print what is kept as Markdown, and measure nothing")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(speed(args.part)))
        return
    results = json.loads(KEPT.read_text()) if KEPT.exists() else {"teams": {}, "tuned": {}, "speed": {}}
    if args.table:
        print(table(results))
        return
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    for team in args.teams:
        results["teams"][team] = checked(team)
        KEPT.write_text(json.dumps(results, indent=1) + "\n")
    for team in args.tuned:
        results.setdefault("tuned", {})[team] = checked(team, tune=True)
        KEPT.write_text(json.dumps(results, indent=1) + "\n")
    from tutelage.deploy.latency import ONE_THREAD

    for team in args.speed:
        command = [sys.executable, __file__, "--part", str(ZOO / team)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD})
        results["speed"][team] = json.loads(done.stdout.strip().splitlines()[-1])
        print(json.dumps(results["speed"][team], indent=1))
    KEPT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
