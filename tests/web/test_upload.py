"""An entry comes in whole or not at all; the same one again costs nothing; what is wrong with it is named at once."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from staged import CLASSES, Staged, bearer, client_of, form, packed, pets, stage

from harness.board import competitions
from harness.board.tables import Competition

GOOD = [f"test-{i},{CLASSES[i % 3]}" for i in range(60)]
TABLE = "\n".join(["id,label", *GOOD]) + "\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """One competition for all that is refused: nothing of it stays."""
    return stage(tmp_path_factory.mktemp("strict"))


@pytest.fixture
def asking(strict: Staged) -> httpx.Client:
    """A client of it."""
    return client_of(strict)


def post(client: httpx.Client, staged: Staged, files: Any, team: str = "A", **data: str) -> Any:
    """Send an entry for a team."""
    return client.post("/api/entries", files=files, data=data, headers=bearer(staged.tokens[team]))


def leftovers(staged: Staged) -> list[Path]:
    """List the folders of uploads that were not kept."""
    return [*staged.root.glob(".incoming-*")]


def test_an_entry_is_kept_under_the_hash_of_what_is_in_it(staged: Staged, client: httpx.Client, tmp_path: Path) -> None:
    """201 and a number; the files lie where no client's word leads; what the client calls them is not looked at."""
    files = form(packed(tmp_path / "in"))
    files["model"] = ("../../../etc/passwd\0.onnx", files["model"][1])
    reply = post(client, staged, files)
    assert (reply.status_code, reply.json()["id"], reply.json()["new"]) == (201, 1, True)
    content = client.get("/api/entries/1", headers=bearer(staged.tokens["A"])).json()["entry"]["content"]
    kept = [p for p in staged.root.rglob("*") if p.is_file()]
    assert sorted(p.name for p in kept) == ["manifest.json", "model.onnx", "predictions.csv"]
    assert {p.parent for p in kept} == {staged.root / content[:2] / content} and not leftovers(staged)


def test_the_same_files_again_are_the_same_entry(staged: Staged, client: httpx.Client, tmp_path: Path) -> None:
    """200 and the same number, by the API and by the form; the quota is charged once. Another team's are another's."""
    files = form(packed(tmp_path / "in"))
    numbers = [post(client, staged, files).json()["id"] for _ in range(3)]
    again = client.post("/upload", files=files, data={"token": staged.tokens["A"]})
    assert numbers == [1, 1, 1] and again.status_code == 200 and "Entry 1" in again.text
    assert client.get("/api/teams/me", headers=bearer(staged.tokens["A"])).json()["left"]["scored"] == 9
    assert post(client, staged, files, "B").json() == {"id": 2, "new": True, "url": "/entries/2"}
    assert post(client, staged, files, kind="debug").json()["new"]


def test_at_the_end_of_the_quota_a_repeat_is_answered_and_nothing_else_is_kept(tmp_path: Path) -> None:
    """A cut reply can be asked for again; new files are refused (429, with the time to wait) and leave nothing."""
    staged = stage(tmp_path, submissions_a_day=1)
    client = client_of(staged)
    files, others = form(packed(tmp_path / "in")), form(packed(tmp_path / "more", model=b"another"))
    assert post(client, staged, files).status_code == 201
    full = post(client, staged, others)
    assert full.status_code == 429 and full.json()["reason"] == "quota" and int(full.headers["retry-after"]) > 0
    assert post(client, staged, files).json() == {"id": 1, "new": False, "url": "/entries/1"}
    assert len([p for p in staged.root.glob("??/*")]) == 1 and not leftovers(staged)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("runtime", "openvino", "runtime is 'openvino'; competition 'pets' times 'onnx'"),
        ("threads", 2, "threads is 2; competition 'pets' times 1"),
        (
            "data",
            {"name": "pets", "options": {}, "fingerprint": "f" * 64},
            "data.fingerprint is ffffffffffffffff; competition 'pets' is on ",
        ),
    ],
)
def test_an_entry_of_other_data_or_for_another_engine_is_refused_at_the_door(
    staged: Staged, client: httpx.Client, tmp_path: Path, field: str, value: Any, words: str
) -> None:
    """By the API and by the form, before it costs quota; the right one goes in afterwards."""
    wrong = form(packed(tmp_path / "in", **{field: value}))
    reply = post(client, staged, wrong)
    assert (reply.status_code, reply.json()["reason"]) == (422, "manifest"), reply.text
    assert reply.json()["message"].startswith(f"manifest.json: {words}")
    page = client.post("/upload", files=wrong, data={"token": staged.tokens["A"]})
    assert page.status_code == 422 and words in html.unescape(page.text)
    mine = client.get("/api/teams/me", headers=bearer(staged.tokens["A"])).json()
    assert (mine["left"]["scored"], mine["entries"]) == (10, []) and not leftovers(staged)
    assert post(client, staged, form(packed(tmp_path / "right"))).status_code == 201


