"""Killing trainings: at random moments, and before, in the middle of and after operations on files.

Each method, and sweeps, several seeds and teachers, are trained once undisturbed. A trial kills the same training one
to five times, continues it as a user would until it has finished, and compares every file with the undisturbed one.
"""

from __future__ import annotations

import fcntl
import functools
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_sandbox import Outcome, command, cycle, differences, last_line, leftovers, run_in_fork, sandbox, tree
from fault_watch import Operation, Stop, Watch

TEAM = "--core mlp --size width=8 --quiet --evaluations 2 --eval-episodes 8 --test-episodes 16"
ALWAYS, RARELY = " --checkpoint-seconds 1e-6", " --checkpoint-seconds 0.1"
PPO = "--critic-width 8 --envs 16 --rollout 4 --chunk 1 --epochs 2 --minibatches 2 --steps 768"
GRU = PPO.replace("--rollout 4 --chunk 1", "--core gru --size width=4 --rollout 5 --chunk 5")
OFF = "--envs 4 --chunk 8 --burn-in 2 --capacity-steps 256 --batch 2 --updates 2 --warm-up 64 --steps 512"
Q = f"{OFF} --mixer-width 8 --hyper-width 8 --epsilon-steps 200"
DDN = f"{Q} --fusion-width 8 --generator 8"
KD = "--gather 192 --envs 16 --batch 16 --passes 6"
OWN = "--teacher-config.core mlp --teacher-config.size width=8 " + PPO.replace("--", "--teacher-config.")
HINT = (
    "--steps 640 --envs 8 --rollout 10 --every 5 --minibatches 2 --pretrain 160 --teacher-width 8 "
    "--store 2 --distil 2 --batch 2"
)
QUICK = ["mappo", "kd_marl", "kl", "bc", "dagger_kl", "seeds", "together", "own teacher", "sweep"]
"""Scenarios that are tried more often, as they take less time."""
PLAN = """
[[row]]
name = "mappo/action"
method = "mappo"
env = "probe/action"
variant = "expert"
seeds = 2
priority = 1
minutes = 0.1
zoo = {zoo}
fit = {{evaluations = 2, eval_episodes = 8, test_episodes = 16, checkpoint_seconds = 1e-6}}
[row.config]
core = "mlp"
size = "width=8"
critic_width = 8
envs = 16
rollout = 4
chunk = 1
epochs = 2
minibatches = 2
steps = 512

[[row]]
name = "bc/action"
method = "bc"
env = "probe/action"
variant = "students"
seeds = {seeds}
priority = 1
minutes = 0.1
teacher = "mappo/action"
config = {{core = "mlp", size = "width=4", gather = 192, envs = 16, batch = 16, passes = 4}}
fit = {{evaluations = 2, eval_episodes = 8, test_episodes = 16, checkpoint_seconds = 1e-6}}

[[row]]
name = "random/action"
method = "random"
env = "probe/action"
variant = "random play"
seeds = 1
priority = 2
minutes = 0.1
"""


@dataclass(frozen=True)
class Scenario:
    """A training that is killed.

    Attributes:
        begin: the command. teacher: whether it needs a teacher's run. plan: text of a plan.
        rounds: whether continuing rounds differently, as documented.
    """

    name: str
    begin: str
    teacher: bool = False
    plan: str = ""
    rounds: bool = False

    @property
    def words(self) -> list[str]:
        return self.begin.split()


