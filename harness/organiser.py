"""The organiser's verbs of `python -m harness`: a competition, its teams, its entries and its judge."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from sqlalchemy import Engine

from harness import config, verbs
from harness.board import competitions, entries, log, queue, store, teams, terminal
from harness.board.competitions import Hosted
from harness.board.contest import Contest
from harness.board.quota import moment
from harness.errors import HarnessError, pick
from harness.extras import need
from harness.invoked import spelt
from harness.processors import check_threads, given
from harness.record import files, places
from harness.settings import Organise

if TYPE_CHECKING:
    from harness.data.split import Dataset

AUDITED = (
    "where you have restored a backup, note its head, and ask the teams for what they sent since; else compare with a "
    "backup of before"
)
"""What to do about an audit that doesn't fit: most have an innocent reason."""
FORMULAS_TAKE = ("f1_target", "time_base", "macs_base", "f1_base", "f1_floor", "reference_ms")
"""The rules that `rescore` changes beside the formula."""


def competition(arguments: list[str], as_json: bool) -> None:
    """Create, publish, describe, close, reopen or export a competition."""
    action, names, rest = _action("competition", arguments, COMPETITION)
    action(names, rest, as_json)


def _create(names: list[str], arguments: list[str], as_json: bool) -> None:
    (named,) = _named("competition create", names, "FILE")
    rules = config.read_competition(named, arguments)
    data, settings = _apart(arguments)
    dataset, said = _loaded(Contest.of(rules), data, config.only(arguments))
    hosted = competitions.create(_open(settings), rules, dataset)
    _remember(settings, hosted, said)
    _print_state(hosted, as_json)
    if not as_json:
        sizes = f"{hosted.public_images} of {len(dataset.test)} test images are public"
        print(f"{sizes}; terms {hosted.terms[:16]}")
        board = config.carried(arguments, "board.url", "board.files", "runs")
        lay = "".join(f" {shlex.quote(word)}" for word in data)
        config.say_next(
            f"{spelt('team')} add 'Team 1'{config.carried(arguments, 'board.url')}",
            f"{spelt('serve')} competition={shlex.quote(hosted.name)}{board}",
            f"{spelt('work')} competition={shlex.quote(hosted.name)}{lay}{board}",
        )


