"""Wrong inputs, generated from the types of all settings: wrong kinds, out of range, contradicting each other.

Each must end in one line and exit code 2, promptly, with nothing written.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import random
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fault_sandbox import Outcome, bounded_memory, command, last_line, one_line, run_in_fork, sandbox, tree
from fault_words import CONTRADICT, GRAMMAR, UNIT, USUAL, WORDS

LIMIT, PROMPT = 20.0, 10.0
SWEEP = ("sweep", "plan.toml", "--quiet")
PLAN = '[[row]]\nname = "mappo/action"\nmethod = "mappo"\nenv = "probe/action"\nvariant = "x"\nseeds = 1\n' \
       "priority = 1\nminutes = 1.0\n"  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One wrong input: what is wrong, and the command; `call`: from Python, `tutelage.train(method, env, **call)`."""

    group: str
    words: tuple[str, ...]
    call: tuple[tuple[str, Any], ...] = ()
    plan: str = PLAN


def wrong_words(name: str, hint: Any) -> list[str]:
    """Wrong values of a setting, as they are typed."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        return wrong_words(name, parts[0]) if len(parts) == 1 else GRAMMAR.get(name, [])
    if get_origin(hint) is Literal:
        first = str(get_args(hint)[0])
        return ["nonsense", "", first.upper() + "X", first[:-1]]
    if hint is bool:
        return ["maybe"]
    if hint is int:
        far = ["4294967296"] if name in ("seed", "first_seed") else ["2147483648", "1" + "0" * 30]
        return ["x", "", "1.5", "nan", "inf", "-1", "1,000", *far]
    if hint is float:
        return ["x", "", "nan", "inf", "-inf", "1e999", "-1", "-0.001", *(["1.001", "2"] if name in UNIT else [])]
    return GRAMMAR.get(name, [])


def wrong_values(name: str, hint: Any) -> list[Any]:
    """Wrong values of a setting, from Python."""
    values = [word for word in wrong_words(name, hint) if name in GRAMMAR or get_origin(hint) is Literal]
    if hint is int:
        values += ["5", 1.5, -1, True, [1]]
    if hint is float:
        values += ["0.5", float("nan"), float("inf"), True, [1.0]]
    if hint is bool:
        values += ["yes", 2, None]
    if hint is str or get_origin(hint) is Literal:
        values += [5, None, ["width=8"]]
    return values


def dashed(prefix: str, name: str) -> str:
    return f"--{prefix}{name.replace('_', '-')}"


def settings() -> Iterator[Case]:
    """Every field of every method's config, of the evaluation, and of the environments' options."""
    from tutelage.configs.experiment import FitConfig
    from tutelage.registry import ENVIRONMENTS, METHODS, resolve

    seen: set[tuple[str, str]] = set()
    for method, row in METHODS.items():
        cls = resolve(row.config)
        env = {"hint": "fire_commander/5x5", "tarmac": "marine/easy"}.get(method, "probe/action")
        plan = PLAN.replace('"mappo"', f'"{method}"').replace('"probe/action"', f'"{env}"')
        for config in (cls, FitConfig) if method == "mappo" else (cls,):
            hints = get_type_hints(config)
            for f in dataclasses.fields(config):
                if (config.__name__, f.name) in seen:
                    continue
                seen.add((config.__name__, f.name))
                for word in wrong_words(f.name, hints[f.name]):
                    yield Case("method's setting", ("train", method, env, f"{dashed('', f.name)}={word}"))
                if config is not FitConfig:
                    for value in wrong_values(f.name, hints[f.name]):
                        yield Case("from Python", (method, env), ((f.name, value),))
                        if not isinstance(value, list) and value is not None:
                            yield Case("plan", SWEEP, plan=plan + toml(f.name, value))
    for env, about in ENVIRONMENTS.items():
        if about.options in seen:
            continue
        seen.add(about.options)
        cls = resolve(about.options)
        for name, hint in get_type_hints(cls).items():
            for word in wrong_words(name, hint):
                yield Case("environment's option", ("train", "mappo", env, f"{dashed('env.', name)}={word}"))
                yield Case("environment's option", ("eval", env, f"{dashed('env.', name)}={word}"))


def toml(name: str, value: Any) -> str:
    """A row's setting in a plan."""
    values = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
    return f"config = {{{name} = {values}}}\n"


