"""tutelage: train a centralised teacher for a cooperative team, hand its skill to small students that act alone.

The public names are those listed here; everything else may change. They are loaded on first use, so that importing
`tutelage` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.configs.experiment import FitConfig
    from tutelage.deploy.export import export
    from tutelage.envs.battle.env import smax
    from tutelage.envs.battle.units import Map, Unit
    from tutelage.envs.build import make
    from tutelage.envs.host.ours import to_gymnasium, to_pettingzoo
    from tutelage.errors import BadInput, Fault
    from tutelage.experiment.check_env import check
    from tutelage.experiment.commands import recover, resume, train
    from tutelage.experiment.evaluate import Evaluation, evaluate
    from tutelage.experiment.run_directory import LoadedRun, load
    from tutelage.experiment.stress import stress
    from tutelage.methods.terms import TermInput
    from tutelage.policies.own_core import Core
    from tutelage.registry import ENVIRONMENTS, METHODS
    from tutelage.shrinking.shrink import shrink
    from tutelage.types import Critic, Environment, Frozen, Goals, Out, Places, Policy, Rollout, Sensed, Spec, TimeStep

_HOMES = {
    "FitConfig": "configs.experiment",
    "smax": "envs.battle.env",
    "Map": "envs.battle.units",
    "Unit": "envs.battle.units",
    "make": "envs.build",
    "to_gymnasium": "envs.host.ours",
    "to_pettingzoo": "envs.host.ours",
    "BadInput": "errors",
    "Fault": "errors",
    "check": "experiment.check_env",
    "Evaluation": "experiment.evaluate",
    "evaluate": "experiment.evaluate",
    "export": "deploy.export",
    "LoadedRun": "experiment.run_directory",
    "load": "experiment.run_directory",
    "recover": "experiment.commands",
    "resume": "experiment.commands",
    "stress": "experiment.stress",
    "train": "experiment.commands",
    "shrink": "shrinking.shrink",
    "ENVIRONMENTS": "registry",
    "METHODS": "registry",
    "Core": "policies.own_core",
    "TermInput": "methods.terms",
    **dict.fromkeys(
        (
            "Critic",
            "Environment",
            "Frozen",
            "Goals",
            "Out",
            "Places",
            "Policy",
            "Rollout",
            "Sensed",
            "Spec",
            "TimeStep",
        ),
        "types",
    ),
}

__version__ = "0.1.0"
__all__ = [
    "ENVIRONMENTS",
    "METHODS",
    "BadInput",
    "Core",
    "Critic",
    "Environment",
    "Evaluation",
    "Fault",
    "FitConfig",
    "Frozen",
    "Goals",
    "LoadedRun",
    "Map",
    "Out",
    "Places",
    "Policy",
    "Rollout",
    "Sensed",
    "Spec",
    "TermInput",
    "TimeStep",
    "Unit",
    "check",
    "evaluate",
    "export",
    "load",
    "make",
    "recover",
    "resume",
    "shrink",
    "smax",
    "stress",
    "to_gymnasium",
    "to_pettingzoo",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"tutelage.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
