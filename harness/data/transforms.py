"""albumentations' transforms of single images: what a candidate lists becomes a pipeline, tried and written down."""

from __future__ import annotations

import inspect
import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from harness.errors import HarnessError, nearest

if TYPE_CHECKING:
    import albumentations

PLACES = ("before", "after")
"""Where transforms stand: before or after crop, flip, RandAugment and cutout."""
SIDES = ("size", "height", "width")
"""Options that are the side of the training's images where they have no default and nobody sets them."""
BOXES, MASKS, OTHERS, VOLUMES = "boxes", "masks", "other images", "volumes"
NEEDS = {
    "AtLeastOneBBoxRandomCrop": BOXES, "BBoxSafeRandomCrop": BOXES, "RandomSizedBBoxSafeCrop": BOXES,
    "RandomCropNearBBox": BOXES, "ConstrainedCoarseDropout": f"{BOXES} or {MASKS}",
    "CropNonEmptyMaskIfExists": MASKS, "MaskDropout": MASKS,
    "FDA": OTHERS, "HistogramMatching": OTHERS, "PixelDistributionAdaptation": OTHERS, "Mosaic": OTHERS,
    "OverlayElements": OTHERS, "TextImage": "texts and a font",
    "CenterCrop3D": VOLUMES, "CoarseDropout3D": VOLUMES, "CubicSymmetry": VOLUMES, "Pad3D": VOLUMES,
    "PadIfNeeded3D": VOLUMES, "RandomCrop3D": VOLUMES, "ToTensor3D": VOLUMES,
    "Lambda": "functions",
}  # fmt: skip
"""What transforms need that a classifier hasn't: only some of them say so themselves."""
MAKES = {"Normalize": "numbers", "ToFloat": "numbers", "FromFloat": "numbers", "ToTensorV2": "tensors"}
"""Transforms of what images are made of; the training normalises by itself."""
TRIES = 8
STRANGE = 60  # letters of a value that is shown


def settled(raw: Any) -> list[dict[str, dict[str, Any]]]:
    """Return a list of transforms as [{name: options}, ...], each checked by the library's own signature and schema.

    raw: a list of names and of {name: options}; what is None is left out, as a space's branch may be.

    Raises:
        HarnessError: it is no list, a name or an option is unknown, a value isn't allowed, or a transform needs what a
            classifier hasn't.
    """
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise HarnessError(
            f"augment.transforms: {raw!r:.{STRANGE}}; allowed: a list of names, or of {{name: options}}",
            "write transforms: [{HorizontalFlip: {p: 0.5}}, ColorJitter]",
        )
    return [_settled(entry, f"augment.transforms.{i}") for i, entry in enumerate(raw) if entry is not None]


def _settled(entry: Any, where: str) -> dict[str, dict[str, Any]]:
    named = {entry: {}} if isinstance(entry, str) else entry
    if not isinstance(named, Mapping) or len(named) != 1:
        raise HarnessError(
            f"{where}: {entry!r:.{STRANGE}}; allowed: a transform's name, or {{name: options}}",
            "write one transform an entry, such as {HorizontalFlip: {p: 0.5}}",
        )
    ((name, options),) = named.items()
    options = {} if options is None else options
    kind = _kind(name, where)
    where = f"{where} {name}"
    if not isinstance(options, Mapping):
        raise HarnessError(f"{where}: {options!r:.{STRANGE}}; allowed: options by name", f"write {name}: {{p: 0.5}}")
    known = _options(kind)
    for option in options:
        if option not in known:
            raise HarnessError(
                f"{where}: unknown option '{option}'; allowed: {', '.join(known)}",
                f"{nearest(str(option), known)}rename or remove it",
            )
    try:
        options = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as e:
        raise HarnessError(f"{where}: {e}", "write numbers, texts, and lists of them") from e
    _check(kind, options, where)
    return {name: options}


def _library() -> ModuleType:
    """Import albumentations: here, because that takes most of a second."""
    import albumentations
    import cv2

    cv2.setNumThreads(1)  # the threads that make batches are all there are
    return albumentations


