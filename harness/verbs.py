"""The verbs of `python -m harness`: each takes its arguments and whether JSON is asked for."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from harness import config
from harness.errors import HarnessError, pick, within
from harness.extras import need
from harness.invoked import spelt

if TYPE_CHECKING:
    from harness.measure.assessment import Assessment

BARS = " ▁▂▃▄▅▆▇█"
LEAST_MEASURED = 3
"""Measurements of the reference beside itself, however short the time."""


def front(arguments: list[str], as_json: bool) -> None:
    """Print the Pareto set of a study and write its candidate files."""
    from harness.search import front as pareto
    from harness.search.attributes import result_of
    from harness.study.study import finished

    shared, runs = _study(arguments)
    trials = pareto.front(finished(shared.optuna))
    folder = runs / shared.settings.name / "front"
    paths = pareto.save(trials, folder)
    if as_json:
        pairs = zip(trials, paths, strict=True)
        rows = [{"trial": t.number, **result_of(t).figures(), "file": str(p)} for t, p in pairs]
        print(json.dumps(rows, indent=2))
        return
    _console().print(pareto.table(trials, f"study {shared.settings.name}: Pareto set of F1 and latency"))
    print(f"candidates: {folder}/trial-*.json")
    study, carried = shlex.quote(shared.settings.name), config.carried(arguments, "runs", "storage.url")
    config.say_next(*(f"{spelt('train')} study={study} trial={trial.number}{carried}" for trial in trials[-1:]))


def status(arguments: list[str], as_json: bool) -> None:
    """Show how a study stands: once, or live where a person looks at it, until it is over or Ctrl-C."""
    from harness.study import status as standing

    shared, runs = _study(arguments)
    folder = runs / shared.settings.name
    now = standing.look(shared, folder)
    if as_json:
        print(json.dumps(now.to_dict(), indent=2))
    elif not sys.stdout.isatty():
        _console().print(standing.page(now))
    else:
        with Live(standing.page(now), auto_refresh=False, vertical_overflow="visible") as live:
            while not now.over:
                time.sleep(2)
                now = standing.look(shared, folder)
                live.update(standing.page(now), refresh=True)


def report(arguments: list[str], as_json: bool) -> None:
    """Draw a study."""
    from harness.report import plots
    from harness.study.best import doubt
    from harness.study.pooled import with_pooled

    shared, runs = _study(arguments)
    trials = with_pooled(shared.optuna, shared.optuna.get_trials(deepcopy=False))
    folder = runs / shared.settings.name
    paths = plots.study(trials, shared.optuna.directions, folder, shared.settings.objective)
    if as_json:
        print(json.dumps([str(p) for p in paths]))
        return
    print("\n".join(f"wrote {p}" for p in paths))
    if words := doubt(shared.optuna, shared.definition.rules()):
        print(f"note:  {words}")


def score(arguments: list[str], as_json: bool) -> None:
    """Judge a submission in a separate process and store the verdict."""
    names = [a for a in arguments if "=" not in a]
    if len(names) != 1:
        raise HarnessError(f"score: {len(names)} submissions given", f"{spelt('score')} submissions/NAME")
    from harness.board import local, store
    from harness.data import overview
    from harness.data.published import names_of
    from harness.data.sets import load
    from harness.judge.judge import judge
    from harness.record import manifest, places
    from harness.record.verdict import BULKY, table
    from harness.track.environment import settled
    from harness.track.mirror import mirrored

    folder, overrides = Path(names[0]), [a for a in arguments if "=" in a]
    entry = manifest.read(folder)
    runs = Path(config.load("submit", config.only(overrides, "runs=")).runs)
    lay = config.recalled(places.recall(runs, entry.data["name"], entry.data["fingerprint"]), overrides)
    settings: config.Submit = config.load("submit", [*config.of_manifest(entry.data, overrides), *lay, *overrides])
    track = settled(settings.track, Path(settings.runs) / "score" / entry.name)
    engine = store.open(settings.board.url)
    dataset = load(*config.data_options(settings.data))
    if not as_json:
        overview.show(dataset)
    place = Path(settings.runs)
    with Console(stderr=True).status("judging") as line:
        verdict = judge(
            folder, dataset, settings.competition, place / "reference", published=names_of(dataset.test.pixels),
            sandbox=settings.sandbox, debug=dataset.hidden, latency_s=settings.latency_s,
            patience_s=settings.measure.patience_s, progress=lambda stage: line.update(f"judging: {stage}"),
        )  # fmt: skip
    if not dataset.hidden:
        local.record(engine, entry, verdict, settings.competition)
    part = "validation" if dataset.hidden else "test"
    shown = {k: v for k, v in verdict.to_dict().items() if k not in BULKY} | {"f1_of": part}
    named = {"study": settings.competition.name, "run": f"score-{entry.name}", "job_type": "score", "config": {}}
    with mirrored(track, place / "score" / entry.name, **named) as mirror:
        mirror.summary(shown)
    if as_json:
        print(json.dumps(verdict.to_dict() | {"f1_of": part}, indent=2))
        return
    _show(shown, f"verdict on {entry.name} ({settings.competition.name})")
    _console().print(table(verdict.checks))
    if verdict.sandbox == "unsafe":
        print("judged without a sandbox, as the verdict says: that is for one's own models alone")
    if dataset.hidden:
        learnt = "has learnt from" if entry.run["metrics"].get("f1") is None else "held out"
        print("the test images' labels are the organiser's: F1 and points are of the validation images, which train.py")
        print(f"{learnt}: not stored on a board; all else is checked as the organiser's judge does")
        _say_where_to_submit(folder)
    else:
        print(f"stored in {_safe(settings.board.url)}")
        config.say_next(f"{spelt('standings')}{config.carried(overrides, 'board.url')}")


def _say_where_to_submit(folder: Path) -> None:
    line = f"{spelt('submit')} {shlex.quote(str(folder))}"
    if lacking := [name for name in ("HARNESS_URL", "HARNESS_TOKEN") if not os.environ.get(name)]:
        print(f"once {' and '.join(lacking)} are exported, which the organiser gives your team: {line}")
    else:
        config.say_next(line)


def _show(figures: dict[str, Any], title: str) -> None:
    table = Table("figure", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, f"{value:.5g}" if isinstance(value, float) else str(value))
    _console().print(table)


def standings(arguments: list[str], as_json: bool) -> None:
    """Print every board, or that of one competition."""
    from harness.board import local, store
    from harness.board.terminal import local_as_json as plain
    from harness.board.terminal import local_table as table

    name = config.given(arguments, "competition")
    settings: config.Submit = config.load("submit", [a for a in arguments if not a.startswith("competition=")])
    boards = local.boards(store.reader(settings.board.url), name)
    if as_json:
        print(json.dumps(plain(boards), indent=2))
        return
    if not boards:
        print(f"no verdict yet in {_safe(settings.board.url)}")
        packed = sorted(Path(settings.submissions).glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
        carried = config.carried(arguments, "board.url", "runs")
        config.say_next(*(f"{spelt('score')} {shlex.quote(str(path.parent))}{carried}" for path in packed[-1:]))
    for key, rows in boards.items():
        _console().print(table(key, rows))


def submit(arguments: list[str], as_json: bool) -> None:
    """Send a submission to a competition's server, and watch it until its verdict."""
    names = [a for a in arguments if "=" not in a]
    if len(names) != 1:
        fix = "python -m harness submit submissions/NAME url=https://..."
        raise HarnessError(f"submit: {len(names)} submissions given", fix)
    need("board", "submit")
    from harness.web import client

    settings: config.Send = config.load("send", [a for a in arguments if "=" in a])
    reply = client.submit(Path(names[0]), settings.url, settings.token, debug=settings.debug, wait=settings.wait)
    if as_json:
        print(json.dumps(reply, indent=2))
    else:
        _console().print(client.drawn(reply))


