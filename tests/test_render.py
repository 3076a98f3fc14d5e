"""Pictures of episodes, and the choice of who plays in them."""

from __future__ import annotations

import io
import sys

import av
import jax
import numpy as np
import pytest
from PIL import Image

import tutelage
from helpers import QUICK, build, random_params
from played import compiled
from tutelage.cli.main import exit_code
from tutelage.envs.canvas import GREEN, RED, SIZE, Canvas, extent
from tutelage.errors import BadInput
from tutelage.experiment.choose_policy import ChosenPolicy, choose_policy, open_run_or_environment
from tutelage.policies.acting import RULES
from tutelage.registry import names_environment
from tutelage.report.overlay import HEAD, Marks, draw_overlay
from tutelage.report.render import (
    FRAME_MS,
    GAP,
    HEADER,
    LAST_MS,
    LEAST,
    Played,
    moments,
    networks,
    play,
    render,
    verdict,
    write_gif,
    write_strip,
)
from tutelage.types import Places


@pytest.fixture(scope="module")
def student_run(memory_run, tmp_path_factory):
    """A student of probe/memory beside its teacher; barely trained."""
    out = tmp_path_factory.mktemp("students") / "memory"
    sizes = dict(size="width=4", gather=96, envs=16, passes=1)
    return tutelage.train("kd_marl", "probe/memory", out=out, teacher=memory_run.path, fit=QUICK, quiet=True, **sizes)[
        0
    ]


def episode(steps: int, name: str = "student", success: bool = True, side: int = 20) -> Played:
    """Frames that become brighter."""
    frames = [np.full((side, side, 3), 10 * t, np.uint8) for t in range(steps + 1)]
    return Played(name, "", frames, [0.5 * t for t in range(steps + 1)], success)


# ---- files -----------------------------------------------------------------------------------------------------------
def test_gif_moves_and_holds_its_last_frame(tmp_path):
    (played,) = render("probe/memory", tmp_path / "a.gif")
    assert (played.length, played.returns[-1], played.success) == (3, 1.0, True)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 4 and picture.info["loop"] == 0
        durations = []
        for i in range(picture.n_frames):
            picture.seek(i)
            durations.append(picture.info["duration"])
    assert durations == [FRAME_MS] * 3 + [LAST_MS]


def test_png_is_a_strip_and_replaces_an_older_file(tmp_path):
    out = tmp_path / "new folder" / "a.PNG"
    out.parent.mkdir()
    out.write_text("old")
    render("probe/memory", out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        height = picture.height - HEADER
        assert picture.width == 4 * height + 3 * GAP  # steps 0 to 3


def test_side_by_side_puts_the_teacher_left_on_the_same_start(student_run, tmp_path):
    played = render(student_run.path, tmp_path / "a.gif", seed=3, side_by_side=True)
    assert [(p.name, p.network) for p in played] == [("teacher", "gru 8"), ("student", "gru 4")]
    np.testing.assert_array_equal(played[0].frames[0], played[1].frames[0])
    with Image.open(tmp_path / "a.gif") as picture:
        side = played[0].frames[0].shape[1]
        assert picture.size == (2 * side + GAP, side + HEADER)


def test_the_shorter_episode_keeps_its_last_picture():
    with Image.open(io.BytesIO(write_gif([episode(2), episode(5)]))) as picture:
        assert picture.n_frames == 6
        picture.seek(5)
        last = np.asarray(picture.convert("RGB")).astype(int)
    left, right = last[HEADER + 10, 10], last[HEADER + 10, LEAST + GAP + 10]
    assert abs(left - 20).max() <= 8 and abs(right - 50).max() <= 8
    with Image.open(io.BytesIO(write_strip([episode(2), episode(5)]))) as picture:
        assert picture.size == (LEAST, 2 * (20 + HEADER))


def test_a_strip_shows_first_and_last():
    assert moments(100) == [0, 20, 40, 60, 80, 100]
    assert moments(1) == [0, 1]


def test_same_seed_same_pictures_and_seeds_differ():
    target = open_run_or_environment("mpe/simple_spread")
    who = choose_policy(target)
    compiled = jax.jit(target.env.reset), jax.jit(target.env.step)
    first, again = (play(target.env, who, 1, *compiled) for _ in range(2))
    np.testing.assert_array_equal(np.stack(first.frames), np.stack(again.frames))
    assert (play(target.env, who, 2, *compiled).frames[0] != first.frames[0]).any()


def test_the_outcome_has_a_colour():
    assert verdict(episode(1)) == GREEN and verdict(episode(1, success=False)) == RED


def test_mp4_moves_and_holds_its_last_frame(tmp_path):
    (played,) = render("probe/memory", tmp_path / "a.mp4")
    with av.open(tmp_path / "a.mp4") as container:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(shown) == 3 + LAST_MS // FRAME_MS
    first, last = (shown[i][HEADER : HEADER + played.frames[0].shape[0]] for i in (0, -1))
    for picture, frame in ((first, played.frames[0]), (last, played.frames[-1])):
        assert np.abs(picture - frame[: len(picture)].astype(int)).mean() < 3


def test_mp4_without_its_library_is_refused_before_anything_is_played(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(
        "tutelage.report.render.open_run_or_environment", lambda target, **options: pytest.fail("played")
    )
    with pytest.raises(BadInput, match=r"tutelage\[video\]"):
        render("probe/memory", tmp_path / "a.mp4")


# ---- what is drawn over a picture ------------------------------------------------------------------------------------
def colour(picture, rgb, near=12):
    """Where a picture has about this colour."""
    return (np.abs(picture.astype(int) - np.array(rgb)).max(-1) <= near).nonzero()


def test_arrows_point_to_goals_and_lines_join_who_listens():
    blank = np.full((200, 100, 3), 255, np.uint8)
    places = Places(np.array([[0.1, 0.1], [0.9, 0.9]]), np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.1, 0.9], [0.9, 0.9]]]))
    y, x = colour(draw_overlay(blank, places, Marks(goal=np.array([1, 2]))), (230, 150, 30), 40)
    assert x.min() >= 8 and x.max() <= 91 and abs(y - 20).max() <= 6, "to (0.9, 0.1) alone: the other has no goal"
    y, x = colour(draw_overlay(blank, places, Marks(goal=np.array([2, 1]))), (230, 150, 30), 40)
    assert abs(x - 90).max() <= HEAD + 3 and abs(y - 180).max() <= HEAD + 3, "who is there has a ring"
    heard = np.array([[0.0, 1.0], [0.0, 0.0]])
    both = draw_overlay(blank, places, Marks(heard=heard))
    assert (both != 255).any() and (draw_overlay(blank, places, Marks(heard=0 * heard)) == 255).all()


