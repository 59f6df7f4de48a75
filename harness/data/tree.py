"""What the folders say: an image's class and its part."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from harness.data.crops import as_stored
from harness.data.files import Files, is_image
from harness.data.names import readings
from harness.data.report import alike
from harness.errors import HarnessError

Places = dict[str, tuple[str, str]]
"""Class and part of each image, by its name."""
Losses = list[dict[str, str]]

PARTS = {
    "train": ("train", "training", "trainval", "훈련", "학습", "训练", "訓練", "学習"),
    "validation": ("val", "valid", "validation", "validate", "dev", "devel", "development", "eval", "evaluation",
                   "검증", "验证", "驗證", "検証"),
    "test": ("test", "testing", "시험", "테스트", "평가", "测试", "測試", "テスト"),
}  # fmt: skip
BESIDE = ("data", "dataset", "datasets", "set", "sets", "image", "images", "img", "imgs", "photo", "photos", "picture",
          "pictures", "sample", "samples", "part", "split", "folder", "seg", "데이터", "데이터셋", "세트", "셋", "용",
          "이미지", "集", "数据", "數據")  # fmt: skip
"""Words that may stand beside a part's own in a folder's name: seg_train, test set, 2.Validation."""
SPELLED = {
    part: re.compile(f"(?:{'|'.join(BESIDE)})*(?:{'|'.join(words)})(?:{'|'.join(BESIDE)})*")
    for part, words in PARTS.items()
}
ALLOWED = (
    "allowed: ROOT/CLASS/IMAGE, or ROOT/PART/CLASS/IMAGE with parts such as train, val, test; other folders may stand "
    "around these, none between a class and its images"
)
OTHER_PICTURES = (
    ".3fr", ".arw", ".avi", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".exr", ".hdr", ".jxl", ".mkv", ".mov", ".mp4",
    ".nef", ".orf", ".pfm", ".psd", ".raf", ".raw", ".rw2", ".srw", ".svg", ".xcf",
)  # fmt: skip
"""How the names of pictures end that are not read."""
LINES = 12
"""How many folders a message shows."""


def part_of(folder: str) -> str | None:
    """Return the part that a folder is by its name, in whatever usual spelling; None for another folder."""
    letters = "".join(c for c in unicodedata.normalize("NFKC", folder).casefold() if c.isalpha())
    return next((part for part, spelled in SPELLED.items() if spelled.fullmatch(letters)), None)


def arrange(files: Files, images: Mapping[str, str]) -> tuple[Places, Losses, list[str]]:
    """Give each image its class and part by its folders; list those that have none, and say what is odd.

    images: names, less the outer folders that all share, to full names.

    Raises:
        HarnessError: folders lie otherwise than is allowed, or a class has no image.
    """
    inner = _unwrapped({n: n.split("/")[:-1] for n in images})
    groups, dropped = _parted(inner)
    places: Places = {}
    for part, folders in groups.values():
        unwrapped = _unwrapped(folders)
        _refuse_deep(inner, unwrapped)
        dropped += [{"name": n, "reason": "in no class folder"} for n, steps in unwrapped.items() if not steps]
        places |= {n: (steps[0], part) for n, steps in unwrapped.items() if steps}
    if not places:
        raise HarnessError(
            f"data.root: no image in a class folder; there {_found(files)}",
            "put them so: ROOT/glass/1.jpg; or all flat, beside a labels.csv",
        )
    places = {n: places[n] for n in images if n in places}
    _refuse_foreign(files, {images[n] for n in places})
    places, notes = of_one_spelling(places)
    if "" in groups:
        notes += [f"class '{k}' is called as parts are" for k in sorted({k for k, _ in places.values()}) if part_of(k)]
    refuse_strangers(places)
    beside = _other_types(files, [images[n] for n in places])
    empty = _without_images(files, [images[n] for n in places])
    return places, [*dropped, *beside, *empty], notes


def _parted(inner: Mapping[str, Sequence[str]]) -> tuple[dict[str, tuple[str, dict[str, Sequence[str]]]], Losses]:
    """Sort the images by part folder, each with the folders below it; list those in none.

    There are parts where all folders are called so, or where train and another are; a class may be called train alone.
    """
    tops = {steps[0] for steps in inner.values() if steps}
    nested = {steps[0] for steps in inner.values() if len(steps) > 1}
    spelled = {top: part for top in tops if (part := part_of(top))}
    whole = len(spelled) == len(tops) > 1
    trained = "train" in {spelled[top] for top in nested if top in spelled}
    if not whole and not {"train"} < set(spelled.values()):
        return {"": ("train", dict(inner))}, []
    if not trained:
        lacks = "no class folders" if "train" in spelled.values() else "no part to learn from"
        raise HarnessError(
            f"data.root: {', '.join(sorted(spelled))} are parts by name, with {lacks}:\n{_tree(inner)}\n{ALLOWED}",
            "put the images into class folders, or write labels.csv beside them: `filename,label` a line",
        )
    groups = {top: (part, {n: s[1:] for n, s in inner.items() if s and s[0] == top}) for top, part in spelled.items()}
    known = {n for _, folders in groups.values() for n in folders}
    return groups, [{"name": n, "reason": "in no part's folder"} for n in inner if n not in known]


def _unwrapped(folders: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Take off the outer folders that all images in any folder share, as long as a class's folder is left."""
    left = dict(folders)
    while (inside := [s for s in left.values() if s]) and all(len(s) > 1 for s in inside):
        if len({s[0] for s in inside}) > 1:
            break
        left = {n: s[1:] for n, s in left.items()}
    return left