def measure(arguments: list[str], as_json: bool) -> None:
    """Time ONNX files beside a competition's reference network."""
    from harness.measure.any_model import figures
    from harness.processors import check_threads
    from harness.rules.reference import reference_model

    files = [Path(a) for a in arguments if "=" not in a]
    missing = [str(f) for f in files if not f.is_file()]
    if not files or missing:
        named = ", ".join(missing) or "nothing"
        raise HarnessError(f"measure: {named}: no such file", "give FILE.onnx of a run folder")
    size = _size(config.given(arguments, "size"))
    settings_given = [a for a in arguments if "=" in a and not a.startswith("size=")]
    named = [f"competition.{a}" if a.startswith(("runtime=", "threads=")) else a for a in settings_given]
    settings: config.Submit = config.load("submit", named)
    competition = settings.competition
    check_threads(competition.threads)
    reference = reference_model(competition.reference, Path(settings.runs) / "reference")
    seconds, patience_s = settings.latency_s, settings.measure.patience_s
    rows = [figures(f, reference, competition, seconds, patience_s, size) for f in files]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title=f"beside the reference of {competition.name}, {competition.threads} thread(s)")
    columns = ("file", "runtime", "ms", "95 % interval", "ratio", "95 % interval", "wall ms", "end-to-end ms", "MMACs")
    for name in columns:
        table.add_column(name, justify="left" if name in ("file", "runtime") else "right")
    for r in rows:
        table.add_row(
            r["file"], r["runtime"], f"{r['ms']:.4f}", f"{r['low_ms']:.4f}..{r['high_ms']:.4f}", f"{r['ratio']:.4f}",
            f"{r['ratio_low']:.4f}..{r['ratio_high']:.4f}", f"{r['wall_ms']:.4f}",
            "-" if r["end_to_end_ms"] is None else f"{r['end_to_end_ms']:.4f}",
            "-" if r["macs"] is None else f"{r['macs'] / 1e6:.2f}",
        )  # fmt: skip
    _console().print(table)
    for r in rows:
        seen = r["seen"]
        print(
            f"{r['file']}: {seen['cpu_s']:.2f} s of CPU in {seen['wall_s']:.2f} s, load {seen['load']}, "
            f"{seen['steal_s']:.2f} s stolen by the host, {seen['interruptions']:.0f} interruptions"
        )
        for note in r["notes"]:
            print(f"note:  {note}")


