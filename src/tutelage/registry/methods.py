"""The table of methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
        ours: whether it is of this package; a user's own is checked wherever it is called.
    """

    factory: str
    config: str
    about: str
    teacher: str | None = None
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    provides: frozenset[str] = frozenset({"logits", "features"})
    version: int = 1
    ours: bool = True


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
        "tutelage.configs.ppo:MappoConfig",
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
    "coma": MethodRow(
        "tutelage.methods.coma:coma",
        "tutelage.configs.coma:ComaConfig",
        "policy gradients with a counterfactual baseline from a central critic",
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
