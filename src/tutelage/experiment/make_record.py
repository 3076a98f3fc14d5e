"""What config.json of a new run holds."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

from tutelage.experiment.records import FORMAT, Record
from tutelage.types import Environment


def make_record(
    method: str,
    env_id: str,
    env: Environment,
    env_options: dict[str, Any],
    config: Any,
    fit: Any,
    seed: int,
    teacher: Record | None,
    init: Record | None = None,
) -> Record:
    """The content of config.json: how it was trained."""
    return {
        "format": FORMAT,
        "method": method,
        "env": env_id,
        "env_options": env_options,
        "env_version": env.spec.version,
        "config": asdict(config),
        "fit": asdict(fit),
        "seed": seed,
        "teacher": teacher,
        "versions": versions(),
        "device": device(),
        "init": init,
    }


def versions() -> Record:
    """The versions of Python and packages, see `records.Versions`."""
    packages = ("tutelage", "jax", "jaxlib", "flax", "optax", "numpy")
    return {"python": platform.python_version(), **{p: version_of(p) for p in packages}}


def version_of(package: str) -> str:
    """The version of a package, also where only its sources are on the path."""
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(import_module(package), "__version__", "unknown"))


def device() -> Record:
    """This machine, see `records.Device`."""
    used = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"kind": jax.devices()[0].device_kind, "machine": platform.machine(), "cores": os.cpu_count(), "used": used}
