"""HINT's networks and train state, and the store of labelled experience."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.data.collect import init_collector
from tutelage.data.replay import size_of
from tutelage.data.vector import make_vector_env
from tutelage.errors import BadInput
from tutelage.learning.normaliser import init_normaliser
from tutelage.learning.optim import Learner, clipped_adam, init_learner
from tutelage.methods.hint.experience import HintNetworks
from tutelage.methods.hint.labels import LabelledExperience
from tutelage.methods.hint.teacher import TeacherState
from tutelage.networks.cores import value_net
from tutelage.policies.blueprint import HierarchicalTeam
from tutelage.policies.build import build_team
from tutelage.policies.compose import with_shadow
from tutelage.policies.hierarchy import make_hierarchy, members_by_type, teacher_policy
from tutelage.policies.normalising import normalised_net, state_rows
from tutelage.policies.views import goal_shapes, view
from tutelage.types import Environment, Policy, TimeStep, VectorEnv

PAIR_WIDTH = 32
"""Width of the coordinator."""
SPREAD = 1.0
"""How much a goal's logit falls for every agent that has a goal about the same thing."""
FORK_ENVS = 16
"""Environments in which teacher and students play on from students' states (filter_student = fork)."""


class HintState(NamedTuple):
    """Train state of HINT.

    Attributes:
        value: the students' value function V(s).
        store: labelled experience of the last iterations, leaves (R, ...). iterations: how many there have been.
        walk: collector state of the filter by forks (`fork`); () without that filter.
    """

    teacher: TeacherState
    student: Learner
    value: Learner
    store: LabelledExperience
    iterations: Array
    walk: Any


class HintComponents(NamedTuple):
    """HINT's networks, the students' team, and the environments of the filter by forks (None without it)."""

    networks: HintNetworks
    student: Policy
    fork_env: VectorEnv | None


def make_components(env: Environment, config: HintConfig) -> HintComponents:
    """Make teacher and students; raises BadInput where the environment has no goals."""
    spec = env.spec
    _, goals, features = goal_shapes(env).features.shape
    team = HierarchicalTeam(
        members=members_by_type(spec),
        view=view("local", spec),
        goals=goals,
        features=features,
        state=spec.state_width,
        actions=spec.n_actions,
        width=config.teacher_width,
        pair_width=PAIR_WIDTH,
        every=config.every,
        spread=SPREAD,
        flat=config.flat,
        normalised=config.normalise,
    )
    hierarchy = make_hierarchy(team)
    value = value_net(spec.state_width, config.teacher_width)
    value = normalised_net(value, (state_rows(spec.state_width),), config.normalise)
    networks = HintNetworks(config, hierarchy, value, clipped_adam(config.grad_clip))
    fork_env = make_vector_env(env, FORK_ENVS, goals=True) if config.filter_student == "fork" else None
    return HintComponents(networks, build_team(spec, config, view("local", spec)), fork_env)


def init_state(components: HintComponents, env: Environment, key: PRNGKeyArray) -> HintState:
    """Initial train state, with an empty store."""
    networks, student, fork_env = components
    keys = jax.random.split(key, 6)
    init = lambda params: init_learner(networks.tx, params)
    policy = teacher_policy(networks.hierarchy, explore=True).init(keys[0])
    both = with_shadow(student, teacher_policy(networks.hierarchy, explore=False))
    values = {"each": networks.hierarchy.value.init(keys[1]), "team": networks.value.init(keys[2])}
    teacher = TeacherState(init(policy["coordinator"]), init(policy["executor"]), init(values), init_normaliser())
    return HintState(
        teacher,
        init(student.init(keys[3])),
        init(networks.value.init(keys[4])),
        init_store(components, env),
        jnp.zeros((), jnp.int32),
        init_collector(fork_env, both, keys[5]) if fork_env else (),
    )


def init_store(components: HintComponents, env: Environment) -> LabelledExperience:
    """An empty store; raises BadInput where it would not fit into `memory_gb`."""
    config = components.networks.config
    size = size_of(jax.eval_shape(lambda: empty_store(components, env)))
    if size > config.memory_gb * 1e9:
        raise BadInput(
            f"store: {config.store} iterations of {config.rollout} steps in {config.envs} environments would take "
            f"{size / 1e9:.2f} GB, allowed are memory_gb = {config.memory_gb:g}"
        )
    return empty_store(components, env)


def empty_store(components: HintComponents, env: Environment) -> LabelledExperience:
    """A store of zeros for the last iterations."""
    config, spec = components.networks.config, env.spec
    r, t, n = config.store, config.rollout, spec.n_agents
    b = config.envs // 2 + (components.fork_env.n if components.fork_env else config.envs // 2)
    zeros = lambda *shape, dtype=jnp.float32: jnp.zeros((r, t, b, *shape), dtype)
    nothing: Any = ()
    steps = TimeStep(
        obs=zeros(n, spec.obs_width),
        state=nothing,
        avail=zeros(n, spec.n_actions, dtype=bool),
        alive=zeros(n, dtype=bool),
        action=zeros(n, dtype=jnp.int32),
        reward=nothing,
        discount=nothing,
        first=zeros(dtype=bool),
        last=nothing,
        success=nothing,
        links=zeros(n, n, dtype=bool) if spec.links else (),
    )
    carry = jax.tree.map(
        lambda x: jnp.zeros((r, *x.shape), x.dtype), jax.eval_shape(lambda: components.student.carry(b))
    )
    return LabelledExperience(steps, carry, zeros(n, spec.n_actions), zeros(n, dtype=bool))
