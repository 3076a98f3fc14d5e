"""What every test shares: the compilation cache, and a few small runs that are trained once."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Before jax is imported; subprocesses inherit it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "xla"))
# What compiles quicker than this is compiled again: reading it from a file takes as long.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # lines of source in programs, which nobody reads
# Nearly all of a first run is compilation, and code that runs for milliseconds need not be good: this is three times
# quicker. `XLA_FLAGS= pytest` tests programs as they are shipped, and so do the tests that start processes.
if version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1",  # the other core has a process of its own
    )

import jax  # noqa: E402
import pytest  # noqa: E402

import tutelage  # noqa: E402
from helpers import QUICK, TINY  # noqa: E402
from tutelage.experiment.memo import clear_caches  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """Between files: thousands of live programs make tracing and garbage collection several times slower."""
    yield
    clear_caches()
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def once(tmp_path_factory, request):
    """`once(name, train)`: a run that `train(folder)` makes, made by the first process that asks for it, for all."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if hasattr(request.config, "workerinput") else folder

    def ask(name: str, train: Callable[[Path], object]) -> Path:
        path = folder / "once" / name
        path.parent.mkdir(exist_ok=True)
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                train(path)
        return path

    return ask


@pytest.fixture(scope="session")
def memory_run(once):
    """A recurrent MAPPO team that solved probe/memory: the teacher of the distillation tests."""
    settings = {**TINY, "core": "gru", "size": "width=8", "rollout": 12, "chunk": 12, "steps": 40_000, "lr": 1e-2}
    train = lambda out: tutelage.train("mappo", "probe/memory", out=out, quiet=True, fit=QUICK, **settings)
    return tutelage.load(once("memory", train))


@pytest.fixture(scope="session")
def action_run(once):
    """A small feed-forward MAPPO team on probe/action."""
    train = lambda out: tutelage.train("mappo", "probe/action", out=out, quiet=True, fit=QUICK, **TINY)
    return tutelage.load(once("action", train))