def scenarios() -> dict[str, Scenario]:
    """Every method of the registry on some tiny task, and what holds several runs."""
    tasks = {"mappo": "probe/action", "ippo": "marine/easy", "tarmac": "marine/easy", "hint": "fire_commander/5x5"}
    tasks |= {"vdn": "smax/3m", "kl": "probe/memory", "happo": "fire_commander/5x5", "qplex": "probe/coordination"}
    short = {"marine": " --env.max-steps 10", "fire_commander": " --env.max-steps 10", "smax": " --env.max-steps 10"}
    made = []
    from tutelage.registry import METHODS

    for i, (name, row) in enumerate(METHODS.items()):
        own = {"maddpg": f"{OFF} --critic-width 8", "hint": HINT, "tarmac": PPO.replace("--chunk 1", "--chunk 2")}
        own |= {"coma": "--critic-width 8 --envs 16 --rollout 4 --steps 768"}
        own |= {"ptde": f"{Q} --fusion-width 8 --generator 8 --predict 16"}
        own |= {"ptde_mappo": f"{PPO} --fusion-width 8 --generator 8 --predict 256"}
        kind = row.config.partition(":")[2]
        usual = {
            "PpoConfig": PPO,
            "MappoConfig": PPO,
            "HappoConfig": PPO,
            "KdMarlConfig": KD,
            "QConfig": Q,
            "DdnConfig": DDN,
        }
        task = tasks.get(name, "probe/action")
        more = short.get(task.partition("/")[0], "") + (ALWAYS if i % 3 else RARELY)
        if row.teacher:
            task, more = "probe/action", more + " --teacher teacher"
        settings = own.get(name) or usual[kind]
        made.append(Scenario(name, f"train {name} {task} --out run {TEAM} {settings}{more}", row.teacher is not None))
    ppo = f"train mappo probe/memory --out run {TEAM} {GRU}{ALWAYS}"
    made += [
        Scenario("seeds", f"{ppo} --seeds 2"),
        Scenario("together", f"{ppo} --seeds 2 --together", rounds=True),
        Scenario("own teacher", f"train bc probe/action --out run {TEAM} {KD} {OWN}{ALWAYS}"),
        Scenario("seeds taught", f"train kd_marl probe/action --out run --seeds 2 {TEAM} {KD} {OWN}{ALWAYS}"),
        Scenario("sweep", "sweep results/plan.toml --quiet", plan=PLAN.format(seeds=1, zoo="false")),
        Scenario("sweep to a zoo", "sweep results/plan.toml --quiet", plan=PLAN.format(seeds=2, zoo="true")),
    ]
    return {scenario.name: scenario for scenario in made}


def without_clock() -> None:
    """Latencies of a zoo's teams are left out: they take seconds, and no two are alike."""
    from tutelage.cli import sweep

    sweep.extra_measurements = lambda row, run, root: {}


def lay_out(scenario: Scenario, folder: Path, teacher: Path | None) -> None:
    """Prepare a folder: the teacher, the plan, and files of somebody else."""
    for name in ("notes.txt", "run.txt", "runs/other/seed-0/thesis.tex", "results/other/data.csv", "zoo/other/a.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} is somebody else's\n")
    if teacher:
        shutil.copytree(teacher / "after" / "run", folder / "teacher")
    if scenario.plan:
        (folder / "results" / "plan.toml").write_text(scenario.plan)


