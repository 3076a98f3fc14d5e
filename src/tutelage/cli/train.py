"""`tutelage train METHOD ENV`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import OmitArgPrefixes

from tutelage.cli.parsing import changed, given_options, parse, with_free_options
from tutelage.configs.experiment import FitConfig
from tutelage.errors import BadInput
from tutelage.registry import environment_options, environment_row, method_config, method_row, resolve

if TYPE_CHECKING:
    from tutelage.experiment.run_directory import LoadedRun


@dataclass(frozen=True)
class RunArgs:
    """The run."""

    preset: str | None = None
    """Named settings of the method (`tutelage list`); options given beside it win."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """How many seeds; with several, one sub-run per seed."""
    together: bool = False
    """All seeds in one program, for an accelerator, which small networks leave idle; a CPU gains nothing by it."""
    out: Path | None = None
    """Directory to create; None: runs/METHOD-ENV-seedN."""
    teacher: str | None = None
    """Of a method that is taught, who teaches: RUN (a run directory), RUN@ROLE (another role of it, e.g. RUN@teacher),
    scripted:NAME, or module:factory. None: its usual teacher is trained first, as the run OUT/teacher."""
    init: str | None = None
    """RUN or RUN@ROLE: a run whose weights training starts from. Its network is taken: leave out --core and --size."""
    trust: bool = False
    """Import what the run of --teacher or --init names beyond the built-in names and those given here (it is run)."""
    quiet: bool = False
    """No progress on standard error."""


def main(argv: Sequence[str]) -> None:
    """Train and report where the runs are."""
    method, env, rest = split_positionals(list(argv))
    preset = option_value(rest, "--preset")
    row, default = method_row(method), method_config(method, preset)
    # The types of the arguments depend on the method and the environment, so the class is made here.
    arguments_fields: list[Any] = [
        ("run", OmitArgPrefixes[RunArgs], field(default_factory=RunArgs)),
        ("config", OmitArgPrefixes[resolve(row.config)], field(default=default)),  # type: ignore[misc]
        ("fit", OmitArgPrefixes[FitConfig], field(default_factory=FitConfig)),
    ]
    options = with_free_options(environment_options(env), env, rest)
    if dataclasses.fields(options):
        arguments_fields.append(("env", type(options), field(default=options)))
    if row.teacher is not None:
        teacher = method_config(row.teacher)
        arguments_fields.append(("teacher_config", type(teacher), field(default=teacher)))
    arguments = make_dataclass("TrainArgs", arguments_fields, frozen=True)
    arguments.__doc__ = f"{method}: {row.about}. {env}: {environment_row(env).about}."
    args: Any = parse(arguments, f"train {method} {env}", rest, arguments.__doc__)
    further: dict[str, Any] = {"env_options": given_options(args.env, options)} if hasattr(args, "env") else {}
    if row.teacher is not None:
        further["teacher_config"] = changed(args.teacher_config, teacher)
    from tutelage.experiment.commands import train

    runs = train(
        method,
        env,
        out=args.run.out,
        seed=args.run.seed,
        seeds=args.run.seeds,
        together=args.run.together,
        teacher=args.run.teacher,
        init=args.run.init,
        preset=args.run.preset,
        trust=args.run.trust,
        fit=args.fit,
        quiet=args.run.quiet,
        **further,
        **(changed(args.config, default) | given_settings(args.config, rest)),
    )
    report(runs)


def given_settings(config: Any, argv: Sequence[str]) -> dict[str, Any]:
    """The settings that stand on the command line, also with the value that they would have had anyway."""
    words = {word.partition("=")[0].replace("_", "-") for word in argv}
    spelled = lambda name: {f"--{name.replace('_', '-')}", f"--no-{name.replace('_', '-')}"}
    return {name: value for name, value in asdict(config).items() if words & spelled(name)}


def report(runs: Sequence[LoadedRun]) -> None:
    """Print the final tests of finished runs."""
    from tutelage.experiment.records import scores_text

    for run in runs:
        print(f"{run.path}: {scores_text(run.test, run.spec.measure)}, {run.test['episodes']} episodes")
        for role, test in run.test.get("beside", {}).items():
            line = f"  {role}: success {test['success_rate']:.3f}"
            if test["success_rate"]:
                line += f"; the student has {run.test['success_rate'] / test['success_rate']:.3f} of it"
            print(line)


def split_positionals(argv: list[str]) -> tuple[str, str, list[str]]:
    """Method, environment and the remaining arguments."""
    if argv and argv[0] in ("-h", "--help"):
        print(
            "usage: tutelage train METHOD ENV [options]\n\n"
            "Options depend on both: `tutelage train METHOD ENV --help`. Names: `tutelage list`."
        )
        raise SystemExit(0)
    if len(argv) < 2 or argv[0].startswith("-") or argv[1].startswith("-"):
        raise BadInput(f"train needs METHOD and ENV, got {json.dumps(argv[:2])}; names: tutelage list")
    return argv[0], argv[1], argv[2:]


def option_value(argv: list[str], name: str) -> str | None:
    """The value of an option that must be known before the rest can be parsed; the last one counts."""
    for i, word in reversed([*enumerate(argv)]):
        if word == name and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
