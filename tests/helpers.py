"""Small parts that several test files use. Also importable by the package itself, as `helpers:NAME`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tutelage.configs.experiment import FitConfig
from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.configs.ppo import MappoConfig, PpoConfig
from tutelage.data.collect import init_collector, play
from tutelage.data.vector import make_vector_env
from tutelage.envs.parts import next_timestep
from tutelage.envs.probe import Probe
from tutelage.experiment.manifest import write_manifest
from tutelage.experiment.recorder import RunRecorder
from tutelage.experiment.stage_loop import StageLoop, copy_tree
from tutelage.experiment.user_code import make_method
from tutelage.policies.agent import Group, make_agent, make_team
from tutelage.policies.blueprint import Network
from tutelage.policies.views import view
from tutelage.registry import method_config, method_row, resolve
from tutelage.types import Block, Method, Out, Policy, Spec, Stage, TimeStep

TINY = dict(
    core="mlp", size="width=8", critic_width=8, envs=16, rollout=4, chunk=1, epochs=2, minibatches=2, steps=4096
)
"""Settings of PPO that compile and train in a few seconds."""
QUICK = FitConfig(evaluations=2, eval_episodes=16, test_episodes=32)
JAXMARL = pytest.mark.skipif(
    find_spec("jaxmarl") is None, reason="compares with jaxmarl, which is missing: pip install 'tutelage[jaxmarl]'"
)
"""Of a test that needs the package."""


def rows(few: list[Any], more: list[Any]) -> list[Any]:
    """Parameters of a test: a few that differ in code, and more, which are left to `make test-all`."""
    values = lambda row: row if isinstance(row, tuple) else (row,)
    return [*few, *(pytest.param(*values(row), marks=pytest.mark.rows) for row in more)]


# ---- data ----------------------------------------------------------------------------------------------------------
def make_spec(n_agents: int = 3, n_actions: int = 5, obs_width: int = 4, state_width: int = 6, **changes: Any) -> Spec:
    """A spec of no particular environment."""
    facts = dict(
        max_steps=5,
        time_limit="terminal",
        agent_types=("unit",) * n_agents,
        action_counts=(n_actions,) * n_agents,
        obs_widths=(obs_width,) * n_agents,
        layout=(Block("all", 0, obs_width),),
        version="0",
    )
    return Spec(n_agents, n_actions, obs_width, state_width, **(facts | changes))


def make_steps(spec: Spec, lead: tuple[int, ...], seed: int = 0) -> TimeStep:
    """Random timesteps with leading axes `lead`; every agent has an available action, no episode begins or ends."""
    rng = np.random.default_rng(seed)
    n, a = spec.n_agents, spec.n_actions
    avail = rng.random((*lead, n, a)) < 0.6
    avail[..., 1] = True
    return TimeStep(
        obs=jnp.asarray(rng.normal(size=(*lead, n, spec.obs_width)), jnp.float32),
        state=jnp.asarray(rng.normal(size=(*lead, spec.state_width)), jnp.float32),
        avail=jnp.asarray(avail),
        alive=jnp.asarray(np.ones((*lead, n), bool)),
        action=jnp.asarray(rng.integers(0, a, (*lead, n)), jnp.int32),
        reward=jnp.asarray(rng.normal(size=lead), jnp.float32),
        discount=jnp.asarray(np.ones(lead, np.float32)),
        **{name: jnp.asarray(np.zeros(lead, bool)) for name in ("first", "last", "success")},
    )


def make_tiered_team(spec: Spec, core: Any, seen: str, tiers: tuple[tuple[tuple[int, ...], int], ...]) -> Policy:
    """A team with one network per tier of agents.

    Args:
        core: `gru` or `mlp`. seen: name of the agents' view.
        tiers: (agent numbers, width) of each tier; together they cover every agent once.
    """
    shared = view(seen, spec)
    network = lambda width: Network(core, shared.width, width, spec.n_actions)
    return make_team(tuple(Group(agents, make_agent(network(width)), shared) for agents, width in tiers))


def random_params(policy: Any, seed: int = 0) -> Any:
    """Parameters with the shapes that `init` gives but larger, all different, and without compiling anything."""
    rng = np.random.default_rng(seed)
    like = jax.eval_shape(policy.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape), x.dtype), like)


def host(tree: Any) -> Any:
    """A pytree as NumPy arrays, random keys as their data."""
    is_key = lambda x: hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x), tree)


def assert_same(a: Any, b: Any) -> None:
    """Bit for bit the same pytree."""
    a, b = host(a), host(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape, jax.tree_util.keystr(path)
        assert x.tobytes() == y.tobytes(), f"{jax.tree_util.keystr(path)} differs"


def assert_close(a: Any, b: Any, tolerance: float = 1e-5) -> None:
    """The same pytree up to rounding."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), host(a), host(b))