def test_who_hides_another_is_counted_and_what_is_seen_ends_with_the_board():
    def changed(draw):
        """Whether each quarter (top left, top right, bottom left, bottom right) of a board 0..4 has something on it."""
        canvas = Canvas(0, 4, "#000000")
        before = canvas.array()
        draw(canvas)
        half, other = SIZE // 2, (canvas.array() != before).any(-1)
        return [bool(other[rows, columns].any()) for rows in (slice(half), slice(half, None))
                for columns in (slice(half), slice(half, None))]  # fmt: skip

    assert changed(lambda canvas: canvas.label_counts([1, 1, 3], [1, 1, 3])) == [False, False, True, False]
    assert changed(lambda canvas: canvas.clipped_square(1, 1, 9, 0, 1.8, RED, GREEN)) == [False, False, True, False]


@pytest.mark.parametrize(
    ("name", "goals_are"),
    [
        ("predator_prey/punish0", lambda s: np.stack([s.x, s.y], -1)[8:]),
        ("fire_commander/easy", None),
        ("marine/easy", None),
        ("mpe/simple_spread", lambda s: np.asarray(s.place)[3:]),
        ("mpe/simple_tag", None),
        ("smax/3s_vs_5z", lambda s: np.stack([s.x, s.y], -1)[3:]),
    ],
)
def test_places_are_on_the_picture(name, goals_are):
    """Each agent is drawn where `places` says: moving it there changes nothing, and goals keep their geometry."""
    env = compiled(name)
    state = jax.device_get(env.reset(jax.random.key(1))[0])
    where, offered = env.places(state), env.goals(state)
    n, m = offered.valid.shape
    assert where.agents.shape == (n, 2) and where.goals.shape == (n, m, 2)
    inside = np.asarray(where.goals)[np.asarray(offered.valid)]
    assert (where.agents >= 0).all() and (where.agents <= 1).all() and (inside >= 0).all() and (inside <= 1).all()
    picture = env.draw(state)
    background = np.median(picture.reshape(-1, 3), 0)
    at = np.minimum((where.agents * SIZE).astype(int), SIZE - 1)
    assert (np.abs(picture[at[:, 1], at[:, 0]] - background).max(-1) > 20).all(), "something is drawn at every agent"
    if goals_are is not None:
        at = np.minimum((where.goals[0] * SIZE).astype(int), SIZE - 1)
        true = np.asarray(goals_are(state), float)
        shift = (where.goals[0] - where.goals[0, 0]) * [1, -1]
        moved = true - true[0]
        scale = np.abs(moved).max() / np.abs(shift).max()
        np.testing.assert_allclose(shift * scale, moved, atol=1e-4 * np.abs(moved).max())


def chosen(method, env, role, **settings):
    made = build(method, env, **settings)
    return ChosenPolicy(role, made.roles[role], random_params(made.roles[role]), RULES["greedy"])


