"""Pictures of an episode: an animation (.gif, .mp4) or a strip of moments (.png)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from PIL import Image, ImageDraw

from tutelage.configs.checks import check_seeds
from tutelage.data.watch import fault_codes, raise_first_fault, watch_timestep
from tutelage.envs.canvas import GREEN, INK, RED, font
from tutelage.errors import BadInput
from tutelage.experiment.choose_policy import ChosenPolicy, choose_policy, open_run_or_environment
from tutelage.experiment.files import check_no_file_above, write_bytes
from tutelage.experiment.jit import jit_unoptimised
from tutelage.report.overlay import draw_overlay, marks
from tutelage.types import Carry, Environment, Out, Params, TimeStep

FRAME_MS, LAST_MS = 120, 2000
"""How long each frame of a moving picture is shown, and the last one, in milliseconds (GIF counts tens of them)."""
MOMENTS = 6
"""Frames in a strip."""
HEADER, GAP, LEAST = 30, 8, 300
"""Pixels above and between pictures, and the least width of one with a title."""


class Played(NamedTuple):
    """One episode.

    Attributes:
        name: of the policy.
        network: the agents' networks, e.g. `gru 16`; empty for a controller.
        frames: T+1 pictures, uint8 (height, width, 3) each.
        returns: (T+1,) reward so far.
        success: whether the environment counts the episode as a success.
    """

    name: str
    network: str
    frames: list[np.ndarray]
    returns: list[float]
    success: bool

    @property
    def length(self) -> int:
        """Steps."""
        return len(self.frames) - 1


def render(
    target: str | Path,
    out: str | Path,
    policy: str | None = None,
    seed: int = 0,
    side_by_side: bool = False,
    overlay: bool = True,
    trust: bool = False,
    **options: Any,
) -> list[Played]:
    """Play one episode, as in an evaluation, and write a picture of it, replacing the file if there is one.

    Args:
        target: run directory (of a parent with several seeds, the first) or environment.
        out: file to write; `.gif` and `.mp4` move, `.png` shows a few moments.
        policy: `student`, `teacher`, `scripted[:NAME]` or `random`; by default the student of a run, the scripted
            controller of an environment.
        seed: of the episode.
        side_by_side: the teacher and the student of a run, on the same seed.
        overlay: draw the goals that a teacher gives, and who listens to whom.
        trust: import code that a run names and that is not built in.
        **options: of an environment.

    Returns:
        What was played: one episode, or two.

    Raises:
        BadInput: another file type, or no such policy; nothing is played. Fault: the file cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() not in WRITERS:
        raise BadInput(f"out = {out}: the file type must be one of {', '.join(WRITERS)}")
    check_no_file_above(out)
    if side_by_side and policy is not None:
        raise BadInput(f"policy = {policy!r}: side by side shows teacher and student; leave it out")
    check_seeds(seed)
    write = WRITERS[out.suffix.lower()]
    if write is write_mp4:
        video_library()
    opened = open_run_or_environment(target, trust, **options)
    policies = [choose_policy(opened, name) for name in (("teacher", "student") if side_by_side else (policy,))]
    compiled = jit_unoptimised(opened.env.reset), jit_unoptimised(opened.env.step)
    played = [play(opened.env, chosen, seed, *compiled, overlay=overlay) for chosen in policies]
    write_bytes(out, write(played))
    return played


def play(
    env: Environment, chosen: ChosenPolicy, seed: int, env_reset: Any, env_step: Any, overlay: bool = True
) -> Played:
    """Play one episode and draw every state, with goals and messages over it.

    Episodes of one seed have the same initial state and the same random numbers.

    Args:
        env_reset, env_step: of the environment, jitted, so that several episodes share the compiled programs.
    """
    key_reset, key_env, key_policy = jax.random.split(jax.random.key(seed), 3)

    @jit_unoptimised
    def decide(params: Params, state: Any, timestep: TimeStep, carry: Carry, t: Array) -> tuple[Array, Carry, Out]:
        if chosen.policy.goals:
            assert env.goals is not None
            timestep = timestep._replace(goals=env.goals(state))
        batched = jax.tree.map(lambda x: x[None], timestep)
        key_step, key_act = jax.random.split(jax.random.fold_in(key_policy, t))
        carry, output = chosen.policy.step(params, carry, batched, key_step)
        return chosen.act(key_act, output, batched)[0][0], carry, output

    def draw(state: Any, extra: Any) -> np.ndarray:
        decided = marks(extra)
        if not overlay or decided is None or env.places is None:
            return env.draw(state)
        return draw_overlay(env.draw(state), env.places(state), decided)

    def check_timestep(timestep: TimeStep, t: int) -> None:
        if env.watched:
            raise_first_fault(fault_codes(watch_timestep(env.watched, env.spec, timestep, t)))

    state, timestep = env_reset(key_reset)
    check_timestep(timestep, 0)
    carry: Any = chosen.policy.carry(1)
    frames, returns = [], [0.0]
    while not timestep.last:
        t = len(returns) - 1
        action, carry, output = decide(chosen.params, state, timestep, carry, t)
        raise_first_fault(fault_codes(output.watch))
        frames.append(draw(state, output.extra))
        state, timestep = env_step(jax.random.fold_in(key_env, t), state, action)
        check_timestep(timestep, t + 1)
        returns.append(returns[-1] + float(timestep.reward))
    frames.append(env.draw(state))
    return Played(chosen.name, networks(chosen), frames, returns, bool(timestep.success))


