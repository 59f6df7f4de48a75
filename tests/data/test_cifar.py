"""CIFAR-10: the official parts, and what is said when its files are not right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.data.cifar import FOLDER, CifarOptions, load
from harness.errors import HarnessError

DATA = Path(__file__).parents[2] / os.environ.get("HARNESS_DATA", "../shared/data")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Unpack the six batch files, 178 MB."""
    if not (DATA / "unpack.py").exists():
        pytest.skip(f"no CIFAR-10 in {DATA}: set HARNESS_DATA")
    root = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, DATA / "unpack.py", root], check=True, capture_output=True)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def data(unpacked):
    """Read the 60,000 images once."""
    return load(CifarOptions(root=str(unpacked)))


def test_the_official_parts_are_kept(data):
    """5,000 images a class for learning, 1,000 for the test; unpacking and reading take 5 to 8 s."""
    counts = {part: np.array(c) for part, c in data.counts().items()}
    assert (counts["train"] + counts["validation"] == 5000).all()
    assert (counts["test"] == 1000).all() and (counts["validation"] == 1000).all()
    assert data.test.names[7] == "test-00007" and data.classes[0] == "airplane"
    assert np.allclose(data.train.pixels[::10].mean(axis=(0, 1, 2)) / 255, (0.4914, 0.4822, 0.4465), atol=0.01)


def test_the_same_seed_gives_the_same_fingerprint(unpacked, data):
    """Read again, from the inner folder this time, the data set is the same."""
    assert load(CifarOptions(root=str(unpacked / FOLDER))).fingerprint() == data.fingerprint()


def test_another_seed_moves_the_validation_part_alone(unpacked, data):
    """The official test part stays as it is."""
    other = load(CifarOptions(root=str(unpacked), seed=1))
    assert set(other.validation.names) != set(data.validation.names)
    assert other.test.names == data.test.names and np.array_equal(other.test.pixels, data.test.pixels)


def test_a_corrupted_batch_is_named(unpacked, tmp_path):
    """One wrong byte in one batch file is found by its md5 before anything is unpickled."""
    copy = tmp_path / FOLDER
    copy.mkdir()
    for file in (unpacked / FOLDER).iterdir():
        os.link(file, copy / file.name)
    batch = bytearray((copy / "data_batch_3").read_bytes())
    batch[1000] ^= 1
    (copy / "data_batch_3").unlink()
    (copy / "data_batch_3").write_bytes(batch)
    with pytest.raises(HarnessError, match="damaged.*: data_batch_3"):
        load(CifarOptions(root=str(tmp_path)))


@pytest.mark.parametrize("root", ["", "nowhere"])
def test_a_missing_root_says_what_to_do(root, tmp_path, monkeypatch):
    """The message names both ways out: a path, or a download."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match=f"data.root=PATH .*{FOLDER}.*data.download=true"):
        load(CifarOptions(root=root))


def test_an_empty_batch_folder_is_no_data_set(tmp_path):
    """A folder of the right name without its files is an error that lists them."""
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(HarnessError, match="data_batch_1.*test_batch.*batches.meta"):
        load(CifarOptions(root=str(tmp_path)))
