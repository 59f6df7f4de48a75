"""What --help prints: a page a command, with what people change in it and three examples."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from harness import conf_files
from harness.invoked import spelt

Setting = tuple[str, str]
"""Its name with the value that it has by itself, and what it does with what is allowed; {data} stands for a group."""

STORAGE: Setting = (
    "storage.url=sqlite:///runs/harness.db",
    "the study's database: sqlite:///FILE, postgresql://, mysql://",
)
BOARD: Setting = ("board.url=sqlite:///runs/board.db", "the board's database: sqlite:///FILE, postgresql://, mysql://")
RUNS: Setting = ("runs=runs", "folder of what is kept: runs, caches, pictures; from the working folder")
HOSTED: Setting = ("competition=", "the hosted one, by its name; needed where there are several")
STUDY: Setting = ("study=NAME", "the study, as `tune` printed it")
ROOT: Setting = ("data.root=PATH", "where the data lie here: a folder or a zip; `create` and `work` remember it")


@dataclass(frozen=True)
class Page:
    """A command's page. words: what it takes beside settings. root: conf/ROOT.yaml holds all its settings."""

    does: str
    root: str
    settings: tuple[Setting, ...]
    examples: tuple[str, ...]
    words: str = ""


PAGES = {
    "tune": Page(
        "Search: join the team's study, of which every trial trains a small proxy model and measures it. The same "
        "command resumes a study; the same storage.url and study.name on another machine joins it.",
        "tune",
        (
            ("data=digits", "the images: {data}, or FILE.yaml"),
            ("data.root=PATH", "where they lie: a folder or a zip"),
            ("space=vgg", "what is searched: {space}, or FILE.yaml"),
            (
                "space.recipe.optimizer=adamw",
                "fixes a choice of the space; so any path in it, such as space.recipe.batch=64",
            ),
            ("proxy=tiny", "how much of the task a trial sees: {proxy}; proxy.epochs=N, proxy.images=N (0: all)"),
            ("competition=digits", "whose formula is optimised: {competition}, or FILE.yaml"),
            ("study.name=digits-vgg", "a folder's name: letters, digits, '.', '_', '-' and the like"),
            ("study.trials=20", "finished trials over all workers, 1 or more"),
            ("workers=1", "worker processes of this command, 1 or more; launch=local|slurm|ray runs them elsewhere"),
            STORAGE,
        ),
        (
            "tune study.trials=10 workers=2",
            "tune data=folder data.root=photos.zip study.name=ours study.trials=40 workers=2",
            "tune study.name=ours space=mobile space.recipe.optimizer=adamw space.recipe.batch=64",
        ),
    ),
    "train": Page(
        "Train one network long, a part held out that tells its F1. Kill it at any moment: the same command goes on. "
        "With study=, the data set and the competition are the study's.",
        "train",
        (
            (
                "study=",
                "the study whose trial is trained; or candidate=FILE, or model=NAME of conf/model, or FILE.yaml",
            ),
            ("trial=best", "best, best_f1, best_under_ms=MS, or a trial's number"),
            ("recipe.epochs=60", "1 to 100,000"),
            (
                "recipe.lr=null",
                "learning rate, above 0; null keeps the candidate's; recipe.batch likewise, 2 to 65,536",
            ),
            (
                "augment.m=null",
                "strength of RandAugment, 0 to 30; augment.n|flip|crop|cutout likewise, and "
                "augment.transforms='[HorizontalFlip, ColorJitter]', albumentations' own",
            ),
            ("hold_out=true", "holds the validation part out and tells its F1; false learns from it too: the last run"),
            ("weights=", "begin with a run's weights.pt"),
            ("processes=auto", "auto, or 1 to 1,024, which train together and share threads and batches"),
            ("device=auto", "auto, cpu, cuda, mps"),
            STORAGE,
        ),
        (
            "train study=ours trial=best",
            "train study=ours trial=best_under_ms=0.5 recipe.epochs=100",
            "train candidate=runs/ours/00017 data=cifar10 data.root=cifar",
        ),
    ),
    "pack": Page(
        "Pack a finished run as a submission. It becomes submissions/NAME: model.onnx, predictions.csv, manifest.json, "
        "and predict.py, to use it.",
        "submit",
        (
            ("run=DIR", "the run's folder, as `train` printed it"),
            ("name=NAME", "the entry's: 1 to 64 letters, digits, '.', '_' or '-'"),
            ("force=false", "true replaces an entry of that name"),
            ("submissions=submissions", "the folder of all entries"),
            ("competition=digits", "for another than it was trained for: {competition}, or FILE.yaml"),
            ("data.root=PATH", "where the data lie, if they have moved since"),
            RUNS,
        ),
        (
            "pack run=runs/final/ours-trial00017 name=ours",
            "pack run=runs/final/ours-trial00017 name=ours force=true",
            "pack run=runs/final/ours-trial00017 name=ours data.root=photos.zip",
        ),
    ),
    "front": Page(
        "Print the Pareto set of a study, of F1 and latency. Its candidates become files for `train candidate=`.",
        "train",
        (STUDY, STORAGE, RUNS),
        ("front study=ours", "front study=ours --json", "front study=ours runs=runs"),
    ),
    "status": Page(
        "Tell how a study stands. Workers, leases, budget, rate, expected end; live in a terminal.",
        "train",
        (STUDY, STORAGE),
        ("status study=ours", "status study=ours --json", "status study=ours runs=runs"),
    ),
    "report": Page(
        "Draw a study: how it went, and its Pareto set.",
        "train",
        (STUDY, STORAGE, RUNS),
        ("report study=ours", "report study=ours --json", "report study=ours runs=runs"),
    ),
    "score": Page(
        "Judge a submission as the organiser would, by the same code. The verdict goes to your own board.",
        "submit",
        (
            ("competition=digits", "whose rules: {competition}, or FILE.yaml"),
            ("data.root=PATH", "where the data lie, if not where `pack` found them"),
            ("sandbox=strict", "strict, or unsafe: for your own models, where there is no bubblewrap (macOS)"),
            ("latency_s=4", "seconds that timing takes at most, about, 0.01 to 3,600; more on a noisy machine"),
            ("track=offline", "W&B: offline, online, disabled"),
            BOARD,
            RUNS,
        ),
        ("score submissions/ours", "score submissions/ours sandbox=unsafe", "score submissions/ours --json"),
        "submissions/NAME",
    ),
    "standings": Page(
        "Print the board. It is of what you scored yourself, or a hosted competition's (--private: its private part).",
        "submit",
        (HOSTED, BOARD),
        ("standings", "standings competition=digits", "standings --json"),
        "[--private]",
    ),
    "submit": Page(
        "Send a submission to a competition's server, and watch it until its verdict.",
        "send",
        (
            ("url=", "the server's, such as https://board.example.org; or the environment's HARNESS_URL"),
            ("token=", "the team's; better in the environment's HARNESS_TOKEN"),
            ("debug=false", "true: no rank, and all that the judge found"),
            ("wait=true", "false: don't wait for the verdict"),
        ),
        (
            "submit submissions/ours",
            "submit submissions/ours url=https://board.example.org",
            "submit submissions/ours debug=true",
        ),
        "submissions/NAME",
    ),
    "measure": Page(
        "Time ONNX files beside a competition's reference network, and from JPEG to logits.",
        "submit",
        (
            ("runtime=onnx", "the engine: onnx, openvino, or auto for the faster"),
            ("threads=1", "1 to 1,024"),
            ("latency_s=4", "seconds that timing takes at most, about, 0.01 to 3,600; more on a noisy machine"),
            ("competition=digits", "whose reference network: {competition}, or FILE.yaml"),
            RUNS,
        ),
        ("measure model.onnx", "measure a.onnx b.onnx competition=taco2021", "measure model.onnx latency_s=20"),
        "FILE.onnx [...]",
    ),
    "predict": Page(
        "Say what is on photos, with confidences, prepared as in training to the last bit.",
        "submit",
        (("run=RUN", "the run's folder; or submissions/NAME among the words, in its place"),),
        (
            "predict photo.jpg submissions/ours",
            "predict photos run=runs/final/ours-trial00017",
            "predict photo.jpg submissions/ours --json",
        ),
        "PHOTO|FOLDER [...]",
    ),
    "machine": Page(
        "Tell whether this is a machine to rank on, and remember what is found for the measurements to come.",
        "submit",
        (
            ("seconds=60", "how long it looks, about, 10 to 3,600"),
            ("competition=digits", "whose reference network: {competition}, or FILE.yaml"),
            RUNS,
        ),
        ("machine", "machine seconds=300", "machine --json"),
    ),
    "conf": Page(
        "Print a file of conf/, to begin your own from. Without a name: list them.",
        "submit",
        (("conf=DIR", "a folder of your own, searched before the package's; ./conf by itself"),),
        ("conf", "conf competition/digits > mine.yaml", "conf space/vgg > mine.yaml"),
        "[GROUP/NAME]",
    ),
    "db": Page(
        "Start or stop a PostgreSQL for a team, or print its storage.url, with the password.",
        "db",
        (
            ("folder=runs/db", "where it keeps its data"),
            ("host=", "127.0.0.1 for this machine alone, 0.0.0.0 for a team"),
            ("port=0", "0: the first free one from 5432"),
        ),
        ("db start", "db start host=0.0.0.0", "db url"),
        "start|stop|url",
    ),
    "competition": Page(
        "Host a competition. Create it from a YAML file or by a name in conf/competition, publish the teams' copy of "
        "its data, describe it on its page in Markdown, close it, reopen it, or export its standings as csv.",
        "board",
        (
            ROOT,
            HOSTED,
            ("data_url=", "describe: where teams get the data, http:// or https://; empty takes it away"),
            ("closes=", "reopen: until when, such as 2026-12-31T18:00:00Z"),
            ("to=", "export: a file"),
            BOARD,
            RUNS,
        ),
        (
            "competition create digits",
            "competition describe about.md data_url=https://example.org/copy.zip",
            "competition export to=standings.csv --private",
        ),
        "create FILE | publish DIR | describe [FILE.md] | close | reopen | export",
    ),
    "announce": Page(
        "Tell the teams something, in Markdown. It stands on the board's pages and in its API, the newest first, and "
        "in the log; a mistake is put right by the next one.",
        "board",
        (HOSTED, BOARD),
        (
            "announce 'The data are there: <https://example.org/copy.zip>'",
            "announce 'The end is put off to **Friday**.' competition=digits",
            "announce 'We begin on Monday.' --json",
        ),
        "TEXT",
    ),
    "team": Page(
        "Add a team and show its token once, give it a new one, list the teams, or revoke a token.",
        "board",
        (
            ("url=", "add: the team's page, such as a W&B project"),
            ("baseline=false", "add: true stands on the board without a rank"),
            BOARD,
        ),
        ("team add 'Team 1'", "team list", "team token 'Team 1'"),
        "add NAME | list | token NAME | revoke NAME",
    ),
    "work": Page(
        "Judge what comes in, in a sandbox, until Ctrl-C.",
        "board",
        (
            ROOT,
            HOSTED,
            ("workers=1", "judges on this machine, 1 to the number of its processors"),
            ("wait=true", "false ends where no entry waits"),
            ("sandbox=strict", "strict, or unsafe: for one's own models alone"),
            ("latency_s=4", "seconds that timing an entry takes at most, about, 0.01 to 3,600"),
            ("lease_s=60", "a judge that is silent for so long, and half as long again, loses its entry"),
            ("board.files=runs/files", "the folder of the entries' files"),
            BOARD,
            RUNS,
        ),
        ("work", "work workers=2 wait=false", "work data.root=photos.zip"),
    ),
    "serve": Page(
        "Serve a competition's board, its API and the upload of entries, until Ctrl-C.",
        "board",
        (
            HOSTED,
            ("host=127.0.0.1", "0.0.0.0 for other machines; put a server that speaks TLS before it"),
            ("port=8080", "0 to 65,535"),
            ("hosts=", "the names that it may be asked by, such as board.example.org,board"),
            ("board.files=runs/files", "the folder of the entries' files"),
            BOARD,
        ),
        ("serve", "serve host=0.0.0.0 port=8000", "serve host=0.0.0.0 hosts=board.example.org"),
    ),
    "submissions": Page(
        "List the entries and how they stand.",
        "board",
        (("team=", "of one team"), ("last=50", "how many, 1 or more"), HOSTED, BOARD),
        ("submissions", "submissions team='Team 1'", "submissions last=10 --json"),
    ),
    "requeue": Page(
        "Have entries judged again.",
        "board",
        (BOARD,),
        ("requeue 7", "requeue 7 8 9", "requeue 7 --json"),
        "ENTRY [...]",
    ),
    "rescore": Page(
        "Rank a competition by another formula from now on; no model is run.",
        "board",
        (
            HOSTED,
            ("apply=true", "false only shows which ranks would change; a terminal shows them and asks in any case"),
            ("f1_target=X", "and other numbers of formulas: time_base, macs_base, f1_base, f1_floor, reference_ms"),
            BOARD,
        ),
        ("rescore boostcamp2021b f1_target=0.8", "rescore f1_squared_fps reference_ms=0.2", "rescore rank_mean"),
        "boostcamp2021a|boostcamp2021b|f1_squared_fps|rank_mean",
    ),
    "backup": Page(
        "Copy database and files to a new folder, while all runs on.",
        "board",
        (
            ("to=", "the folder; a new one by itself"),
            ("board.files=runs/files", "the folder of the entries' files"),
            BOARD,
        ),
        ("backup", "backup to=backups/monday", "backup --json"),
    ),
    "log": Page(
        "Show what was done on the board, each line chained to the one before.",
        "board",
        (("last=50", "how many, 1 or more"), BOARD),
        ("log", "log last=200", "log --json"),
    ),
    "audit": Page(
        "Tell whether the log is whole, and whether the tables agree with it.",
        "board",
        (("head=", "a hash that was noted earlier"), BOARD),
        ("audit", "audit --json", "audit head=HASH"),
    ),
}
TEAMS = (
    "tune", "train", "pack", "score", "submit", "status", "front", "report", "measure", "predict", "machine",
    "standings", "conf", "db",
)  # fmt: skip
WIDTH = 118