def verbs() -> Iterator[Case]:
    """Wrong values of every argument of every command, and unknown words."""
    for verb, usual in USUAL.items():
        module = importlib.import_module(f"tutelage.cli.{verb}")
        cls = getattr(module, f"{verb.capitalize()}Args")
        for name, hint in get_type_hints(cls).items():
            for word in wrong_words(name, hint):
                if (verb, name) != ("sweep", "seeds") or not word.isdigit():  # "no more than" may be any number
                    yield Case("argument", (verb, *usual.split(), f"{dashed('', name)}={word}"))
    from tutelage.cli.train import RunArgs

    for name, hint in get_type_hints(RunArgs).items():
        for word in wrong_words(name, hint):
            yield Case("argument", ("train", "mappo", "probe/action", f"{dashed('', name)}={word}"))
    for verb, lines in WORDS.items():
        for line in lines:
            yield Case("argument", tuple(word for word in (verb, *line.split()) if word))
    for out in ("notes.txt", "other", "notes.txt/run", "a" * 300):
        yield Case("argument", ("train", "mappo", "probe/action", "--out", out))


def plans() -> Iterator[Case]:
    """Wrong values of every key of a plan's rows."""
    from tutelage.experiment.plan import Row

    for name, hint in get_type_hints(Row).items():
        rest = "".join(line + "\n" for line in PLAN.splitlines() if not line.startswith(f"{name} "))
        if rest != PLAN:
            yield Case("plan", SWEEP, plan=rest)
        for value in [*wrong_values(name, hint), "nan", "[]", "{}"]:
            values = value if value in ("nan", "[]", "{}") else toml("x", value).partition("x = ")[2].strip()[:-1]
            if isinstance(value, list) or value is None or (values == "{}" and "dict" in str(hint)):
                continue
            yield Case("plan", SWEEP, plan=f"{rest}{name} = {values}\n")
    for text in (
        "",
        "row = 5",
        "[row]\nname = 1",
        "[[row]]",
        PLAN * 2,
        f"{PLAN}nonsense = 1\n",
        "[[row",
        "\0",
        "x = 1",
    ):
        yield Case("plan", SWEEP, plan=text)


def contradictions() -> Iterator[Case]:
    """Settings that contradict each other."""
    for what, lines in CONTRADICT.items():
        for line in lines:
            yield Case("contradiction", ("train", *what.split(), *line.split()))


def cases() -> list[Case]:
    """All wrong inputs, of each group in turn, in the same order always."""
    groups: dict[str, list[Case]] = {}
    for maker in (settings, verbs, plans, contradictions):
        for case in dict.fromkeys(map(unique, maker())):
            groups.setdefault(case.group, []).append(case)
    rng = random.Random("inputs")
    for group in groups.values():
        rng.shuffle(group)
    rounds = itertools.zip_longest(*groups.values())
    return [case for each in rounds for case in each if case]


def unique(case: Case) -> Case:
    """The case with comparable values, so that duplicates are found."""
    return dataclasses.replace(case, call=tuple((name, Value(value)) for name, value in case.call))


class Value:
    """Any value, compared by its representation."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return repr(self.value)


def train_from_python(case: Case) -> int:
    """Call `tutelage.train`; its BadInput is printed as the command line prints it."""
    import tutelage

    method, env = case.words
    try:
        tutelage.train(method, env, out="run", quiet=True, **{name: value.value for name, value in case.call})
    except tutelage.BadInput as error:
        print(f"tutelage: {error}", file=sys.stderr)
        return 2
    return 0


def trial(number: int, known: list[Case]) -> dict[str, Any]:
    """One wrong input."""
    case = known[number % len(known)]
    record: dict[str, Any] = {"group": case.group, "input": " ".join(case.words)}
    if case.call:
        record["input"] = f"train({case.words[0]}, {', '.join(f'{k}={v}' for k, v in case.call)})"
    elif case.plan != PLAN:
        record["input"] += f" with {(case.plan.strip().splitlines() or ['nothing'])[-1]!r}"
    with sandbox() as folder:
        (folder / "notes.txt").write_text("somebody else's\n")
        (folder / "other").mkdir()
        (folder / "other" / "data.csv").write_text("somebody else's\n")
        (folder / "plan.toml").write_text(case.plan)
        before = tree(folder)
        began = time.monotonic()
        act = (lambda: train_from_python(case)) if case.call else command(*case.words)
        ended = run_in_fork(act, folder, LIMIT, bounded_memory)
        seconds = time.monotonic() - began
        after = tree(folder)
    outcome = judge(ended, seconds, after != before)
    return record | {"outcome": outcome, "detail": [last_line(ended)], "seconds": round(seconds, 2)}


def judge(ended: Outcome, seconds: float, written: bool) -> str:
    """How a wrong input was handled, which took so many seconds."""
    if ended.code is None or ended.code == 0:
        return "accepted"
    if "Traceback" in ended.err or ended.code not in (1, 2):
        return "traceback"
    if not one_line(ended):
        return "not one line"
    if ended.code == 1:
        return "exit code 1"
    if written:
        return "something written"
    return "refused" if seconds < PROMPT else "slow"