def networks(chosen: ChosenPolicy) -> str:
    """The kinds and widths of a team's networks, e.g. `gru 16 + 32`."""
    kinds: dict[str, list[str]] = {}
    for group in chosen.policy.groups:
        kinds.setdefault(group.agent.kind, []).append(str(group.agent.width))
    return ", ".join(f"{kind} {' + '.join(dict.fromkeys(widths))}" for kind, widths in kinds.items())


def write_gif(played: Sequence[Played]) -> bytes:
    """A GIF of episodes beside each other; an episode that ends earlier keeps its last picture."""
    steps = max(episode.length for episode in played)
    frames = [Image.fromarray(place_side_by_side([panel(episode, t) for episode in played])) for t in range(steps + 1)]
    palette = shared_palette(frames)
    quantized = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * steps + [LAST_MS]
    file = io.BytesIO()
    quantized[0].save(file, "GIF", save_all=True, append_images=quantized[1:], duration=durations, loop=0)
    return file.getvalue()


def video_library() -> Any:
    """PyAV; raises BadInput where it is not installed."""
    try:
        import av
    except ImportError:
        raise BadInput("out: an .mp4 needs PyAV; install tutelage[video], or write a .gif") from None
    return av


def write_mp4(played: Sequence[Played]) -> bytes:
    """An MP4 (H.264) of the same frames, the last one held."""
    av = video_library()
    steps = max(episode.length for episode in played)
    file = io.BytesIO()
    frames = [place_side_by_side([panel(episode, t) for episode in played]) for t in range(steps + 1)]
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])  # the format halves the resolution of colours
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000, FRAME_MS))
        stream.height, stream.width, stream.pix_fmt, stream.options = height, width, "yuv420p", {"crf": "18"}
        for frame in [*frames, *[frames[-1]] * (LAST_MS // FRAME_MS - 1)]:
            cropped = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cropped)))
        container.mux(stream.encode())
    return file.getvalue()


def shared_palette(frames: Sequence[Image.Image]) -> Image.Image:
    """256 colours for all frames, taken from some of them: a palette per frame would flicker.

    Of Pillow's methods this one stays closest to flat colours.
    """
    some = [np.asarray(frames[i]) for i in moments(len(frames) - 1)]
    return Image.fromarray(np.concatenate(some)).quantize(256, Image.Quantize.FASTOCTREE)


def write_strip(played: Sequence[Played]) -> bytes:
    """A PNG with a row per episode: its outcome above evenly spaced moments, which all rows share."""
    rows = []
    shown = moments(max(episode.length for episode in played))
    for episode in played:
        pictures = place_side_by_side([episode.frames[min(t, episode.length)] for t in shown])
        rows.append(with_header(pictures, title(episode), outcome(episode), verdict(episode)))
    file = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(file, "PNG", optimize=True)
    return file.getvalue()


def moments(last: int) -> list[int]:
    """At most MOMENTS evenly spaced steps from 0 to `last`."""
    return sorted({round(t) for t in np.linspace(0, last, MOMENTS)})


def panel(episode: Played, t: int) -> np.ndarray:
    """The picture of step t, with policy and return so far above it; after the end, with the outcome."""
    if t < episode.length:
        return with_header(episode.frames[t], title(episode), f"return {episode.returns[t]:.2f}", INK)
    return with_header(episode.frames[-1], title(episode), outcome(episode), verdict(episode))


def title(episode: Played) -> str:
    """Name of the policy, with its networks."""
    return f"{episode.name} ({episode.network})" if episode.network else episode.name


def outcome(episode: Played) -> str:
    """Success, length and return of an episode as text."""
    ended = "success" if episode.success else "no success"
    return f"{ended}, {episode.length} steps, return {episode.returns[-1]:.2f}"


def verdict(episode: Played) -> str:
    """Colour of the outcome's text."""
    return GREEN if episode.success else RED


def with_header(picture: np.ndarray, left: str, right: str, colour: str) -> np.ndarray:
    """A picture with a line of text above it: uint8 (height + HEADER, width, 3), at least LEAST wide."""
    picture = np.pad(picture, ((0, 0), (0, max(0, LEAST - picture.shape[1])), (0, 0)), constant_values=255)
    width = picture.shape[1]
    bar = Image.new("RGB", (width, HEADER), "#ffffff")
    pen = ImageDraw.Draw(bar)
    pen.text((8, HEADER / 2), left, fill=INK, anchor="lm", font=font(14))
    pen.text((width - 8, HEADER / 2), right, fill=colour, anchor="rm", font=font(14))
    return np.concatenate([np.asarray(bar), picture])


def place_side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height side by side with white between them."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    columns = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(columns[1:], 1)


WRITERS: dict[str, Callable[[Sequence[Played]], bytes]] = {".gif": write_gif, ".mp4": write_mp4, ".png": write_strip}
"""Functions that make a file, by file type."""
