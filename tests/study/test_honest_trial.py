"""One real trial on digits: what is timed is what is scored, recorded and rebuilt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import albumentations
import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

from harness.data.digits import DigitsOptions, load
from harness.data.prepare import Preprocessing, prepare
from harness.data.split import Dataset, Images
from harness.measure.latency import Latency
from harness.measure.process import predict
from harness.measure.quality import confusion, macro_f1
from harness.models.build import build
from harness.record import run_folder
from harness.record.journal import Journal
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, points
from harness.runtime.export import export
from harness.search.duplicates import Duplicate
from harness.search.gate import Gate, Known, Refused
from harness.search.proxy import Proxy, subset
from harness.search.pruning import ENOUGH
from harness.study import honest_trial
from harness.study.objective import OBJECTIVES
from harness.study.worker import reason_of
from harness.track.mirror import mirrored
from harness.train import footprint
from harness.train.fit import Diverged
from harness.train.precision import Precision

SPACE = {
    "resolution_px": {"choice": [8, 12]},
    "model": {"stages": [{"block": "conv", "channels": {"int": [24, 40], "step": 8}, "stride": 2}]},
    "augment": {"n": 1, "m": 3, "flip": False, "crop": 0.0},
    "recipe": {"batch": 32, "optimizer": {"name": "adamw", "lr": {"float": [0.005, 0.02], "log": True}}},
}
COMPETITION = Competition(
    reference={"model": {"stages": [{"block": "conv", "channels": 32}]}, "resolution_px": 16, "classes": 10}
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Digits whose test part nobody could use unnoticed: black images, all of a class that isn't there."""
    real = load(DigitsOptions())
    black = Images(np.zeros_like(real.test.pixels), np.full_like(real.test.labels, 99), real.test.names)
    return replace(real, test=black)