def overview() -> str:
    """Return what there is, one line a command."""
    lines = [f"{_start()} COMMAND [key=value ...] [--json]", "", "A team's:"]
    lines += [_line(verb) for verb in TEAMS]
    lines += ["", "An organiser's (docs/organiser.md):", *(_line(verb) for verb in PAGES if verb not in TEAMS), ""]
    lines += [
        "COMMAND --help      what it does, what people change in it, examples",
        "COMMAND --help all  all its settings, as the command line leaves them",
        "--json              prints JSON where a table would stand",
        "conf=DIR            a folder of your own settings, searched before the package's; ./conf by itself",
    ]
    return "\n".join(lines)


def page(verb: str) -> str:
    """Return a command's page."""
    told = PAGES[verb]
    groups = {group: "|".join(choices) for group, choices in conf_files.groups().items()}
    lines = [" ".join(filter(None, (spelt(verb), told.words, "[key=value ...]"))), "", *textwrap.wrap(told.does, WIDTH)]
    lines += ["", "Settings that people change, with what they are by themselves:"]
    for name, what in told.settings:
        whole = f"  {name:<31} {' ' * (len(name) > 31)}{what.format(**groups)}"
        lines += textwrap.wrap(whole, WIDTH, subsequent_indent=" " * 34, break_on_hyphens=False)
    parted = (example.partition(" ") for example in told.examples)
    lines += ["", "Examples:", *(f"  {spelt(first)} {rest}".rstrip() for first, _, rest in parted)]
    return "\n".join([*lines, "", f"All settings: {spelt(verb)} --help all"])


def _line(verb: str) -> str:
    return f"  {verb:<12} {PAGES[verb].does.partition('. ')[0].rstrip('.')}"


def _start() -> str:
    return spelt("").strip()
