"""`tutelage eval RUN|ENV`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from tutelage.cli.parsing import options_given, parse, with_environment_options
from tutelage.cli.printing import print_json
from tutelage.registry import names_environment


@dataclass(frozen=True)
class EvalArgs:
    """What to evaluate."""

    target: Positional[str]
    """Run directory (or a parent of several seeds), or an environment (`tutelage eval ENV --help`: its options)."""
    policy: str | None = None
    """student, teacher, scripted[:NAME] or random; None: student for a run, scripted for an environment."""
    episodes: int = 320
    """How many."""
    act: Literal["greedy", "sample"] | None = None
    """What a run's policies play: their likeliest actions or drawn ones; None: as the run was evaluated."""
    seed: int = 0
    """Seed of the episodes."""
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""
    json: bool = False
    """Print one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Evaluate and print."""
    arguments = with_environment_options(EvalArgs, argv)
    args = parse(arguments, "eval", argv, "Play episodes with a trained, scripted or random team.")
    from tutelage.experiment.records import scores_text
    from tutelage.experiment.run_record import seed_runs

    names = [args.target] if names_environment(args.target) else [str(run) for run in seed_runs(Path(args.target))]
    results = [evaluate_one(name, args) for name in names]
    if args.json:
        print_json(results[0] if len(results) == 1 else {"runs": results})
        return
    for name, result in zip(names, results, strict=True):
        rule = f" ({result['act']})" if result["act"] else ""
        scores = scores_text(result, result["measure"])
        length = f"length {result['length_mean']:.1f}, {result['episodes']} episodes"
        print(f"{name} {result['policy']}{rule}: {scores}, {length}")


def evaluate_one(name: str, args: EvalArgs) -> dict[str, Any]:
    """Evaluate one run or environment."""
    from tutelage.experiment.choose_policy import choose_policy, open_run_or_environment
    from tutelage.experiment.evaluate import evaluate

    opened = open_run_or_environment(name, args.trust, **options_given(args))
    chosen = choose_policy(opened, args.policy, args.act)
    result = evaluate(opened.env, chosen.policy, chosen.params, args.episodes, args.seed, chosen.act)
    scores = result.as_dict()
    return {
        "env": opened.env_id,
        "env_version": opened.env.spec.version,
        "measure": opened.env.spec.measure,
        "method": opened.run.record["method"] if opened.run else None,
        "policy": chosen.name,
        "act": chosen.rule,
        "seed": args.seed,
        **scores,
    }
