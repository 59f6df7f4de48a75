"""Which image files are read, and what is said of the others."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image, features

from harness.data import crops, sets
from harness.data.crops import decode
from harness.data.folder import FolderOptions
from harness.errors import HarnessError
from tests.data.test_tree import noise

# 64 x 48 px of RGB (200, 30, 30), written by pillow-heif
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAERA"
    "AAEAAQAAAAABoQABAAAAAAAAABoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAA"
    "AHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAA"
    "MAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAACJtZGF0AAAAFigBrxmA70mlv//f4x/1"
    "9q/4prWmPm4="
)


def classes_of(root, suffix: str, encode) -> None:
    """Write two classes of six images each with a suffix."""
    random = np.random.default_rng(0)
    for kind in ("glass", "metal"):
        (root / kind).mkdir()
        for k in range(6):
            pixels = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            (root / kind / f"{k}{suffix}").write_bytes(encode(Image.fromarray(pixels)))


def encoder(kind: str, mode: str = "RGB", **options):
    """Return what writes an image as a kind of file."""

    def encode(image: Image.Image) -> bytes:
        out = io.BytesIO()
        image.convert(mode).save(out, kind, **options)
        return out.getvalue()

    return encode


@pytest.mark.parametrize(
    ("suffix", "kind", "mode"),
    [
        (".ppm", "PPM", "RGB"), (".PGM", "PPM", "L"), (".pbm", "PPM", "1"), (".pnm", "PPM", "RGB"),
        (".jfif", "JPEG", "RGB"), (".jpe", "JPEG", "CMYK"), (".JPEG", "JPEG", "L"), (".tga", "TGA", "RGB"),
        (".pcx", "PCX", "RGB"), (".dib", "DIB", "RGB"), (".mpo", "MPO", "RGB"), (".sgi", "SGI", "RGB"),
        (".gif", "GIF", "P"), (".png", "PNG", "P"), (".webp", "WEBP", "RGBA"),
    ],
)  # fmt: skip
def test_images_of_every_usual_type_are_read(tmp_path, suffix, kind, mode):
    """Twelve images, two classes, whatever the suffix and its capitals."""
    classes_of(tmp_path, suffix, encoder(kind, mode))
    data = sets.load("folder", FolderOptions(root=str(tmp_path), side_px=16))
    assert data.report["kept"] == {"glass": 6, "metal": 6}
    assert not data.report["damaged"] and not data.report["dropped"]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(tmp_path):
    """Pillow has it since 11.3."""
    classes_of(tmp_path, ".avif", encoder("AVIF"))
    assert sets.load("folder", FolderOptions(root=str(tmp_path), side_px=16)).report["kept"] == {"glass": 6, "metal": 6}


def test_a_portable_map_has_the_pixels_it_holds(tmp_path):
    """Not only its file is found."""
    assert decode(b"P6 2 1 255\n" + bytes([1, 2, 3, 4, 5, 6])).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert decode(b"P5 2 1 255\n" + bytes([7, 9])).tolist() == [[[7, 7, 7], [9, 9, 9]]]


def test_without_pillow_heif_it_is_said_what_reads_heic(tmp_path, monkeypatch):
    """By content: an iPhone's photograph may be called .jpg. A class of them alone is refused."""
    monkeypatch.setattr(crops, "reads_heic", lambda: False)
    for kind in ("glass", "metal"):
        for k in range(5):
            noise(tmp_path / kind / f"{k}.png")
    (tmp_path / "glass" / "a.HEIC").write_bytes(HEIC)
    (tmp_path / "glass" / "b.jpg").write_bytes(HEIC)
    report = sets.load("folder", FolderOptions(root=str(tmp_path), side_px=16)).report
    assert [d["name"] for d in report["damaged"]] == ["glass/a.HEIC", "glass/b.jpg"]
    assert all("pip install pillow-heif" in d["reason"] for d in report["damaged"])
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "a.heic").write_bytes(HEIC)
    with pytest.raises(
        HarnessError, match="class 'paper' lost all its 1 images: HEIC, which is read where pillow-heif is"
    ):
        sets.load("folder", FolderOptions(root=str(tmp_path), side_px=16))


def test_with_pillow_heif_heic_is_read():
    """At its size and in its colour."""
    pytest.importorskip("pillow_heif")
    image = decode(HEIC)
    assert image.shape == (48, 64, 3) and np.abs(image.mean(axis=(0, 1)) - (200, 30, 30)).max() < 3


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_more_than_eight_bits_are_named(mode):
    """They would come out white."""
    out = io.BytesIO()
    Image.new(mode, (8, 8)).save(out, "TIFF")
    with pytest.raises(ValueError, match="more than 8 bits a channel"):
        decode(out.getvalue())


def test_a_sixteen_bit_portable_map_is_named():
    """Of two bytes a pixel."""
    with pytest.raises(ValueError, match="more than 8 bits a channel"):
        decode(b"P5 2 1 65535\n" + bytes([0, 7, 0, 9]))
