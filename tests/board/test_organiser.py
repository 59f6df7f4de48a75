"""The organiser's day, by its commands."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import in_process
import numpy as np
import pytest
from hosting import verdict
from next_lines import following
from PIL import Image
from still_clock import judges_clock

from harness import config
from harness.__main__ import main
from harness.board import competitions, entries, files, local, log, queue, store, teams
from harness.errors import HarnessError
from harness.judge import timing
from harness.record import manifest
from harness.sandbox.remote import Mode

EXAMPLE = Path(__file__).parents[2] / "submissions" / "example"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board and a folder of files of one's own."""
    monkeypatch.setenv("HARNESS_BOARD_URL", f"sqlite:///{tmp_path}/board.db")
    monkeypatch.setenv("HARNESS_BOARD_FILES", str(tmp_path / "files"))
    return tmp_path


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a verb; return what it printed."""
    capsys.readouterr()
    main(list(arguments))
    return capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a verb for JSON."""
    return json.loads(said(capsys, *arguments, "--json"))


def hand_in(place: Path, team: str) -> int:
    """Submit the committed example."""
    engine = store.open(f"sqlite:///{place}/board.db")
    hosted = competitions.find(engine, "digits")
    with files.incoming(place / "files", hosted.contest.limits()) as inbox:
        for name in files.NAMES:
            inbox.write(name, (EXAMPLE / name).read_bytes())
        kept = inbox.keep()
    raw = json.loads((kept.folder / "manifest.json").read_text())
    return queue.submit(engine, teams.find(engine, team).id, hosted.id, kept.content, kept.sizes, raw)[0]


