"""The embedded data set and the door to all readers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from harness.data import sets
from harness.data.digits import DigitsOptions, load
from harness.errors import HarnessError


def test_every_digit_is_in_exactly_one_part():
    """The three parts hold 1,797 names between them, none twice."""
    data = load(DigitsOptions())
    names = [*data.train.names, *data.validation.names, *data.test.names]
    assert len(names) == len(set(names)) == 1797
    assert min(map(min, data.counts().values())) >= 28


def test_digits_are_full_range_grey_squares():
    """16 px, uint8, three equal channels that reach 0 and 255."""
    pixels = load(DigitsOptions()).train.pixels
    assert pixels.shape[1:] == (16, 16, 3) and pixels.dtype == np.uint8
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert pixels.min() == 0 and pixels.max() >= 250


def test_pixels_and_labels_are_scikit_learns():
    """Of every image, by its number: the table is read without scikit-learn's own reader, which takes a second."""
    source, data = load_digits(), load(DigitsOptions(side_px=8))
    assert data.classes == tuple(map(str, source.target_names))
    for part in (data.train, data.validation, data.test):
        rows = [int(name.removeprefix("digits-")) for name in part.names]
        assert (part.labels == source.target[rows]).all()
        assert (part.pixels[..., 1] == np.rint(source.images[rows] * (255 / 16))).all()


def test_the_seed_alone_decides_the_cut():
    """The same seed gives the same fingerprint, another seed another."""
    first = load(DigitsOptions(seed=1)).fingerprint()
    assert first == load(DigitsOptions(seed=1)).fingerprint()
    assert first != load(DigitsOptions(seed=2)).fingerprint()


@pytest.mark.parametrize("change", ["pixel", "label", "name"])
def test_the_fingerprint_sees_the_smallest_change(change):
    """One pixel or one label makes another fingerprint; a name only that of the judge, as a team's copy has its own."""
    data = load(DigitsOptions())
    part = data.train
    if change == "pixel":
        pixels = part.pixels.copy()
        pixels[5, 3, 3, 1] ^= 1
        other = replace(part, pixels=pixels)
    elif change == "label":
        labels = part.labels.copy()
        labels[5] = (labels[5] + 1) % 10
        other = replace(part, labels=labels)
    else:
        other = replace(part, names=(*part.names[:-1], "digits-99999"))
    changed = replace(data, train=other)
    assert changed.judge_fingerprint() != data.judge_fingerprint()
    assert (changed.fingerprint() != data.fingerprint()) == (change != "name")


def test_an_unknown_data_set_is_an_error_that_lists_the_known():
    """A misspelt name is answered with the nearest one."""
    with pytest.raises(HarnessError, match="did you mean 'digits'"):
        sets.load("digit", DigitsOptions())


@pytest.mark.parametrize("wrong", [{"validation": 0.0}, {"test": 1.0}, {"side_px": 0}, {"test": float("nan")}])
def test_an_option_out_of_range_is_named(wrong):
    """Shares and sides that make no sense are refused before reading."""
    with pytest.raises(HarnessError, match=f"data.{next(iter(wrong))}="):
        sets.load("digits", DigitsOptions(**wrong))


def test_importing_the_table_is_cheap():
    """The readers' own libraries are loaded only when a data set is read."""
    heavy = {"torch", "torchvision", "sklearn", "pycocotools"}
    code = f"import sys, harness.data.sets; print(*({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_reading_the_digits_is_cheap():
    """Each command on them would wait a second for libraries that it makes no use of."""
    code = "import sys; from harness.data.digits import *; load(DigitsOptions()); print('sklearn' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
