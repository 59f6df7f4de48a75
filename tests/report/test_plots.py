"""Pictures of a study, from Optuna's own trials."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image

from harness.errors import HarnessError
from harness.record.result import Cost, Result
from harness.report import canvas, plots
from harness.search.attributes import result_of
from harness.search.front import front

LOWER, HIGHER = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE


def complete(number: int, f1: float, latency_ms: float, several: bool = False) -> FrozenTrial:
    """Make a finished trial with the default formula's points."""
    ratio = latency_ms / 1.2
    points = 0.5 * ratio + 1 / (1 + math.exp(-20 * (0.7 - f1)))
    cost = Cost(10**6, 1000, latency_ms, latency_ms * 0.9, latency_ms * 1.1, ratio, ratio * 0.9, ratio * 1.1, "onnx")
    result = Result(cost, f1, confusion=None, points=None if several else points, seconds=60.0)
    values = {"values": [f1, ratio]} if several else {"value": points}
    trial = create_trial(**values, user_attrs={"result": result.to_dict(), "candidate": {}})
    trial.number = number
    return trial


def ended(number: int, state: TrialState) -> FrozenTrial:
    """Make a pruned, failed or running trial."""
    trial = create_trial(state=state, user_attrs={"reason": "gate: over the limit"})
    trial.number = number
    return trial


def trials(several: bool = False) -> list[FrozenTrial]:
    """Make 30 finished trials, 7 pruned, 2 failed and one that runs."""
    rng = random.Random(0)
    done = []
    for number in range(30):
        latency_ms = 0.2 * math.exp(rng.gauss(0, 0.7))
        done.append(
            complete(number, min(0.97, 0.7 + 0.1 * math.log(latency_ms) - rng.random() / 5), latency_ms, several)
        )
    others = [TrialState.PRUNED] * 7 + [TrialState.FAIL] * 2 + [TrialState.RUNNING]
    mixed = done + [ended(30 + k, state) for k, state in enumerate(others)]
    rng.shuffle(mixed)
    return mixed


def labels_of(axes) -> list[str]:
    """Read the legend."""
    return [text.get_text() for text in axes.get_legend().get_texts()]


def overlaps(texts) -> bool:
    """Say whether any two texts cover each other."""
    boxes = [Text.get_window_extent(t) for t in texts]  # an annotation's own would hold the thread to its point
    return any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize(("objective", "directions"), [("points", [LOWER]), ("pareto", [HIGHER, LOWER])])
def test_a_study_is_three_pictures_of_the_stated_size(objective, directions, tmp_path):
    """One value or two, points or none: both halves side by side, and each alone, none of them blank."""
    paths = plots.study(trials(len(directions) == 2), directions, tmp_path / "new" / "folder", objective)
    assert [p.name for p in paths] == ["study.png", "history.png", "pareto.png"]
    sizes = [(1400, 560), (900, 560), (900, 560)]
    for path, size in zip(paths, sizes, strict=True):
        with Image.open(path) as image:
            assert image.size == size and len(set(image.convert("RGB").get_flattened_data())) > 20


@pytest.mark.parametrize("lower", [True, False])
def test_the_history_tells_of_every_trial_that_has_ended(lower):
    """30 points, the best so far never gets worse, 7 crosses above all points, 2 failures in the legend."""
    _, (axes,) = canvas.sheet(900, 560, 1)
    plots.draw_history(axes, trials(), "a study", lower, "points")
    (dots,), (line, crosses, _) = axes.collections, axes.lines
    values = dots.get_offsets()[:, 1]
    best = list(line.get_ydata())
    assert len(values) == 30 and best == sorted(best, reverse=lower)
    assert best[-1] == (values.min() if lower else values.max()) and line.get_xdata()[-1] == 39
    assert len(crosses.get_xdata()) == 7
    assert axes.transData.transform((0, values.max()))[1] < crosses.get_window_extent().y0
    assert labels_of(axes) == ["best so far", "finished", "pruned: 7", "failed: 2"]