def _kinds() -> dict[str, type]:
    """Return the library's transforms by name; not what they are made of."""
    library = _library()
    bases = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"}
    return {
        name: kind for name, kind in vars(library).items()
        if inspect.isclass(kind) and issubclass(kind, library.BasicTransform) and name not in bases
    }  # fmt: skip


def _kind(name: Any, where: str) -> type:
    kinds = _kinds()
    if name in NEEDS:
        raise HarnessError(
            f"{where}: {name} needs {NEEDS[name]}, and a classifier has its images alone",
            "remove it, or take one that works on the image alone",
        )
    if name in MAKES:
        raise HarnessError(
            f"{where}: {name} is for images that are {MAKES[name]}; here they are bytes until they are normalised",
            "remove it: the training normalises by itself",
        )
    if name not in kinds:
        fit = sorted(set(kinds) - set(NEEDS) - set(MAKES))
        raise HarnessError(
            f"{where}: unknown transform '{name}'; allowed: {', '.join(fit)}",
            f"{nearest(str(name), fit)}use one of the names above",
        )
    return kinds[name]


def _options(kind: Any) -> dict[str, inspect.Parameter]:
    """Return the options that a transform takes: those of its signature that its schema doesn't drop."""
    taken = inspect.signature(kind.__init__).parameters
    return {name: one for name, one in taken.items() if name in kind.InitSchema.model_fields}


def _filled(kind: type, options: Mapping[str, Any], side_px: int) -> dict[str, Any]:
    """Add the side of the images where an option that is one has no default."""
    sides = {"size": [side_px, side_px], "height": side_px, "width": side_px}
    lacking = [n for n, one in _options(kind).items() if n in SIDES and one.default is one.empty and n not in options]
    return {name: sides[name] for name in lacking} | dict(options)


def _check(kind: Any, options: Mapping[str, Any], where: str) -> None:
    """Hold options against a transform's own schema; by itself it would take its defaults where that breaks.

    Raises:
        HarnessError: the first that isn't allowed.
    """
    defaults = {n: one.default for n, one in _options(kind).items() if one.default is not one.empty}
    try:
        kind.InitSchema(**defaults | _filled(kind, options, 32), strict=True)
        kind(**_filled(kind, options, 32))
    except Exception as e:  # whatever a schema's checks raise, it is of the options
        error = e if isinstance(e, ValidationError) else e.__cause__
        taken = f"it takes {', '.join(_options(kind))}"
        if not isinstance(error, ValidationError):
            raise HarnessError(f"{where}: {_line(e)}", taken) from e
        errors = error.errors(include_url=False)
        option = next(iter(errors[0]["loc"]), "")
        if errors[0]["type"] == "missing":
            raise HarnessError(f"{where}: no '{option}', which has no default", f"add {option}: ...; {taken}") from e
        # an option that may be of several kinds has an error for each
        words = [one["msg"].removeprefix("Value error, ") for one in errors if next(iter(one["loc"]), "") == option]
        value = f".{option}={options[option]!r:.{STRANGE}}" if option in options else ""
        raise HarnessError(f"{where}{value}: {'; or '.join(dict.fromkeys(words))}", taken) from e


def _line(e: Exception) -> str:
    return " ".join(str(e).split()) or type(e).__name__


def _built(transforms: Sequence[Mapping[str, Any]], side_px: int, **over: Any) -> albumentations.Compose:
    """Build a pipeline for images of a side. over: options that come before those listed."""
    kinds = _kinds()
    pairs = [(kinds[name], options) for one in transforms for name, options in one.items()]
    with _advised():
        return _library().Compose([kind(**_filled(kind, options, side_px) | over) for kind, options in pairs])


