"""`tutelage render RUN|ENV -o FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from tutelage.cli.parsing import options_given, parse, with_environment_options


@dataclass(frozen=True)
class RenderArgs:
    """What to draw."""

    target: Positional[str]
    """Run directory (of several seeds, the first), or an environment (`tutelage render ENV --help`: its options)."""
    out: Annotated[Path, arg(aliases=("-o",))]
    """File to write: .gif and .mp4 move, .png is a strip of moments."""
    policy: str | None = None
    """student, teacher, scripted[:NAME] or random; None: student for a run, scripted for an environment."""
    seed: int = 0
    """Seed of the episode."""
    side_by_side: bool = False
    """Teacher and student of a run, on the same seed."""
    overlay: bool = True
    """Draw a teacher's goals (orange), and who listens to whom (violet)."""
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""


def main(argv: Sequence[str]) -> None:
    """Play, draw and say what was played."""
    args = parse(with_environment_options(RenderArgs, argv), "render", argv, "A picture of one episode.")
    from tutelage.report.render import outcome, render, title

    how = args.policy, args.seed, args.side_by_side, args.overlay, args.trust
    for episode in render(args.target, args.out, *how, **options_given(args)):
        print(f"{args.out}: {title(episode)}: {outcome(episode)}")