def test_a_board_from_before_there_were_two_fingerprints_leaves_the_data_to_the_judge(
    staged: Staged, client: httpx.Client, tmp_path: Path
) -> None:
    """It knows but the judge's, which no new entry has."""
    old = {"data_fingerprint": pets().judge_fingerprint(), "judge_fingerprint": None}
    with staged.engine.begin() as connection:
        connection.execute(sa.update(Competition).values(old))
    hosted = staged.hosted.fingerprint, competitions.find(staged.engine, "").fingerprint
    assert hosted == (pets().fingerprint(), None)
    assert client.get("/api/competition").json()["fingerprint"] is None
    assert client.get("/rules").status_code == 200
    assert post(client, staged, form(packed(tmp_path / "in"))).status_code == 201


def test_what_is_too_large_is_refused_while_it_comes_in(staged: Staged, client: httpx.Client, tmp_path: Path) -> None:
    """One byte too many of a file: 413, and nothing remains; the very size that is allowed goes in."""
    fits = post(client, staged, form(packed(tmp_path / "in", model=b"m" * 1_000_000)))
    over = post(client, staged, form(packed(tmp_path / "over", model=b"m" * 1_000_001)))
    assert (fits.status_code, over.status_code, over.json()["reason"]) == (201, 413, "size") and not leftovers(staged)


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"model": None}, 422, "files"),
        ({"manifest": ("m", b"")}, 422, "files"),
        ({"manifest": ("m", b"{")}, 422, "manifest"),
        ({"manifest": ("m", b'{"a": NaN}')}, 422, "manifest"),
        ({"manifest": ("m", b"[" * 100_000)}, 422, "manifest"),
        ({"manifest": ("m", b"\xff\xfe")}, 422, "manifest"),
        ({"model": ("m", b"other bytes")}, 422, "files"),
        ({"extra": ("m", b"x")}, 422, "form"),
        ({"manifest": ("m", b"x" * 1_000_001)}, 413, "size"),
    ],
)
def test_files_that_are_no_entry_are_refused(
    strict: Staged, asking: httpx.Client, tmp_path: Path, change: dict[str, Any], status: int, reason: str
) -> None:
    """Each with a named reason; nothing is kept, nothing charged, and no path of the server is told."""
    files = {k: v for k, v in (form(packed(tmp_path / "in")) | change).items() if v is not None}
    reply = post(asking, strict, files)
    assert (reply.status_code, reply.json()["reason"]) == (status, reason), reply.text
    assert set(reply.json()) == {"reason", "message", "fix"} and str(tmp_path) not in reply.text
    assert not leftovers(strict) and not [*strict.root.glob("??/*")]
    assert asking.get("/api/teams/me", headers=bearer(strict.tokens["A"])).json()["left"]["scored"] == 10


def test_forms_that_are_none_are_refused(staged: Staged, client: httpx.Client, tmp_path: Path) -> None:
    """Another type, no boundary, a part twice, an endless field, a strange kind, a form cut short: 4xx each."""
    head, name = bearer(staged.tokens["A"]), b'content-disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    multi = head | {"content-type": "multipart/form-data; boundary=x"}
    part = lambda field, value: b"--x\r\n" + name % (field, value)  # noqa: E731
    bodies = [
        (head | {"content-type": "application/json"}, b"{}", 415),
        (head | {"content-type": "multipart/form-data"}, b"", 415),
        (multi, b"", 422),
        (multi, b"--x--\r\n", 422),
        (multi, b"nonsense", 400),
        (multi, part(b"kind", b"scored") * 2 + b"--x--", 422),
        (multi, part(b"kind", b"k" * 300) + b"--x--", 422),
        (multi, part(b"model", b"onnx"), 422),
        (multi, b"--x\r\n" + b"h: v\r\n" * 100, 400),
        (multi, b"--x\r\n" + b"h" * 10_000, 400),
        (head | {"content-type": "multipart/form-data; boundary=" + "b" * 400}, b"", 400),
    ]
    for headers, body, status in bodies:
        reply = client.post("/api/entries", content=body, headers=headers)
        assert (reply.status_code, reply.json()["reason"] in ("form", "files")) == (status, True), (
            body[:60],
            reply.text,
        )
    strange = post(client, staged, form(packed(tmp_path / "in")), kind="<b>")
    assert strange.status_code == 422 and not leftovers(staged)


def test_a_form_whose_token_comes_after_its_files_is_refused(
    staged: Staged, client: httpx.Client, tmp_path: Path
) -> None:
    """Nobody's bytes are written to disk: whose they are must be known before."""
    files = list(form(packed(tmp_path / "in")).items())
    late = client.post("/upload", files=[*files, ("token", (None, staged.tokens["A"]))])
    assert late.status_code == 401 and not staged.root.exists()