def _size(given: str | None) -> tuple[int, ...] | None:
    """Read the size of the images: H,W, or one number for both; other inputs may have more."""
    if given is None:
        return None
    numbers = given.strip("[]() ").replace("x", ",").split(",")
    if not all(n.strip().isdecimal() and 1 <= int(n) <= 8192 for n in numbers):
        raise HarnessError(f"size={given}: allowed: whole numbers from 1 to 8,192", "write size=H,W: size=224,224")
    return tuple(int(n) for n in numbers)


def predict(arguments: list[str], as_json: bool) -> None:
    """Say what is on photos, by a finished run's network or an entry's."""
    from harness.submission import classifier

    network, paths = _network(arguments)
    unreadable, rows = [], []
    for photo in network.classify(p for path in paths for p in classifier.photos_in(path)):
        if photo.confidences is None:
            unreadable.append(f"{photo.path}: {photo.why}")
            continue
        best = sorted(zip(network.classes, photo.confidences.tolist(), strict=True), key=lambda pair: -pair[1])
        if not as_json:
            print(f"{photo.path}: " + ", ".join(f"{name} {share:.4f}" for name, share in best[:5]), flush=True)
        rows.append({"file": str(photo.path), "class": best[0][0], "confidence": best[0][1], "confidences": dict(best)})
    if as_json:
        print(json.dumps(rows, indent=2))
    if unreadable:
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise HarnessError(
            f"predict: {'; '.join(unreadable[:5])}{more}", "save such a photo as JPEG or PNG, or leave it out"
        )


