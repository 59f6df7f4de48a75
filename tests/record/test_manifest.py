"""The manifest says what an entry is, and every wrong field is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import is_typeddict

from harness.errors import HarnessError
from harness.record.manifest import LARGEST, MANIFEST, Manifest, read, write


def paths(kind: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """List the path of every field."""
    for name, inner in get_type_hints(kind).items():
        yield (*at, name)
        if is_typeddict(inner):
            yield from paths(inner, (*at, name))


ALL = list(paths(Manifest))
LATER = [("preprocessing", "side_px")]
"""Fields that older entries haven't."""


def change(folder: Path, path: tuple[str, ...], value: Any = None, drop: bool = False, name: str = "") -> None:
    """Set, drop or rename one field of a manifest."""
    raw = json.loads((folder / MANIFEST).read_text())
    inner = raw
    for step in path[:-1]:
        inner = inner[step]
    if drop or name:
        value = inner.pop(path[-1])
    if not drop:
        inner[name or path[-1]] = value
    (folder / MANIFEST).write_text(json.dumps(raw))


def test_what_is_written_is_read(packed: Path, tmp_path: Path) -> None:
    """A manifest survives the way through its file."""
    manifest = read(packed)
    write(tmp_path, manifest)
    assert read(tmp_path) == manifest
    assert manifest.prepared().resolution_px == 8


@pytest.mark.parametrize("path", LATER, ids=".".join)
def test_an_entry_of_before_a_field_was_there_is_read(entry: Path, path: tuple[str, ...]) -> None:
    """Boards keep such entries."""
    change(entry, path, drop=True)
    assert read(entry).prepared().resolution_px == 8


@pytest.mark.parametrize("path", [path for path in ALL if path not in LATER], ids=".".join)
def test_a_missing_field_is_named(entry: Path, path: tuple[str, ...]) -> None:
    """Whatever field is left out, the error has its full name and the file."""
    change(entry, path, drop=True)
    with pytest.raises(HarnessError, match=rf"brightest/manifest.json: field '{re.escape('.'.join(path))}' is missing"):
        read(entry)


@pytest.mark.parametrize("path", ALL, ids=".".join)
def test_a_misspelt_field_is_named(entry: Path, path: tuple[str, ...]) -> None:
    """A field that nobody knows is an error with the name that is meant."""
    change(entry, path, name=path[-1] + "x")
    wrong = re.escape(".".join(path) + "x")
    with pytest.raises(HarnessError, match=rf"unknown field '{wrong}'\n.*did you mean '{re.escape(path[-1])}'"):
        read(entry)


@pytest.mark.parametrize("value", [None, True])
@pytest.mark.parametrize("path", ALL, ids=".".join)
def test_an_ill_typed_field_is_named(entry: Path, path: tuple[str, ...], value: Any) -> None:
    """A null and a boolean fit nowhere."""
    change(entry, path, value)
    with pytest.raises(HarnessError, match=rf"{re.escape('.'.join(path))} is {value}; allowed: (a valid|'float32')"):
        read(entry)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("threads", "1"),
        ("threads", 1.0),
        ("name", 7),
        ("run.train_s", "3"),
        ("run.seed", 0.0),
        ("candidate", [["a", 1]]),
    ],
)
def test_no_value_is_converted(entry: Path, path: str, value: Any) -> None:
    """What a lenient reader would take for the right type is named as any other."""
    change(entry, tuple(path.split(".")), value)
    with pytest.raises(HarnessError, match=rf"{path} is {re.escape(repr(value))}; allowed: a valid "):
        read(entry)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "../escape"),
        ("input.shape", ["N", 3, 9, 9]),
        ("input.dtype", "float16"),
        ("classes", ["red", "red", "blue"]),
        ("preprocessing.mean", [0.5]),
        ("preprocessing.std", [0.2, 0.2, 0.0]),
        ("preprocessing.std", [0.2, 0.2, 1e-300]),
        ("preprocessing.mean", [2e4, 0.5, 0.5]),
        ("threads", 0),
        ("threads", 1_000_000),
        ("created", "yesterday"),
        ("created", "2026-01-31T12:00:00"),
    ],
)
def test_an_impossible_value_is_named(entry: Path, path: str, value: Any) -> None:
    """A value of the right type that can't be meant is named with what is allowed."""
    change(entry, tuple(path.split(".")), value)
    with pytest.raises(HarnessError, match=rf"{path} is {re.escape(repr(value))}; allowed: "):
        read(entry)


def test_a_hash_that_is_none_is_named(entry: Path) -> None:
    """A file's hash has 64 hex digits."""
    change(entry, ("files", "model.onnx"), "abc")
    with pytest.raises(HarnessError, match="files.model.onnx is 'abc'; allowed: 64 hex digits"):
        read(entry)


