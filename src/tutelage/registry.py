"""The tables of methods and environments. They hold dotted names, so that listing them imports nothing heavy.

A new method or environment needs one file, one config and one row here. A user's `module:factory` is accepted wherever
a name is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

from tutelage.configs.checks import build
from tutelage.dotted import import_user_code, resolve
from tutelage.errors import BadInput, unknown


@dataclass(frozen=True)
class MethodRow:
    """A method's entry.

    Attributes:
        factory: `module:function` taking (env, config, teacher or None) -> Method.
        config: `module:Class`, a frozen dataclass.
        about: one line for `tutelage list`.
        teacher: the method that trains a teacher where the user names none; None if there is no teacher.
        presets: named changes to the config's defaults; `default` is always applied.
        provides: what its policies provide to a distillation. Action values do not count as logits.
        version: to be raised whenever the method learns differently with the same settings; a sweep then measures it
            again.
    """

    factory: str
    config: str
    about: str
    teacher: str | None = None
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    provides: frozenset[str] = frozenset({"logits", "features"})
    version: int = 1


@dataclass(frozen=True)
class EnvironmentRow:
    """An environment's entry.

    Attributes:
        factory: `module:function` taking (name after the slash, options) -> Environment.
        options: `module:Class`, a frozen dataclass.
        about: one line for `tutelage list`.
        extra: a package that it needs, which the extra of the same name installs.
    """

    factory: str
    options: str
    about: str
    extra: str = ""


_PPO_PUBLISHED = dict(size="width=128", critic_width=128, rollout=128, entropy=0.0, grad_clip=0.25, steps=10_000_000)
_IPPO_PUBLISHED = {**_PPO_PUBLISHED, "lr": 4e-3, "clip": 0.05, "entropy": 0.01}
_PPO_FAST = dict(core="mlp", size="width=64", critic_width=64, chunk=1)
_KD = "tutelage.methods.kd_marl.method:kd_marl"
_KD_CONFIG = "tutelage.configs.kd_marl:KdMarlConfig"
_KD_PUBLISHED = dict(temperature=2.0, lr=5e-4, anneal=False, gather=200_000)
_NO_TERMS = dict(adv=0.0, kl=0.0, ce=0.0, rel=0.0, role=0.0, entropy=0.0)

_Q_PUBLISHED = dict(
    replay="episode", envs=8, batch=32, updates=8, capacity_episodes=5_000, lr=5e-4, optimiser="rmsprop", anneal=False,
    lam=0.0, epsilon_steps=50_000, target_every=200, reward_scale=None, memory_gb=4.0
)  # fmt: skip
_Q: dict[str, tuple[str, dict[str, Any]]] = {
    "iql": ("independent Q-learning", dict(mixer="iql")),
    "vdn": ("Q-learning; the joint value is the sum of utilities", dict(mixer="vdn")),
    "qmix": ("Q-learning; the joint value is monotone in the utilities", dict(mixer="qmix")),
    "cw_qmix": (
        "QMIX that weighs down joint actions other than the best",
        dict(mixer="qmix", weighting="cw", alpha=0.75),
    ),
    "ow_qmix": ("QMIX that weighs down overestimates", dict(mixer="qmix", weighting="ow", alpha=0.5)),
    "w_vdn": ("VDN that weighs down overestimates", dict(mixer="vdn", weighting="ow", alpha=0.5)),
    "qplex": ("Q-learning with duplex duelling attention mixing", dict(mixer="qplex")),
}

_VALUES = frozenset({"features"})
_DDN_FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "ddn": ("a teacher with personalised state, students taught at three levels, curiosity on the state", {}),
    "ctds": (
        "a teacher that sees the state acts, students learn its action values",
        dict(fusion="local+state", encoder=0.0, features=0.0, acts="teacher", beta=0.0),
    ),
    "igm_da": (
        "students act and imitate the best actions of an expert that sees the state",
        dict(fusion="local+state", encoder=0.0, features=0.0, values=0.0, imitate=1.0, acts="student",
             chooses="student", beta=0.0),
    ),
}  # fmt: skip

METHODS: dict[str, MethodRow] = {
    "mappo": MethodRow(
        "tutelage.methods.ppo:mappo",
        "tutelage.configs.ppo:PpoConfig",
        "PPO with a central critic on the world state",
        presets={"published": _PPO_PUBLISHED, "fast": _PPO_FAST},
    ),
    "ippo": MethodRow(
        "tutelage.methods.ppo:ippo",
        "tutelage.configs.ppo:PpoConfig",
        "PPO with a critic on each agent's own observation",
        presets={"published": _IPPO_PUBLISHED, "fast": _PPO_FAST},
    ),
    "tarmac": MethodRow(
        "tutelage.methods.ppo:mappo",
        "tutelage.configs.ppo:TarmacConfig",
        "MAPPO whose agents attend to what those in range say",
    ),
    "happo": MethodRow(
        "tutelage.methods.happo:happo",
        "tutelage.configs.ppo:HappoConfig",
        "PPO of one agent after another, each with a network of its own",
        presets={"fast": _PPO_FAST},
    ),
    "maddpg": MethodRow(
        "tutelage.methods.maddpg:maddpg",
        "tutelage.configs.maddpg:MaddpgConfig",
        "policy gradients through a central critic per agent, from replay",
    ),
    "kd_marl": MethodRow(
        _KD,
        _KD_CONFIG,
        "a frozen expert distilled into small students: advantage, KL, CE, relation and role terms",
        teacher="mappo",
        presets={"published": _KD_PUBLISHED},
    ),
    "kl": MethodRow(
        _KD,
        _KD_CONFIG,
        "students match the expert's action distribution (KL term alone)",
        teacher="mappo",
        presets={"default": {**_NO_TERMS, "kl": 1.0}},
    ),
    "bc": MethodRow(
        _KD,
        _KD_CONFIG,
        "behaviour cloning: students copy the expert's action (CE term alone)",
        teacher="mappo",
        presets={"default": {**_NO_TERMS, "ce": 1.0}},
    ),
    "dagger_kl": MethodRow(
        _KD,
        _KD_CONFIG,
        "students act, the expert labels the states they reach, and they match its action distribution",
        teacher="mappo",
        presets={"default": {**_NO_TERMS, "kl": 1.0, "data": "dagger"}},
    ),
    **{
        name: MethodRow(
            "tutelage.methods.ddn:ddn",
            "tutelage.configs.ddn:DdnConfig",
            about,
            presets={"default": changes, "tuned": changes, "published": {**_Q_PUBLISHED, **changes}},
            provides=_VALUES,
        )
        for name, (about, changes) in _DDN_FAMILY.items()
    },
    "ptde": MethodRow(
        "tutelage.methods.ptde:ptde",
        "tutelage.configs.ddn:PtdeConfig",
        "Q-learning on personalised state, which students then predict from what they see",
        presets={"published": _Q_PUBLISHED},
        provides=_VALUES,
    ),
    "ptde_mappo": MethodRow(
        "tutelage.methods.ptde_mappo:ptde_mappo",
        "tutelage.configs.ddn:PtdeMappoConfig",
        "MAPPO on personalised state, which students then predict from what they see",
    ),
    "hint": MethodRow(
        "tutelage.methods.hint.method:hint",
        "tutelage.configs.hint:HintConfig",
        "a hierarchical teacher that goes on learning from its students and teaches what changes outcomes",
        presets={"fast": dict(core="mlp")},
        version=2,
    ),
    **{
        name: MethodRow(
            "tutelage.methods.qlearning:qlearning",
            "tutelage.configs.qlearning:QConfig",
            about,
            presets={"default": changes, "tuned": changes, "published": {**_Q_PUBLISHED, **changes}},
            provides=_VALUES,
        )
        for name, (about, changes) in _Q.items()
    },
}

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


def method_row(name: str) -> MethodRow:
    """The entry of a method, or of a user's `module:factory`; raises BadInput naming the nearest ones."""
    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        raise unknown("method", name, METHODS)
    config: Any = annotations_of(name).get("config")
    if not isinstance(config, type) or not is_dataclass(config):
        raise BadInput(f"method {name!r}: its parameter `config` must be annotated with a dataclass")
    return MethodRow(name, f"{config.__module__}:{config.__qualname__}", "yours")


