"""What the command line changes in a space, and one's own files in conf/'s place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import command

from harness import conf_files, config
from harness.errors import HarnessError
from harness.record.recipe import OPTIMIZERS
from harness.search import space


def composed(*overrides: str) -> dict[str, Any]:
    """The space that a study searches."""
    settings = config.load("tune", list(overrides))
    searched = space.fixed(settings.space, settings.proxy.fix)
    space.check(searched)
    return searched


def test_the_name_of_a_branch_takes_it() -> None:
    """With its own ranges; the others are gone."""
    optimizer = composed("space.recipe.optimizer=adamw")["recipe"]["optimizer"]
    assert optimizer["name"] == "adamw" and set(optimizer) - {"name"} == set(OPTIMIZERS["adamw"])
    assert composed("space.augment=without")["augment"]["n"] == 0


def test_a_choice_is_replaced_and_not_merged() -> None:
    """By a value, by other choices, and by a range."""
    fixed = {"name": "sgd", "lr": 0.1}
    assert composed("space.recipe.optimizer={name: sgd, lr: 0.1}")["recipe"]["optimizer"] == fixed
    muon = composed("space.recipe.optimizer={choice: {muon: {name: muon, lr: 0.1}}}")["recipe"]["optimizer"]
    assert list(muon["choice"]) == ["muon"]
    assert composed("space.recipe.batch={int: [32, 64], step: 32}")["recipe"]["batch"] == {"int": [32, 64], "step": 32}
    assert composed("space.recipe.batch=64")["recipe"]["batch"] == 64


def test_a_part_of_a_branch_is_set_by_the_name_of_its_parameter() -> None:
    """As docs/search.md names parameters; beside a choice nothing can be set, and the way that works is told."""
    optimizer = composed("space.recipe.optimizer.sgd.lr=0.2")["recipe"]["optimizer"]["choice"]
    assert optimizer["sgd"]["lr"] == 0.2 and "float" in optimizer["adamw"]["lr"]
    assert composed("space.model.stages.0.channels=24")["model"]["stages"][0]["channels"] == 24
    with pytest.raises(HarnessError, match="set space.recipe.optimizer.sgd.lr=... or space.recipe.optimizer.adamw.lr="):
        composed("space.recipe.optimizer.lr=0.2")
    with pytest.raises(HarnessError, match="'9' in a list of 4"):
        composed("space.model.stages.9.channels=24")


def test_what_the_command_line_sets_goes_before_what_a_proxy_fixes() -> None:
    """The rest of the proxy's recipe stays."""
    searched = composed("data=cifar10", "proxy=small_cifar", "space.recipe.optimizer=adamw", "space.augment.n=0")
    assert searched["recipe"]["optimizer"]["name"] == "adamw" and searched["recipe"]["schedule"] == "cosine"
    assert searched["augment"] == {"n": 0, "m": 15, "flip": True, "crop": 0.125}
    one = composed("data=cifar10", "proxy=small_cifar", "space.recipe.optimizer.sgd.lr=0.3")["recipe"]["optimizer"]
    assert one == {"name": "sgd", "momentum": 0.9, "nesterov": True, "lr": 0.3}
    with pytest.raises(HarnessError, match="the proxy fixes recipe.optimizer"):
        composed("data=cifar10", "proxy=small_cifar", "space.recipe.optimizer.adamw.lr=0.3")


def test_a_proxy_fixes_by_path_and_by_the_name_of_a_branch() -> None:
    """On the command line as in its file."""
    base = ("data=cifar10", "proxy=small_cifar")
    assert composed(*base, "proxy.fix.recipe.batch=64")["recipe"]["batch"] == 64
    assert composed(*base, "proxy.fix.recipe.optimizer=adamw")["recipe"]["optimizer"]["name"] == "adamw"
    muon = composed(*base, "proxy.fix.recipe.optimizer={name: muon, lr: 0.1}")["recipe"]["optimizer"]
    assert muon == {"name": "muon", "lr": 0.1}
    assert composed(*base, "proxy.fix.augment.n=1")["augment"]["m"] == 15


@pytest.mark.parametrize(
    ("root", "override", "way"),
    [
        ("tune", "optimizer=adamw", "space.recipe.optimizer=adamw"),
        ("tune", "recipe.optimizer=sgd", "space.recipe.optimizer=sgd"),
        ("tune", "lr=0.1", "space.recipe.optimizer.sgd.lr=0.1"),
        ("tune", "batch_size=64", "space.recipe.batch=64"),
        ("tune", "epochs=5", "proxy.epochs=5"),
        ("tune", "trials=5", "study.trials=5"),
        ("tune", "n_trials=5", "study.trials=5"),
        ("tune", "sampler=random", "study.sampler=..."),
        ("tune", "name=ours", "study.name=..."),
        ("tune", "hours=2", "study.hours=2"),
        ("train", "epochs=5", "recipe.epochs=5"),
        ("train", "learning_rate=0.1", "recipe.lr=0.1"),
        ("train", "optimizer=adamw", "candidate=COPY.json"),
    ],
)
def test_a_name_alone_is_answered_with_the_way_that_works(root: str, override: str, way: str) -> None:
    """Also by what others call it."""
    with pytest.raises(HarnessError) as caught:
        config.load(root, [override])
    assert way in caught.value.fix
    if "..." not in way and "COPY" not in way:
        config.load(root, [way])


