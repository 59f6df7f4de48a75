"""albumentations' transforms in a candidate: what is refused, what an image's seed decides, what is written down."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import optuna
import pytest
import torch

from harness.data import transforms
from harness.data.augment import Augment
from harness.data.loader import AHEAD, batches
from harness.errors import HarnessError
from harness.record import run_folder
from harness.record.candidate import Candidate
from harness.search.space import check, suggest

PHOTOS = [
    {"RandomResizedCrop": {"scale": [0.6, 1.0]}}, {"ColorJitter": {"p": 0.8}}, {"Affine": {"rotate": [-15, 15]}},
    {"GaussNoise": {"std_range": [0.02, 0.1]}}, "CoarseDropout", "HorizontalFlip", "VerticalFlip",
]  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {  # where the defaults don't fit an image of 32 px, or a parent has other options
    "Crop": {"x_max": 32, "y_max": 32}, "CropAndPad": {"px": 2},
    "RandomSizedCrop": {"min_max_height": [20, 32], "size": [32, 32]},
    "LongestMaxSize": {"max_size": 32}, "SmallestMaxSize": {"max_size": 32},
    "PadIfNeeded": {"min_height": 32, "min_width": 32}, "TimeMasking": {"time_mask_param": 8},
    "FrequencyMasking": {"freq_mask_param": 8}, "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 4},
    "RandomScale": {"scale_limit": 0.0}, "RandomCrop": {"height": 32, "width": 32},
    "Resize": {"height": 32, "width": 32}, "CenterCrop": {"height": 32, "width": 32},
    "RandomResizedCrop": {"size": [32, 32]}, "RGBShift": {"r_shift_limit": [-90, -50]},
    "ShiftScaleRotate": {"shift_limit": [0.3, 0.4]}, "SafeRotate": {"limit": [10, 12]},
    "MedianBlur": {"blur_limit": [5, 7]},
    "RandomCropFromBorders": {"crop_left": 0, "crop_right": 0, "crop_top": 0, "crop_bottom": 0},
}  # fmt: skip


def pictures(count: int, side_px: int = 32) -> np.ndarray:
    """Noise, no two alike."""
    return np.random.default_rng(0).integers(0, 256, (count, side_px, side_px, 3), dtype=np.uint8)


def epoch(how: Augment, number: int = 0, seed: int = 3, **more: Any) -> torch.Tensor:
    """All images of an epoch of 96 in batches of 16."""
    return torch.cat([x for x, _, _ in batches(pictures(96), np.arange(96), how, 16, seed, number, **more)])


BASES = ("BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D")
NAMES = [
    name for name, kind in vars(albumentations).items()
    if isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform) and name not in BASES
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_of_the_librarys_transforms_works_or_is_refused_by_name(name: str) -> None:
    """Whatever draws came before, and in a pipeline rebuilt from its record: an image's seed alone decides."""
    options = NEEDED.get(name, {}) | {"p": 1.0}
    try:
        listed = transforms.settled([{name: options}])
    except HarnessError as e:
        assert name in e.what and name in transforms.NEEDS | transforms.MAKES
        return
    transforms.tried(listed, 32)
    record = transforms.written(listed, 32)
    pixels, seeds = pictures(4), [5, 6, 7, 8]
    before = pixels.copy()
    built = albumentations.Compose([vars(albumentations)[name](**options)])
    first = transforms.vary(built, pixels, seeds)
    pipeline = transforms.rebuilt(json.loads(json.dumps(record)))
    backwards = [transforms.vary(pipeline, pixels[i : i + 1], [seeds[i]])[0] for i in (3, 1, 0, 2)]
    assert np.array_equal(np.stack(backwards)[[2, 1, 3, 0]], first) and np.array_equal(pixels, before)


def test_transforms_of_one_pipeline_draw_apart() -> None:
    """Two flips at p 0.5 make four pictures, equally often; `set_random_seed` would make two, as it does here."""
    pixels = np.repeat(pictures(1, 4), 400, axis=0)
    pipeline = albumentations.Compose([albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)])
    ours = Counter(image.tobytes() for image in transforms.vary(pipeline, pixels, range(400)))
    assert len(ours) == 4 and min(ours.values()) > 60
    theirs = set()
    for seed in range(400):
        pipeline.set_random_seed(seed)
        theirs.add(pipeline(image=pixels[0])["image"].tobytes())
    assert len(theirs) == 2