def _refuse_deep(inner: Mapping[str, Sequence[str]], folders: Mapping[str, Sequence[str]]) -> None:
    deep = next((n for n, steps in folders.items() if len(steps) > 1), None)
    if deep is not None:
        raise HarnessError(
            f"data.root: '{deep}' lies in {len(folders[deep])} folders, and which is its class isn't clear:\n"
            f"{_tree(inner)}\n{ALLOWED}",
            "move the class folders up, or the images into them; or lay all images flat, beside a labels.csv",
        )


def _tree(folders: Mapping[str, Sequence[str]]) -> str:
    """Draw the folders with their counts of images."""
    counts = sorted(Counter("/".join(steps) for steps in folders.values()).items())
    lines = [f"    {name + '/' if name else 'ROOT itself'}  {count:,} images" for name, count in counts[:LINES]]
    return "\n".join([*lines, *([f"    and {len(counts) - LINES} more folders"] if len(counts) > LINES else [])])


def _found(files: Files) -> str:
    """Say what a root without an image in a class folder holds."""
    if not files.names:
        return "is no file at all"
    flat, others = [n for n in files.names if is_image(n)], [n for n in files.names if not is_image(n)]
    kinds = Counter(PurePosixPath(n).suffix.lower() or "without a suffix" for n in others).most_common(5)
    said = [f"{len(flat)} images in no folder ({', '.join(flat[:3])})"] if flat else []
    if others:
        said.append(f"{len(others)} files that are no images by their names: " + ", ".join(others[:3]))
        said.append("by suffix " + ", ".join(f"{kind} {count}" for kind, count in kinds))
    return f"{'are' if flat or others else 'is'} {'; '.join(said)}"


def _refuse_foreign(files: Files, full: set[str]) -> None:
    """Refuse a class whose name nobody can read: a guess would show another script's letters."""
    for name in sorted(files.foreign.keys() & full):
        folder = files.foreign[name].split(b"/")[-2]
        try:
            folder.decode("utf-8")
        except UnicodeDecodeError:
            read_as = readings(folder)
            pages = (
                ", ".join(f"{page} reads it as '{text}'" for page, text in read_as.items()) or "no known code page does"
            )
            page = next(iter(read_as), "CODEPAGE")
            raise HarnessError(
                f"data.root: the folder of '{name}' isn't named in UTF-8; {pages}",
                f"rename it: `convmv -r -f {page} -t utf-8 --notest FOLDER`; a zip: `unzip -O {page} FILE.zip`, and "
                "give the folder that comes out",
            ) from None


def of_one_spelling(places: Mapping[str, tuple[str, str]]) -> tuple[Places, list[str]]:
    """Make one class of names that differ in their Unicode form alone; say so, and which classes look alike otherwise.

    A name that stands in one form keeps it.
    """
    forms = defaultdict(set)
    for kind, _ in places.values():
        forms[unicodedata.normalize("NFC", kind)].add(kind)
    one = {kind: form for form, kinds in forms.items() if len(kinds) > 1 for kind in kinds}
    notes = [
        f"class '{form}' is written in {len(forms[form])} Unicode forms: one class" for form in sorted({*one.values()})
    ]
    found = {n: (one.get(kind, kind), part) for n, (kind, part) in places.items()}
    return found, notes + alike(sorted({kind for kind, _ in found.values()}))


def refuse_strangers(places: Mapping[str, tuple[str, str]]) -> None:
    """Refuse a class that has no folder in train/ (the course's test/NoLabel is one)."""
    known = {kind for kind, part in places.values() if part == "train"}
    for name, (kind, part) in places.items():
        if kind not in known:
            near = next((k for k in sorted(known) if alike([k, kind])), None)
            also = f" (it has '{near}': capitals and blanks count)" if near else ""
            raise HarnessError(
                f"data.root: '{name}' of the {part} part is of class '{kind}', which train/ has not{also}",
                "move that folder out of data.root; a part that is not there is cut from train/",
            )


def _other_types(files: Files, images: Sequence[str]) -> Losses:
    """Report what lies beside the images but has no image's suffix."""
    homes = {PurePosixPath(n).parent for n in images}
    others = [n for n in files.names if not is_image(n) and PurePosixPath(n).parent in homes]
    return [{"name": n, "reason": "not an image by its name"} for n in others]


def _without_images(files: Files, images: Sequence[str]) -> Losses:
    """Report folders that stand where classes do and hold no image.

    Raises:
        HarnessError: one of them holds pictures that are not read.
    """
    homes = {str(PurePosixPath(n).parent) for n in images}
    above = {str(PurePosixPath(home).parent) for home in homes}
    held = defaultdict(list)
    for name in files.names:
        home = str(PurePosixPath(name).parent)
        if home not in homes and home != "." and str(PurePosixPath(home).parent) in above and not is_image(name):
            held[home].append(name)
    for home, names in held.items():
        if any(n.lower().endswith(OTHER_PICTURES) for n in names) or _opens(files, names[0]):
            kinds = Counter(PurePosixPath(n).suffix.lower() or "no suffix" for n in names).most_common(3)
            kind = PurePosixPath(home).name
            raise HarnessError(
                f"data.root: class '{kind}' has no image that is read: none of the {len(names)} files "
                f"in '{home}' is one by its name ({', '.join(f'{suffix} {count}' for suffix, count in kinds)})",
                "save them as .jpg or .png, or move the folder out of data.root",
            )
    empty = [f for f in files.empty if str(PurePosixPath(f).parent) in above and f not in above]
    return [{"name": f"{f}/", "reason": "empty folder"} for f in empty] + [
        {"name": f"{f}/", "reason": "folder without an image"} for f in held
    ]


def _opens(files: Files, name: str) -> bool:
    """Tell whether a file is an image by its content."""
    try:
        as_stored(files.read(name))
    except Exception:  # Pillow raises almost anything for what is no image
        return False
    return True