def test_before_the_opening_and_after_the_close_nothing_comes_in(tmp_path: Path) -> None:
    """403, "closed", and nothing is kept."""
    staged = stage(tmp_path, opens="2099-01-01", closes="2099-02-01")
    client = client_of(staged)
    reply = post(client, staged, form(packed(tmp_path / "in")))
    assert (reply.status_code, reply.json()["reason"]) == (403, "closed") and not [*staged.root.glob("??/*")]
    assert "not open yet" in client.get("/upload").text


def rows(*change: tuple[int, str]) -> str:
    """Return a good table with other lines, counted from 1."""
    lines = TABLE.split("\n")
    for line, text in change:
        lines[line - 1] = text
    return "\n".join(lines)


MALFORMED: list[tuple[str | bytes, int]] = [
    ("", 0), ("\n", 1), ("\r\n" * 3, 1), (" ", 1), ("id", 1), ("id;label\n", 1), ("id\tlabel\n", 1), ("label,id\n", 1),
    ("ID,Label\n", 1), ("id,label,\n", 1), (" id,label\n", 1), ("id, label\n", 1), ('"id,label"\n', 1),
    ("\ufeff" + TABLE, 1), (TABLE.encode("utf-16"), 1), (TABLE.encode("utf-16-le"), 1), (TABLE.encode("utf-32"), 1),
    (b"\0" + TABLE.encode(), 1), (b"\x80" + TABLE.encode(), 1), (b"\x1f\x8b\x08" + TABLE.encode(), 1),
    (b"PK\x03\x04" + TABLE.encode(), 1), ("\n".join(GOOD), 1), ("# comment\n" + TABLE, 1), ("sep=,\n" + TABLE, 1),
    ("id\rlabel\r", 1), ('[{"id": 1}]', 1), ("<table></table>", 1), ("id,label,id\n", 1),
    (rows((3, "")), 3), (rows((3, "test-1")), 3), (rows((3, "test-1,")), 3), (rows((3, ",dog")), 3),
    (rows((3, "test-1,dog,extra")), 3), (rows((3, "test-1,,dog")), 3), (rows((3, "test-1;dog")), 3),
    (rows((3, "test-1,dogs")), 3), (rows((3, "test-1,DOG")), 3), (rows((3, "test-1, dog")), 3),
    (rows((3, "test-1,dog ")), 3), (rows((3, "test-1,1")), 3), (rows((3, "test-1,nan")), 3),
    (rows((3, "test-1,1e308")), 3), (rows((3, "test-1,=cmd()")), 3), (rows((3, "test-1,dog\u200b")), 3),
    (rows((3, "test-1,\u202egod")), 3), (rows((3, "test-1,d\0og")), 3), (rows((3, "test-1,<b>dog</b>")), 3),
    (rows((3, "test-1,'; drop table entries; --")), 3), (rows((3, "test-1,dог")), 3), (rows((3, "test-0,cat")), 3),
    (rows((61, "test-0,cat")), 61), (rows((3, '"test-1,dog')), 3), (rows((3, 'test-1,"dog"x')), 3),
    (rows((3, 'test-1,d"og')), 3), (rows((3, "test-1," + "d" * 200_000)), 3), (rows((3, "x" * 200_000)), 3),
    (TABLE.replace("\n", "\r"), 1), (rows((3, "test-1,dog\rtest-2,owl")), 3), (TABLE + "\n", 62), (TABLE + "end", 62),
    (rows((3, "test-1,d\udcffg")).encode(errors="surrogateescape"), 3), (TABLE + "test-0,cat", 62),
    (rows((3, "id,label")), 3), (TABLE + TABLE, 62),
]  # fmt: skip


def test_there_are_sixty_malformed_tables() -> None:
    """As many as were asked for."""
    assert len(MALFORMED) >= 60


@pytest.mark.parametrize(("table", "line"), MALFORMED)
def test_a_malformed_table_is_refused_with_its_line(
    strict: Staged, asking: httpx.Client, tmp_path: Path, table: str | bytes, line: int
) -> None:
    """A 4xx at once, which names the first wrong line, and never a 5xx; nothing is kept."""
    reply = post(asking, strict, form(packed(tmp_path / "in", rows=table)))
    assert 400 <= reply.status_code < 500, reply.text
    told = reply.json()
    assert line == 0 or (told["reason"] == "predictions" and f"line {line}:" in told["message"]), reply.text
    assert len(reply.text) < 2_000 and not leftovers(strict) and not [*strict.root.glob("??/*")]


def test_the_wellformed_table_is_taken(staged: Staged, client: httpx.Client, tmp_path: Path) -> None:
    """The control: what the sixty differ from; also with Windows' line ends and quoted."""
    for number, table in enumerate([TABLE, TABLE.replace("\n", "\r\n"), TABLE.replace("dog", '"dog"'), TABLE.rstrip()]):
        reply = post(client, staged, form(packed(tmp_path / f"in{number}", rows=table)))
        assert reply.status_code == 201, reply.text
