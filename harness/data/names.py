"""Names of files as other systems write them: code pages, Unicode forms, slashes."""

from __future__ import annotations

import unicodedata
import zipfile
from collections.abc import Sequence

ASCII = set(range(128))
LATIN_OF_CP437 = {*range(0x80, 0x9B), *range(0xA0, 0xA6)}
"""Bytes of its Latin letters; the others are signs, draw boxes or are Greek, and 0xE1 (ß) is á in other pages."""
EAST_ASIAN = ("cp949", "cp932", "gbk", "big5")
PAGES = (*EAST_ASIAN, "cp1252", "cp1251", "cp1250", "cp437")


def spelled(short: str, full: str) -> list[str]:
    """List the ways to name a file, from its full name to the one without any outer folder."""
    outer = full.removesuffix(short).split("/")[:-1]
    return ["/".join([*outer[k:], short]) for k in range(len(outer) + 1)]


def same(name: str) -> str:
    """Return what two spellings of one name have in common: Unicode's composed form, forward slashes, no leading ./."""
    return unicodedata.normalize("NFC", name.strip()).replace("\\", "/").removeprefix("./")


def of_zip(info: zipfile.ZipInfo) -> tuple[str, str | zipfile.ZipInfo, bytes]:
    r"""Return an entry's name with forward slashes, what reads it, and the name's bytes.

    Without the flag for UTF-8 a name is UTF-8 all the same (macOS), or in the code page of the machine that wrote it;
    the standard says CP437, which is believed where it gives Latin letters. Bytes of another are shown as \xb1.
    """
    name = info.filename
    if name.isascii() or info.flag_bits & 0x800:  # the flag for UTF-8
        return name.replace("\\", "/"), info, name.encode("utf-8", "surrogatepass")
    try:
        raw = name.encode("cp437")
    except UnicodeEncodeError:  # from the entry's field for Unicode
        return name.replace("\\", "/"), info, name.encode()
    raw = raw if b"/" in raw else raw.replace(b"\\", b"/")  # the second byte of a Japanese letter may be a backslash
    for page in ("utf-8", "cp437"):
        if page == "cp437" and not (set(raw) - ASCII <= LATIN_OF_CP437 and not readings(raw, EAST_ASIAN)):
            continue
        try:
            return raw.decode(page), info, raw.decode(page).encode()
        except UnicodeDecodeError:
            continue
    return shown(raw), info, raw


def shown(raw: bytes) -> str:
    """Decode a path; what isn't UTF-8 between two slashes is shown with escapes."""
    return "/".join(step.decode("utf-8" if is_utf8(step) else "ascii", "backslashreplace") for step in raw.split(b"/"))


def readings(raw: bytes, pages: Sequence[str] = PAGES) -> dict[str, str]:
    """Read a name in the code pages that give letters alone, no word of it in two scripts."""
    found = {}
    for page in pages:
        try:
            text = raw.decode(page)
        except UnicodeDecodeError:
            continue
        if _of_one_script(text, east=page in EAST_ASIAN):
            found[page] = text
    return found


def _of_one_script(text: str, east: bool) -> bool:
    words = "".join(c if c.isalpha() or ord(c) > 127 else " " for c in text).split()
    strange = [w for w in words if not w.isascii()]
    if not all(c.isalpha() for w in strange for c in w):
        return False
    scripts = ("HANGUL", "CJK", "HIRAGANA", "KATAKANA") if east else ("LATIN", "CYRILLIC")
    kinds = [{unicodedata.name(c, "?").split()[0] for c in w} for w in strange]
    return all(k <= set(scripts) and (east or len(k) == 1) for k in kinds)


def is_utf8(raw: bytes) -> bool:
    """Tell whether bytes are text in UTF-8."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
