"""Measuring how long one decision of one agent takes: batch 1, one thread, in a child process.

The number of threads is fixed when the libraries are loaded, so the measurement runs as
`python -m tutelage.deploy.latency RUN` with the environment below, and prints JSON. This module imports jax only
inside functions for the same reason.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.deploy.layers import numpy_network
from tutelage.errors import BadInput, Fault
from tutelage.experiment.plain import from_plain, to_plain
from tutelage.policies.blueprint import Network, needs_code

ONE_THREAD = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_JIT": "0",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
        "1",
    ),
}
"""Environment variables of the child process."""
ROUNDS, CALLS = 30, 200
"""Rounds over all timed functions, and calls of each per round; in turn, as noise then hits all alike."""
WARM_UP = 100
"""Calls before the first round."""

Call = Callable[[], int]


def measure_latency(path: str | Path, rounds: int = ROUNDS, calls: int = CALLS) -> dict[str, Any]:
    """Time every agent of a run in a single-threaded child process.

    Args:
        path: the run's directory.
        rounds, calls: rounds over all agents, and calls of each agent in every round.

    Returns:
        `{role: [per tier {"compiled": {"median", "p95"}, "numpy": the same or None}]}` in microseconds per decision,
        for the roles that are made of agents.

    Raises:
        BadInput: fewer than one round or call. Fault: the child failed.
    """
    return time_in_child(str(path), f"the latency of {path}", rounds, calls)


def measure_networks(networks: Sequence[Network], rounds: int = ROUNDS, calls: int = CALLS) -> list[dict[str, Any]]:
    """Time agents with these networks and new weights, as `measure_latency` times those of a run, one entry each."""
    content = json.dumps([to_plain(network) for network in networks])
    return time_in_child(content, "the latency of networks", rounds, calls)["networks"]


def time_in_child(what: str, label: str, rounds: int, calls: int) -> dict[str, Any]:
    """What `main` prints in a single-threaded child process.

    Args:
        what: a run's directory, or networks as JSON.
        label: of the measurement, for an error.
    """
    if min(rounds, calls) < 1:
        raise BadInput(f"rounds = {rounds}, calls = {calls}: must be at least 1")
    # The child finds the same modules as this process: -P keeps its working directory from hiding any of them.
    search_path = {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    command = [sys.executable, "-P", "-m", __name__, what, str(rounds), str(calls)]
    finished = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **search_path, **ONE_THREAD}, check=False
    )
    if finished.returncode != 0:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise Fault(f"measuring {label} failed (exit code {finished.returncode}): {reason}")
    return json.loads(finished.stdout.strip().splitlines()[-1])


def main(argv: Sequence[str]) -> None:
    """Main function of the child process; its arguments are RUN ROUNDS CALLS, or networks as JSON in place of RUN."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import jax

    # Programs of more than 1000 FLOPs would be handed to a thread of XLA's own: 16 us that small networks do not pay.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    from tutelage.experiment.run_directory import load

    timed = timed_networks(json.loads(argv[0])) if argv[0].startswith("[") else timed_calls(load(argv[0]))
    rounds, calls = (int(n) for n in argv[1:3])
    latencies = time_agents(timed, rounds, calls)
    sys.stdout.write(json.dumps(latencies) + "\n")


def timed_calls(run: Any) -> dict[str, list[dict[str, Call | None]]]:
    """The functions that are timed: one decision, `compiled` and in `numpy`, of each role and tier of a LoadedRun."""
    return {
        role: [
            {"compiled": compiled_call(group.agent, params), "numpy": numpy_call(group.agent, params)}
            for group, params in zip(policy.groups, run.frozen.params[role], strict=True)
        ]
        for role in run.frozen.roles
        if not needs_code(run.roles[role].made_of) and (policy := run.policy(role)).groups
    }


def timed_networks(networks: list[Any]) -> dict[str, list[dict[str, Call | None]]]:
    """The functions that are timed of agents with these networks."""
    import jax

    from tutelage.policies.open import agent_of

    agents = [agent_of(from_plain(Network, network)) for network in networks]
    each = [(agent, agent.init(jax.random.key(0))) for agent in agents]
    return {"networks": [{"compiled": compiled_call(*pair), "numpy": numpy_call(*pair)} for pair in each]}


def compiled_call(agent: Any, params: Any) -> Call:
    """One decision of the step compiled ahead of time with its weights as constants.

    An observation in NumPy goes in, a Python number comes out, so dispatch and transfers count. The largest logit is
    picked in NumPy: XLA's own argmax and a scalar result take longer than the rest of the step.
    """
    import jax

    from tutelage.deploy.step import agent_step

    carry, (x, avail) = agent.carry(), example(agent)
    step = agent_step(agent)
    run = jax.jit(lambda carry, x, avail: step(params, carry, x, avail)[::2]).lower(carry, x, avail).compile()

    def call() -> int:
        nonlocal carry
        carry, logits = run(carry, x, avail)
        return int(np.asarray(logits).argmax())

    return call


def numpy_call(agent: Any, params: Any) -> Call | None:
    """One decision of the exported NumPy step; None for a network of a user's own."""
    from tutelage.deploy.standalone import choose

    if agent.network is None:
        return None
    (step, memory), (x, available) = numpy_network(agent.network, params), example(agent)

    def call() -> int:
        nonlocal memory
        scores, memory, _ = step(x, memory)
        return choose(scores, available)

    return call


def example(agent: Any) -> tuple[np.ndarray, np.ndarray]:
    """An input row (D,) and a mask (A,) with every action available."""
    row = np.random.default_rng(0).standard_normal(agent.inputs).astype(np.float32)
    return row, np.ones(agent.n_actions, bool)


def time_agents(
    calls_by_role: dict[str, list[dict[str, Call | None]]], rounds: int, calls: int
) -> dict[str, list[dict[str, dict[str, float] | None]]]:
    """Time all calls in turn, `rounds` times `calls` each, every other round in reverse order.

    Returns:
        The same structure with median and 95th percentile in microseconds.
    """
    all_calls = [
        call for tiers in calls_by_role.values() for tier in tiers for call in tier.values() if call is not None
    ]
    samples: list[tuple[Call, list[np.ndarray]]] = [(call, []) for call in all_calls]
    for call, _ in samples:
        nanoseconds(call, WARM_UP)
    gc_enabled = gc.isenabled()
    gc.disable()
    try:
        for i in range(rounds):
            for call, durations in samples if i % 2 == 0 else reversed(samples):
                nanoseconds(call, 3)  # caches are cold after the others
                durations.append(nanoseconds(call, calls))
    finally:
        if gc_enabled:
            gc.enable()
    summaries = iter([summary(np.concatenate(durations)) for _, durations in samples])
    return {
        role: [{name: next(summaries) if call is not None else None for name, call in tier.items()} for tier in tiers]
        for role, tiers in calls_by_role.items()
    }


def nanoseconds(call: Call, n: int) -> np.ndarray:
    """Duration of each of `n` calls, (n,)."""
    clock, durations = time.perf_counter_ns, np.empty(n)
    for i in range(n):
        start = clock()
        call()
        durations[i] = clock() - start
    return durations


def summary(nanoseconds: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile in microseconds."""
    median, p95 = np.percentile(nanoseconds, (50, 95)) / 1000
    return {"median": round(float(median), 3), "p95": round(float(p95), 3)}


if __name__ == "__main__":
    main(sys.argv[1:])