def test_an_organisers_day(
    capsys: pytest.CaptureFixture[str], place: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the creation to the private board, with the real judge in its sandbox, but for a clock that stands still."""
    monkeypatch.setattr(timing, "measure", judges_clock({"onnx": 0.5}))
    assert "competition digits: open" in said(capsys, "competition", "create", "digits")
    added = told(capsys, "team", "add", "Anna B", "url=https://wandb.ai/anna/trash")
    assert added["token"].startswith("hb_")
    assert added["token"] not in said(capsys, "team", "list")
    entry = hand_in(place, "Anna B")
    assert f"│ {entry} " in said(capsys, "submissions")
    main(["work", "wait=false", f"runs={place}/runs", f"sandbox={mode}"])  # in a process of its own
    (found,) = told(capsys, "submissions", "team=Anna B")
    assert (found["state"], found["stage"], found["sandbox"]) == ("COMPLETE", None, mode)
    (public,) = told(capsys, "standings", "competition=digits")
    assert (public["rank"], public["team"], public["entries"]) == (1, "Anna B", 1)
    assert told(capsys, "rescore", "f1_squared_fps") == []
    assert "digits is ranked by f1_squared_fps now" in said(capsys, "rescore", "f1_squared_fps", "f1_floor=0.6")
    assert "competition digits: closed" in said(capsys, "competition", "close")
    (private,) = told(capsys, "standings", "--private")
    assert private["f1"] != public["f1"]
    assert told(capsys, "submissions")[0]["f1_private"] == private["f1"]
    said(capsys, "competition", "export", "--private", f"to={place}/board.csv")
    exported = (place / "board.csv").read_bytes()  # spreadsheets know UTF-8 by its mark
    assert exported.startswith(b"\xef\xbb\xbfrank,") and exported.splitlines()[1].startswith(b"1,Anna B,")
    assert said(capsys, "competition", "export", "--private").startswith("rank,")
    assert told(capsys, "backup", f"to={place}/backup")["entries"] == 1
    head = told(capsys, "audit")["head"]
    assert "the log is whole" in said(capsys, "audit", f"head={head}")
    assert [row["action"] for row in told(capsys, "log", "last=5")] == ["finish", *["rescore"] * 2, "close", "backup"]
    assert added["token"] not in said(capsys, "log")
    said(capsys, "requeue", str(entry))
    assert "open" in said(capsys, "competition", "reopen")
    assert "lets nobody in" in said(capsys, "team", "revoke", "Anna B")


@pytest.mark.parametrize(("answer", "ranked"), [("y", True), ("n", False), ("", False), (None, False)])
def test_a_person_sees_what_rescore_changes_before_it_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str | None, ranked: bool
) -> None:
    """Asked in a terminal; Ctrl-D is a no. A script isn't asked, and `apply=false` only shows."""
    said(capsys, "competition", "create", "digits")
    assert "no team's rank would change\nnothing is changed" in said(capsys, "rescore", "f1_squared_fps", "apply=false")

    def reply(question: str) -> str:
        assert question == "rank digits by f1_squared_fps from now on? [y/N] "
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", reply)
    shown = said(capsys, "rescore", "f1_squared_fps")
    assert shown.startswith("no team's rank would change\n")
    assert ("is ranked by f1_squared_fps now" in shown) is ranked and ("nothing is changed" in shown) is not ranked
    assert [row["action"] for row in told(capsys, "log")].count("rescore") == int(ranked)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["competition"], "competition: no action given; allowed: create, publish, describe, close, reopen, export"),
        (["competition", "creat", "digits"], "unknown 'creat'.*\n.*did you mean 'create'"),
        (["competition", "create"], "given nothing; allowed: FILE"),
        (["competition", "create", "nothing.yaml"], "competition nothing.yaml: no such file"),
        (["competition", "publish"], "given nothing; allowed: DIR"),
        (["competition", "publish", "copy"], "there is no competition in this database"),
        (["team", "token", "anna"], "team 'anna': there is none"),
        (["competition", "close", "digits"], "given digits; allowed: settings only"),
        (["competition", "close"], "there is no competition in this database"),
        (["team", "add"], "given nothing; allowed: NAME"),
        (["team", "add", "a", "b"], "a name with blanks in quotes"),
        (["team", "add", "a", "baseline=maybe"], "baseline"),
        (["team", "list", "tem=x"], "tem: unknown setting.*\n.*did you mean 'team'"),
        (["requeue"], "allowed: numbers of entries"),
        (["requeue", "x"], "allowed: numbers of entries"),
        (["rescore"], "given nothing; allowed: FORMULA"),
        (["rescore", "f1_squared_fps", "f1_floor=low"], "f1_floor=low: allowed: a number"),
        (["work", "sandbox=none"], "sandbox: unknown 'none'"),
        (["work"], "there is no competition"),
        (["standings", "--private"], "there is no competition"),
        (["log", "last=many"], "last=many: allowed: a whole number"),
    ],
)
def test_a_mistake_is_one_clear_error(arguments: list[str], reason: str) -> None:
    """It names the value, what is allowed and what to do."""
    with pytest.raises(HarnessError, match=reason):
        main(arguments)


