"""Recipes: small TOML files over each other, changed from the command line, refused where they are wrong."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from vcodec import training
from vcodec.errors import InputError, UnknownNameError, UsageError
from vcodec.training.recipe import Recipe
from vcodec.training.schedule import Schedule
from vcodec.training.stopping import Stopper


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_bundled_recipes_parse() -> None:
    """Every recipe of the package and of its examples parses; unknown names list those that exist."""
    assert {"qae", "qae-paper"} <= set(training.recipe_names())
    for name in (*training.recipe_names(), *(Path(__file__).parent.parent / "examples").glob("*.toml")):
        assert training.load_recipe(name).minutes > 0
    with pytest.raises(UnknownNameError, match="qae-paper"):
        training.load_recipe("nothing")


def test_recipes_extend_each_other(tmp_path: Path) -> None:
    """A file holds differences from another beside it or a bundled one; tables are merged, kinds of data not."""
    write(tmp_path / "base.toml", 'extends = "qae"\nbatch = 3\ndata.frames = 9\nmodel.backbone = {width = 8}\n')
    path = write(tmp_path / "top.toml", 'extends = "base.toml"\nminutes = 2\nmodel.backbone.chunk_frames = 4\n')
    plan = training.load_recipe(path)
    assert (plan.batch, plan.minutes, plan.frames) == (3, 2.0, (3, 5, 8))
    assert plan.model == {"backbone": {"width": 8, "chunk_frames": 4}} and plan.data["frames"] == 9
    write(path, 'extends = "base.toml"\ndata.kind = "volumes"\n')
    assert training.load_recipe(path).data == {"kind": "volumes"}
    write(tmp_path / "base.toml", 'extends = "top.toml"\n')
    with pytest.raises(InputError, match="circle"):
        training.load_recipe(path)


def test_fields_are_set_by_key_and_value() -> None:
    """key=value is a line of TOML, where a bare word is a string and dots reach into tables."""
    plan = training.load_recipe("qae", ["batch=4", "quantization=mixed", "data.frames = 7", "frames=[1,2]", "ks=16"])
    assert (plan.batch, plan.quantization, plan.frames, plan.ks) == (4, "mixed", (1, 2), (16,))
    assert plan.data == {"kind": "footage", "frames": 7} or plan.data == {"frames": 7}
    for change in ("batch", "=3", 'x="'):
        with pytest.raises((UsageError, InputError)):
            training.load_recipe("qae", [change])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("speed = 1", "unknown field 'speed'"),
        ('batch = "x"', "'batch' must be int"),
        ("batch = 0", "'batch' must be at least 1"),
        ("data = 3", "'data' must be a table"),
        ('frames = ["a"]', "'frames' must be a list of int"),
        ('loss = "best"', "'loss' must be one of rate-distortion"),
        ("=", "TOML"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    """What is wrong is named, with the file it is in."""
    path = write(tmp_path / "bad.toml", text)
    with pytest.raises(InputError, match=problem) as caught:
        training.load_recipe(path)
    assert "bad.toml" in str(caught.value)
    with pytest.raises(UsageError, match="minutes"):
        training.load_recipe("qae", ["minutes=0"])


def test_a_schedule_of_minutes_ends_in_time() -> None:
    """At any pace, and where the pace changes, the share rises steadily to 1 near the minutes asked for."""
    for pace in (lambda share: 0.5, lambda share: 0.1 if share < 0.5 else 0.4, lambda share: 30.0):
        schedule, seconds, step, shares = Schedule(5.0, 0, 60.0), 0.0, 0, [0.0]
        while shares[-1] < 1.0:
            seconds += pace(shares[-1])
            step += 1
            shares.append(schedule.share(step))
            if step >= schedule.end:
                again = Schedule(**schedule.facts())
                schedule.plan(step, seconds)
                assert again.share(step) == shares[-1]
                shares[-1] = schedule.share(step)
        assert all(b >= a for a, b in itertools.pairwise(shares))
        assert 300 - 2 * pace(1.0) <= seconds <= 300 + 60 + 2 * pace(1.0)
        assert shares[-2] > 1 - 4 * max(1 / step, 0.01)  # the cosine was not broken off


def test_stopping_rules() -> None:
    """The paper's rule stops at a gain below 1 %; patience goes on as long as one K gains, then stops."""
    paper = Stopper(Recipe(stop="one-percent"))
    assert [bool(paper.finished({64: x})) for x in (1.0, 0.98, 0.9705, 0.9704)] == [False, False, True, True]
    patient = Stopper(Recipe(stop="patience", stop_patience=3))
    costs = [{2: 1.0, 128: 0.99**i} for i in range(20)]
    assert not any(patient.finished(c) for c in costs)  # K = 128 still falls by 1 %
    again = Stopper(Recipe(stop="patience", stop_patience=3))
    again.memory = patient.memory  # as a resumed run has it
    still = [again.finished(costs[-1]) for _ in range(12)]
    assert not still[0] and still[-1].startswith("no K's validation cost fell") and len(set(map(bool, still))) == 2
    never = Stopper(Recipe(stop="none"))
    assert not any(never.finished({2: 1.0}) for _ in range(30))