@pytest.mark.parametrize("place", transforms.PLACES)
def test_the_same_seed_gives_the_same_images_whatever_the_number_of_threads(place: str) -> None:
    """Another epoch or seed gives others."""
    how = Augment(transforms=PHOTOS, place=place)
    one = epoch(how)
    assert all(torch.equal(epoch(how, threads=threads), one) for threads in (1, 2, AHEAD, 64))
    assert not torch.equal(epoch(how, 1), one) and not torch.equal(epoch(how, seed=4), one)


def test_the_shares_of_ranks_are_the_images_of_one_process() -> None:
    """Three processes, batches of sixteen: whoever takes an image, the same happens to it."""
    how = Augment(transforms=PHOTOS)
    whole = epoch(how).reshape(6, 16, 32, 32, 3)
    for rank in range(3):
        share = epoch(how, rank=rank, world=3)
        assert torch.equal(share, whole[:, rank::3].reshape(share.shape))


def test_before_and_after_differ_as_they_are_called() -> None:
    """What is before our cutout is under its black square; what is after inverts it to white."""
    quiet = {"n": 0, "flip": False, "crop": 0.0, "cutout": 0.5, "transforms": [{"InvertImg": {"p": 1.0}}]}
    before, after = (epoch(Augment(**quiet, place=place)) for place in ("before", "after"))
    black, white = (before == 0).all(-1), (after == 255).all(-1)
    assert torch.equal(black, white) and black.float().mean() > 0.1


def test_a_candidate_without_transforms_is_written_as_it_always_was() -> None:
    """So the digest of what was trained before stays, and with it what is a duplicate."""
    assert set(Augment().to_dict()) == {"n", "m", "flip", "crop", "cutout"}
    how = Augment(transforms=PHOTOS, place="after")
    assert Augment.from_dict(json.loads(json.dumps(how.to_dict()))) == how
    assert how.to_dict()["transforms"][4] == {"CoarseDropout": {}}


def test_the_record_is_the_librarys_own_file(tmp_path: Path) -> None:
    """`albumentations.load` reads it, with the side filled in and each option that nobody has set."""
    how = Augment(transforms=PHOTOS)
    run_folder.write_transforms(tmp_path, how.transforms, 32)
    loaded = albumentations.load(tmp_path / "transforms.json")
    made = transforms.vary(transforms.rebuilt(transforms.written(how.transforms, 32)), pictures(8), range(8))
    assert np.array_equal(transforms.vary(loaded, pictures(8), range(8)), made)
    record = json.loads((tmp_path / "transforms.json").read_text())
    crop = record["transform"]["transforms"][0]
    assert record["__version__"] == albumentations.__version__ and crop["size"] == [32, 32] and "ratio" in crop


def test_without_transforms_nothing_is_recorded(tmp_path: Path) -> None:
    """As for every run before there were any."""
    run_folder.write_transforms(tmp_path, Augment().transforms, 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("HorizontalFlip", "allowed: a list of names"),
        ({"HorizontalFlip": {}}, "allowed: a list of names"),
        ([{"HorizontalFlip": {}, "VerticalFlip": {}}], r"transforms\.0: .*\n.*one transform an entry"),
        (
            ["HorizontalFlip", "ColourJitter"],
            r"(?s)transforms\.1: unknown transform 'ColourJitter'; .*Affine.*'ColorJit",
        ),
        (["OneOf"], "unknown transform 'OneOf'"),
        (
            [{"ColorJitter": {"brigtness": 0.2}}],
            r"(?s)ColorJitter: .*'brigtness'; allowed: brightness,.*n 'brightness'",
        ),
        ([{"HorizontalFlip": {"p": 1.5}}], r"HorizontalFlip\.p=1\.5: .*less than or equal to 1"),
        ([{"HorizontalFlip": {"p": math.nan}}], "HorizontalFlip"),
        ([{"Affine": {"rotate": "far"}}], r"Affine\.rotate='far': .*\n.*scale, translate_percent"),
        ([{"HorizontalFlip": 0.5}], "HorizontalFlip: 0.5; allowed: options"),
        (["RandomSizedCrop"], "no 'min_max_height'"),
        ([{"PlasmaShadow": {"plasma_size": 64}}], "unknown option 'plasma_size'"),  # which the library drops in silence
        (["BBoxSafeRandomCrop"], "BBoxSafeRandomCrop needs boxes"),
        (["MaskDropout"], "MaskDropout needs masks"),
        (["Mosaic"], "Mosaic needs other images"),
        (["Normalize"], "normalised"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(listed: Any, message: str) -> None:
    """One error, wherever the list comes from."""
    with pytest.raises(HarnessError, match=message):
        Augment(transforms=listed)


def test_a_place_is_before_or_after() -> None:
    """And nothing else."""
    with pytest.raises(HarnessError, match=r"augment\.place: unknown 'behind'; allowed: after, before"):
        Augment(place="behind")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (["D4", {"Resize": {"height": 8, "width": 8, "p": 0.01}}], r"transforms\.1 Resize: .* 8 x 8 x 3 .*32 x 32"),
        (["RandomCropFromBorders"], "makes images of"),
        ([{"Crop": {"x_max": 64, "y_max": 64}}], "Crop: fails on an image of 32 px: .*smaller than image sizes"),
        ([{"ToGray": {"num_output_channels": 1}}], "ToGray: makes images of 32 x 32 uint8"),
    ],
)  # fmt: skip
def test_what_makes_no_image_of_the_side_is_met_before_training(listed: Any, message: str) -> None:
    """However rare it is: each transform is tried whatever its p."""
    with pytest.raises(HarnessError, match=message):
        transforms.tried(transforms.settled(listed), 32)