class UndisturbedRuns:
    """Undisturbed runs, each made once: `before` and `after` it, and its operations on files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.all = folder, scenarios()

    def of(self, name: str) -> Path:
        """The folder of a scenario's undisturbed run, made on first use."""
        place = self.folder / name.replace(" ", "_")
        scenario = self.all[name]
        teacher = self.of("mappo") if scenario.teacher else None
        with only_one(self.folder / f"{place.name}.making"):
            if not (place / "operations.json").exists():
                shutil.rmtree(place, ignore_errors=True)
                self.make(scenario, place, teacher)
        return place

    def make(self, scenario: Scenario, place: Path, teacher: Path | None) -> None:
        with sandbox() as folder:
            lay_out(scenario, folder, teacher)
            shutil.copytree(folder, place / "before", symlinks=True)
            watch = Watch(folder)

            def act() -> int:
                code = command(*scenario.words)()
                (place / "told.json").write_text(json.dumps([list(op) for op in watch.operations]))
                return code

            ended = run_in_fork(act, folder, 600, lambda: (without_clock(), watch.install()))
            if ended.code != 0:
                raise SystemExit(f"{scenario.name} cannot be trained: {ended.err or last_line(ended)}")
            shutil.copytree(folder, place / "after", symlinks=True)
            (place / "where").write_text(str(folder))
        (place / "told.json").rename(place / "operations.json")  # last: with it, all is there


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """One process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def known(place: Path) -> tuple[list[Operation], dict[str, Any]]:
    """File operations of an undisturbed run, and the files it left."""
    operations = [Operation(*op) for op in json.loads((place / "operations.json").read_text())]
    return operations, after(place)


def after(place: Path) -> dict[str, Any]:
    """The files that an undisturbed run left."""
    return tree(place / "after", (place / "where").read_text())


def draw_kill(rng: random.Random, operations: list[Operation], first: bool) -> dict[str, Any]:
    """Draw how and when to kill. Each group of similar operations is equally likely.

    For a continued training the remaining operations are unknown: it is killed in its first part.
    """
    groups: dict[str, list[int]] = {}
    for i, operation in enumerate(operations):
        groups.setdefault(operation.group, []).append(i)
    number = rng.choice(groups[rng.choice(sorted(groups))]) if first else int(rng.expovariate(1 / 12))
    if rng.random() < 0.3:
        return {"how": "moment", "at": number + 1, "seconds": round(rng.expovariate(1 / 0.1), 4)}
    writes = first and operations[number].what == "write"
    how = rng.choice(["before", "middle", "after"] if writes else ["before", "after"])
    return {"how": how, "at": number + 1, **({"what": operations[number].group} if first else {})}


def next_command(scenario: Scenario, folder: Path) -> Callable[[], int]:
    """What a user types next: the sweep again; else `resume`, or the same command where nothing was begun."""
    run = folder / "run"
    if scenario.plan or not run.exists() or not any(run.iterdir()):
        return command(*scenario.words)
    return command("resume", "run", "--quiet")


def continue_training(scenario: Scenario, folder: Path, first: Callable[[], None]) -> Outcome:
    """Continue the training; where `resume` finds no run, start it again."""
    ended = run_in_fork(next_command(scenario, folder), folder, first=first)
    if ended.code == 2 and not scenario.plan:
        again = run_in_fork(command(*scenario.words), folder, first=first)
        return again if again.code == 0 or again.code is None or again.code < 0 else ended
    return ended


def trial(number: int, kept: UndisturbedRuns) -> dict[str, Any]:
    """One trial; its number determines everything except what depends on time."""
    rng = random.Random(f"kills {number}")
    scenario = kept.all[cycle([*kept.all, *3 * QUICK], number)]
    place = kept.of(scenario.name)
    operations, wanted = known(place)
    kills: list[dict[str, Any]] = []
    record: dict[str, Any] = {"scenario": scenario.name, "kills": kills}
    with sandbox(place / "before") as folder:
        ended: Outcome | None = None
        for i in range(rng.randint(1, 5)):
            kill = draw_kill(rng, operations, first=i == 0)
            watch = Watch(folder, Stop(kill["at"], kill["how"], kill.get("seconds", 0.0)))
            first = lambda watch=watch: (without_clock(), watch.install())
            if i == 0:
                ended = run_in_fork(command(*scenario.words), folder, first=first)
            else:
                ended = continue_training(scenario, folder, first)
            if ended.code is None or ended.code >= 0:
                break  # it came to its end before that
            kills.append(kill)
        if ended is None or ended.code != 0:
            ended = continue_training(scenario, folder, without_clock)
        if ended.code != 0:
            return record | {"outcome": "no end" if ended.code is None else "stuck", "detail": [last_line(ended)]}
        return record | judge(folder, wanted, scenario.rounds)


def judge(folder: Path, wanted: dict[str, Any], rounds: bool = False) -> dict[str, Any]:
    """Compare a folder with what an undisturbed run left; `rounds`: results may round differently."""
    found = tree(folder)
    wrong = differences(found, wanted)
    if not wrong:
        return {"outcome": "same", "detail": leftovers(found)[:5]}
    empty = {f"{name} is left over" for name in found if (folder / name).is_dir() and not [*(folder / name).iterdir()]}
    if not set(wrong) - set(leftovers(found)) - empty:
        return {"outcome": "left over", "detail": wrong[:5]}
    numbers = (".safetensors", "metrics.jsonl", "eval.json")
    if rounds and all(line.partition(" differs")[0].endswith(numbers) for line in wrong):
        return {"outcome": "rounding", "detail": []}
    return {"outcome": "differs", "detail": wrong[:5]}