def _network(arguments: list[str]) -> tuple[Any, list[Path]]:
    """Return the network that is named, and the paths of photos."""
    from harness.submission import classifier

    run, others = config.given(arguments, "run"), [a for a in arguments if not a.startswith("run=")]
    for word in others:
        if "=" in word and not Path(word).exists():
            what = f"{word}: not a setting of predict; allowed: run=FOLDER"
            raise HarnessError(what, "python -m harness predict PHOTO run=runs/final/NAME")
    paths = [Path(word).expanduser() for word in others]
    networks = [p for p in paths if classifier.is_entry(p) or classifier.is_run(p)] if run is None else []
    photos = [p for p in paths if p not in networks]
    if not photos or len(networks) + (run is not None) != 1:
        what = "no photo" if not photos else f"{len(networks)} networks"
        fix = "python -m harness predict PHOTO|FOLDER ... run=runs/final/NAME, or submissions/NAME in the place of run="
        raise HarnessError(f"predict: {what} given; allowed: photos, and one run or submission", fix)
    if run is not None or classifier.is_run(networks[0]):
        return classifier.of_run(networks[0] if run is None else Path(run).expanduser()), photos
    return classifier.of_entry(networks[0]), photos


def machine(arguments: list[str], as_json: bool) -> None:
    """Tell whether this is a machine to rank on, and remember what is found for the measurements to come."""
    from harness.measure import past, process
    from harness.measure.assessment import assess
    from harness.measure.machine import machine as facts
    from harness.rules.reference import reference_model

    words = dict(a.split("=", 1) for a in arguments if a.startswith("seconds="))
    seconds = _seconds(words.get("seconds", "60"))
    settings: config.Submit = config.load("submit", [a for a in arguments if not a.startswith("seconds=")])
    reference = reference_model(settings.competition.reference, Path(settings.runs) / "reference")
    begin = time.monotonic()
    with Console(stderr=True).status(f"watching the processor for {seconds / 3:.0f} s") as line:
        series, best = process.look(seconds / 3)
        measured = []
        while time.monotonic() - begin < seconds or len(measured) < LEAST_MEASURED:
            line.update(f"timing the reference beside itself, and a network that is known: {len(measured)}")
            process.control(reference)
            measured.append(process.measure(reference, reference, seconds=1.0, patience_s=seconds / 10))
    known = past.read(past.path()).best or best
    found = assess(series, known, measured)
    past.note(past.path(), found.to_dict() | {"fit": found.is_fit})
    if as_json:
        whole = {"machine": facts(), "best": vars(known), **found.to_dict(), "advice": found.advice()}
        print(json.dumps(whole, indent=2))
        return
    _console().print(_clock(found, facts()))
    for said in found.advice():
        print(said)


def _spells(share: float, seconds: float, of: str, more: str) -> str:
    """Say how much of the time a state was there, and how long its spells were; one of a few looks has no length."""
    if not share:
        return "never"
    length = f"{seconds:.1f} s" if seconds >= 0.1 else "less than 0.1 s"
    return f"{share:.0%} {of}".strip() + f", for {length} {more}"


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    within(seconds, 10, 3600, "seconds")
    return seconds


