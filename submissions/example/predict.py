"""Classify photos: python predict.py PHOTO|FOLDER ...; needs onnxruntime, numpy and Pillow alone.

A photo is prepared as the network was trained: upright, RGB, the longer side scaled to STORED_PX, centred on a black
square, that scaled to INPUT_PX, and normalised. `scaled` is OpenCV's INTER_AREA down, INTER_LINEAR up, to the last bit.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

CLASSES = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
STORED_PX, INPUT_PX, MEAN, STD = 16, 12, np.float32([0.3058, 0.3058, 0.3058]), np.float32([0.3191, 0.3191, 0.3191])
SUFFIXES = ('.avif', '.bmp', '.dib', '.gif', '.heic', '.heif', '.hif', '.j2k', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.mpo', '.pbm', '.pcx', '.pgm', '.png', '.pnm', '.ppm', '.qoi', '.ras', '.sgi', '.tga', '.tif', '.tiff', '.webp')


def between(old, new):
    """Return the two old lines that each new one lies between, and how much of 2048 the second of them has."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place).astype(int)
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), np.rint((place - first) * 2048).astype(int)


def scaled(image, width, height):
    old_height, old_width = image.shape[:2]
    if max(old_height, old_width) < max(height, width):
        left, right, share = between(old_width, width)
        rows = image[:, left] * (2048 - share)[:, None] + image[:, right] * share[:, None] >> 4
        upper, lower, share = between(old_height, height)
        share = share[:, None, None]
        return ((rows[upper] * (2048 - share) >> 16) + (rows[lower] * share >> 16) + 2 >> 2).astype(np.uint8)
    if old_width % width == 0 and old_height % height == 0:
        down, right = old_height // height, old_width // width
        total = image.reshape(height, down, width, right, 3).sum((1, 3), dtype=np.int64)
        mean = total.astype(np.float32) * np.float32(1 / (down * right))
        return ((total + 2) // 4 if down == right == 2 else np.rint(mean)).astype(np.uint8)
    for old, new, axis in ((old_width, width, 1), (old_height, height, 0)):
        step, begin, total = old / new, np.arange(new) * (old / new), 0
        for at in np.floor(begin) + np.arange(int(step) + 2)[:, None]:
            part = np.minimum(at + 1, begin + step) - np.maximum(at, begin)
            share = (np.where(part > 1e-3, part, 0) / np.minimum(step, old - begin)).astype(np.float32)
            pixels = image.take(at.astype(int).clip(0, old - 1), axis).astype(np.float32)
            total = total + pixels * share.reshape((-1, 1) if axis else (-1, 1, 1))
        image = total
    return np.rint(image).astype(np.uint8)


def prepared(path):
    photo = Image.open(path)
    if photo.mode[0] in "IF" or photo.width * photo.height > 1e8:
        raise ValueError(f"mode {photo.mode}, {photo.size} px; allowed: 8 bits a channel, 100 megapixels")
    photo = np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
    height, width = (max(1, round(side * (STORED_PX / max(photo.shape[:2])))) for side in photo.shape[:2])
    top, left = (STORED_PX - height) // 2, (STORED_PX - width) // 2
    square = np.zeros((STORED_PX, STORED_PX, 3), np.uint8)
    square[top : top + height, left : left + width] = scaled(photo, width, height)
    pixels = scaled(square, INPUT_PX, INPUT_PX).astype(np.float32)
    return (pixels * (np.float32(1) / (np.float32(255) * STD)) - MEAN / STD).transpose(2, 0, 1)[None]


def confidences(session, path):
    logits = session.run(None, {session.get_inputs()[0].name: prepared(path)})[0][0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def main(arguments):
    session, failed = onnxruntime.InferenceSession(str(Path(__file__).with_name("model.onnx"))), False
    for named in map(Path, arguments):
        inside = sorted(p for p in named.rglob("*") if p.suffix.lower() in SUFFIXES) if named.is_dir() else [named]
        for path in inside or [named]:  # of a folder without a photo: that it is a folder
            try:
                found = confidences(session, path)
            except (OSError, ValueError, Image.DecompressionBombError) as e:
                print(f"error: {path}: {e}", file=sys.stderr)
                failed = True
                continue
            best = np.argsort(-found, kind="stable")[:5]
            print(f"{path}: " + ", ".join(f"{CLASSES[i]} {found[i]:.4f}" for i in best))
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