@pytest.fixture(scope="module")
def task(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> honest_trial.Task:
    """Five short epochs on half of the images, on one core: more of them only wait for each other."""
    torch.set_num_threads(1)
    proxy = Proxy(images=600, score_images=150, epochs=5)
    train, score = subset(dataset, proxy, 0)
    cache = tmp_path_factory.mktemp("reference")
    return honest_trial.Task(
        train=train, score=score, classes=dataset.classes, space=SPACE, proxy=proxy, competition=COMPETITION,
        gate=Gate(), objective="points", seed=0, device=torch.device("cpu"), precision=None, reference_cache=cache,
        latency_s=1.0,
    )  # fmt: skip


@dataclass
class Ran:
    """A trial that went well."""

    folder: Path
    trial: optuna.Trial
    result: Result


def run(
    task: honest_trial.Task, folder: Path, *known: Known, trial: optuna.Trial | None = None, earlier: Path | None = None
) -> Result:
    """Run one trial."""
    with mirrored("disabled", folder, study="s", run="1", job_type="trial", config={}) as mirror:
        return honest_trial.run(trial or asked(), task, lambda: list(known), folder, mirror, earlier)


def asked() -> optuna.Trial:
    """The first trial of a new study."""
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()


@pytest.fixture(scope="module")
def ran(task: honest_trial.Task, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One trial, for all tests that look at what it left behind."""
    folder, trial = tmp_path_factory.mktemp("trial"), asked()
    return Ran(folder, trial, run(task, folder, trial=trial))


def read(ran: Ran, name: str) -> Any:
    """A JSON file of the trial's folder."""
    return json.loads((ran.folder / name).read_text())


def test_the_folder_holds_what_rebuilds_the_trial(ran: Ran) -> None:
    """And nothing half-written."""
    names = {"candidate.json", "metrics.jsonl", "model.onnx", "latency.json", "result.json", "weights.pt", "begun.json"}
    assert {p.name for p in ran.folder.iterdir()} == names
    rows = Journal(ran.folder).rows()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(row["loss"] > 0 and row["images_per_s"] > 0 for row in rows)
    assert Latency.from_dict(read(ran, "latency.json")).ratio == pytest.approx(ran.result.cost.ratio)
    kept = read(ran, "result.json")
    assert run_folder.read_result(ran.folder) == ran.result and set(kept["preprocessing"]) >= {"resolution_px"}
    assert ran.result.fidelity == {"name": "tiny", "images": 600, "score_images": 150, "epochs": 5, "pixels": 1.0}


def test_f1_is_that_of_the_artefact(ran: Ran, task: honest_trial.Task) -> None:
    """Recomputed from model.onnx and the preprocessing on record; the points follow from it and the ratio."""
    how = Preprocessing(**read(ran, "result.json")["preprocessing"])
    found = predict(ran.folder / "model.onnx", prepare(task.score.pixels, how)).argmax(1)
    r, cost = ran.result, ran.result.cost
    assert r.f1 == macro_f1(task.score.labels, found, 10)
    assert r.f1 > 0.25  # it has learnt something: chance is 0.1
    assert np.array_equal(r.confusion, confusion(task.score.labels, found, 10)) and r.images == 150
    assert r.points == points(COMPETITION, Figures(r.f1, cost.ratio, cost.macs))
    assert cost.ratio_low <= cost.ratio <= cost.ratio_high
    assert cost.latency_low_ms <= cost.latency_ms <= cost.latency_high_ms and cost.runtime == "onnx"


def test_the_recorded_candidate_rebuilds_the_network(ran: Ran, task: honest_trial.Task, tmp_path: Path) -> None:
    """The weights fit into it, and exported again it says the same of every image."""
    candidate = run_folder.read_candidate(ran.folder)
    assert candidate.to_dict() == ran.trial.user_attrs["candidate"]
    assert candidate.digest() == ran.trial.user_attrs["digest"]
    assert candidate.recipe.epochs == 5
    model = build(candidate.model, 10, candidate.resolution_px, seed=12345)
    model.load_state_dict(torch.load(ran.folder / "weights.pt", weights_only=True))
    again = export(model.eval(), candidate.resolution_px, tmp_path / "again.onnx")
    x = prepare(task.score.pixels, Preprocessing(**read(ran, "result.json")["preprocessing"]))
    np.testing.assert_allclose(predict(again, x), predict(ran.folder / "model.onnx", x), atol=1e-4)


def test_its_transforms_are_recorded_as_the_library_writes_them(task: honest_trial.Task, tmp_path: Path) -> None:
    """At the side that the proxy trains at, which is filled in; `albumentations.load` has them back."""
    listed = [{"RandomResizedCrop": {"scale": [{"float": [0.5, 0.9]}, 1.0]}}, {"choice": {"jitter": "ColorJitter"}}]
    space = SPACE | {"resolution_px": 12, "augment": SPACE["augment"] | {"transforms": listed}}
    trial = asked()
    run(replace(task, space=space, proxy=replace(task.proxy, pixels=0.67)), tmp_path, trial=trial)
    crop, jitter = albumentations.load(tmp_path / "transforms.json").transforms
    low = trial.params["augment.transforms.0.RandomResizedCrop.scale.0"]
    assert tuple(crop.size) == (8, 8) and tuple(crop.scale) == (low, 1.0) and type(jitter).__name__ == "ColorJitter"
    assert run_folder.read_candidate(tmp_path).augment.transforms[0] == {"RandomResizedCrop": {"scale": [low, 1.0]}}


def test_it_is_timed_and_scored_at_its_own_resolution(task: honest_trial.Task, tmp_path: Path) -> None:
    """Though the proxy trains on smaller images."""
    trial = asked()
    result = run(replace(task, proxy=replace(task.proxy, pixels=0.5, epochs=1)), tmp_path, trial=trial)
    kept = json.loads((tmp_path / "result.json").read_text())
    assert kept["preprocessing"]["resolution_px"] == trial.params["resolution_px"]
    assert result.cost.macs == pytest.approx(_macs(trial.params), rel=0.05)


def _macs(params: dict[str, Any]) -> float:
    """One 3x3 convolution of stride 2 and a classifier."""
    side, channels = params["resolution_px"] // 2, params["model.stages.0.channels"]
    return side**2 * 9 * 3 * channels + 10 * channels


def test_a_trial_has_no_test_part(dataset: Dataset, task: honest_trial.Task, ran: Ran) -> None:
    """It is given none, so it can't touch one; and its figures are those of a data set whose test part is real."""
    given = set(task.train.names) | set(task.score.names)
    assert not given & set(dataset.test.names)
    train, score = subset(load(DigitsOptions()), task.proxy, 0)
    assert (train.names, score.names) == (task.train.names, task.score.names)
    assert not [name for name in honest_trial.Task.__dataclass_fields__ if "test" in name]


def test_the_same_trial_gives_the_same_f1(
    ran: Ran, task: honest_trial.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is random hangs on the study's seed. Layout and number format are found by timing: the recorded ones."""
    monkeypatch.setattr(honest_trial, "probe", lambda *_: Precision(**ran.result.precision))
    result = run(task, tmp_path, trial=asked())
    assert result.f1 == ran.result.f1
    assert result.cost == ran.result.cost  # not measured again, and the record says so
    assert read(ran, "latency.json")["cached_from"] is None
    assert json.loads((tmp_path / "latency.json").read_text())["cached_from"] == str(ran.folder / "model.onnx")


def told(trial: optuna.Trial, task: honest_trial.Task, folder: Path, state: TrialState = TrialState.COMPLETE) -> None:
    """Run a trial and tell the study, as a worker does."""
    result = run(task, folder, trial=trial)
    trial.set_user_attr("result", result.to_dict())
    trial.set_user_attr("reason", "pruner: too bad")
    trial.study.tell(trial, result.points if state == TrialState.COMPLETE else None, state=state)


def same(study: optuna.Study, first: optuna.Trial, **changed: Any) -> optuna.Trial:
    """A trial of the same parameters, but for those that are changed."""
    study.enqueue_trial(first.params | changed)
    return study.ask()


def test_the_same_built_network_with_the_same_recipe_is_not_trained_twice(
    task: honest_trial.Task, tmp_path: Path
) -> None:
    """Though it is described otherwise; its twin's figures come with the refusal. Another recipe trains."""
    (drawn,) = SPACE["model"]["stages"]
    twice, whole = ({"block": "conv", "channels": 16, "repeat": n} for n in (2, 1))
    one, other = (replace(task, space=SPACE | {"model": {"stages": [drawn, *s]}}) for s in ([twice], [whole, whole]))
    study = optuna.create_study()
    first = study.ask()
    told(first, one, tmp_path / "first")
    again = same(study, first)
    with pytest.raises(Duplicate, match="^duplicate of trial 0$") as e:
        run(other, tmp_path / "again", trial=again)
    assert again.user_attrs["digest"] != first.user_attrs["digest"]
    assert again.user_attrs["built"] == first.user_attrs["built"]
    assert e.value.result == Result.from_dict(first.user_attrs["result"]) and e.value.pruned is None
    assert not (tmp_path / "again" / "metrics.jsonl").exists()
    lr = "recipe.optimizer.lr"
    run(one, tmp_path / "third", trial=same(study, first, **{lr: first.params[lr] / 2}))


def test_a_twin_that_was_pruned_or_is_running_is_known_too(task: honest_trial.Task, tmp_path: Path) -> None:
    """Of two that run, the later yields; one that failed has told nothing, so the next trains."""
    study = optuna.create_study()
    first = study.ask()
    run(task, tmp_path / "0", trial=first)
    second = same(study, first)
    with pytest.raises(Duplicate) as e:
        run(task, tmp_path / "1", trial=second)
    assert (e.value.number, e.value.result, e.value.pruned) == (0, None, None)
    study.tell(second, state=TrialState.FAIL)
    study.tell(first, state=TrialState.FAIL)
    third = same(study, first)
    told(third, task, tmp_path / "2", TrialState.PRUNED)
    with pytest.raises(Duplicate) as e:
        run(task, tmp_path / "3", trial=same(study, first))
    assert (e.value.number, e.value.pruned) == (2, "pruner: too bad")


def test_a_stopped_trial_is_gone_on_with_to_the_same_result(
    ran: Ran, task: honest_trial.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its last checkpoint, in its layout and number format; a damaged checkpoint is left, and it trains anew."""
    monkeypatch.setattr(honest_trial, "SAVE_S", 0.0)
    monkeypatch.setattr(honest_trial, "probe", lambda *_: Precision(**ran.result.precision))
    stopped, trials = tmp_path / "stopped", asked().study
    first = trials.ask()

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    mirror = SimpleNamespace(describe=lambda _: None, summary=lambda _: None, log=stop)
    with pytest.raises(KeyboardInterrupt):
        honest_trial.run(first, task, lambda: [], stopped, mirror)
    assert (stopped / "checkpoint.pt").exists() and not (stopped / "result.json").exists()
    trials.tell(first, state=TrialState.FAIL)

    monkeypatch.setattr(honest_trial, "probe", lambda *_: pytest.fail("it must compute as it did"))
    trained: list[int] = []
    fit = honest_trial.fit

    def counted(*arguments: Any, on_epoch: Any, **options: Any) -> Any:
        return fit(*arguments, on_epoch=lambda e: (trained.append(e.number), on_epoch(e)), **options)

    monkeypatch.setattr(honest_trial, "fit", counted)
    result = run(task, tmp_path / "on", trial=same(trials, first), earlier=stopped)
    assert trained == [4, 5]
    assert [row["epoch"] for row in Journal(tmp_path / "on").rows()] == [1, 2, 3, 4, 5]
    straight = Journal(tmp_path / "straight")
    monkeypatch.setattr(honest_trial, "probe", lambda *_: Precision(**ran.result.precision))
    whole = run(task, straight.path.parent, trial=same(optuna.create_study(), first))
    assert (result.f1, result.rungs) == (whole.f1, whole.rungs)
    losses = [[row["loss"] for row in Journal(tmp_path / name).rows()] for name in ("on", "straight")]
    assert losses[0] == losses[1]
    assert not (tmp_path / "on" / "checkpoint.pt").exists()

    damaged = stopped / "checkpoint.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    trained.clear()
    again = run(task, tmp_path / "anew", trial=same(optuna.create_study(), first), earlier=stopped)
    assert trained == [1, 2, 3, 4, 5] and again.f1 == whole.f1


def rival(number: int, ratio: float, f1: float = 1.0, rungs: Mapping[int, float] = MappingProxyType({})) -> Known:
    """A trial that went to its end; it was timed without an error."""
    its = Cost(
        macs=1, parameters=1, latency_ms=ratio, latency_low_ms=ratio, latency_high_ms=ratio, ratio=ratio,
        ratio_low=ratio, ratio_high=ratio, runtime="onnx",
    )  # fmt: skip
    return Known(number, Result(its, f1=f1, confusion=None, points=None, rungs=rungs))


def test_a_hopeless_candidate_is_refused_before_it_trains(task: honest_trial.Task, tmp_path: Path) -> None:
    """Not even F1 = 1 would make it the best; what was measured is kept."""
    trial = asked()
    with pytest.raises(Refused, match="^gate: at best .* points at this latency, trial 2 has 0.0025 at worst$") as e:
        run(task, tmp_path, rival(2, 1e-6), trial=trial)
    assert e.value.kind == "hopeless"
    assert trial.user_attrs["cost"]["latency_ms"] > 0
    assert (tmp_path / "latency.json").exists() and not (tmp_path / "metrics.jsonl").exists()


def test_a_candidate_over_a_limit_is_refused_before_it_is_timed(task: honest_trial.Task, tmp_path: Path) -> None:
    """The reason has the figure and the limit. It has trained nothing, so its like is no duplicate of it."""
    study = optuna.create_study()
    first = study.ask()
    with pytest.raises(Refused, match="^gate: macs .* over the limit 10$") as e:
        run(replace(task, gate=Gate(max_macs=10)), tmp_path / "0", trial=first)
    assert e.value.kind == "too dear" and not (tmp_path / "0" / "latency.json").exists()
    study.tell(first, state=TrialState.PRUNED)
    assert run(task, tmp_path / "1", trial=same(study, first)).f1


class Passed(Exception):
    """The gate let it pass."""


def test_the_limit_of_time_is_for_what_the_interval_allows(
    ran: Ran, task: honest_trial.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time may in truth be the lower end: over the limit by the point alone, it is let pass."""

    def passed(_: float) -> None:
        raise Passed

    monkeypatch.setattr(honest_trial, "wait_for_memory", passed)
    cost = ran.result.cost  # kept: the same network isn't timed again
    within, beyond = ((cost.latency_low_ms + cost.latency_ms) / 2, cost.latency_low_ms * 0.99)
    assert within < cost.latency_ms
    with pytest.raises(Passed):
        run(replace(task, gate=Gate(max_latency_ms=within)), tmp_path / "0", trial=asked())
    with pytest.raises(Refused, match="^gate: latency_ms .* over the limit"):
        run(replace(task, gate=Gate(max_latency_ms=beyond)), tmp_path / "1", trial=asked())


def test_the_pruner_stops_a_trial_at_a_rung(task: honest_trial.Task, tmp_path: Path) -> None:
    """The reason says when and why. Each rung's raw F1 is on record, and what Optuna keeps hangs on nothing else."""
    trial, better = asked(), [rival(n, 1e-3, f1=0.99, rungs={2: 0.98}) for n in range(ENOUGH)]
    why = r"^pruner: points heading for [\d.]+ after 2 epochs, half of the finished trials for [\d.]+ or better$"
    # what it needs to be the best is an F1 of 1 in next to no time: no trial on this machine is hopeless
    with pytest.raises(optuna.TrialPruned, match=why):
        run(replace(task, competition=replace(COMPETITION, time_base=1e6)), tmp_path, *better, trial=trial)
    first, row = Journal(tmp_path).rows()
    assert "f1" not in first and 0 <= row["f1"] <= 1
    assert trial.user_attrs["rungs"] == {"2": row["f1"]}
    (stored,) = trial.study.trials
    assert stored.intermediate_values == {2: row["points"]}
    assert not (tmp_path / "result.json").exists()


def test_a_trial_for_f1_alone_is_pruned_by_its_f1_and_refused_by_no_points(
    task: honest_trial.Task, tmp_path: Path
) -> None:
    """The cap on latency still holds; a trial with better points than can be had makes nothing hopeless."""
    alone = replace(task, objective="f1")
    trial, better = asked(), [rival(n, 1e-6, f1=0.99, rungs={2: 0.98}) for n in range(ENOUGH)]
    with pytest.raises(optuna.TrialPruned, match=r"^pruner: f1 heading for 0\.\d+ after 2 epochs, half of .* 0\.99"):
        run(alone, tmp_path / "0", *better, trial=trial)
    assert trial.study.trials[0].intermediate_values == {2: Journal(tmp_path / "0").rows()[1]["f1"]}
    with pytest.raises(Refused, match="^gate: latency_ms .* over the limit 0.0001$"):
        run(replace(alone, gate=Gate(max_latency_ms=1e-4)), tmp_path / "1")
    result = run(replace(alone, proxy=replace(task.proxy, epochs=1)), tmp_path / "2")
    assert OBJECTIVES["f1"].values(result) == (result.f1,)


def test_a_loss_that_is_no_number_fails_with_its_reason(task: honest_trial.Task, tmp_path: Path) -> None:
    """A step so long that the weights overflow."""
    recipe = {"batch": 64, "optimizer": {"name": "sgd", "lr": 1e30, "momentum": 0.9, "nesterov": False}}
    with pytest.raises(Diverged, match="loss is (nan|inf) in epoch 1, step") as e:
        run(replace(task, space=SPACE | {"recipe": recipe}), tmp_path)
    assert reason_of(e.value).startswith("Diverged: loss is")
    assert not (tmp_path / "result.json").exists()


def test_two_objectives_neither_report_nor_prune(task: honest_trial.Task, tmp_path: Path) -> None:
    """F1 and ratio both come out, where Optuna itself refuses reports; no trial is hopeless."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = study.ask()
    result = run(replace(task, objective="pareto"), tmp_path, rival(0, 1e-6), trial=trial)
    study.tell(trial, OBJECTIVES["pareto"].values(result))
    assert study.trials[0].values == [result.f1, result.cost.ratio]
    assert trial.user_attrs["rungs"]["2"] == Journal(tmp_path).rows()[1]["f1"]


def test_a_fixed_precision_is_used_and_recorded(task: honest_trial.Task, tmp_path: Path) -> None:
    """The probe isn't asked: the result names the layout and the format of the settings, and no speed."""
    chosen = Precision("contiguous", "float32")
    result = run(replace(task, precision=chosen), tmp_path)
    assert result.precision == chosen.to_dict() and chosen.images_per_s == 0


def test_a_network_that_can_never_fit_into_memory_is_refused_before_it_trains(
    task: honest_trial.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a hundred bytes in the whole machine: the reason has both figures, and nothing was trained."""
    monkeypatch.setattr(footprint, "whole_gb", lambda: 1e-7)
    why = r"gate: a training step takes about .* GB, 50% of the whole memory"
    with pytest.raises(Refused, match=why) as e:
        run(task, tmp_path)
    assert e.value.kind == "too big" and not (tmp_path / "metrics.jsonl").exists()


def test_memory_that_others_have_now_is_waited_for_and_is_no_verdict(
    task: honest_trial.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It trains as soon as there is room; where there is none in time it fails, which says nothing of the candidate."""
    free = iter([1e-7, 1e-7, 1e3])
    monkeypatch.setattr(footprint, "free_gb", lambda: next(free, 1e3))
    monkeypatch.setattr(footprint, "LOOK_S", 0.0)
    assert run(task, tmp_path / "0", trial=asked()).f1
    assert "50% of the free memory is 0.0: waiting up to 120 s for more" in capsys.readouterr().out
    monkeypatch.setattr(footprint, "free_gb", lambda: 1e-7)
    monkeypatch.setattr(footprint, "WAIT_S", 0.0)
    with pytest.raises(MemoryError, match="a training step takes .* GB, 50% of the free memory is .*, after 0 s") as e:
        run(task, tmp_path / "1", trial=asked())
    assert reason_of(e.value).startswith("out of memory: a training step")
    assert not (tmp_path / "1" / "metrics.jsonl").exists()