def _clock(found: Assessment, facts: dict[str, Any]) -> Table:
    """Lay out what was seen of a machine's clock."""
    table = Table(title=f"{facts['cpu']}, {facts['cores']} processors", show_header=False)
    highest = max(0.5, *found.strip)
    strip = "".join(BARS[min(len(BARS) - 1, int(len(BARS) * max(0.0, value) / highest))] for value in found.strip)
    rows = {
        "processor all ours": _spells(found.clean, found.spells_s[0], "of the time", "at a time (median)"),
        "shared": _spells(1 - found.clean, found.spells_s[1], "", f"at a time; then {found.contended:.0%} slower"),
        "clock": f"{found.clock[0]:.1%} to {found.clock[1]:.1%} below its best",
        "over the time": strip,
    }
    for span, spread in found.spread.items():
        rows[f"measurements of {span} s"] = f"ten spread by {spread:.2%}; {found.coverage[span]:.0%} of intervals held"
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def conf(arguments: list[str], as_json: bool) -> None:
    """Print a file of conf/, to begin one's own from, or list the files."""
    names = [a for a in arguments if "=" not in a]
    if wrong := [a for a in arguments if "=" in a and not a.startswith("conf=")]:
        what = f"conf {wrong[0]}: allowed: GROUP/NAME, and conf=DIR"
        raise HarnessError(what, f"{spelt('conf')} {wrong[0].replace('=', '/')}")
    if len(names) > 1:
        raise HarnessError(f"conf: {len(names)} files named", f"{spelt('conf')} GROUP/NAME, such as competition/digits")
    known = [f"{group}/{choice}" for group, choices in config.groups(arguments).items() for choice in choices]
    if names:
        group, _, choice = pick(dict(zip(known, known, strict=True)), names[0], "conf").partition("/")
        found = config.find(group, choice, arguments)
        from harness.record import files

        if found is None:
            raise HarnessError(f"conf {names[0]}: is gone", f"{spelt('conf')} lists what is there")
        print(files.read_text(found, "conf", "a YAML file"), end="")
        return
    print(json.dumps(known, indent=2) if as_json else "\n".join(known))


def db(arguments: list[str], as_json: bool) -> None:
    """Start or stop a team's PostgreSQL, or print its url."""
    actions = [a for a in arguments if "=" not in a]
    if len(actions) != 1:
        raise HarnessError(
            f"db: {len(actions)} actions given; allowed: {', '.join(DB)}",
            "give one, as in `python -m harness db start`",
        )
    act = pick(DB, actions[0], "python -m harness db")
    act(config.load("db", [a for a in arguments if "=" in a]))


def _db_start(settings: config.Db) -> None:
    from harness import postgres

    folder = Path(settings.folder)
    url, ran = postgres.start(folder, settings.host, settings.port)
    again = "" if settings.folder == config.Db().folder else f" folder={shlex.quote(str(folder))}"
    print(f"PostgreSQL {'runs already' if ran else 'runs'}; its data and log: {folder / 'data'}")
    print(f"  {url}")
    print("on each machine (the url holds the password):")
    config.say_next(f"export HARNESS_STORAGE_URL={shlex.quote(url)}", f"{spelt('tune')} study.name=ours workers=2")
    print(f"stop:  {spelt('db stop')}{again}")


def _db_stop(settings: config.Db) -> None:
    from harness import postgres

    stopped = postgres.stop(Path(settings.folder))
    print(f"{settings.folder}: {'stopped' if stopped else 'no database is running'}")


def _db_url(settings: config.Db) -> None:
    from harness import postgres

    print(postgres.url(Path(settings.folder)))


DB: dict[str, Callable[[config.Db], None]] = {
    "start": _db_start,
    "stop": _db_stop,
    "url": _db_url,
}
VERBS: dict[str, Callable[[list[str], bool], None]] = {
    "front": front,
    "status": status,
    "report": report,
    "score": score,
    "standings": standings,
    "submit": submit,
    "measure": measure,
    "predict": predict,
    "machine": machine,
    "conf": conf,
    "db": db,
}


def _study(arguments: list[str]) -> tuple[Any, Path]:
    """Open the study that `study=` names."""
    from harness.study.study import load

    name = config.given(arguments, "study")
    if not name:
        raise HarnessError("no study given", "add study=NAME, as `python tune.py` printed it")
    settings: config.Train = config.load("train", arguments)
    return load(name, settings.storage.url), Path(settings.runs)


def _console() -> Console:
    """Tables as wide as the terminal, and wide enough for a file."""
    return Console(width=None if sys.stdout.isatty() else 140)


def _safe(url: str) -> str:
    from harness.database import shown

    return shown(url)
