"""Settings as people type them: paths of every kind, odd numbers, files where folders are due, and the reverse."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import in_process
import pytest

from harness import config
from harness.data.sets import DATASETS
from harness.errors import HarnessError
from harness.settings import Schedule
from harness.study.study import Study

NAMES = [
    "~/photos", "/data/사진", "/data/photos (1).zip", "/d/[old]/a,b", "\\\\server\\share", "1e5", "007", "null", "true",
    "/x/50%/a=b", "{x}", "C:\\Users\\me", " lead", "/d/'q'uote", "/d/a:b", "写真", "/d/ñ/é", "$HOME", "*.zip", "0x10",
]  # fmt: skip
TEXTS = sorted({(name, f.name) for name, (kind, _) in DATASETS.items() for f in fields(kind) if f.type == "str"})
ODD = ["-1", "nan", "inf", "-inf", "1e400", "", "abc", "9" * 30, "9" * 5000, "true", "null", "[1]", "{}"]
NUMBERS = sorted(
    {
        (root, key)
        for root, kind in config.ROOTS.items()
        for key, name in config._keys(kind).items()
        if name in ("int", "float") and not key.startswith(("recipe.", "augment."))  # a candidate's, which checks them
    }
)
MODEL = f"model={config.CONF}/model/mobilenetv3.yaml"


@pytest.mark.parametrize(
    ("data", "option", "path"),
    [*(("folder", "root", name) for name in NAMES), *((*text, name) for text in TEXTS for name in NAMES[1:6:2])],
)
def test_a_path_of_the_data_is_taken_as_it_stands(data: str, option: str, path: str, tmp_path: Path) -> None:
    """In every option that is one, on the command line and as a study stored it."""
    if data == "published" and option == "root":
        with pytest.raises(HarnessError) as caught:  # it is looked at at once
            config.load("tune", [f"data={data}", f"data.{option}={path}"])
        assert repr(path)[1:-1] in str(caught.value) or path in str(caught.value)
        return
    settings = config.load("tune", [f"data={data}", f"data.{option}={path}"])
    assert settings.data[option] == getattr(config.data_options(settings.data)[1], option) == path
    stored = config.of_study({"name": data, "options": {option: path}}, {"name": "digits"}, [])
    assert config.load("train", stored).data[option] == path


def test_a_number_in_a_file_of_settings_is_no_path() -> None:
    """YAML reads 1e5 as 100000.0: what was meant can't be known any more."""
    with pytest.raises(HarnessError, match=r"data.root: 100000.0 was read as a number.*(\n.*)root: \"...\""):
        config.data_options({"name": "folder", "root": 100000.0})


