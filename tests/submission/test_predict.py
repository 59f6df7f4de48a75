"""Photos are classified as the test images were: by `harness predict`, and by predict.py where nothing of ours is."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import in_process
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from squares import CLASSES, save_network

from harness.data.crops import decode, square
from harness.data.folder import FolderOptions, load
from harness.data.prepare import Preprocessing, prepare
from harness.record import manifest
from harness.record.result import Cost, Result
from harness.record.run import Run
from harness.record.run_folder import write_run
from harness.rules.competition import Competition
from harness.submission import standalone
from harness.submission.pack import pack

NEEDED = ("numpy", "onnxruntime", "PIL")
BENEATH = ("flatbuffers", "google", "packaging", "coloredlogs", "humanfriendly", "sympy", "mpmath", "typing_extensions")
"""What onnxruntime itself may ask for; Pillow and NumPy ask for nothing."""
HOW = Preprocessing(24, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
SIDE_PX = 40


def loaded(side_px: int = SIDE_PX, how: Preprocessing = HOW, classes: tuple[str, ...] = CLASSES) -> dict[str, Any]:
    """The script's functions by name."""
    names: dict[str, Any] = {"__name__": "predict", "__file__": "predict.py"}
    exec(standalone.script(classes, side_px, how), names)
    return names


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Sides before and after: whole factors, which OpenCV treats apart, and others; down or up."""
    width, height, factor = (draw(st.integers(1, n)) for n in (60, 60, 7))
    if draw(st.booleans()):
        old, new = (width * factor, height * draw(st.integers(1, 7))), (width, height)
    else:
        ratio = draw(st.floats(0.05, 1))
        old, new = (width, height), (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return (*old, *new) if draw(st.booleans()) else (*new, *old)


@given(sizes(), st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_it_scales_as_opencv_does_to_the_last_bit(sides: tuple[int, int, int, int], seed: int) -> None:
    """Rounding of halves included."""
    old_w, old_h, width, height = sides
    image = np.random.default_rng(seed).integers(0, 256, (old_h, old_w, 3), dtype=np.uint8)
    up = max(width, height) > max(old_w, old_h)
    if max(width, height) == max(old_w, old_h):
        width, height = old_w, old_h
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if up else cv2.INTER_AREA)
    assert (loaded()["scaled"](image, width, height) == expected).all()


def photographs(folder: Path) -> dict[str, Path]:
    """Photos of the kinds that cameras, scanners and the web make; each is brighter to one side."""
    rng, folder = np.random.default_rng(5), folder / "photos"
    folder.mkdir()
    ramp = np.linspace(0, 130, 90, dtype=np.uint8)[None, :, None] + rng.integers(0, 120, (61, 90, 3), dtype=np.uint8)
    rgb = Image.fromarray(ramp)
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = rgb.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.arange(90, dtype=np.uint8) * 2, (61, 1))))
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.jpg": (rgb, {}), "turned.jpg": (rgb, {"exif": turned}), "grey.jpg": (rgb.convert("L"), {}),
        "grey-alpha.png": (rgb.convert("LA"), {}), "alpha.png": (clear, {}), "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "palette.gif": (rgb.convert("P"), {}), "bits.png": (rgb.convert("1"), {}),
        "wide.webp": (rgb.resize((300, 7)), {}), "tall.bmp": (rgb.resize((2, 350)), {}),
        "tiny.png": (rgb.resize((3, 2)), {}), "exact.png": (rgb.resize((40, 40)), {}),
        "double.tif": (rgb.resize((80, 80)), {}), "dot.png": (rgb.resize((1, 1)), {}),
        "large.jpg": (rgb.resize((1999, 1333)), {}),
    }  # fmt: skip
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return {name: folder / name for name in kinds}


def test_any_photo_is_prepared_as_ours_to_the_last_bit(tmp_path: Path) -> None:
    """Upright, of any mode and shape, larger and smaller than the stored squares."""
    paths = photographs(tmp_path)
    for side_px, how in ((SIDE_PX, HOW), (16, HOW), (24, HOW), (128, Preprocessing(64, HOW.mean, HOW.std))):
        prepared = loaded(side_px, how)["prepared"]
        for name, path in paths.items():
            expected = prepare(square(decode(path.read_bytes()), side_px)[None], how)
            assert np.array_equal(prepared(path), expected), f"{name} at {side_px} px"
    upright, turned = (decode(paths[name].read_bytes()) for name in ("plain.jpg", "turned.jpg"))
    assert turned.shape[:2] == upright.shape[1::-1]  # it would show nothing otherwise


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders, and a run and an entry of a network for it."""
    folder = tmp_path_factory.mktemp("shipped")
    rng = np.random.default_rng(7)
    for number, name in enumerate(CLASSES):
        for i in range(20):
            pixels = rng.integers(0, 170, (int(rng.integers(20, 90)), int(rng.integers(20, 90)), 3), dtype=np.uint8)
            pixels[..., number] += 20 if i % 3 else 60
            path = folder / "data" / name / f"{i}.{'jpg' if i % 2 else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    dataset = load(FolderOptions(root=str(folder / "data"), side_px=SIDE_PX))
    run = folder / "run"
    run.mkdir()
    save_network(run / "model.onnx", side=HOW.resolution_px)
    cost = Cost(10**6, 1234, 0.2, 0.19, 0.21, 0.4, 0.39, 0.41, "onnx")
    data = {
        "name": "folder", "options": {"root": "here"}, "fingerprint": dataset.fingerprint(),
        "classes": list(dataset.classes), "side_px": dataset.side_px,
    }  # fmt: skip
    record = Run(
        candidate={}, data=data, preprocessing=HOW.to_dict(), precision={}, competition=Competition().rules(), seed=0,
        metrics=Result(cost, f1=None, confusion=None, points=None), versions={}, train_s=1.0,
    )  # fmt: skip
    write_run(run, record)
    pack(run, record.to_dict(), dataset, "ours", folder / "submissions", Competition())
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: onnxruntime, numpy, Pillow, and what onnxruntime needs; no OpenCV, nothing of ours."""
    folder = tmp_path_factory.mktemp("packages")
    for name in (*NEEDED, *BENEATH):
        found = importlib.util.find_spec(name)
        for home in (found.submodule_search_locations or [found.origin]) if found else ():
            package = Path(home)
            if not (folder / package.name).exists():
                (folder / package.name).symlink_to(package)
            for libraries in package.parent.glob("*.libs"):  # of a wheel's own
                if libraries.name.partition(".")[0].lower() in ("numpy", "pillow", "onnxruntime"):
                    link = folder / libraries.name
                    link.unlink(missing_ok=True)
                    link.symlink_to(libraries)
    return folder


def alone(bare: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python with those packages alone, away from here."""
    environment = {"PYTHONPATH": str(bare), "PATH": os.environ["PATH"], "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-S", *map(str, words)], capture_output=True, text=True, cwd=bare, env=environment, timeout=300
    )