def test_the_history_tells_of_the_refused_apart():
    """They are neither pruned nor failed."""
    out = [
        create_trial(state=state, user_attrs={"refused": kind})
        for state, kind in ((TrialState.PRUNED, "hopeless"), (TrialState.FAIL, "duplicate"))
    ]
    for number, trial in enumerate(out, 40):
        trial.number = number
    _, (axes,) = canvas.sheet(900, 560, 1)
    plots.draw_history(axes, [*trials(), *out], "a study", True, "points")
    assert labels_of(axes) == ["best so far", "finished", "pruned: 7", "refused before training: 2", "failed: 2"]


def test_the_pareto_line_joins_the_set_and_names_its_trials():
    """The steps lead through the trials of `front` and on to the edge, and the labels are their numbers."""
    mixed = trials()
    best = front(plots.finished(mixed))
    _, (axes,) = canvas.sheet(900, 560, 1)
    plots.draw_pareto(axes, mixed, "a study", {"resnet18": 3.0})
    f1 = [result_of(t).f1 for t in best]
    assert list(axes.lines[0].get_ydata()) == [*f1, f1[-1]] and axes.lines[0].get_drawstyle() == "steps-post"
    assert {t.get_text() for t in axes.texts} <= {str(t.number) for t in best}
    assert len(axes.texts) >= len(best) - 2 and not overlaps(axes.texts)
    assert "resnet18: 3" in labels_of(axes) and axes.get_xlim()[1] > 3


def test_the_pareto_line_never_runs_back_though_hosts_differ():
    """A slow host's milliseconds order trials otherwise than the ratio to the reference does."""
    quick, slow = complete(0, 0.6, 0.30), complete(1, 0.8, 0.25)
    quick.user_attrs["result"]["cost"]["ratio"], slow.user_attrs["result"]["cost"]["ratio"] = 0.2, 0.4
    _, (axes,) = canvas.sheet(900, 560, 1)
    plots.draw_pareto(axes, [slow, quick], "a study", {})
    line = axes.lines[0]
    assert list(line.get_xdata())[:2] == [0.2, 0.4] and list(line.get_ydata())[:2] == [0.6, 0.8]


def test_a_crowded_pareto_set_keeps_the_labels_that_can_be_read():
    """Of 60 trials side by side some are labelled, the best one among them, and no label covers another."""
    crowd = [complete(k, 0.5 + k / 300, 0.1 * 1.01**k) for k in range(60)]
    _, (axes,) = canvas.sheet(900, 560, 1)
    plots.draw_pareto(axes, crowd, "a study", {})
    assert 5 < len(axes.texts) < 60 and "59" in {t.get_text() for t in axes.texts}
    assert not overlaps(axes.texts)


@given(low=st.floats(0.001, 100), factor=st.floats(1, 10_000))
@settings(max_examples=25)
def test_the_latency_axis_has_some_plain_numbers_that_do_not_overlap(low, factor):
    """From one value to four decades: 2 to 12 labels, all different, none written as a power."""
    with canvas.style():
        figure, axes = canvas.sheet(1400, 560, 2)
        canvas.mark_logarithmic(axes[1], low, low * factor)
        figure.draw_without_rendering()
        left, right = axes[1].get_xlim()
        shown = [t for t in axes[1].get_xticklabels() if left <= t.get_position()[0] <= right]
        texts = [t.get_text() for t in shown]
        assert 2 <= len(texts) == len(set(texts)) <= 12 and not any("$" in t or "^" in t for t in texts)
        assert not overlaps(shown), texts


def test_one_finished_trial_is_enough(tmp_path):
    """A study that has just begun has pictures too."""
    assert all(p.exists() for p in plots.study([complete(0, 0.5, 0.1)], [LOWER], tmp_path))


def test_a_title_with_dollars_is_no_formula(tmp_path):
    """Study names may hold what matplotlib would take for broken mathematics."""
    assert plots.history(trials(), tmp_path / "history.png", "costs $^$").exists()


@pytest.mark.parametrize("states", [[], [TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]])
def test_without_a_finished_trial_it_is_said_what_to_do(states, tmp_path):
    """There is nothing to draw, and nothing is written."""
    unfinished = [ended(k, state) for k, state in enumerate(states)]
    with pytest.raises(HarnessError, match=rf"none of {len(states)} trials has finished[\s\S]*python tune.py"):
        plots.study(unfinished, [LOWER], tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()


def test_importing_the_plots_loads_no_matplotlib():
    """It is loaded when something is drawn, and never with a window."""
    code = "import sys, harness.report.plots; print('matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