def test_an_organiser_describes_and_announces(
    capsys: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From files as editors write them; what is shown as it is written is told; the log has it all."""
    monkeypatch.chdir(place)
    said(capsys, "competition", "create", "digits")
    (place / "über uns.md").write_bytes("\ufeff# Ziffern\r\n\r\n<b>x</b>\r\n".encode())
    (place / "utf16.md").write_text("# 숫자\n", encoding="utf-16")
    shown = said(capsys, "competition", "describe", "über uns.md", "data_url=https://x.org/copy.zip?a=b,c&d={e}!")
    assert "a description of 20 characters, data at https://x.org/copy.zip?a=b,c&d=%7Be%7D!;" in shown
    assert "shown as it is written: über uns.md, line 3: HTML, '<b>'" in shown
    found = told(capsys, "competition", "describe", "utf16.md")
    assert (found["characters"], found["kept_as_text"]) == (5, [])
    assert found["data_url"] == "https://x.org/copy.zip?a=b,c&d=%7Be%7D!"
    assert told(capsys, "competition", "describe", "data_url=")["data_url"] == ""
    assert "announcement 1 stands on" in said(capsys, "announce", "The target is F1=0.9, see <https://x.org/?a=b>")
    assert "announcement 1 stood already" in said(capsys, "announce", "The target is F1=0.9, see <https://x.org/?a=b>")
    second = told(capsys, "announce", "key=value", "competition=digits")
    assert (second["id"], second["text"], second["new"]) == (2, "key=value", True)
    long = told(capsys, "announce", "가" * 100)  # more bytes than a file's name may have
    assert (long["id"], long["text"]) == (3, "가" * 100)
    rows = told(capsys, "log", "last=6")[:-1]
    assert [row["action"] for row in rows] == [*["describe"] * 3, *["announce"] * 2]
    assert rows[-1]["detail"]["text"] == "key=value" and rows[-1]["actor"] == "organiser"
    assert "the log is whole" in said(capsys, "audit")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["competition", "describe"], "given nothing; allowed: FILE.md, data_url=URL, or both"),
        (["competition", "describe", "a.md", "b.md"], "given a.md, b.md; allowed: FILE.md"),
        (["competition", "describe", "none.md"], "none.md: no such file"),
        (["competition", "describe", "."], r"\.: is a folder"),
        (["competition", "describe", "latin.md"], r"latin.md:2: not UTF-8 text \(byte 0xfc\)"),
        (["competition", "describe", "zeros.md"], r"the description: line 1: the sign U\+0000 is no text"),
        (
            ["competition", "describe", "data_url=javascript:alert(1)"],
            "data_url='javascript:alert.*: allowed: an address",
        ),
        (["competition", "describe", "data_url=copy.zip"], "data_url='copy.zip': allowed: an address"),
        (["competition", "describe", "fine.md", "competition=digts"], "competition=digts: not in this database"),
        (["announce"], "announce: given nothing; allowed: one text"),
        (["announce", "two", "words"], "announce: given 'two', 'words'; allowed: one text\n.*in quotes"),
        (["announce", "competition=digits"], r"given nothing; allowed: one text \('competition=digits' is a setting"),
        (["announce", "x", "competitoin=digits"], "given 'x', 'competitoin=digits'; allowed: one text"),
        (["announce", "fine.md"], "announce fine.md: is a file; allowed: the text itself"),
        (["announce", " "], "the announcement: is empty"),
        (["announce", "x" * 4001], "the announcement: 4,001 characters; allowed: 4,000"),
    ],
)
def test_what_is_no_description_and_no_announcement_is_one_clear_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    """And nothing is said."""
    monkeypatch.chdir(place)
    (place / "latin.md").write_bytes("Ziffern\nf\xfcr alle".encode("latin-1"))
    (place / "zeros.md").write_bytes(b"a\x00b")
    (place / "fine.md").write_text("fine")
    main(["competition", "create", "digits"])
    with pytest.raises(HarnessError, match=reason):
        main(arguments)
    assert [row.action for row in log.rows(store.open(f"sqlite:///{place}/board.db"))] == ["begin", "create"]


def test_a_setting_of_the_command_line_is_not_said_to_stand_in_a_file(place: Path) -> None:
    """The settings' file has it too, with its default."""
    done = in_process.run(place, "-m", "harness", "serve", "port=-1", code=2)
    assert "port=-1: allowed" in done.stderr and "board.yaml" not in done.stderr


def test_what_one_scored_for_oneself_is_shown_where_nothing_is_hosted(capsys: pytest.CaptureFixture[str]) -> None:
    """As before there were competitions."""
    assert told(capsys, "standings") == []
    assert "no verdict yet" in said(capsys, "standings")


def test_what_one_scored_for_oneself_is_shown_beside_a_hosted_competition(
    capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    """One database serves both days of the README; who asks for the competition's board by name gets that alone."""
    created = said(capsys, "competition", "create", "digits", f"board.url=sqlite:///{place}/board.db")
    team, serve, work = following(created)
    where = f"board.url=sqlite:///{place}/board.db"
    assert team.endswith(f"harness team add 'Team 1' {where}") and work.endswith(f"work competition=digits {where}")
    main(shlex.split(team)[shlex.split(team).index("team") :])
    rules, entry = config.read_competition("digits"), manifest.read(EXAMPLE)
    local.record(store.open(f"sqlite:///{place}/board.db"), entry, verdict(entry.name, 0.9, rules=rules), rules)
    assert "public standings: digits" in said(capsys, "standings")
    assert "Standings: digits" in said(capsys, "standings")
    assert "Standings: digits" not in said(capsys, "standings", "competition=digits")
    assert "Standings: digits" not in said(capsys, "standings", "--private")


def test_a_lost_token_is_replaced_by_a_verb(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    """The old one lets nobody in, the new one is shown once and stands in no log."""
    lost = told(capsys, "team", "add", "Anna B")["token"]
    found = told(capsys, "team", "token", "Anna B")
    engine = store.open(f"sqlite:///{place}/board.db")
    assert teams.by_token(engine, lost) is None
    assert teams.by_token(engine, found["token"]).name == "Anna B"
    assert told(capsys, "log", "last=1")[0]["action"] == "team token"
    assert found["token"] not in said(capsys, "log") + said(capsys, "team", "list")


def test_an_audit_that_finds_something_fails(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    """With an exit code that a script sees."""
    said(capsys, "team", "add", "anna")
    with store.open(f"sqlite:///{place}/board.db").begin() as connection:
        connection.exec_driver_sql("UPDATE log SET actor = 'nobody' WHERE id = 1")
    with pytest.raises(HarnessError, match="audit: row 1 of the log was changed"):
        main(["audit"])


def test_a_backup_without_an_entrys_files_says_so(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    """Though the database is saved."""
    said(capsys, "competition", "create", "digits")
    said(capsys, "team", "add", "anna")
    hand_in(place, "anna")
    shutil.rmtree(place / "files")
    with pytest.raises(HarnessError, match="the files of 1 entries are missing or damaged"):
        main(["backup", f"to={place}/b"])
    assert (place / "b" / "board.db").exists()
    assert entries.of(
        store.open(f"sqlite:///{place}/b/board.db"), competitions.find(store.open(f"sqlite:///{place}/b/board.db"), "")
    )


def test_the_judge_finds_the_data_where_the_competition_was_created_with_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`work` by the very line that `create` printed, and without a word of the data; both from the working folder."""
    random = np.random.default_rng(0)
    for name in ("can", "cup", "box"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(
                tmp_path / f"photos/{name}/{number}.png"
            )
    data = "data: {name: folder, options: {seed: 0, validation: 0.25, test: 0.25, side_px: 16}}"
    digits = "data: {name: digits, options: {seed: 0, validation: 0.25, test: 0.25, side_px: 16}}"
    shipped = config.find("competition", "digits")
    assert shipped is not None and digits in shipped.read_text()
    text = (
        shipped.read_text()
        .replace(digits, data)
        .replace("name: digits", "name: cup")
        .replace("classes: 10", "classes: 3")
    )
    (tmp_path / "cup.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    _, serve, work = following(said(capsys, "competition", "create", "cup.yaml", "data.root=photos"))
    assert serve.endswith("serve competition=cup") and work.endswith("work competition=cup data.root=photos")
    for line in (work, work.removesuffix(" data.root=photos")):
        words = shlex.split(line)
        main([*words[words.index("work") :], "wait=false", "sandbox=unsafe"])
    (publish,) = following(said(capsys, "competition", "publish", "copy"))
    assert publish.endswith("tune data=published data.root=copy")