def _publish(names: list[str], arguments: list[str], as_json: bool) -> None:
    """Write the teams' copy of the data: without the labels of the test part."""
    from harness.board.worker import check_data
    from harness.data.published import publish

    (folder,) = _named("competition publish", names, "DIR")
    data, settings = _apart(arguments)
    hosted = competitions.find(_look(settings), settings.competition)
    dataset, said = _loaded(hosted.contest, [*_lay(settings, hosted, data), *data], config.only(arguments))
    check_data(hosted, dataset)
    publish(dataset, Path(folder), {k: said[k] for k in config.HINTS} | {"competition": hosted.name})
    counts = {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")}
    if as_json:
        print(json.dumps({"folder": folder, "fingerprint": dataset.fingerprint(), "images": counts}, indent=2))
        return
    print(f"wrote {folder}: {', '.join(f'{name} {count}' for name, count in counts.items())}; test without labels")
    print("give it to the teams, who search on it so:")
    config.say_next(f"{spelt('tune')} data=published data.root={shlex.quote(folder)}")


def _describe(names: list[str], arguments: list[str], as_json: bool) -> None:
    """Set what the page About says of a competition, and where its data are."""
    from harness.board import about, markdown

    data_url = config.given(arguments, "data_url")
    if len(names) > 1 or (not names and data_url is None):
        what = f"competition describe: given {', '.join(names) or 'nothing'}; allowed: FILE.md, data_url=URL, or both"
        raise HarnessError(what, "write the description as Markdown in a file (a name with blanks in quotes)")
    settings = _settings(arguments)
    text = files.read_text(Path(names[0]), "", "a Markdown file") if names else None
    engine = _open(settings)
    hosted = competitions.find(engine, settings.competition)
    now = about.describe(engine, hosted, text, None if data_url is None else settings.data_url)
    remarks = markdown.kept_as_text(text or "")
    if as_json:
        said = {"competition": hosted.name, "characters": len(now.description), "data_url": now.data_url}
        print(json.dumps(said | {"kept_as_text": remarks}, indent=2))
        return
    lies = f"data at {now.data_url}" if now.data_url else "no data link"
    print(f"competition {hosted.name}: a description of {len(now.description):,} characters, {lies}; on the page About")
    _remark(remarks, names[0] if names else "")


def _remark(remarks: list[str], where: str) -> None:
    """Say what of a Markdown text is shown as it is written."""
    for remark in remarks:
        print(f"shown as it is written: {where}{', ' if where else ''}{remark}")


def announce(arguments: list[str], as_json: bool) -> None:
    """Tell the teams something, on the board's pages and in the API."""
    from harness.board import about, markdown

    keys = {*Organise.__dataclass_fields__, "conf"}
    chosen = [a for a in arguments if "=" in a and a.partition("=")[0].partition(".")[0] in keys]
    texts = [a for a in arguments if a not in chosen]
    if len(texts) != 1:
        words = ", ".join(repr(t[:30]) for t in texts[:3]) or "nothing"
        read_as = f" ({chosen[0][:30]!r} is a setting: begin with another word)" if chosen and not texts else ""
        what = f"announce: given {words}; allowed: one text{read_as}"
        raise HarnessError(what, f'put it in quotes: {spelt("announce")} "We begin on Monday."')
    if os.path.isfile(texts[0]):  # unlike Path's, False for a text that can be no file's name
        what = f"announce {texts[0]}: is a file; allowed: the text itself"
        raise HarnessError(what, f'{spelt("announce")} "$(cat {shlex.quote(texts[0])})"')
    settings = _settings(chosen)
    engine = _open(settings)
    said, new = about.announce(engine, competitions.find(engine, settings.competition), texts[0])
    remarks = markdown.kept_as_text(said.text)
    if as_json:
        print(json.dumps(asdict(said) | {"new": new, "kept_as_text": remarks}, indent=2))
        return
    print(f"announcement {said.id} {'stands' if new else 'stood already'} on the pages Board and About, and in the API")
    _remark(remarks, "")


def _close(names: list[str], arguments: list[str], as_json: bool) -> None:
    _named("competition close", names)
    settings = _settings(arguments)
    engine = _open(settings)
    _print_state(competitions.close(engine, settings.competition), as_json)


def _reopen(names: list[str], arguments: list[str], as_json: bool) -> None:
    _named("competition reopen", names)
    settings = _settings(arguments)
    engine = _open(settings)
    _print_state(competitions.reopen(engine, settings.competition, settings.closes), as_json)


def _export(names: list[str], arguments: list[str], as_json: bool) -> None:
    from harness.board import standings as boards

    _named("competition export", names)
    part, settings = _part(arguments)
    engine = _look(settings)
    hosted = competitions.find(engine, settings.competition)
    places = PARTS[part](engine, hosted)
    text = json.dumps(boards.plain(places), indent=2) + "\n" if as_json else boards.to_csv(places)
    if settings.to and not as_json:
        text = boards.MARK + text
    if not settings.to:
        print(text, end="")
        return
    files.write(Path(settings.to), text)
    print(f"wrote {settings.to}: {len(places)} teams, {part}")


def team(arguments: list[str], as_json: bool) -> None:
    """Add a team and show its token once, give it a new one, list the teams, or revoke a token."""
    action, names, rest = _action("team", arguments, TEAM)
    action(names, rest, as_json)


def _add(names: list[str], arguments: list[str], as_json: bool) -> None:
    (name,) = _named("team add", names, "NAME")
    settings = _settings(arguments)
    _show_token(*teams.add(_open(settings), name, settings.url, settings.baseline), as_json)


def _token(names: list[str], arguments: list[str], as_json: bool) -> None:
    (name,) = _named("team token", names, "NAME")
    _show_token(*teams.renew(_open(_settings(arguments)), name), as_json)


def _show_token(team: teams.Team, token: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(team) | {"token": token}, indent=2))
    else:
        print(f"team '{team.name}', token:\n  {token}\nIt is shown this once; what is stored lets nobody in.")


def _list(names: list[str], arguments: list[str], as_json: bool) -> None:
    _named("team list", names)
    listed = teams.listed(_look(_settings(arguments)))
    _show(terminal.teams(listed), [asdict(t) for t in listed], as_json)