# ---- learning without the experiment layer -------------------------------------------------------------------------
def build(method: str, env: Any, teacher: Any = None, **settings: Any) -> Any:
    """A method, ready to be fitted."""
    return make_method(method, env, method_config(method, **settings), teacher)


def run_stage(env: Any, method: Any, index: int = 0, state: Any = None, seed: int = 0, longest: int = 4096) -> Any:
    """Run one stage to its end in chunks of `longest` updates; returns (train state, metrics of every update).

    A `state` that is given can be used again."""
    root = jax.random.key(seed)
    state = jax.jit(method.init)(jax.random.fold_in(root, 1)) if state is None else copy_tree(state)
    runner = StageLoop(env, method.stages[index], index, longest)
    loop = runner.init_state(state, root)
    runner.compile(loop, root)
    parts = []
    while not runner.finished(loop):
        loop, metrics = runner.run(loop, root, int(loop.update) + longest)
        parts.append(metrics)
    return loop.train_state, {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def one_rollout(env: Any, behaviour: Any, state: Any, seed: int = 0) -> Any:
    """A rollout of a behaviour from new episodes."""
    vector = make_vector_env(env, behaviour.envs)

    @jax.jit
    def go(state: Any) -> Any:
        collector = init_collector(vector, behaviour.policy, jax.random.key(seed))
        return play(vector, behaviour, state, 0.0, collector, jax.random.key(seed + 1))[1]

    return go(state)


# ---- runs ----------------------------------------------------------------------------------------------------------
def lines_of(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl of a run without what depends on the clock."""
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records if r["kind"] != "compiled"]


def assert_same_run(a: Path, b: Path) -> None:
    """Two run directories hold the same numbers: every role bit for bit, metrics and test up to timing."""
    roles = sorted(p.relative_to(a) for p in a.rglob("*.safetensors"))
    assert roles and roles == sorted(p.relative_to(b) for p in b.rglob("*.safetensors"))
    for role in roles:
        assert (a / role).read_bytes() == (b / role).read_bytes(), f"{role} differs"
    for folder in {role.parent for role in roles}:
        assert lines_of(a / folder) == lines_of(b / folder)
        told = [json.loads((x / folder / "eval.json").read_text()) for x in (a, b)]
        assert {**told[0], "seconds": 0} == {**told[1], "seconds": 0}


class Silent:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []

    def metrics(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def evaluation(self, record: dict[str, Any], measure: str) -> None:
        self.evaluations.append(record)

    def begin_stage(self, *_: Any) -> None: ...
    def compiled(self, *_: Any) -> None: ...
    def progress(self, *_: Any) -> None: ...
    def checkpoint(self, *_: Any, **__: Any) -> None: ...
    def training_failed(self, *_: Any) -> None: ...
    def keep_last(self, *_: Any) -> None: ...

    def save_due(self) -> bool:
        return False

    def interrupted(self) -> bool:
        return False


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the package may catch it."""


def kill_at(monkeypatch: Any, save: int, after: int) -> None:
    """Save at the `save`-th occasion and die `after` occasions later: what was done in between is lost."""
    original = RunRecorder.checkpoint
    calls = iter(range(1, 10_000))

    def checkpoint(self: Any, status: Any, force: bool) -> None:
        n = next(calls)
        if n == save + after:
            raise Killed
        original(self, status, force or n == save)

    monkeypatch.setattr(RunRecorder, "checkpoint", checkpoint)


class Uneven(Probe):
    """Episodes of one step or of three, as the cue says; every step pays 1. Succeeds if it is long."""

    def __init__(self) -> None:
        super().__init__("memory")

    def step(self, key: Any, state: Any, action: Any) -> Any:
        state = state._replace(t=state.t + 1)
        last = state.t >= 1 + 2 * state.cue
        return state, next_timestep(self.sense(state), action, jnp.ones(()), last, last & (state.cue == 1), True)


# ---- named by `module:factory` -------------------------------------------------------------------------------------
def always_one(env: Any) -> Any:
    """A user's teacher: every agent takes action 1."""
    return lambda timestep: jnp.ones(timestep.alive.shape, jnp.int32)


def not_a_teacher(env: Any) -> Any:
    """A user's mistake."""
    return 7


def my_probe() -> Any:
    """A user's environment."""
    from tutelage import make

    return make("probe/action")


class Count(NamedTuple):
    """The train state of `counting`."""

    n: Any


def counting(env: Any, config: PpoConfig, teacher: Any = None) -> Method:
    """A user's method without learning: after each update another number; the team is good after the third only."""

    def step(params: Any, carry: Any, ts: TimeStep, key: Any) -> Any:
        action = jnp.where(params["n"] == 3, 1, 0)
        return carry, Out(jnp.where(jnp.arange(ts.avail.shape[-1]) == action, 0.0, -1e9) + jnp.zeros(ts.avail.shape))

    policy = Policy(lambda key: {"n": jnp.zeros((), jnp.int32)}, lambda n: (), step)

    def update(state: Count, rollouts: Any, key: Any, progress: Any) -> Any:
        return Count(state.n + 1), {"n": state.n + 1, "drawn": jax.random.uniform(key), "progress": progress}

    stage = Stage("count", {}, update, 6, unit="updates")
    return Method(
        lambda key: Count(jnp.zeros((), jnp.int32)), (stage,), {"student": policy}, lambda s: {"student": {"n": s.n}}
    )


def taught(env: Any, config: PpoConfig, teacher: Any = None) -> Method:
    """`counting` with a teacher of its own, whose parameters are others."""
    method = counting(env, config)
    other = Policy(lambda key: {"m": jnp.zeros(2)}, lambda n: (), method.roles["student"].step)
    roles = {**method.roles, "teacher": other}
    return method._replace(roles=roles, params=lambda s: {**method.params(s), "teacher": {"m": jnp.zeros(2)}})


def pupil(env: Any, config: KdMarlConfig, teacher: Any = None) -> Method:
    """A user's method that is taught: behaviour cloning."""
    return resolve(method_row("bc").factory)(env, config, teacher)


pupil.teacher = "mappo"  # type: ignore[attr-defined]

BREAKS = {"on": True}
"""Whether `breaking` breaks."""


def breaking(env: Any, config: MappoConfig, teacher: Any = None) -> Method:
    """MAPPO with a loss that is not a number from the middle of training on."""
    method = resolve(method_row("mappo").factory)(env, config, None)
    stage = method.stages[0]

    def update(state: Any, rollouts: Any, key: Any, progress: Any) -> Any:
        state, metrics = stage.update(state, rollouts, key, progress)
        bad = BREAKS["on"] & (progress >= 0.5)
        return state, metrics | {"policy": jnp.where(bad, jnp.nan, metrics["policy"])}

    return method._replace(stages=(stage._replace(update=update),))


def sign(run: Path) -> None:
    """Write a run's manifest anew, as who changes its files on purpose would."""
    files = json.loads((run / "manifest.json").read_text())["files"]
    roles = [name.removesuffix(".json") for name in files if name.endswith(".json")]
    write_manifest(run, tuple(role for role in roles if role not in ("config", "eval")))