@pytest.mark.parametrize("name", ["cv2", "torch", "harness", "scipy", "onnx"])
def test_the_bare_environment_has_no_more(bare: Path, name: str) -> None:
    """Or the tests below would show nothing."""
    assert f"No module named '{name}'" in alone(bare, "-c", f"import {name}").stderr


def shares(said: str) -> dict[str, dict[str, float]]:
    """The confidences by photo, from what is printed of each."""
    found = {}
    for line in said.splitlines():
        path, _, rest = line.rpartition(": ")
        found[path] = {pair.rpartition(" ")[0]: float(pair.rpartition(" ")[2]) for pair in rest.split(", ")}
    return found


def ours(place: Path, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the verb in this process."""
    return in_process.run(place, "-m", "harness", "predict", *map(str, words), code=code)


def test_with_three_packages_alone_the_result_is_ours(place: Path, bare: Path, tmp_path: Path) -> None:
    """To the four digits that are printed, by run and by entry, for a folder of all kinds of photos."""
    photos = photographs(tmp_path)["plain.jpg"].parent
    done = alone(bare, place / "submissions" / "ours" / "predict.py", photos)
    assert done.returncode == 0, done.stderr
    found = shares(done.stdout)
    assert len(found) == 15 and all(sum(row.values()) == pytest.approx(1, abs=2e-4) for row in found.values())
    for network in (f"run={place / 'run'}", place / "submissions" / "ours"):
        said = shares(ours(place, photos, network).stdout)
        assert said.keys() == found.keys()
        for path, row in said.items():
            assert row == pytest.approx(found[path], abs=1e-4)


def test_the_test_images_are_what_the_entry_says_of_them(place: Path, bare: Path) -> None:
    """Each file of the test part has the label that predictions.csv has."""
    entry = place / "submissions" / "ours"
    with (entry / "predictions.csv").open() as file:
        said = {row["id"]: row["label"] for row in csv.DictReader(file)}
    done = alone(bare, entry / "predict.py", *(place / "data" / name for name in said))
    found = {
        Path(path).relative_to(place / "data").as_posix(): max(row, key=row.get)
        for path, row in shares(done.stdout).items()
    }
    assert len(said) >= 9 and len(set(said.values())) > 1 and found == said
    rows = json.loads(ours(place, *(place / "data" / name for name in said), entry, "--json").stdout)
    assert [row["class"] for row in rows] == list(said.values())
    assert all(sum(row["confidences"].values()) == pytest.approx(1) and len(row["confidences"]) == 3 for row in rows)


def broken(folder: Path) -> dict[str, Path]:
    """Files that are no photos, and one that is."""
    good, deep = io.BytesIO(), folder / "mixed"
    deep.mkdir()
    Image.fromarray(np.full((50, 50, 3), 90, np.uint8)).save(good, "JPEG")
    Image.fromarray(np.full((9, 9), 30_000, np.uint16)).save(deep / "deep.png")
    content = {"empty.jpg": b"", "text.jpg": b"hello", "cut.jpg": good.getvalue()[:500], "note.txt": b"x"}
    content["good.jpg"] = good.getvalue()
    for name, data in content.items():
        (deep / name).write_bytes(data)
    return {path.name: path for path in deep.iterdir()}


def test_a_photo_that_cant_be_read_is_one_error_and_the_others_are_classified(
    place: Path, bare: Path, tmp_path: Path
) -> None:
    """Each by its name and with the reason; exit code 2."""
    files, entry = broken(tmp_path), place / "submissions" / "ours"
    said = ours(place, files["good.jpg"].parent, entry, code=2)
    assert list(shares(said.stdout)) == [str(files["good.jpg"])] and said.stderr.startswith("error: predict: ")
    script = alone(bare, entry / "predict.py", files["good.jpg"].parent)
    assert script.returncode == 2 and list(shares(script.stdout)) == [str(files["good.jpg"])]
    for name in ("empty.jpg", "text.jpg", "cut.jpg", "deep.png"):
        assert str(files[name]) in said.stderr and f"error: {files[name]}: " in script.stderr
    assert "note.txt" not in said.stderr + script.stderr and "Traceback" not in said.stderr + script.stderr


def test_nothing_there_is_one_error(place: Path, bare: Path, tmp_path: Path) -> None:
    """A missing file, a folder without a photo; no arguments teach."""
    script = place / "submissions" / "ours" / "predict.py"
    assert "gone.jpg: no such file" in ours(place, tmp_path / "gone.jpg", script.parent, code=2).stderr
    assert "no photo in this folder" in ours(place, tmp_path, script.parent, code=2).stderr
    for path in (tmp_path / "gone.jpg", tmp_path):
        done = alone(bare, script, path)
        assert done.returncode == 2 and done.stderr.startswith(f"error: {path}: ") and "Traceback" not in done.stderr
    assert "python predict.py PHOTO|FOLDER" in alone(bare, script).stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.jpg"], "0 networks given"),
        (["submissions/ours"], "no photo given"),
        (["a.jpg", "submissions/ours", "run=run"], "a.jpg"),
        (["a.jpg", "submissions/ours", "submissions/ours"], "2 networks given"),
        (["a.jpg", "rnu=run"], "rnu=run: not a setting of predict; allowed: run=FOLDER"),
        (["a.jpg", "run=nowhere"], "no finished run there"),
    ],
)
def test_a_wrong_command_is_one_error(place: Path, words: list[str], expected: str) -> None:
    """It says what is allowed."""
    said = ours(place, *words, code=2).stderr
    assert said.startswith("error: ") and expected in said and "Traceback" not in said


def test_a_run_may_be_named_without_run(place: Path) -> None:
    """A folder tells what it is."""
    photo = place / "data" / "red" / "0.png"
    assert ours(place, "run", photo).stdout == ours(place, photo, "run=run").stdout != ""


def test_an_entry_of_before_that_has_no_size_is_one_error(place: Path, tmp_path: Path) -> None:
    """Of a published copy: the options don't say how large its images are stored."""
    entry = tmp_path / "old"
    entry.mkdir()
    for name in ("model.onnx", "predictions.csv", "manifest.json"):
        (entry / name).write_bytes((place / "submissions" / "ours" / name).read_bytes())
    raw = json.loads((entry / "manifest.json").read_text())
    del raw["preprocessing"]["side_px"]
    (entry / "manifest.json").write_text(json.dumps(raw))
    assert "an earlier version made it" in ours(place, place / "data" / "red" / "0.png", entry, code=2).stderr
    raw["data"]["options"]["side_px"] = SIDE_PX
    (entry / "manifest.json").write_text(json.dumps(raw))
    assert ours(place, place / "data" / "red" / "0.png", entry).stdout


def test_any_class_name_survives(tmp_path: Path) -> None:
    """Quotes, other scripts, signs beyond 16 bits, and what looks like the script's own marks."""
    names = ('it\'s "so"', "종이", "😀", "@NUMBERS@", "back\\slash", "new\nline")
    assert loaded(classes=names)["CLASSES"] == list(names)


def test_the_committed_example_has_its_script() -> None:
    """As packing it today would write it."""
    example = Path(__file__).resolve().parents[2] / "submissions" / "example"
    entry = manifest.read(example)
    expected = standalone.script(entry.classes, entry.data["options"]["side_px"], entry.prepared())
    assert (example / standalone.NAME).read_text() == expected