def _revoke(names: list[str], arguments: list[str], as_json: bool) -> None:
    (name,) = _named("team revoke", names, "NAME")
    revoked = teams.revoke(_open(_settings(arguments)), name)
    print(json.dumps(asdict(revoked)) if as_json else f"team '{revoked.name}': its token lets nobody in any more")


def standings(arguments: list[str], as_json: bool) -> None:
    """Print the public or the private standings of a hosted competition, and what people scored for themselves."""
    from harness.board import local
    from harness.board import standings as boards

    engine = _look(_part(config.only(arguments, "board.url="))[1])
    name = config.given(arguments, "competition")
    there = [h.name for h in competitions.hosted(engine)]
    if "--private" not in arguments and (name not in there if name else not there):
        verbs.standings(arguments, as_json)
        return
    part, settings = _part(arguments)
    hosted = competitions.find(engine, settings.competition)
    places = PARTS[part](engine, hosted)
    _show(terminal.standings(hosted, places, part), boards.plain(places), as_json)
    if not as_json and part == "public" and not name:
        for key, rows in local.boards(engine).items():
            _show(terminal.local_table(key, rows), [], as_json)
    waiting = queue.counts(engine, hosted.id)
    if not as_json and waiting["WAITING"] + waiting["RUNNING"]:
        print(f"{waiting['WAITING']} entries wait, {waiting['RUNNING']} are being judged")


def submissions(arguments: list[str], as_json: bool) -> None:
    """List the newest entries of a competition, or those of one team."""
    settings = _settings(arguments)
    engine = _look(settings)
    hosted = competitions.find(engine, settings.competition)
    mine = teams.find(engine, settings.team).id if settings.team else None
    listed = entries.of(engine, hosted, mine, settings.last)
    _show(terminal.entries(hosted, listed), [e.to_dict() for e in listed], as_json)
    sessions = terminal.sessions(listed)
    if sessions is not None and not as_json:
        _show(sessions, [], as_json)


def show_log(arguments: list[str], as_json: bool) -> None:
    """Print the last rows of the log."""
    settings = _settings(arguments)
    lines = log.rows(_look(settings), settings.last)
    _show(terminal.log(lines), [line.to_dict() for line in lines], as_json)


def audit(arguments: list[str], as_json: bool) -> None:
    """Check the log's chain and hold entries and verdicts against it."""
    from harness.board import audit as audits

    settings = _settings(arguments)
    found = audits.audit(_look(settings), settings.head)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    elif not found.wrong:
        print(f"the log is whole: {found.rows} rows; entries and verdicts are as it says\nhead: {found.head}")
        print("note the head elsewhere: `audit head=...` tells whether the log's end was cut off since")
    if found.wrong:
        raise HarnessError(f"audit: {'; '.join(found.wrong)}", AUDITED)


def requeue(arguments: list[str], as_json: bool) -> None:
    """Have entries judged again."""
    numbers = [a for a in arguments if "=" not in a]
    if not numbers or not all(n.isdecimal() for n in numbers):
        raise HarnessError(f"requeue {' '.join(numbers)}: allowed: numbers of entries", "python -m harness submissions")
    engine = _open(_settings([a for a in arguments if "=" in a]))
    for number in numbers:
        queue.requeue(engine, int(number))
    print(
        json.dumps({"requeued": [int(n) for n in numbers]}) if as_json else f"back in the queue: {', '.join(numbers)}"
    )


def rescore(arguments: list[str], as_json: bool) -> None:
    """Rank a competition by another formula from now on; list the changed ranks, and ask a person first."""
    from harness.board import rescore as boards

    (formula,) = _named("rescore", [a for a in arguments if "=" not in a], "FORMULA")
    rules = {k: _number(k, v) for k, _, v in (a.partition("=") for a in arguments) if k in FORMULAS_TAKE}
    rules["formula"] = formula
    settings = _settings([a for a in arguments if "=" in a and a.partition("=")[0] not in FORMULAS_TAKE])
    engine = _open(settings)
    hosted = competitions.find(engine, settings.competition)
    asked = settings.apply and not as_json and sys.stdin.isatty()
    if asked or not settings.apply:
        changes = boards.preview(engine, hosted, **rules)
        if changes or as_json:
            _show(terminal.changes(changes), [asdict(c) for c in changes], as_json)
        else:
            print("no team's rank would change")
        if not asked or not _agreed(f"rank {hosted.name} by {formula} from now on?"):
            if not as_json:
                print("nothing is changed")
            return
    changes = boards.rescore(engine, hosted, **rules)
    if as_json or (changes and not asked):
        _show(terminal.changes(changes), [asdict(c) for c in changes], as_json)
    else:
        print(f"{hosted.name} is ranked by {formula} now{'' if changes else '; no team has another rank for it'}")