def test_goals_of_a_teacher_and_messages_are_shown_unless_unwanted():
    env = tutelage.make("fire_commander/easy", max_steps=3)
    small = dict(size="width=8", envs=8, minibatches=1)
    hidden = dict(teacher_width=8, pretrain=0, rollout=5, steps=10_000)
    teacher = chosen("hint", env, "teacher", **hidden, **small)
    teacher.params["coordinator"]["none"]["bias"] -= 10.0
    talkers = chosen("tarmac", env, "student", core="mlp", critic_width=8, **small)
    compiled = jax.jit(env.reset), jax.jit(env.step)
    for who in (teacher, talkers):
        bare = play(env, who, 2, *compiled, overlay=False)
        result = play(env, who, 2, *compiled)
        assert result.returns == bare.returns
        changed = [(a != b).any() for a, b in zip(result.frames, bare.frames, strict=True)]
        assert any(changed[:-1]) and not changed[-1], "nothing is decided in the last state"


# ---- refusals --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["a.jpg", "a", "a.gif.txt"])
def test_another_file_type_is_refused_before_anything_is_played(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "tutelage.report.render.open_run_or_environment", lambda target, **options: pytest.fail("played")
    )
    assert exit_code(["render", "probe/memory", "-o", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert ".gif, .mp4, .png" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_write_failure_is_a_fault(tmp_path, capsys):
    (tmp_path / "a.png").mkdir()
    assert exit_code(["render", "probe/value", "-o", str(tmp_path / "a.png")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_side_by_side_needs_both_and_nobody_else(memory_run, tmp_path):
    with pytest.raises(BadInput, match="no policy 'teacher'"):
        render(memory_run.path, tmp_path / "a.gif", side_by_side=True)
    with pytest.raises(BadInput, match="is an environment"):
        render("probe/memory", tmp_path / "a.gif", side_by_side=True)
    with pytest.raises(BadInput, match="policy = 'random'"):
        render(memory_run.path, tmp_path / "a.gif", policy="random", side_by_side=True)


# ---- the command -----------------------------------------------------------------------------------------------------
def test_command_plays_the_student_by_default(student_run, tmp_path, capsys):
    out = tmp_path / "a.png"
    assert exit_code(["render", str(student_run.path), "-o", str(out)]) == 0
    assert "student (gru 4)" in capsys.readouterr().out and out.exists()


@pytest.mark.parametrize("policy", ["teacher", "scripted", "scripted:local", "random"])
def test_command_plays_others(student_run, policy, tmp_path, capsys):
    out = tmp_path / "a.gif"
    assert exit_code(["render", str(student_run.path), "--out", str(out), "--policy", policy, "--seed", "4"]) == 0
    assert policy in capsys.readouterr().out and out.exists()


# ---- who plays -------------------------------------------------------------------------------------------------------
def test_a_name_is_a_run_unless_it_can_only_be_an_environment(student_run):
    assert not names_environment(str(student_run.path)) and not names_environment("runs/nothing-there")
    assert names_environment("probe/memory") and names_environment("my.module:factory")


def test_a_picture_of_an_environment_with_options(tmp_path, capsys):
    out = tmp_path / "a.png"
    asked = ["render", "fire_commander/5x5", "-o", str(out), "--policy", "random", "--env.max-steps", "3"]
    assert exit_code(asked) == 0 and "3 steps" in capsys.readouterr().out and out.exists()


def test_defaults_and_refusals_of_policies(student_run):
    run, env = open_run_or_environment(student_run.path), open_run_or_environment("probe/memory")
    assert choose_policy(run).name == "student" and choose_policy(env).name == "scripted"
    assert run.env_id == env.env_id == "probe/memory"
    with pytest.raises(BadInput, match="it has: student, teacher"):
        choose_policy(run, "expert")
    assert choose_policy(run).act is RULES["greedy"] and choose_policy(run, act="sample").act is RULES["sample"]
    with pytest.raises(BadInput, match="unknown act 'best'"):
        choose_policy(run, act="best")
    with pytest.raises(BadInput, match="allowed are scripted"):
        choose_policy(env, "student")
    with pytest.raises(BadInput, match="scripted controller"):
        choose_policy(env, "scripted:best")


def test_networks_are_named_by_kind_and_width(student_run):
    target = open_run_or_environment(student_run.path)
    assert networks(choose_policy(target)) == "gru 4" and networks(choose_policy(target, "scripted")) == ""


# ---- drawing ---------------------------------------------------------------------------------------------------------
def test_a_view_is_as_wide_as_needed_within_limits():
    places = np.array([[3.0, 0.0], [0.0, -5.0]])
    assert extent(places, 0.0, smallest=1.0, margin=1.0) == 6.0
    assert extent(places, 0.0, smallest=1.0, largest=4.0) == 4.0
    assert extent(places[:0], 16.0, smallest=6.5) == 6.5
