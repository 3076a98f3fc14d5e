"""The table of environments."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

OTHERS = ("pettingzoo", "gymnasium", "jaxmarl")
"""What stands before the colon in the name of another package's environment."""


@dataclass(frozen=True)
class EnvironmentRow:
    """An environment's entry.

    Attributes:
        factory: `module:function` taking (name after the slash, options) -> Environment.
        options: `module:Class`, a frozen dataclass.
        about: one line for `tutelage list`.
        extra: a package that it needs, which the extra of the same name installs.
        ours: whether it is of this package, which then knows its options; otherwise they are known to it alone.
    """

    factory: str
    options: str
    about: str
    extra: str = ""
    ours: bool = True


_NATIVE_MAPS = {
    "3m": "3 marines each",
    "2s3z": "2 stalkers and 3 zealots each",
    "25m": "25 marines each",
    "3s5z": "3 stalkers and 5 zealots each",
    "8m": "8 marines each",
    "5m_vs_6m": "5 marines against 6",
    "10m_vs_11m": "10 marines against 11",
    "27m_vs_30m": "27 marines against 30",
    "3s5z_vs_3s6z": "3 stalkers and 5 zealots against 3 and 6",
    "3s_vs_5z": "3 stalkers against 5 zealots",
    "6h_vs_8z": "6 hydralisks against 8 zealots",
    "smacv2_5_units": "5 random units each, random starts",
    "smacv2_10_units": "10 random units each, random starts",
    "smacv2_20_units": "20 random units each, random starts",
}
_MORE_MAPS = {
    "MMM2": "7 marines, 2 marauders, a medivac against 8, 3 and one",
    "2s_vs_1sc": "2 shielded stalkers against a spine crawler",
}
_MPE = {
    "simple_spread": ("SpreadOptions", "agents cover landmarks without colliding"),
    "simple_reference": ("MpeOptions", "two agents tell each other which landmark to go to"),
    "simple_speaker_listener": ("MpeOptions", "one knows the landmark and speaks, the other goes"),
    "simple_tag": ("TagOptions", "three predators hunt a faster prey"),
}
_HUNTS = {
    "punish0": "8 hunters catch 8 stags in pairs",
    "punish2": "the same; a catch by one alone costs 2",
}
_FIRES = {
    "easy": "3 agents that see and 2 that douse, 10x10 cells, one fire",
    "medium": "4 and 3, 15x15, two fires",
    "hard": "6 and 4, 20x20, three fires",
    "5x5": "2 and 1, one fire; the source's size, no radio",
    "10x10": "3 and 2, two fires; the source's size, no radio",
    "20x20": "6 and 4, three fires; the source's size, no radio",
}
_VOYAGES = {
    "easy": "3 routing and 2 logistics ships, 10x10 cells, one destination",
    "medium": "4 and 3, 15x15, a destination each",
    "hard": "6 and 4, 20x20, a destination each, rough sea",
}
_SEAS = {
    **_VOYAGES,
    **{f"{name}_source": f"{name} with one destination, the public environment's reward, no AIS" for name in _VOYAGES},
    **{f"{name}_raid": f"{name} with raiders that steal fuel" for name in _VOYAGES},
}
_PROBES = {
    "value": "one step, constant reward: does the critic learn a constant?",
    "delayed": "the reward comes one step later: is discounting right?",
    "observation": "the reward depends on the observation: does the critic see?",
    "action": "the reward depends on the action: does the actor learn?",
    "memory": "the cue is shown on the first step only: does the memory work?",
    "coordination": "a climbing game with one best joint action",
}

_SMAX_OPTIONS = "tutelage.configs.envs:SmaxOptions"

ALL_ENVIRONMENTS: dict[str, EnvironmentRow] = {
    **{
        f"smax/{name}": EnvironmentRow("tutelage.envs.battle.env:make", _SMAX_OPTIONS, about)
        for name, about in {**_NATIVE_MAPS, **_MORE_MAPS}.items()
    },
    **{
        f"smax-jaxmarl/{name}": EnvironmentRow(
            "tutelage.envs.smax_jaxmarl:make",
            _SMAX_OPTIONS,
            f"{about}; jaxmarl's own step (the reference, slower)",
            extra="jaxmarl",
        )
        for name, about in _NATIVE_MAPS.items()
    },
    **{
        f"mpe/{name}": EnvironmentRow("tutelage.envs.mpe.build:make", f"tutelage.configs.envs:{options}", about)
        for name, (options, about) in _MPE.items()
    },
    **{
        f"predator_prey/{name}": EnvironmentRow(
            "tutelage.envs.predator_prey.env:make", "tutelage.configs.envs:PredatorPreyOptions", about
        )
        for name, about in _HUNTS.items()
    },
    **{
        f"fire_commander/{name}": EnvironmentRow(
            "tutelage.envs.fire_commander.env:make", "tutelage.configs.envs:FireCommanderOptions", about
        )
        for name, about in _FIRES.items()
    },
    **{
        f"marine/{name}": EnvironmentRow("tutelage.envs.marine.env:make", "tutelage.configs.envs:MarineOptions", about)
        for name, about in _SEAS.items()
    },
    **{
        f"probe/{name}": EnvironmentRow("tutelage.envs.probe:make", "tutelage.configs.envs:ProbeOptions", about)
        for name, about in _PROBES.items()
    },
}
"""All environments, including those whose package is not installed."""

ENVIRONMENTS = {name: row for name, row in ALL_ENVIRONMENTS.items() if not row.extra or find_spec(row.extra)}
"""The environments whose packages are installed."""