def _agreed(question: str) -> bool:
    """Ask a person; no answer is a no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def backup(arguments: list[str], as_json: bool) -> None:
    """Copy database and files to a new folder, while all runs on."""
    from harness.board import backup as backups

    settings = _settings(arguments)
    to = Path(settings.to) if settings.to else backups.default()
    made = backups.backup(_open(settings), Path(settings.board.files), to)
    if as_json:
        print(json.dumps({"database": str(made.database), "entries": made.entries, "lacking": made.lacking}))
    else:
        print(f"{made.database} and the files of {made.entries} entries; docs/organiser.md says how to restore")
    if made.lacking:
        what = f"backup: the files of {len(made.lacking)} entries are missing or damaged: {made.lacking[0][:16]}"
        raise HarnessError(what, f"check board.files={settings.board.files}")


def work(arguments: list[str], as_json: bool) -> None:
    """Judge entries until Ctrl-C: in a sandbox, one after the other, with as many judges as `workers` says."""
    from harness.board import files, worker
    from harness.board.worker import check_data
    from harness.launch import judges
    from harness.sandbox import sandbox

    data, settings = _apart(arguments)
    pick(dict.fromkeys(("strict", "unsafe")), settings.sandbox, "sandbox")
    engine, root = _open(settings), Path(settings.board.files)
    hosted = competitions.find(engine, settings.competition)
    check_threads(hosted.competition.threads, settings.workers)
    if settings.sandbox == "strict":
        sandbox.check()
    dataset, said = _loaded(hosted.contest, [*_lay(settings, hosted, data), *data], config.only(arguments))
    if data:
        check_data(hosted, dataset)
        _remember(settings, hosted, said)
    files.sweep(engine, root)
    engine.dispose()  # processes that begin here share no connection: each makes its own, and waits for the database

    def judging(stop: threading.Event) -> None:
        from harness.judge.judge import judge, retime

        worker.work(
            engine, root, hosted, dataset, Path(settings.runs) / "reference",
            judge=partial(judge, latency_s=settings.latency_s, patience_s=settings.measure.patience_s),
            retime=partial(retime, latency_s=settings.latency_s), lease_s=settings.lease_s,
            sandbox=settings.sandbox, wait=settings.wait, stop=stop,
        )  # fmt: skip

    how = f"{settings.workers} at a time, {given()}, sandbox={settings.sandbox}"
    print(f"judging {hosted.name} ({how}), until Ctrl-C", flush=True)
    judges.run(settings.workers, judging)


def serve(arguments: list[str], as_json: bool) -> None:
    """Serve a competition's board, its API and the upload of entries, until Ctrl-C."""
    need("board", "serve")
    from harness.web import serve as server
    from harness.web.app import create_app
    from harness.web.guard import Bounds

    settings = _settings(arguments)
    names = [*Bounds().hosts, settings.host, *settings.hosts.split(",")]
    bounds = Bounds(hosts=tuple(name.strip().lower() for name in names if name.strip()))
    app = create_app(_open(settings), Path(settings.board.files), settings.competition, bounds)

    def announce(address: str) -> None:
        line = f"serving {app.title} at {address}, until Ctrl-C"
        print(json.dumps({"url": address}) if as_json else line, flush=True)

    server.server(app, settings.host, settings.port, announce).run()


def _public(engine: Engine, hosted: Hosted) -> list[Any]:
    from harness.board import standings as boards

    return boards.public(engine, hosted)


def _private(engine: Engine, hosted: Hosted) -> list[Any]:
    from harness.board import standings as boards

    return boards.private(engine, hosted)


