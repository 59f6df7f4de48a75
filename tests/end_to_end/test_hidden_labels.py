"""A team that has only the published copy: from the search to a judged entry, without a label of the test part."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import in_process
import numpy as np
import pytest
from commands import BUSY, run

from harness import config
from harness.__main__ import main
from harness.board import competitions, entries, files, intake, store, teams, worker
from harness.data import sets
from harness.data.digits import DigitsOptions
from harness.data.published import PublishedOptions, names_of
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.judge.judge import judge
from harness.measure.quality import macro_f1

SPLIT = {"seed": 3, "validation": 0.25, "test": 0.25, "side_px": 16}
SEARCH = ["study.name=ours", "study.trials=2", "proxy.epochs=3", "proxy.images=400", "latency_s=1.5"]


@pytest.fixture(scope="module")
def organiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition on digits cut in its own way, and the teams' copy of them in `copy`."""
    folder = tmp_path_factory.mktemp("organiser")
    rules = config.read_yaml(config.find("competition", "digits"))
    rules["contest"]["data"]["options"] = SPLIT
    (folder / "digits.yaml").write_text(json.dumps(rules))  # which is YAML
    main(["competition", "create", f"{folder}/digits.yaml", f"board.url=sqlite:///{folder}/board.db"])
    main(["competition", "publish", f"{folder}/copy", f"board.url=sqlite:///{folder}/board.db"])
    return folder


@pytest.fixture(scope="module")
def original() -> Dataset:
    """What the organiser alone has."""
    return sets.load("digits", DigitsOptions(**SPLIT))


@pytest.fixture(scope="module")
def team(organiser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A team's folder with a packed entry. About 40 s: three commands import torch, two trials and a network train."""
    folder = tmp_path_factory.mktemp("team")
    places = [f"storage.url=sqlite:///{folder}/x.db", f"runs={folder}/runs", "track=disabled"]
    copy = f"data.root={organiser}/copy"
    said = run(folder, "tune.py", "data=published", copy, *SEARCH, BUSY, *places).stdout
    assert "data published: train 1011, validation 337, test 449, 10 classes" in said
    known = json.loads((folder / "runs" / "ours" / "data.json").read_text())
    assert known["counts"]["test"] == known["report"]["test"] == "hidden"
    run(folder, "train.py", "study=ours", "trial=best", copy, "recipe.epochs=5", BUSY, *places)
    (trained,) = (folder / "runs" / "final").iterdir()
    in_process.run(folder, "inference.py", f"run={trained}", "name=blind", f"submissions={folder}/sub", copy)
    return folder


def test_the_entry_speaks_of_the_images_by_the_copys_names(team: Path, organiser: Path, original: Dataset) -> None:
    """And of the data by the fingerprint that the organiser's have."""
    packed = json.loads((team / "sub" / "blind" / "manifest.json").read_text())
    assert packed["data"]["name"] == "published" and packed["data"]["fingerprint"] == original.fingerprint()
    with (team / "sub" / "blind" / "predictions.csv").open() as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    assert ids == {p.stem for p in (organiser / "copy" / "test").iterdir()}
    assert not ids & set(original.test.names)


def test_the_organisers_judge_maps_the_names_back_and_counts_the_verdict(
    team: Path, organiser: Path, original: Dataset
) -> None:
    """F1 is that of the submitted labels, by hand from the hidden ones. Takes some seconds: the real judge."""
    engine, root = store.open(f"sqlite:///{organiser}/board.db"), organiser / "files"
    hosted = competitions.find(engine, "digits")
    blind, _ = teams.add(engine, "blind")
    with files.incoming(root, hosted.contest.limits()) as inbox:
        for name in files.NAMES:
            inbox.write(name, (team / "sub" / "blind" / name).read_bytes())
        number, _ = intake.take(engine, hosted, blind, "scored", inbox)
    said: list[str] = []
    worker.work(
        engine,
        root,
        hosted,
        original,
        organiser / "cache",
        judge=judge,
        sandbox="unsafe",
        wait=False,
        report=said.append,
    )
    competitions.close(engine, "digits")
    judged = entries.one(engine, competitions.find(engine, "digits"), number)
    assert (judged.state, judged.reason) == ("COMPLETE", None), said
    assert judged.agreement >= 0.995
    with (team / "sub" / "blind" / "predictions.csv").open() as file:
        found = {row["id"]: int(row["label"]) for row in csv.DictReader(file)}
    answers = np.array([found[name] for name in names_of(original.test.pixels)])
    private = ~hosted.contest.public_mask(original.test.labels)
    by_hand = macro_f1(original.test.labels[private], answers[private], 10)
    assert judged.f1_private == pytest.approx(by_hand, abs=0.01)


def test_at_home_the_score_is_of_the_validation_images_and_says_so(team: Path, organiser: Path) -> None:
    """The judge runs as at the organiser's; a part without labels makes no F1, and no place on a board."""
    board, copy = f"board.url=sqlite:///{team}/board.db", f"data.root={organiser}/copy"
    verb = ["-m", "harness", "score", f"{team}/sub/blind", copy, board, f"runs={team}/runs", "track=disabled"]
    said = run(team, *verb, "sandbox=unsafe").stdout
    assert "F1 and points are of the validation images" in said and "f1_of" in said
    assert "data published" in said and "10 classes" in said  # what is judged stands there first
    assert "not stored on a board" in said and "stored in" not in said
    assert json.loads(in_process.run(team, "-m", "harness", "standings", board, "--json").stdout) == []


def test_a_judge_without_the_labels_makes_no_verdict(team: Path, organiser: Path, tmp_path: Path) -> None:
    """Neither on the test part, nor as the judge of a competition."""
    copy = sets.load("published", PublishedOptions(root=str(organiser / "copy")))
    rules = config.read_competition("digits")
    with pytest.raises(HarnessError, match="is a team's copy, without labels of its 449 test images"):
        judge(team / "sub" / "blind", copy, rules, tmp_path, sandbox="unsafe")


def test_a_copy_of_other_data_than_the_competitions_isnt_published(organiser: Path, tmp_path: Path) -> None:
    """The judge would know none of its entries."""
    board = f"board.url=sqlite:///{organiser}/board.db"
    with pytest.raises(HarnessError, match="competition digits: is on data .*, by what the judge alone holds"):
        main(["competition", "publish", f"{tmp_path}/copy", board, "data.seed=4"])
    assert not (tmp_path / "copy").exists()
