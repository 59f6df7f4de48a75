"""A protobuf file, walked before it is parsed: how much is in it, how deep, and nothing that its type lacks."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MOST_MESSAGES = 250_000
"""A parsed message takes some 200 bytes however small it is in the file; torchvision's largest networks have 50,000."""
MOST_FIELDS = 1_000_000
"""A number may take two bytes of the file where it is written alone, and the walk microseconds for each."""
MOST_SPELT = 16_000_000
"""Bytes of whole numbers not stored raw: a byte of the file becomes eight in memory."""
DEEPEST = 12
LONGEST_TEXT = 100_000
"""Bytes of one name or comment; older exporters write stack traces into comments."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64, FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32, FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _BYTES, FieldDescriptor.TYPE_BYTES: _BYTES, FieldDescriptor.TYPE_MESSAGE: _BYTES,
}  # fmt: skip


class Unsound(ValueError):
    """The bytes aren't one whole message of the type."""


def walk(content: bytes, kind: Descriptor) -> int:
    """Hold bytes against a message type, field by field, without building it; return how many messages it holds.

    Source: https://protobuf.dev/programming-guides/encoding/

    Raises:
        Unsound: a field is unknown, of another wire type, cut off or twice where one may stand; or there is too much.
    """
    data = memoryview(content)
    left, count, fields, spelt = [(kind, 0, len(data), 0)], 1, 0, 0
    while left:
        kind, start, stop, depth = left.pop()
        seen = set()
        for field, begin, end in _fields(data, kind, start, stop):
            if not field.is_repeated and field.number in seen:
                raise Unsound(f"{kind.name}.{field.name} stands there twice")
            seen.add(field.number)
            fields, spelt = fields + 1, spelt + (end - begin if field.type not in _WIRE else 0)
            if fields > MOST_FIELDS or spelt > MOST_SPELT:
                raise Unsound(
                    f"more than {MOST_FIELDS:,} values, or {MOST_SPELT:,} bytes of whole numbers not stored raw"
                )
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                if depth == DEEPEST:
                    raise Unsound(f"nested deeper than {DEEPEST}")
                left.append((field.message_type, begin, end, depth + 1))
                count += 1
                if count > MOST_MESSAGES:
                    raise Unsound(f"more than {MOST_MESSAGES:,} parts")
            elif field.type == FieldDescriptor.TYPE_STRING:
                _check_text(data[begin:end], f"{kind.name}.{field.name}")
    return count


def _check_text(data: memoryview, where: str) -> None:
    if len(data) > LONGEST_TEXT:
        raise Unsound(f"{where} has {len(data):,} bytes; allowed: {LONGEST_TEXT:,}")
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as e:
        raise Unsound(f"{where} isn't UTF-8") from e


def _fields(data: memoryview, kind: Descriptor, at: int, stop: int) -> Iterator[tuple[FieldDescriptor, int, int]]:
    """Yield each field of a message with where its value begins and ends."""
    known = kind.fields_by_number
    while at < stop:
        key, at = _varint(data, at, stop)
        field, wire = known.get(key >> 3), key & 7
        if field is None:
            raise Unsound(f"{kind.name} has no field {key >> 3}")
        usual = _WIRE.get(field.type, _VARINT)
        if wire != usual and not (wire == _BYTES and field.is_repeated and usual != _BYTES):
            raise Unsound(f"{kind.name}.{field.name} is written in another way")
        begin = at
        if wire == _VARINT:
            _, at = _varint(data, at, stop)
        elif wire == _BYTES:
            size, begin = _varint(data, at, stop)
            at = begin + size
        else:
            at += 8 if wire == _FIXED64 else 4
        if at > stop:
            raise Unsound(f"{kind.name}.{field.name} is cut off")
        yield field, begin, at


def _varint(data: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise Unsound("the file is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Unsound("a number of more than ten bytes")
