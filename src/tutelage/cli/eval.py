"""`tutelage eval RUN|ENV`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from tutelage.cli.parsing import beside_environment, options_given, parse
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
    arguments = beside_environment(EvalArgs, argv)
    args = parse(arguments, "eval", argv, "Play episodes with a trained, scripted or random team.")
    from tutelage.experiment.run_directory import seed_runs

    targets = [args.target] if names_environment(args.target) else [str(run) for run in seed_runs(Path(args.target))]
    results = [one(target, args) for target in targets]
    if args.json:
        print_json(results[0] if len(results) == 1 else {"runs": results})
        return
    for target, told in zip(targets, results, strict=True):
        low, high = told["ci95"]
        acts = f" ({told['act']})" if told["act"] else ""
        print(
            f"{target} {told['policy']}{acts}: success {told['success_rate']:.3f} [{low:.3f}, {high:.3f}], return "
            f"{told['return_mean']:.2f}, length {told['length_mean']:.1f}, {told['episodes']} episodes"
        )


def one(name: str, args: EvalArgs) -> dict[str, Any]:
    """Evaluate one run or environment."""
    from tutelage.experiment.choose_policy import choose_policy, open_run_or_environment
    from tutelage.experiment.evaluate import evaluate

    target = open_run_or_environment(name, args.trust, **options_given(args))
    chosen = choose_policy(target, args.policy, args.act)
    result = evaluate(target.env, chosen.policy, chosen.params, args.episodes, args.seed, chosen.act)
    told = result.as_dict()
    return {
        "env": target.env_id,
        "env_version": target.env.spec.version,
        "method": target.run.record["method"] if target.run else None,
        "policy": chosen.name,
        "act": chosen.rule,
        "seed": args.seed,
        **{k: told[k] for k in ("episodes", "success_rate", "ci95", "return_mean", "return_ci95", "length_mean")},
    }
