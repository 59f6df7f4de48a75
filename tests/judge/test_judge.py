"""The judge scores what it has run itself, and refuses what doesn't hold together."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from squares import seal
from still_clock import judges_clock

from harness.data.published import names_of
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.judge import timing
from harness.judge.bootstrap import classes_of_text, draws, f1_of_text
from harness.judge.judge import LIMITS, STAGES, Verdict, judge, retime
from harness.measure import process
from harness.measure.latency import Latency
from harness.measure.machine import kind_of
from harness.measure.quality import macro_f1
from harness.record.files import sha256
from harness.record.verdict import Session
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, points
from harness.sandbox.refused import Refused
from harness.sandbox.remote import Mode
from harness.submission import predictions
from harness.submission.entry import read


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What engines take, in ms, in place of the real clock; all else of a judgement is real."""
    takes_ms = {"onnx": 2.0, "openvino": 1.0}
    monkeypatch.setattr(timing, "measure", judges_clock(takes_ms))
    return takes_ms


@pytest.mark.alone
def test_a_verdict_holds_what_was_measured(
    verdict: Verdict, packed: Path, dataset: Dataset, competition: Competition
) -> None:
    """F1 is that of the predictions, time has its interval and raw samples, points follow from them."""
    submitted = predictions.read(packed / "predictions.csv", dataset.test.names, dataset.classes)
    assert verdict.f1 == macro_f1(dataset.test.labels, submitted, 3)
    assert verdict.agreement == 1.0
    assert 0 < verdict.latency_low_ms <= verdict.latency_ms <= verdict.latency_high_ms
    assert verdict.ratio_low <= verdict.ratio <= verdict.ratio_high
    loads = [load for loads in verdict.samples["processes"] for load in loads]
    assert sum(len(load["model_ms"]) for load in loads) == sum(len(load["reference_ms"]) for load in loads) >= 10
    assert verdict.samples["runtime"] == "onnx"
    assert verdict.macs == 9
    figures = Figures(verdict.f1, verdict.ratio, verdict.macs)
    assert verdict.points == points(competition, figures)
    assert verdict.model_sha256 == sha256(packed / "model.onnx")
    assert verdict.size_bytes == (packed / "model.onnx").stat().st_size
    assert (verdict.competition_digest, verdict.formula) == (competition.digest(), "boostcamp2021b")
    assert verdict.machine["cores"] >= 1


@pytest.mark.alone
def test_a_verdict_says_what_was_audited_and_in_what_sandbox(verdict: Verdict, mode: Mode) -> None:
    """Each check by its reason, with its figures and what is allowed."""
    named = {"determinism", "perturbed", "outputs", "repeat", "unseen", "outside", "threads"}
    assert set(verdict.checks) == named and verdict.sandbox == mode
    assert all(any(name.startswith("allowed") for name in figures) for figures in verdict.checks.values())
    assert verdict.checks["outputs"]["images"] > 100
    assert (verdict.f1_public, verdict.points_private) == (verdict.f1, verdict.points)


@pytest.mark.alone
def test_a_verdict_survives_json(verdict: Verdict) -> None:
    """What goes to the board can be written and read."""
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