def test_another_side_on_the_way_is_fine() -> None:
    """Padded and cut back, or scaled and scaled back: the side that is left out is the images'."""
    for listed in (["RandomResizedCrop"], [{"Pad": {"padding": 4}}, "RandomCrop"], ["RandomScale", "Resize"]):
        transforms.tried(transforms.settled(listed), 32)


def test_a_draw_that_fails_in_the_middle_is_one_clear_error() -> None:
    """Two sides that agree only if both happen: the trial, which has both, can't know."""
    how = Augment(transforms=[{"Resize": {"height": 64, "width": 64, "p": 0.5}}, {"Resize": {"p": 0.5}}])
    transforms.tried(how.transforms, 32)
    with pytest.raises(HarnessError, match="makes images of 64 x 64 x 3 uint8; allowed: 32 x 32 x 3"):
        epoch(how)


def space_with(listed: Any) -> dict[str, Any]:
    """A space of one network whose transforms are searched."""
    stages = [{"block": "conv", "channels": 8}]
    return {"resolution_px": 16, "model": {"stages": stages}, "augment": {"n": 0, "transforms": listed}}


def test_a_space_draws_transforms_and_their_options() -> None:
    """A branch of a choice may be none at all; what is drawn is what the candidate has."""
    space = space_with([
        {"RandomResizedCrop": {"scale": [{"float": [0.4, 0.9]}, 1.0]}},
        {"choice": {"none": None, "jitter": {"ColorJitter": {"brightness": {"choice": [0.1, 0.3]}}}}},
    ]) | {"recipe": {"batch": 32}}  # fmt: skip
    space["augment"]["place"] = {"choice": ["before", "after"]}
    check(space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(30):
        trial = study.ask()
        candidate = suggest(space, trial)
        how, drawn = candidate.augment, study.get_trials(deepcopy=False)[trial.number].params
        low = drawn["augment.transforms.0.RandomResizedCrop.scale.0"]
        jitter = drawn.get("augment.transforms.1.jitter.ColorJitter.brightness")
        wanted = [{"RandomResizedCrop": {"scale": [low, 1.0]}}]
        assert how.transforms == wanted + ([{"ColorJitter": {"brightness": jitter}}] if jitter else [])
        assert how.place == drawn["augment.place"]
        assert Candidate.from_dict(json.loads(json.dumps(candidate.to_dict()))).digest() == candidate.digest()
        seen.add((how.place, jitter))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (
            [{"choice": {"a": "HorizontalFlip", "b": "Rotat", "c": None}}],
            r"space\.augment: .*unknown transform 'Rotat'",
        ),
        ([{"Affine": {"rotate": {"choice": [5, "x", 9]}}}], r"space\.augment: .*Affine\.rotate='x'"),
        ([{"Resize": {"height": {"int": [16, 20]}}}], r"space\.augment\.transforms\.0 Resize: makes images of 20 x 16"),
    ],
)
def test_a_space_is_refused_before_a_study_uses_it(listed: Any, message: str) -> None:
    """Each branch and both ends are tried."""
    with pytest.raises(HarnessError, match=message):
        check(space_with(listed))