def test_a_name_alone_never_shows_what_may_be_a_password() -> None:
    """Only numbers and names that are allowed are repeated."""
    with pytest.raises(HarnessError) as caught:
        config.load("tune", ["url=secretpw"])
    assert "secretpw" not in str(caught.value) and "storage.url" in str(caught.value)


def written(path: Path, text: str) -> Path:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_ones_own_conf_is_searched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the working folder, or where conf= says; the package's choices stay."""
    vgg = conf_files.find("space", "vgg").read_text()
    written(tmp_path / "conf" / "space" / "mine.yaml", vgg.replace("name: vgg", "name: mine"))
    written(tmp_path / "conf" / "proxy" / "tiny.yaml", "name: tiny\nepochs: 3\n")
    monkeypatch.chdir(tmp_path)
    settings = config.load("tune", ["space=mine"])
    assert (settings.space["name"], settings.proxy.epochs, settings.study.name) == ("mine", 3, "digits-mine")
    assert "mine" in config.groups()["space"] and "vgg" in config.groups()["space"]
    monkeypatch.chdir("/")
    assert config.load("tune", ["space=mine", f"conf={tmp_path}/conf"]).proxy.epochs == 3
    with pytest.raises(HarnessError, match="space=mine: unknown choice"):
        config.load("tune", ["space=mine"])
    with pytest.raises(HarnessError, match="conf=/nowhere: no such folder"):
        config.load("tune", ["conf=/nowhere"])


def test_a_file_stands_for_a_choice(tmp_path: Path) -> None:
    """In a folder with any name; its own name is the file's, if it says none."""
    folder = tmp_path / "my files, 1"
    vgg = conf_files.find("space", "vgg").read_text()
    net = written(folder / "net.yaml", vgg.replace("name: vgg\n", ""))
    digits = conf_files.find("competition", "digits").read_text()
    cup = written(folder / "cup.yaml", digits.replace("name: digits", "name: cup").replace("0.95", "0.9"))
    settings = config.load("tune", [f"space={net}", f"competition={cup}", "space.recipe.optimizer=sgd"])
    assert (settings.space["name"], settings.space["recipe"]["optimizer"]["name"]) == ("net", "sgd")
    assert (settings.competition.name, settings.competition.f1_target) == ("cup", 0.9)
    assert settings.space["resolution_px"]["choice"] == [8, 12, 16]
    for root in ("train", "submit"):
        assert config.load(root, [f"competition={cup}"]).competition.name == "cup"
    with pytest.raises(HarnessError, match="missing.yaml: no such file"):
        config.load("tune", [f"space={tmp_path}/missing.yaml"])


@pytest.mark.parametrize(
    ("file", "text", "arguments", "place"),
    [
        ("conf/tune.yaml", "study:\n  trials: abc", [], "conf/tune.yaml, line {}"),
        ("conf/tune.yaml", "study:\n  trials: 0", [], "conf/tune.yaml, line {}"),
        ("conf/tune.yaml", "study:\n  trails: 5", [], "conf/tune.yaml, line {}"),
        ("conf/tune.yaml", "study: ]", [], "conf/tune.yaml, line {}"),
        ("conf/proxy/mine.yaml", "name: mine\npixels: 7", ["proxy=mine"], "conf/proxy/mine.yaml, line 2"),
        (
            "conf/data/mine.yaml",
            "name: digits\nrot: 1\nresolutions_px: [8]\nflip: false",
            ["data=mine"],
            "conf/data/mine.yaml, line 2",
        ),
        ("x/net.yaml", "name: a\nmodel: {", ["space=x/net.yaml"], "x/net.yaml, line 2"),
        ("x/cup.yaml", "name: a\nf1_target: high", ["competition=x/cup.yaml"], "x/cup.yaml, line 2"),
    ],
)
def test_an_error_in_a_file_names_file_and_line(
    file: str, text: str, arguments: list[str], place: str, tmp_path: Path
) -> None:
    """Whether it is no YAML, or a key, a type or a value is wrong."""
    if file == "conf/tune.yaml":
        shipped = conf_files.find("", "tune").read_text()
        before = shipped.partition("study:")[0].partition("storage:")[0]
        text = before + text + "\n"
        place = place.format(len(text.splitlines()))
    written(tmp_path / file, text)
    said = command(tmp_path, "tune.py", *arguments).stderr
    assert said.startswith("error: ") and "Traceback" not in said
    assert place in said, said


def test_an_error_in_a_space_names_the_line_of_the_stage(tmp_path: Path) -> None:
    """Of the word that is wrong, or of the range."""
    vgg = conf_files.find("space", "vgg").read_text()
    path = written(tmp_path / "net.yaml", vgg.replace("block: repvgg", "block: repvg"))
    line = next(i for i, row in enumerate(path.read_text().splitlines(), 1) if "repvg," in row)
    said = command(tmp_path, "tune.py", "space=net.yaml").stderr
    assert f"(net.yaml, line {line})" not in command(tmp_path, "tune.py", "space=vgg", "study.trials=0").stderr
    assert f"net.yaml, line {line}" in said and "unknown 'repvg'" in said, said
    written(tmp_path / "net.yaml", vgg.replace("{int: [1, 3]}", "{int: [3, 1]}", 1))
    line = next(i for i, row in enumerate((tmp_path / "net.yaml").read_text().splitlines(), 1) if "[3, 1]" in row)
    assert f"net.yaml, line {line}" in command(tmp_path, "tune.py", "space=net.yaml").stderr
    assert yaml.safe_load(vgg)["name"] == "vgg"