def annotations_of(name: str) -> dict[str, Any]:
    """The type annotations of a user's own factory; raises BadInput where they cannot be read."""
    factory = import_user_code(name)
    try:
        return get_type_hints(factory)
    except (NameError, TypeError, AttributeError) as error:
        raise BadInput(f"method {name!r}: its annotations cannot be read: {error}") from None


def check_teacher(method: str, teacher: Any) -> None:
    """Refuse, as BadInput, a teacher of a method that takes none: it learns by itself, or trains its own."""
    if teacher is not None and method_row(method).teacher is None:
        name = str(teacher) if isinstance(teacher, str | Path) else f"a {type(teacher).__name__}"
        way = "distil one with kd_marl, kl or bc"
        raise BadInput(f"teacher = {name!r}: {method} learns by itself and takes none; {way}")


def method_config(name: str, preset: str | None = None, **changes: Any) -> Any:
    """The config of a method: its defaults, then a preset, then `changes`.

    Raises:
        BadInput: unknown preset or field, or a value of another type.
    """
    row = method_row(name)
    if preset is not None and preset not in row.presets:
        raise unknown(f"preset of {name}", preset, row.presets)
    cls = resolve(row.config)
    values = {**row.presets.get("default", {}), **(row.presets[preset] if preset else {}), **changes}
    return build(cls, values, f"field of {name}")


def environment_row(env_id: str) -> EnvironmentRow:
    """The entry of an environment, or of a user's `module:factory`; raises BadInput naming the nearest ones.

    An environment whose package is missing has an entry too: its runs can be read, and only `make` refuses it.
    """
    if env_id in ALL_ENVIRONMENTS:
        return ALL_ENVIRONMENTS[env_id]
    if ":" in env_id:
        return EnvironmentRow(env_id, "tutelage.configs.envs:AnyOptions", "yours")
    raise unknown("environment", env_id, ENVIRONMENTS)


def names_environment(name: str) -> bool:
    """Whether a name means an environment and not a run: no directory, but of a known family or a `module:factory`."""
    families = {env_id.partition("/")[0] for env_id in ALL_ENVIRONMENTS}
    return not Path(name).is_dir() and (name.partition("/")[0] in families or ":" in name)


def environment_options(env_id: str, **changes: Any) -> Any:
    """The options of an environment; raises BadInput for an unknown one or a value of another type."""
    return build(resolve(environment_row(env_id).options), changes, f"option of {env_id}")


def stored_options(env_id: str, given: dict[str, Any]) -> dict[str, Any]:
    """Options as config.json keeps them: converted to their types, and files with absolute paths."""
    if environment_row(env_id).factory == env_id:
        return dict(given)  # a user's own environment takes them as they are
    options = environment_options(env_id, **given)
    return {name: getattr(options, name) for name in given}
