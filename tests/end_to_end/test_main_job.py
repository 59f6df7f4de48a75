"""The main job, by the real commands, from another folder: search, train, pack, judge, stand on the board.

The way itself is real commands; what looks at it afterwards runs in this process, for each would import torch first.
"""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import in_process
import pytest
from commands import BUSY, ROOT, run
from next_lines import following, run_line

from harness.data.digits import DigitsOptions, load
from harness.measure.quality import macro_f1
from harness.sandbox.sandbox import own

# Small enough for two cores, large enough that every part of the way is walked.
SEARCH = ["study.name=ours", "study.trials=4", "workers=2", "proxy.epochs=3", "proxy.images=400", "latency_s=1.5"]
COURSE = """
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [16, 3, 2]]
  - [2, InvertedResidualv3, [3, 2, 24, 1, 1, 2]]
  - [1, GlobalAvgPool, []]
  - [1, FixedConv, [6, 1, 1, null, 1, null]]
"""


@dataclass
class Job:
    """Where one team's work lies, and what its commands said."""

    folder: Path
    tuned: str
    packed: str
    verdict: dict

    @property
    def study(self) -> list[str]:
        """Settings of the commands about the study."""
        return ["study=ours", *places(self.folder)]

    @property
    def entry(self) -> Path:
        """The submission."""
        return self.folder / "sub" / "first"


def places(folder: Path) -> list[str]:
    """Settings that put everything into one folder."""
    return [f"storage.url=sqlite:///{folder}/x.db", f"runs={folder}/runs", "track=offline"]


