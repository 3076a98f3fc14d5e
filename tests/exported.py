"""Small teams of every kind with random weights, exported, and steps that they went through in JAX."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from helpers import host, make_steps, random_params
from tutelage import make
from tutelage.data.collect import enter
from tutelage.deploy.contract import Contract, make_contract
from tutelage.deploy.export import WRITERS, digests, write_files
from tutelage.deploy.layers import Weights, program_of, read_weights
from tutelage.deploy.quantise import quantise
from tutelage.deploy.recorded import Recorded, agent_memories, recorded_rows
from tutelage.deploy.write_int8 import int8_files
from tutelage.experiment.arrays import save_tree
from tutelage.policies.blueprint import Members, Network, Role, Team
from tutelage.policies.build import build_team
from tutelage.policies.normalising import map_normalisers
from tutelage.policies.open import policy_of
from tutelage.policies.views import view
from tutelage.registry import method_config

KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mlp": ("smax/3m", "local", {"core": "mlp", "size": "width=5"}),
    "tiers of gru": ("smax/3m", "local+action", {"size": "tiers=0:4;1-2:6"}),
    "no number": ("smax/3m", "local-no-id", {"size": "width=5", "share": "agent"}),
    "near": ("smax/3m", "local", {"size": "width=5", "sight": "radius=1.2"}),
    "nearest": ("smax/3m", "local", {"size": "width=5", "sight": "nearest=1+radius=1.5"}),
    "nearest, zeros": ("smax/3m", "local", {"core": "mlp", "size": "width=5", "sight": "nearest=2", "hidden": "zero"}),
    "dropped": ("smax/3m", "local", {"size": "width=5", "sight": "0:drop=ally;1-2:full", "hidden": "zero"}),
    "tarmac": ("marine/easy", "local", {"size": "width=6", "messages": "tarmac"}),
    "hetgat": ("marine/easy", "local", {"core": "mlp", "size": "width=6", "messages": "hetgat"}),
    "normalised": ("smax/3m", "local+action", {"size": "tiers=0:4;1-2:6", "sight": "nearest=1", "normalise": True}),
    "normalised, talks": ("marine/easy", "local", {"size": "width=6", "messages": "tarmac", "normalise": True}),
}
"""Environment, view and settings of each kind; `predicting` and `normalised, predicts` are made by hand."""
RECORD = {"method": "mappo", "seed": 0, "versions": {}}
TEST = {"episodes": 32, "success_rate": 0.5, "ci95": [0.3, 0.7], "return_mean": 1.0, "return_ci95": [0.9, 1.1]}


class Exported(NamedTuple):
    """A folder, its contract and weights, and the team's own steps."""

    folder: Path
    contract: Contract
    weights: list[Weights]
    recorded: Recorded


def make_kind(kind: str) -> tuple[Any, str]:
    """A policy of a kind, and its environment."""
    if "predict" in kind:
        spec, seen = make("smax/3m").spec, view("local", make("smax/3m").spec)
        network = Network("gru", seen.width, 5, spec.n_actions, predicts=4, normalised="normalised" in kind)
        return policy_of(Team((Members((0, 1, 2), network, seen),))), "smax/3m"
    env_id, seen_name, settings = KINDS[kind]
    spec = make(env_id).spec
    return build_team(spec, replace(method_config("mappo"), **settings), view(seen_name, spec)), env_id


@cache
def exported(kind: str, act: str = "greedy") -> Exported:
    """A team of a kind in every format, and in integers."""
    policy, env_id = make_kind(kind)
    spec = make(env_id).spec
    params = map_normalisers(some_moments, random_params(policy))
    folder = Path(mkdtemp())
    save_tree(folder / "student.safetensors", params)
    role = Role("student", env_id, {}, spec, policy.blueprint, act)
    contract = make_contract("team", role, policy.blueprint, RECORD, TEST)
    programs = tuple(program_of(group.network) for group in policy.blueprint.groups)
    weights = read_weights(folder / "student.safetensors", programs)
    recorded = play_through(policy, params, steps_of(spec))
    files: dict[str, bytes] = {}
    for write in WRITERS.values():
        files |= write(contract, weights)
    rows = recorded_rows(contract, recorded)
    files |= int8_files(contract, [quantise(*each[:2], *each[2]) for each in zip(programs, weights, rows, strict=True)])
    contract["files"], contract["formats"] = digests(files), list(WRITERS)
    write_files(folder, contract, files)
    return Exported(folder, contract, weights, recorded)


def some_moments(own: Any) -> Any:
    """A normaliser with moments as they are; some columns are never counted, and one has never varied."""
    counted = own.mean > -0.3
    deviation = jnp.where(counted, 0.1 + jnp.abs(own.deviation), 1.0).at[0].set(0.0)
    return replace(own, mean=jnp.where(counted, own.mean, 0.0), deviation=deviation, count=100.0 * counted)


def steps_of(spec: Any, t: int = 14, b: int = 2) -> Any:
    """Random timesteps (T + 1, B), in which episodes begin, entities are hidden and some agent may do nothing."""
    steps, rng = make_steps(spec, (t + 1, b)), np.random.default_rng(1)
    obs, first = np.array(steps.obs), np.zeros((t + 1, b), bool)
    for block in spec.layout:
        hidden = rng.random(obs.shape[:3]) < 0.3
        obs[..., block.start : block.stop][hidden] = 0
    first[0], first[5, 0] = True, True
    links = rng.random((t + 1, b, spec.n_agents, spec.n_agents)) < 0.6
    links &= ~np.eye(spec.n_agents, dtype=bool)
    avail = np.array(steps.avail)
    avail[3, :, 0] = False
    return steps._replace(
        obs=jnp.asarray(obs), first=jnp.asarray(first), avail=jnp.asarray(avail), links=jnp.asarray(links)
    )


def play_through(policy: Any, params: Any, steps: Any) -> Recorded:
    """What a policy makes of timesteps, step by step, with the memory that it had."""

    @jax.jit
    def run(params: Any, steps: Any) -> Any:
        def body(carry: Any, timestep: Any) -> Any:
            entering = enter(policy, timestep.first, carry)
            carry, out = policy.step(params, entering, timestep, jax.random.key(0))
            return carry, (out.scores, entering)

        inputs = jax.tree.map(lambda x: x[:-1], steps)
        return jax.lax.scan(body, policy.carry(inputs.first.shape[1]), inputs)[1]

    scores, carry = host(run(params, steps))
    talks = policy.groups[0].agent.network.hears > 0
    memory, heard = carry if talks else (carry, np.zeros((*scores.shape[:3], 0), np.float32))
    steps = host(steps)
    return Recorded(steps, scores, steps.action[1:], agent_memories(policy, memory), heard)