def test_a_wrong_entry_of_a_list_is_named(entry: Path) -> None:
    """The position in the list is part of the field's name."""
    change(entry, ("classes",), ["red", 2])
    with pytest.raises(HarnessError, match="classes.1 is 2; allowed: a valid string"):
        read(entry)


TOKENS = [b"1e999", b"NaN", b'"\\ud800"', b"[[", b"{}", b"null", b"9" * 30, b'"name": "a", ']


def written(entry: Path, field: str, text: str) -> Path:
    """Write a JSON text as it stands into a field."""
    change(entry, (field,), "HERE")
    path = entry / MANIFEST
    path.write_text(path.read_text().replace('"HERE"', text))
    return entry


@pytest.mark.parametrize(
    "text", ['"a\\u202eb"', '"a\\u200bb"', '"\\ud800"', '"a\\u0000"', '"a\\nb"', '"\\u001b[2J"', f'"{"x" * 1001}"']
)
def test_a_text_that_cannot_be_shown_is_refused(entry: Path, text: str) -> None:
    """What turns a line, hides, breaks one, spoils a terminal, or fits no database: as a value and as a name."""
    for value in (text, f"{{{text}: 1}}", f'{{"a": [{text}]}}'):
        with pytest.raises(
            HarnessError, match="a text is .*; allowed: up to 1,000 characters that can be printed"
        ) as told:
            read(written(entry, "candidate", value))
        assert told.value.what.isprintable()


@pytest.mark.parametrize("text", ["1e999", "-1e999", str(2**63), "9" * 4000, "1e19"])
def test_a_number_that_no_database_takes_is_refused(entry: Path, text: str) -> None:
    """Infinite by its size, or over 64 bits; everywhere."""
    with pytest.raises(HarnessError, match=r"a number is 'too large'; allowed: between -2\*\*63 and 2\*\*63"):
        read(written(entry, "candidate", f'{{"a": {text}}}'))


def test_a_name_twice_is_refused(entry: Path) -> None:
    """Who checks one of the two and who uses the other must not differ."""
    for value in ('{"a": 1, "a": 2}', '{"b": {"c": 1, "d": 1, "c": 1}}'):
        with pytest.raises(HarnessError, match="not JSON: '[ac]' stands there twice"):
            read(written(entry, "candidate", value))


@pytest.mark.parametrize("depth", [40, 400, 20_000])
@pytest.mark.parametrize(("left", "right"), [('{"a":', "}"), ("[", "]")])
def test_values_within_values_end_somewhere(entry: Path, depth: int, left: str, right: str) -> None:
    """Before whatever copies them later runs out of its stack."""
    with pytest.raises(HarnessError, match="over 32 deep|not JSON: maximum recursion"):
        read(written(entry, "candidate", f'{{"a": {left * depth}1{right * depth}}}'))


def test_what_is_usual_stays_allowed(entry: Path) -> None:
    """The control: letters of any script, 20 deep, and a large number."""
    value = '{"größe 你好": ' + "[" * 20 + str(2**53) + "]" * 20 + "}"
    assert read(written(entry, "candidate", value)).candidate["größe 你好"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_refused_or_a_manifest(packed: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Nothing but a HarnessError comes of any change to a sound file, and what passes can be written again."""
    content = bytearray((packed / MANIFEST).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4) | st.sampled_from(TOKENS))
    (tmp_path / MANIFEST).write_bytes(content)
    try:
        manifest = read(tmp_path)
    except HarnessError as e:
        assert e.what and e.fix
    else:
        write(tmp_path, manifest)


@pytest.mark.parametrize("text", ["{", "[1, NaN]", "\udcff", "[" * 100_000])
def test_what_is_not_json_is_an_error(entry: Path, text: str) -> None:
    """Torn, non-standard, ill-encoded and hostile files all end in one clear error."""
    (entry / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(HarnessError, match="manifest.json: not JSON"):
        read(entry)


def test_json_that_is_no_mapping_is_an_error(entry: Path) -> None:
    """A list is JSON, but no manifest."""
    (entry / MANIFEST).write_text("[]")
    with pytest.raises(HarnessError, match=r"the whole file\) is \[\]; allowed: a valid dictionary"):
        read(entry)


def test_a_missing_and_an_oversized_manifest_are_errors(entry: Path, tmp_path: Path) -> None:
    """No file, and one too large to be read."""
    with pytest.raises(HarnessError, match="manifest.json: not found"):
        read(tmp_path)
    (entry / MANIFEST).write_text(" " * (LARGEST + 1))
    with pytest.raises(HarnessError, match="1,000,001 bytes; allowed: 1,000,000"):
        read(entry)