def board(folder: Path) -> list[str]:
    """Settings of the judge."""
    return [f"board.url=sqlite:///{folder}/board.db", f"runs={folder}/runs"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The whole way once, by the lines that each step prints for the next; about 40 s on two quiet cores."""
    folder = tmp_path_factory.mktemp("job")
    tuned = run(folder, "tune.py", *SEARCH, BUSY, *places(folder)).stdout
    (train, *_), short = following(tuned), f"recipe.epochs=5 track=offline {BUSY}"
    pack, again = following(run_line(folder, f"{train} {short}").stdout)
    assert "hold_out=false" in again
    packed = run_line(folder, f"{pack} name=first submissions={folder}/sub").stdout
    (score,) = following(packed)
    judged = run_line(folder, f"{score} {shlex.join(board(folder))} track=offline {BUSY} --json")
    return Job(folder, tuned, packed, json.loads(judged.stdout))


def trials(job: Job) -> list[Path]:
    """The run folders of the trials."""
    return sorted(p.parent for p in (job.folder / "runs" / "ours").glob("*/candidate.json"))


def test_the_search_runs_its_budget_and_says_what_next(job: Job) -> None:
    """Over 5 s: waits for the whole job. Four trials, each told in a line, none failed but for the machine's noise."""
    logs = [log.read_text() for log in (job.folder / "runs" / "ours").glob("worker-*.log")]
    noisy = sum(log.count("too noisy to time it") for log in logs)
    assert len(trials(job)) == 4 + noisy and sum(log.count(" failed: ") for log in logs) == noisy
    assert job.tuned.count("\ntrial ") + job.tuned.startswith("trial ") - job.tuned.count(" fail: ") == 4
    where = f"runs={job.folder}/runs storage.url=sqlite:///{job.folder}/x.db"
    train, front, report = following(job.tuned)
    assert train.endswith(f"{ROOT}/train.py study=ours trial=best {where}")
    assert "front" in front and "report" in report
    assert len(list((job.folder / "runs" / "ours").glob("worker-*.log"))) == 2


def test_each_trial_has_one_offline_run_of_wandb(job: Job) -> None:
    """Its id is study and number, so that the same trial is never two runs."""
    for trial in trials(job):
        (mirrored,) = (trial / "wandb").glob("offline-run-*")
        assert mirrored.name.endswith(f"-ours-{trial.name}")
        assert not (trial / "wandb-error.txt").exists()


def test_the_same_search_again_runs_none(job: Job) -> None:
    """The budget is the study's, not the command's; no worker is even started."""
    before = trials(job)
    said = in_process.run(job.folder, "tune.py", *SEARCH, *places(job.folder)).stdout
    assert trials(job) == before
    assert len(list((job.folder / "runs" / "ours").glob("worker-*.log"))) == 2
    assert "all 4 trials are finished" in said and f"{ROOT}/train.py study=ours trial=best" in following(said)[0]


def test_the_front_is_printed_and_kept(job: Job) -> None:
    """Each row names a candidate file that is what the trial recorded."""
    rows = json.loads(in_process.run(job.folder, "-m", "harness", "front", *job.study, "--json").stdout)
    assert rows
    assert [r["ratio"] for r in rows] == sorted(r["ratio"] for r in rows)
    assert [r["f1"] for r in rows] == sorted(r["f1"] for r in rows)
    for row in rows:
        recorded = job.folder / "runs" / "ours" / f"{row['trial']:05d}" / "candidate.json"
        assert json.loads(Path(row["file"]).read_text()) == json.loads(recorded.read_text())


def test_the_report_draws_the_study(job: Job) -> None:
    """Real pictures, named."""
    paths = json.loads(in_process.run(job.folder, "-m", "harness", "report", *job.study, "--json").stdout)
    assert {Path(p).name for p in paths} >= {"history.png", "pareto.png"}
    assert all(Path(p).read_bytes().startswith(b"\x89PNG") for p in paths)


def test_the_verdict_is_that_of_the_packed_predictions(job: Job) -> None:
    """F1 by hand, from predictions.csv and the labels of the test part."""
    test = load(DigitsOptions(seed=0, validation=0.25, test=0.25)).test
    with (job.entry / "predictions.csv").open() as file:
        found = {row["id"]: int(row["label"]) for row in csv.DictReader(file)}
    assert len(found) == len(test)
    assert job.verdict["f1"] == pytest.approx(macro_f1(test.labels, [found[name] for name in test.names], 10), abs=0.01)
    assert job.verdict["agreement"] >= 0.995
    assert job.verdict["model_sha256"] == sha256((job.entry / "model.onnx").read_bytes()).hexdigest()
    assert following(job.packed)[0].endswith(f"-m harness score {job.entry} runs={job.folder}/runs{own()}")


def test_the_board_shows_the_verdict(job: Job) -> None:
    """To the last digit."""
    text = in_process.run(job.folder, "-m", "harness", "standings", *board(job.folder), "--json").stdout
    assert '"first"' in text and json.dumps(job.verdict["points"]) in text


def test_a_course_model_is_trained_without_a_study(job: Job) -> None:
    """Over 5 s: a command that imports torch, trains and measures. Its file is the course's own form."""
    file = job.folder / "course.yaml"
    file.write_text(COURSE)
    run(job.folder, "train.py", f"model={file}", "resolution_px=16", "recipe.epochs=1", *places(job.folder))
    record = json.loads((job.folder / "runs" / "final" / "course" / "run.json").read_text())
    assert [s["block"] for s in record["candidate"]["model"]["stages"]] == ["conv", "inverted_v3"]
    assert record["data"]["name"] == "digits" and record["metrics"]["cost"]["latency_ms"] > 0


def test_a_training_begins_with_the_weights_of_a_run(job: Job) -> None:
    """Over 5 s: a command that imports torch and measures. Its record names their file and its hash."""
    (trained,) = (p for p in (job.folder / "runs" / "final").iterdir() if p.name != "course" and p.name != "on")
    weights = trained / "weights.pt"
    chosen = [f"candidate={trained}", f"weights={weights}", "data=digits", "run=on", "recipe.epochs=1"]
    run(job.folder, "train.py", *chosen, *places(job.folder))
    record = json.loads((job.folder / "runs" / "final" / "on" / "run.json").read_text())
    assert record["candidate"]["weights"] == {"name": str(weights), "sha256": sha256(weights.read_bytes()).hexdigest()}


def judged(job: Job, entry: Path) -> str:
    """What the judge says of an entry that it must refuse."""
    done = in_process.run(
        job.folder, "-m", "harness", "score", str(entry), *board(job.folder), "track=disabled", code=2
    )
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_changed_byte_of_the_model_is_refused(job: Job, tmp_path: Path) -> None:
    """The error names the file and the hash that the manifest has."""
    entry = shutil.copytree(job.entry, tmp_path / "first")
    content = bytearray((entry / "model.onnx").read_bytes())
    content[-1] ^= 1
    (entry / "model.onnx").write_bytes(content)
    said = judged(job, entry)
    assert "model.onnx: changed since it was packed" in said and job.verdict["model_sha256"] in said


def test_a_missing_row_is_refused(job: Job, tmp_path: Path) -> None:
    """By the id that has no row, even where the manifest's hash was made to fit."""
    entry = shutil.copytree(job.entry, tmp_path / "first")
    predictions, manifest = entry / "predictions.csv", entry / "manifest.json"
    lines = predictions.read_text().splitlines(keepends=True)
    dropped = lines.pop(7).split(",")[0]
    predictions.write_text("".join(lines))
    content = json.loads(manifest.read_text())
    content["files"]["predictions.csv"] = sha256(predictions.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content))
    assert f"no row for id '{dropped}'; 1 of" in judged(job, entry)


def test_a_misspelt_setting_is_one_error(job: Job) -> None:
    """No traceback, exit code 2, the setting and its nearest known one."""
    said = in_process.run(job.folder, "tune.py", "study.trails=4", *places(job.folder), code=2).stderr
    assert said.startswith("error: ") and "study.trails" in said and "study.trials" in said
    assert "Traceback" not in said
