"""An entry's files as they come in over the network: to disk while they are counted, under names of ours."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from harness.board import files
from harness.board.files import Inbox
from harness.board.teams import Team
from harness.record.manifest import MANIFEST, MODEL, PREDICTIONS
from harness.sandbox.limits import Limits
from harness.web.declined import Declined
from harness.web.guard import Bounds
from harness.web.tokens import unknown

PARTS = {"model": MODEL, "predictions": PREDICTIONS, "manifest": MANIFEST}
"""The form's files. What a client calls them is never looked at."""
FIELDS, LONGEST_FIELD = ("token", "kind"), 200
FORM = "send multipart/form-data with the files model, predictions and manifest, and kind (scored or debug) before them"


class Lanes:
    """How many uploads are under way."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds, self._of, self._lock = bounds, Counter[int](), threading.Lock()

    @contextmanager
    def taken(self, team: int) -> Iterator[None]:
        """Hold a place for a team's upload.

        Raises:
            Declined: there is none free.
        """
        with self._lock:
            if self._of[team] >= self._bounds.uploads_of_team or self._of.total() >= self._bounds.uploads:
                raise Declined(429, "busy", "too many uploads at once", "wait until one of them has ended", 5)
            self._of[team] += 1
        try:
            yield
        finally:
            with self._lock:
                self._of[team] -= 1


@dataclass
class Parcel:
    """A form as it is taken apart. who: the team by its header, or None where a field must say."""

    who: Team | None
    root: Path
    limits: Limits
    lanes: Lanes
    authenticate: Callable[[str], Team]
    holding: ExitStack

    def __post_init__(self) -> None:
        self.inbox: Inbox | None = None
        self.fields: dict[str, bytes] = {}
        self.seen: set[str] = set()
        self.complete = False
        self._part, self._header, self._disposition = "", b"", b""

    def callbacks(self) -> Any:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._named(data[start:end]),
            "on_header_value": lambda data, start, end: self._valued(data[start:end]),
            "on_header_end": self._header_ended,
            "on_headers_finished": self._opened,
            "on_part_data": lambda data, start, end: self._add(data[start:end]),
            "on_end": self._ended,
        }

    @property
    def kind(self) -> str:
        """Return what the entry is for.

        Raises:
            Declined: neither scored nor debug.
        """
        kind = self.fields.get("kind", b"scored").decode(errors="replace")
        if kind not in ("scored", "debug"):
            raise Declined(422, "form", f"kind={ascii(kind[:40])}: allowed: scored, debug", "send one of them")
        return kind

    def _begin(self) -> None:
        self._part, self._header, self._disposition, self._value = "", b"", b"", b""

    def _named(self, data: bytes) -> None:
        self._header += data

    def _valued(self, data: bytes) -> None:
        self._value += data

    def _header_ended(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _opened(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name", b"").decode(errors="replace")
        if name in self.seen or name not in (*FIELDS, *PARTS):
            what = f"the form's part {ascii(name[:40])}: {'a second time' if name in self.seen else 'unknown'}"
            raise Declined(422, "form", f"{what}; allowed: {', '.join((*FIELDS, *PARTS))}", FORM)
        self.seen.add(name)
        self._part = name
        if name in PARTS and self.inbox is None:
            self._receive()

    def _receive(self) -> None:
        """Begin with the files: for those alone whose token was right."""
        if self.who is None:
            if not self.fields.get("token"):
                raise unknown()
            self.who = self.authenticate(self.fields["token"].decode(errors="replace").strip())
        self.holding.enter_context(self.lanes.taken(self.who.id))
        self.inbox = self.holding.enter_context(files.incoming(self.root, self.limits))

    def _add(self, data: bytes) -> None:
        if self._part in PARTS and self.inbox is not None:
            self.inbox.write(PARTS[self._part], data)
            return
        value = self.fields.get(self._part, b"") + data
        if len(value) > LONGEST_FIELD:
            raise Declined(422, "form", f"the form's field {self._part}: more than {LONGEST_FIELD} bytes", FORM)
        self.fields[self._part] = value

    def _ended(self) -> None:
        self.complete = True


async def receive(request: Request, parcel: Parcel) -> Inbox:
    """Take a form in; its files are in the inbox then, and gone once `parcel.holding` ends unless they are kept.

    Raises:
        Declined: it is no such form, was cut off, or its token is wrong.
        Refused: a file is too large.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Declined(415, "form", "the body isn't multipart/form-data with a boundary", FORM)
    try:
        parser = MultipartParser(options[b"boundary"], parcel.callbacks())
        async for chunk in request.stream():
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
    except FormParserError as e:
        raise Declined(400, "form", f"the form can't be read: {ascii(str(e))[1:120]}", FORM) from None
    if not parcel.complete or parcel.inbox is None:
        raise (
            unknown() if parcel.who is None else Declined(422, "files", "the form has no files, or was cut off", FORM)
        )
    return parcel.inbox