@contextmanager
def _advised() -> Iterator[None]:
    """Keep still what the library says of a transform each time it is built: `settled` lets it say it once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def written(transforms: Sequence[Mapping[str, Any]], side_px: int) -> dict[str, Any]:
    """Return the pipeline for images of a side as albumentations writes it, plain JSON values.

    transforms: as `settled` returns them. With all options, also those that nobody has set, and with the library's
    version; `albumentations.from_dict` builds the pipeline again.
    """
    return json.loads(json.dumps(_library().to_dict(_built(transforms, side_px))))


def rebuilt(record: dict[str, Any]) -> albumentations.Compose:
    """Build a pipeline of what `written` returned; it keeps state within a call, so each thread needs its own."""
    with _advised():
        return _library().from_dict(record)


def tried(transforms: Sequence[Mapping[str, Any]], side_px: int) -> None:
    """Try transforms on pictures before anything is trained: each of them, whatever its p.

    Raises:
        HarnessError: one fails, or what comes out isn't a picture of the same kind and side.
    """
    if not transforms:
        return
    steps = _built(transforms, side_px, p=1.0).transforms
    rng = np.random.default_rng(0)
    for seed in range(TRIES):
        came = image = rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
        culprit = ""
        for number, step in enumerate(steps):
            where = f"augment.transforms.{number} {type(step).__name__}"
            step.set_random_state(*_states(seed))
            try:
                made = step(image=image)["image"]
            except Exception as e:  # a transform's own words about options that don't fit the image
                raise _failed(where, e, side_px) from e
            culprit = culprit if _form(made) == _form(image) else where
            image = made
        if _form(image) != _form(came):
            raise _other(culprit, image, side_px)


def vary(pipeline: albumentations.Compose, pixels: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """Send each image through a pipeline by a seed of its own, and return a new array.

    pixels: uint8 (B, S, S, 3). seeds: B numbers, 0 or more. What happens to an image depends on it and its seed alone.

    Raises:
        HarnessError: a transform fails, or makes an image of another kind or side.
    """
    out = np.empty_like(pixels)
    for i, seed in enumerate(seeds):
        # One stream for all: `set_random_seed` gives each transform the same one, and two flips at p 0.5 always agree.
        pipeline.set_random_state(*_states(int(seed)))
        try:
            image = pipeline(image=pixels[i].copy())["image"]
        except Exception as e:  # as in `tried`, of a draw that was rarer than those there
            raise _failed("augment.transforms", e, pixels.shape[1]) from e
        if _form(image) != _form(out[i]):
            raise _other("augment.transforms", image, pixels.shape[1])
        out[i] = image
    return out


def varying(
    transforms: Sequence[Mapping[str, Any]], side_px: int, threads: int
) -> Callable[[np.ndarray, Sequence[int]], np.ndarray]:
    """Return `vary` for images of a side, for so many threads at once; without transforms it does nothing.

    The pipelines are those that the record of it builds.
    """
    if not transforms:
        return lambda pixels, seeds: pixels
    record = written(transforms, side_px)
    free: SimpleQueue[albumentations.Compose] = SimpleQueue()  # a pipeline is one thread's at a time
    for _ in range(threads):
        free.put(rebuilt(record))

    def one_at_a_time(pixels: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        pipeline = free.get()
        try:
            return vary(pipeline, pixels, seeds)
        finally:
            free.put(pipeline)

    return one_at_a_time


def _states(seed: int) -> tuple[np.random.Generator, random.Random]:
    return np.random.default_rng(seed), random.Random(seed)


def _form(image: Any) -> tuple[Any, Any]:
    return image.dtype, image.shape


def _failed(where: str, e: Exception, side_px: int) -> HarnessError:
    return HarnessError(f"{where}: fails on an image of {side_px} px: {_line(e)}", "change its options, or remove it")


def _other(where: str, image: np.ndarray, side_px: int) -> HarnessError:
    shape = " x ".join(map(str, image.shape))
    return HarnessError(
        f"{where}: makes images of {shape} {image.dtype}; allowed: {side_px} x {side_px} x 3 uint8, as they came",
        "leave out size, height and width, which are the images' side then, or put a Resize without options behind it",
    )