@pytest.mark.usefixtures("still")
def test_a_board_formula_leaves_the_points_to_the_board(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """With rank_mean a verdict has none of its own, and still two F1 with their draws."""
    public, stages = np.arange(120) < 40, []
    board = replace(competition, formula="rank_mean")
    found = judge(packed, dataset, board, cache, public=public, sandbox=mode, progress=stages.append)
    assert found.points is None and found.points_public is None and tuple(stages) == STAGES
    submitted = predictions.read(packed / "predictions.csv", dataset.test.names, dataset.classes)
    halves = [macro_f1(dataset.test.labels[part], submitted[part], 3) for part in (public, ~public)]
    assert [found.f1_public, found.f1_private] == halves
    assert (classes_of_text(found.predicted) == submitted).all()
    kept = (found.f1_draws, found.f1_public_draws, found.f1_private_draws)
    for text, part in zip(kept, (public | True, public, ~public), strict=True):
        expected = draws(dataset.test.labels[part], submitted[part], 3, board.name)
        assert f1_of_text(text) == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("still")
def test_a_debug_entry_is_judged_on_images_whose_labels_everybody_has(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """F1 by class of the validation images; the hidden labels change nothing."""
    other = replace(dataset, test=replace(dataset.test, labels=np.roll(dataset.test.labels, 1)))
    raw = json.loads((entry / "manifest.json").read_text())
    raw["data"]["fingerprint"] = other.fingerprint()
    (entry / "manifest.json").write_text(json.dumps(raw))
    found = judge(entry, other, competition, cache, sandbox=mode, debug=True)
    shown = dataset.validation.pixels.mean(axis=(1, 2)).argmax(axis=1)  # what the network computes
    assert found.f1 == found.f1_public == found.f1_private == macro_f1(dataset.validation.labels, shown, 3)
    assert found.checks["classes"]["images"] == len(dataset.validation) and found.agreement == 1.0
    scores = [v for name, v in found.checks["classes"].items() if name.startswith("F1 of ")]
    assert np.mean(scores) == pytest.approx(found.f1)


def test_one_flipped_byte_of_the_model_is_caught(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """The error names the file and both hashes, and says what to do."""
    content = bytearray((entry / "model.onnx").read_bytes())
    expected = sha256(entry / "model.onnx")
    content[len(content) // 2] ^= 1
    (entry / "model.onnx").write_bytes(content)
    found = sha256(entry / "model.onnx")
    with pytest.raises(HarnessError, match=rf"model.onnx: changed .*is {found}.*says {expected}\n.*pack the entry"):
        judge(entry, dataset, competition, cache, sandbox=mode)


def flip(entry: Path, count: int) -> Path:
    """Change the label of the first rows."""
    lines = (entry / "predictions.csv").read_text().splitlines()
    other = {"red": "green", "green": "blue", "blue": "red"}
    for i in range(1, count + 1):
        name, label = lines[i].split(",")
        lines[i] = f"{name},{other[label]}"
    (entry / "predictions.csv").write_text("\n".join(lines) + "\n")
    return entry


def test_one_flipped_prediction_is_caught(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """By its hash; and where a cheat renews the hash, because the model doesn't say so."""
    flip(entry, 1)
    with pytest.raises(HarnessError, match="predictions.csv: changed since it was packed"):
        judge(entry, dataset, competition, cache, sandbox=mode)
    with pytest.raises(Refused, match="predictions.csv: 0.9917 of the labels .*allowed: 0.995 or more") as refused:
        judge(seal(entry), dataset, competition, cache, sandbox=mode)
    assert refused.value.reason == "agreement"


def test_a_missing_row_is_caught(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """The first id without a row is named, and how many there are."""
    lines = (entry / "predictions.csv").read_text().splitlines()
    (entry / "predictions.csv").write_text("\n".join(lines[:5] + lines[7:]) + "\n")
    with pytest.raises(Refused, match="no row for id 't-004'; 2 of 120 test images have none") as refused:
        judge(seal(entry), dataset, competition, cache, sandbox=mode)
    assert refused.value.reason == "predictions"


def test_a_missing_file_and_a_link_are_caught(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """A link could show the judge's own files."""
    (entry / "model.onnx").rename(entry / "elsewhere")
    with pytest.raises(Refused, match="model.onnx: not found, or no plain file") as refused:
        judge(entry, dataset, competition, cache, sandbox=mode)
    assert refused.value.reason == "files"
    (entry / "model.onnx").symlink_to(entry / "elsewhere")
    with pytest.raises(HarnessError, match="model.onnx: not found, or no plain file"):
        judge(entry, dataset, competition, cache, sandbox=mode)


@pytest.mark.parametrize(("name", "cap"), [("model.onnx", LIMITS.model_bytes), ("predictions.csv", 1000)])
def test_an_oversized_file_is_caught(
    name: str, cap: int, entry: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """A file over its cap isn't even hashed."""
    with (entry / name).open("r+b") as file:
        file.truncate(cap + 1)  # a hole: takes no space
    limits = replace(LIMITS, predictions_bytes=1000)
    with pytest.raises(Refused, match=f"{name}: {cap + 1:,} bytes; allowed: {cap:,}") as refused:
        judge(entry, dataset, competition, cache, limits=limits, sandbox=mode)
    assert refused.value.reason == "size"


def test_other_data_are_caught(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """An entry for another split, or for other classes, isn't scored on this one."""
    other = replace(dataset, train=dataset.validation)
    with pytest.raises(HarnessError, match="data.fingerprint is .*; competition 'digits' is on .*\n.*is of squares"):
        judge(packed, other, competition, cache, sandbox=mode)
    with pytest.raises(HarnessError, match="classes are .*'blue'.*has .*'violet'"):
        judge(packed, replace(dataset, classes=("red", "green", "violet")), competition, cache, sandbox=mode)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"runtime": "openvino"}, "runtime is 'onnx'; competition 'digits' times 'openvino'"),
        ({"threads": 2}, "threads is 1; competition 'digits' times 2"),
    ],
)
def test_another_engine_is_caught(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode, rule: dict, words: str
) -> None:
    """An entry made for another runtime, or for more threads, isn't timed on this one; the way to pack it is named."""
    with pytest.raises(HarnessError, match=f"{words}\n.*python inference.py.* competition=digits"):
        judge(packed, dataset, replace(competition, **rule), cache, sandbox=mode)


def test_a_competition_that_needs_more_processors_is_refused_at_once(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """No fault of the entry's: its threads would wait for one another, and its time be too long in silence."""
    with pytest.raises(HarnessError, match="competition.threads=999: as many processors are needed") as e:
        judge(packed, dataset, replace(competition, threads=999), cache, sandbox=mode)
    assert not isinstance(e.value, Refused)


def test_an_entry_from_before_there_were_two_fingerprints_is_read(entry: Path, dataset: Dataset) -> None:
    """It was packed by who had the labels, and names the data by what is the judge's fingerprint now."""
    raw = json.loads((entry / "manifest.json").read_text())
    raw["data"]["fingerprint"] = dataset.judge_fingerprint()
    (entry / "manifest.json").write_text(json.dumps(raw))
    read(entry, dataset, Competition(), LIMITS)
    hidden = replace(dataset, test=replace(dataset.test, labels=None))
    with pytest.raises(HarnessError, match="data.fingerprint is"):  # whose copy can't tell
        read(entry, hidden, Competition(), LIMITS)


def test_predictions_may_go_by_the_names_of_the_published_copy(entry: Path, dataset: Dataset) -> None:
    """They come back in the order of the judge's own images; a mixture, or a name too few, is refused."""
    names, path = names_of(dataset.test.pixels), entry / "predictions.csv"
    expected = predictions.read(path, dataset.test.names, dataset.classes)
    shuffled = np.random.default_rng(0).permutation(len(names))
    predictions.write(path, [names[i] for i in shuffled], expected[shuffled], dataset.classes)
    seal(entry)
    assert (read(entry, dataset, Competition(), LIMITS, names)[1] == expected).all()
    with pytest.raises(Refused, match=f"unknown id '{names[shuffled[0]]}'"):
        read(entry, dataset, Competition(), LIMITS)
    predictions.write(path, [*names, dataset.test.names[0]], [*expected, 0], dataset.classes)
    with pytest.raises(Refused, match="by the names of the published copy and by others, mixed"):
        read(seal(entry), dataset, Competition(), LIMITS, names)
    predictions.write(path, names[1:], expected[1:], dataset.classes)
    with pytest.raises(Refused, match=f"no row for id '{names[0]}'; 1 of 120 test images have none"):
        read(seal(entry), dataset, Competition(), LIMITS, names)


def test_a_misspelt_formula_stops_at_once(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """Before anything is run."""
    with pytest.raises(HarnessError, match="unknown 'boostcamp2021c'"):
        judge(packed, dataset, replace(competition, formula="boostcamp2021c"), cache, sandbox=mode)


def test_a_model_that_fails_when_run_is_an_error_with_its_reason(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode
) -> None:
    """What the child process says reaches the user: here an operator that the engine doesn't know."""
    network = onnx.load(str(entry / "model.onnx"))
    network.graph.node[0].domain = "nowhere"
    network.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
    (entry / "model.onnx").write_bytes(network.SerializeToString())
    with pytest.raises(HarnessError, match="nowhere"):
        judge(seal(entry), dataset, competition, cache, sandbox=mode)


def test_where_there_is_no_sandbox_nothing_is_judged(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a little: strict mode says what is missing and how one's own models can be judged all the same."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match=r"(?s)bubblewrap isn't installed.*sandbox=unsafe") as missing:
        judge(packed, dataset, competition, cache)
    assert not isinstance(missing.value, Refused)
    with pytest.raises(HarnessError, match="sandbox: unknown 'none'; allowed: strict, unsafe"):
        judge(packed, dataset, competition, cache, sandbox="none")


@pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO isn't installed")
@pytest.mark.parametrize("fastest", ["onnx", "openvino"])
def test_auto_times_the_fastest_engine_that_computes_the_same(
    fastest: str,
    still: dict[str, float],
    entry: Path,
    dataset: Dataset,
    competition: Competition,
    cache: Path,
    mode: Mode,
) -> None:
    """What each computes is found in the sandbox; the verdict names the one that was timed."""
    still[fastest] = 0.5
    path = entry / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"runtime": "auto"}))
    found = judge(entry, dataset, replace(competition, runtime="auto"), cache, sandbox=mode)
    assert found.samples["runtime"] == fastest and found.f1 > 0.8
    assert found.latency_ms == pytest.approx(0.5)


@pytest.mark.alone
def test_an_entry_is_timed_once_more_as_it_was_at_first(
    verdict: Verdict, packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In the sandbox, by the same loop, with the audits of time; it can be pooled with the verdict's, and has no F1."""
    for module in (process, timing):
        monkeypatch.setattr(module, "NOISY", 1.0)  # nobody asks this machine how long it takes
    found = retime(packed, dataset, competition, cache, runtime="onnx", sandbox=mode)
    assert set(found.checks) == {"outputs", "repeat", "unseen", "outside", "threads"}
    assert found.ratio_low <= found.ratio <= found.ratio_high and found.samples["runtime"] == "onnx"
    assert found.checks["outputs"]["images"] > 100
    assert kind_of(found.machine, "onnx") == kind_of(verdict.machine, "onnx")
    pooled = Latency.pooled([Latency.from_dict(samples) for samples in (verdict.samples, found.samples)])
    assert len(pooled.sessions) == 2 and min(verdict.ratio, found.ratio) <= pooled.ratio
    assert not [name for name in found.to_dict() if "f1" in name or "predicted" in name]
    assert Session.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_an_entry_that_answers_otherwise_while_it_is_timed_again_is_refused(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audits are no formality the second time: a witness of other answers, and one of three threads."""
    honest = judges_clock({"onnx": 2.0})
    for changed, reason in (({"logits": np.zeros((128, 3), np.float32)}, "outputs"), ({"threads": 3}, "threads")):

        def cheat(*how: object, changed: dict = changed) -> tuple:
            latency, witnesses = honest(*how)
            return latency, [replace(witness, **changed) for witness in witnesses]

        monkeypatch.setattr(timing, "measure", cheat)
        with pytest.raises(Refused) as refused:
            retime(packed, dataset, competition, cache, runtime="onnx", sandbox=mode)
        assert refused.value.reason == reason


def test_noise_refuses_a_second_timing_as_it_does_the_first(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the entry's."""
    honest = judges_clock({"onnx": 2.0})

    def noisy(*how: object) -> tuple:
        latency, witnesses = honest(*how)
        return replace(
            latency, apart=0.2, seen=dict.fromkeys(("load", "steal_s", "interruptions", "wall_s"), 0.0)
        ), witnesses

    monkeypatch.setattr(timing, "measure", noisy)
    with pytest.raises(HarnessError, match="too noisy to time it") as refused:
        retime(packed, dataset, competition, cache, runtime="onnx", sandbox=mode)
    assert not isinstance(refused.value, Refused)