@pytest.mark.parametrize("key", ["runs", "candidate", "model", "weights"])
def test_a_tilde_is_the_users_own_folder_in_every_path(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave it alone after `=`."""
    monkeypatch.setenv("HOME", "/home/me")
    assert getattr(config.load("train", [f"{key}=~/a b"]), key) == "/home/me/a b"
    assert config.load("board", ["board.files=~/f"]).board.files == "/home/me/f"


@pytest.mark.parametrize(
    ("root", "key", "value"),
    [
        *(("tune", "workers", odd) for odd in ODD),
        *((*number, odd) for number in NUMBERS for odd in ("-1", "nan", "1e400")),
    ],
    ids=lambda value: value[:20],
)
def test_an_odd_number_is_one_error_with_what_is_allowed(root: str, key: str, value: str) -> None:
    """In every setting that is a number: no traceback, and none that means nothing is accepted."""
    with pytest.raises(HarnessError) as caught:
        config.load(root, [f"{key}={value}"])
    assert "allowed" in str(caught.value) or "can't be read as one value" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("lr", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_final_trainings_rate_is_refused_by_the_name_that_it_has_there(lr: float) -> None:
    """A candidate's own, `recipe.optimizer.lr`, is no setting of train.py."""
    with pytest.raises(HarnessError, match=r"^recipe\.lr=.*: allowed: a number.*\n  do: set recipe\.lr so"):
        Schedule(lr=lr)


@pytest.mark.parametrize("deadline", ["0001-01-01", "9999999-01-01", "soon", "2026-13-01", "nan"])
def test_a_deadline_that_is_no_moment_is_one_error(deadline: str) -> None:
    """The first year has no seconds since 1970 everywhere."""
    with pytest.raises(HarnessError, match=r"study\.deadline=.*: allowed: a date and time"):
        Study(deadline=deadline)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e400", "0"])
@pytest.mark.parametrize("key", ["recipe.lr", "recipe.epochs", "recipe.batch", "recipe.weight_decay", "augment.n"])
def test_a_candidates_odd_number_is_one_error(tmp_path: Path, key: str, value: str) -> None:
    """Before any data are read: the data set here isn't there."""
    if (key, value) in (("recipe.weight_decay", "0"), ("augment.n", "0")):
        pytest.skip("a good value")
    done = in_process.run(tmp_path, "train.py", MODEL, "data=cifar10", "data.root=/nowhere", f"{key}={value}", code=2)
    assert done.stderr.startswith(f"error: {key.split('.')[0]}") and "allowed" in done.stderr


FILES = {
    "folder": None,
    "cp949.yaml": "# 한글\nstages: []\n".encode("cp949"),
    "latin.json": b'{"name": "caf\xe9"}',
    "list.json": b"[1]",
    "bom.json": b"\xef\xbb\xbf[1]",
    "empty": b"",
    "deep.json": b"[" * 100_000,
    "zero": b"a: \0",
}


@pytest.mark.parametrize("name", [*FILES, "empty/below", "a" * 300])
@pytest.mark.parametrize(
    "words",
    [
        ("train.py", "model={}"),
        ("train.py", "candidate={}"),
        ("train.py", MODEL, "weights={}", "data=digits", "recipe.epochs=1"),
        ("inference.py", "run={}", "name=x"),
        ("-m", "harness", "competition", "create", "{}"),
        ("-m", "harness", "measure", "{}"),
        ("-m", "harness", "score", "{}"),
    ],
    ids=lambda words: " ".join(w for w in words if w != MODEL)[:40],
)
def test_a_file_that_is_another_is_one_error(tmp_path: Path, words: tuple[str, ...], name: str) -> None:
    """A folder where a file is due, a file where a folder is, text in another encoding, JSON of another kind."""
    for file, content in FILES.items():
        (tmp_path / file).mkdir() if content is None else (tmp_path / file).write_bytes(content)
    done = in_process.run(tmp_path, *(word.format(name) for word in words), code=2)
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: ") and (name.split("/")[0] in first or "course model" in first)
    assert "\n  do: " in done.stderr and len(done.stderr.splitlines()) <= 4


def test_a_model_file_in_utf_16_is_read(tmp_path: Path) -> None:
    """As Windows' editors and PowerShell write it; both kinds of it, and with a mark in UTF-8."""
    plain = "# 메모\ninput_channel: 3\ndepth_multiple: 1.0\nwidth_multiple: 1.0\n"
    plain += "backbone: [[1, Conv, [16, 3, 2]], [1, GlobalAvgPool, []], [1, Linear, [9]]]\n"
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "m.yaml").write_bytes(plain.encode(encoding))
        done = in_process.run(tmp_path, "train.py", "model=m.yaml", "data=cifar10", "data.root=/nowhere", code=2)
        assert "error: data.root: there is no folder" in done.stderr


@pytest.mark.parametrize("runs", ["/proc/x", "file", "file/below"])
@pytest.mark.parametrize("words", [("tune.py", "study.name=x"), ("train.py", MODEL)], ids=lambda words: words[0])
def test_a_folder_that_nothing_can_be_written_to_is_one_error(
    tmp_path: Path, words: tuple[str, ...], runs: str
) -> None:
    """Before anything is begun in it."""
    (tmp_path / "file").write_text("")
    done = in_process.run(tmp_path, *words, f"runs={runs}", "storage.url=sqlite:///x.db", code=2)
    assert f"error: runs={runs}: nothing can be written there: " in done.stderr
    assert "line " not in done.stderr  # it was the command line that said it, no file
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(
    ("what", "overrides", "is_located"),
    [
        ("runs=x: nothing can be written there", [], True),
        ("runs=x: nothing can be written there", ["runs=x"], False),
        ("runs/final/a/model.onnx: the machine is too noisy", [], False),
        ("submissions/a/model.onnx: the machine is too noisy", [], False),
    ],
)
def test_only_a_setting_of_a_file_is_located_in_it(what: str, overrides: list[str], is_located: bool) -> None:
    """Neither one of the command line, nor a path that begins as a setting is called."""
    assert ("submit.yaml, line" in config.located(HarnessError(what, "do"), "submit", overrides).what) == is_located


def test_what_else_a_file_can_do_is_one_error(tmp_path: Path) -> None:
    """Wherever in a command it is found."""
    (tmp_path / "file").write_text(json.dumps({}))
    done = in_process.run(tmp_path, "-m", "harness", "backup", "to=file/x", "board.url=sqlite:///x.db", code=2)
    assert done.stderr.startswith("error: file: File exists") and "\n  do: " in done.stderr