PARTS: dict[str, Callable[[Engine, Hosted], list[Any]]] = {"public": _public, "private": _private}
Action = Callable[[list[str], list[str], bool], None]
COMPETITION: dict[str, Action] = {
    "create": _create,
    "publish": _publish,
    "describe": _describe,
    "close": _close,
    "reopen": _reopen,
    "export": _export,
}
TEAM: dict[str, Action] = {"add": _add, "list": _list, "token": _token, "revoke": _revoke}
VERBS: dict[str, Callable[[list[str], bool], None]] = {
    "competition": competition,
    "announce": announce,
    "team": team,
    "standings": standings,
    "submissions": submissions,
    "log": show_log,
    "requeue": requeue,
    "rescore": rescore,
    "backup": backup,
    "audit": audit,
    "work": work,
    "serve": serve,
}


def _action(verb: str, arguments: list[str], table: Mapping[str, Action]) -> tuple[Action, list[str], list[str]]:
    """Take a verb's arguments apart: what to do, with what, and the settings."""
    words = [a for a in arguments if "=" not in a and not a.startswith("--")]
    if not words:
        raise HarnessError(f"{verb}: no action given; allowed: {', '.join(table)}", f"python -m harness {verb} ACTION")
    return pick(table, words[0], f"python -m harness {verb}"), words[1:], [a for a in arguments if a not in words]


def _named(verb: str, names: list[str], *wanted: str) -> list[str]:
    if len(names) != len(wanted):
        expected = " ".join(wanted)
        what = f"{verb}: given {', '.join(names) or 'nothing'}; allowed: {expected or 'settings only'}"
        raise HarnessError(what, f"python -m harness {verb} {expected}".rstrip() + " (a name with blanks in quotes)")
    return names


def _settings(arguments: list[str]) -> Organise:
    return config.load("board", arguments)


def _part(arguments: list[str]) -> tuple[str, Organise]:
    """Tell which part of the test images is asked for."""
    settings = _settings([a for a in arguments if a != "--private"])
    return "private" if "--private" in arguments else "public", settings


def _apart(arguments: list[str]) -> tuple[list[str], Organise]:
    """Part what is said of the data, such as data.root=DIR, from the other settings."""
    data = [a for a in arguments if a.startswith("data.")]
    return data, _settings([a for a in arguments if a not in data])


def _open(settings: Organise) -> Engine:
    return store.open(settings.board.url)


def _look(settings: Organise) -> Engine:
    """Open a board that is only read: its database isn't changed."""
    return store.reader(settings.board.url)


def _lay(settings: Organise, hosted: Hosted, data: list[str]) -> list[str]:
    """Return the settings by which a competition's data are found where `create` or `work` found them."""
    here = places.recall(Path(settings.runs), hosted.contest.data["name"], hosted.judge_fingerprint)
    return config.recalled(here, data)


def _remember(settings: Organise, hosted: Hosted, data: dict[str, Any]) -> None:
    from harness.study.definition import parted

    places.remember(Path(settings.runs), hosted.contest.data["name"], hosted.judge_fingerprint, parted(data)[1])


def _loaded(terms: Contest, overrides: list[str], conf: list[str]) -> tuple[Dataset, dict[str, Any]]:
    """Load a competition's data, which lie where conf/ or the overrides say; return them and their settings."""
    from harness.data.sets import load

    named = {"name": terms.data["name"], "options": terms.data["options"]}
    settings = config.load("submit", [*config.of_manifest(named, overrides), *overrides, *conf])
    return load(*config.data_options(settings.data)), settings.data


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise HarnessError(f"{name}={text}: allowed: a number", f"set {name} to a number") from e


def _print_state(hosted: Hosted, as_json: bool) -> None:
    state = "open" if hosted.open else "closed" if hosted.closed else "not open yet"
    if as_json:
        figures = {name: getattr(hosted, name) for name in ("name", "terms", "opens", "closes", "public_images")}
        figures["split_seed_sha256"] = hosted.contest.split_seed_sha256
        print(json.dumps(figures | {"state": state, "rules": hosted.competition.rules()}, indent=2))
        return
    until = f", closes {moment(hosted.closes)}" if hosted.open and hosted.closes else ""
    begins = f", opens {moment(hosted.opens)}" if state == "not open yet" else ""
    print(f"competition {hosted.name}: {state}{begins}{until}")


def _show(table: Any, plain: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(table)
