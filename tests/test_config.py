"""The door for settings: what composes, and what a user reads after a mistake."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import asdict
from functools import reduce
from itertools import product
from pathlib import Path

import pytest
import yaml
from in_process import command

from harness import config, organiser, verbs
from harness.__main__ import COMMANDS
from harness.data import digits
from harness.data.published import publish
from harness.data.sets import DATASETS
from harness.errors import HarnessError
from harness.help import PAGES
from harness.launch.start import LAUNCHERS
from harness.rules.competition import Competition
from harness.rules.formulas import FORMULAS
from harness.runtime.engines import RUNTIMES
from harness.track.environment import MODES

ROOT = Path(__file__).resolve().parents[1]
HINTS = {"resolutions_px": [8, 12], "flip": False, "competition": "digits"}
SERVER = "postgresql://u:secretpw@127.0.0.1:1/x"
TUNE, TRAIN, SUBMIT, VERB = ["tune.py"], ["train.py"], ["inference.py"], ["-m", "harness"]


def run(arguments: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a real script from an empty folder."""
    script = [str(ROOT / a) if a.endswith(".py") and (ROOT / a).exists() else a for a in arguments]
    return subprocess.run(
        [sys.executable, *script], capture_output=True, text=True, timeout=600, cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


def choices(*names: str) -> list[str]:
    """All overrides that choose in these groups."""
    return [f"{name}={choice}" for name in names for choice in config.groups()[name]]


@pytest.mark.parametrize(
    ("root", "override"),
    [
        *product(["tune"], choices("data", "space", "proxy", "competition")),
        *product(["train", "submit"], choices("data", "competition")),
    ],
)
def test_every_choice_composes(root: str, override: str):
    """Each file of conf/ fills its root's dataclass, and the data set's options theirs."""
    settings = config.load(root, [override])
    assert isinstance(settings, config.ROOTS[root])
    name, options = config.data_options(settings.data)
    assert isinstance(options, DATASETS[name][0])


@pytest.mark.parametrize("data", config.groups()["data"])
def test_the_data_set_chooses_its_competition(data: str):
    """Where the command line names none; what it names goes first."""
    wanted = config.read_yaml(config.find("data", data))["competition"]
    assert config.load("tune", [f"data={data}"]).competition.name == wanted
    assert config.load("tune", [f"data={data}", "competition=taco2021"]).competition.name == "taco2021"


@pytest.mark.parametrize("data", [d for d in config.groups()["data"] if d != "published"])  # which looks at its root
def test_every_option_of_a_reader_can_be_set(data: str):
    """Also those that conf/ doesn't list, and all of them as a study stored them."""
    options = {k: "there" if v == "" else v for k, v in asdict(DATASETS[data][0]()).items()} | {"seed": 5}
    overrides = config.of_study({"name": data, "options": options}, {"name": "digits"}, [])
    assert asdict(config.data_options(config.load("train", overrides).data)[1]) == options


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ("digits", 0.5, "openvino")),
        (["competition=digits"], ("digits", 0.5, "openvino")),
        (["competition=digits2"], ("digits2", 0.9, "onnx")),
        (["competition.f1_target=0.9"], ("digits", 0.9, "openvino")),
        (["competition=digits", "competition.f1_target=0.9"], ("digits", 0.9, "openvino")),
    ],
)
def test_a_study_keeps_its_competition_unless_another_is_named(overrides: list[str], expected: tuple):
    """By its whole name; what the command line changes in it leaves the rest as it was."""
    stored = Competition(name="digits", f1_target=0.5, runtime="openvino").rules()
    composed = Competition(name=config.given(overrides, "competition") or "digits", f1_target=0.9)
    found = config.competition_of(stored, overrides, composed)
    assert (found.name, found.f1_target, found.runtime) == expected


def test_a_published_copy_says_what_a_search_may_choose_and_its_competition(tmp_path: Path):
    """The command line goes first; a competition that isn't here is named."""
    publish(digits.load(digits.DigitsOptions()), tmp_path / "own copy", HINTS)
    named = ["data=published", f'data.root="{tmp_path}/own copy"']
    settings = config.load("tune", named)
    assert (settings.data["resolutions_px"], settings.data["flip"], settings.competition.name) == (
        [8, 12],
        False,
        "digits",
    )
    settings = config.load("tune", [*named, "data.flip=true", "competition=taco2021"])
    assert (settings.data["flip"], settings.competition.name) == (True, "taco2021")
    publish(digits.load(digits.DigitsOptions()), tmp_path / "other", HINTS | {"competition": "mine"})
    with pytest.raises(HarnessError, match="is of competition 'mine'; in conf/competition there is: digits"):
        config.load("tune", ["data=published", f"data.root={tmp_path}/other"])


@pytest.mark.parametrize("root", ["tune", "train", "submit", "board"])
def test_who_times_a_model_can_give_it_more_time(root: str):
    """As the refusal on a noisy machine advises."""
    assert config.load(root, ["latency_s=9"]).latency_s == 9


@pytest.mark.parametrize("name", ["a b", "a,b", "é/ü", 'say "x"', "a=b", "{a}", "it's", "50%!"])
def test_text_is_taken_as_it_stands(name: str):
    """Paths, names and passwords needn't be quoted for Hydra, and a study's stored paths come back."""
    settings = config.load("train", [f"candidate=/x/{name}.json", f"storage.url=postgresql://u:{name}@h/x"])
    assert settings.candidate == f"/x/{name}.json" and settings.storage.url == f"postgresql://u:{name}@h/x"
    overrides = config.of_study({"name": "cifar10", "options": {"root": f"/x/{name}"}}, {"name": "none"}, [])
    assert config.load("train", overrides).data["root"] == f"/x/{name}"


def test_a_model_file_may_lie_beside_the_groups():
    """`model=FILE` is a path, though conf/model/ is a folder like the groups'."""
    assert config.load("train", ["model=conf/model/x.yaml"]).model == "conf/model/x.yaml"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("study.trails=5", "study.trails: unknown setting; allowed: .*study.trials(.|\n)*did you mean 'study.trials'"),
        ("spce=vgg", "spce: unknown setting; allowed: .*space(.|\n)*did you mean 'space'"),
        ("gate.max_mac=1", "gate.max_mac: unknown setting; allowed: gate.max_macs"),
        ("hydra.run.dir=x", "hydra.run.dir: unknown setting"),
        ("+study.trails=5", r"'\+study.trails': not a setting"),
        ("~study.trials", "'~study.trials': not a setting"),
        ("--multirun", "'--multirun': not a setting"),
        ("=5", "'': not a setting"),
        ("study=ours", "study: holds several settings: study.name"),
        ("study.trials=abc", "study.trials=abc: allowed: a whole number"),
        ("study.trials=2.5", "study.trials=2.5: allowed: a whole number"),
        ("study.trials=null", "study.trials=null: allowed: a whole number"),
        ("study.trials=1,2", "study.trials=1,2: can't be read as one value"),
        ("study.trials=[1", r"study.trials=\[1: can't be read as one value"),
        ("latency_s=fast", "latency_s=fast: allowed: a number"),
        ("study.trials=0", "study.trials=0: allowed: a whole number, 1 to 1,000,000"),
        ("study.sampler=tp", "study.sampler: unknown 'tp'; allowed: random, tpe"),
        ("proxy.pixels=2", "proxy.pixels=2.0: allowed: a number, 0.001 to 1"),
        ("data=cifar11", "data=cifar11: unknown choice; allowed: cifar10, digits(.|\n)*did you mean 'cifar10'"),
        ("data=null", "data=null: unknown choice"),
        ("space=vg", "space=vg: unknown choice; allowed: .*vgg"),
        ("study.name=${nowhere}", "study.name: Interpolation key 'nowhere' not found"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(override: str, message: str):
    """Keys, choices, types and grammar, in the harness's words."""
    with pytest.raises(HarnessError, match=message) as caught:
        config.load("tune", [override])
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.rot=1", "data.rot: unknown option of digits; allowed: seed, validation, test, side_px"),
        ("data.side_px=abc", "data.side_px: .*'abc'"),
        ("data.name=digitz", "data.name: unknown 'digitz'(.|\n)*did you mean 'digits'"),
    ],
)
def test_a_wrong_data_option_is_named(override: str, message: str):
    """The options of a data set are those of its reader."""
    with pytest.raises(HarnessError, match=message):
        config.data_options(config.load("tune", [override]).data)


@pytest.mark.parametrize(
    "override",
    [
        "storage.url=postgresql://u:secretpw!@h/x",
        "storage.url='postgresql://u:secretpw@h/x",
        "storage.url=postgresql://u:a,{secretpw@h/x",
        "storage=postgresql://u:secretpw@h/x",
        "storage.ur=postgresql://u:secretpw@h/x",
        "+storage.url=postgresql://u:secretpw@h/x",
        "storage:url=postgresql://u:secretpw@h/x",
    ],
)
def test_no_message_holds_a_password(override: str):
    """However the url is misspelt; one that is spelt well is not in the text of --help either."""
    try:
        text = config.as_text(config.load("tune", [override]))
    except HarnessError as error:
        text = str(error)
    assert "secretpw" not in text


def candidate(folder: Path, block: str) -> Path:
    """Write a candidate file with one stage."""
    path = folder / "net.json"
    path.write_text(json.dumps({"model": {"stages": [{"block": block, "channels": 8}]}, "resolution_px": 16}))
    return path


def mistakes(folder: Path) -> list[tuple[list[str], str]]:
    """Commands that can't be carried out, each with words that its error has."""
    net, missing = candidate(folder, "cnov"), folder / "missing.yaml"
    (folder / "model.yaml").write_text("stages: [{block: cnov, channels: 8}]")
    space = "space.model={stages: [{block: cnov, channels: 8}]}"
    lite = f"storage.url=sqlite:///{folder}/x.db"
    return [
        ([*TUNE, "study.trails=5"], "study.trails"),
        ([*TUNE, "data=cifar10", "data.root=/nowhere"], "/nowhere"),
        ([*TUNE, f"storage.url={SERVER}"], "storage.url=postgresql+psycopg://u:***@127.0.0.1:1/x: can't be used"),
        ([*TUNE, space, lite], "unknown 'cnov'"),
        ([*TRAIN], "train: nothing given"),
        ([*TRAIN, "candidate=x.json", "resolution_px=32"], "resolution_px=32: is of model=FILE alone"),
        ([*TRAIN, "candidate=x.json", "trial=5"], "trial=5: is of study=NAME alone"),
        ([*TRAIN, f"candidate={net}"], "unknown 'cnov'"),
        ([*TRAIN, "model=model.yaml"], "unknown 'cnov'"),
        ([*TRAIN, f"model={missing}"], "missing.yaml: no such file"),
        ([*TRAIN, "study=ours", lite], "study=ours: no such study"),
        ([*SUBMIT, "name=x"], "no run given"),
        ([*SUBMIT, "run=/nowhere", "name=x"], "/nowhere: no finished run there"),
        ([*VERB, "bord"], "unknown 'bord'; allowed: announce, audit, backup, competition, conf, db, front, log"),
        ([*VERB, "standings", f"board.url={SERVER}"], "board.url=postgresql+psycopg://u:***@127.0.0.1:1/x"),
    ]


def check_is_short(arguments: list[str], words: str, done: subprocess.CompletedProcess) -> None:
    """Make sure of exit code 2, of the value, its place and the next step on stderr, no traceback, no password."""
    said = f"{arguments}: {done.stderr}"
    assert done.returncode == 2, said
    assert words in done.stderr and done.stderr.startswith("error: ") and "\n  do: " in done.stderr, said
    assert len(done.stderr.splitlines()) <= 6 and "Traceback" not in done.stderr, said
    assert "secretpw" not in done.stdout + done.stderr, said


def test_mistakes_end_with_code_2_and_a_short_message(tmp_path: Path):
    """In every script, whenever they are found."""
    for arguments, words in mistakes(tmp_path):
        check_is_short(arguments, words, command(tmp_path, *arguments))


@pytest.mark.parametrize("script", [TUNE, TRAIN, SUBMIT, VERB], ids=lambda s: s[-1])
def test_a_mistake_in_a_real_command_ends_its_process_so_too(script: list[str], tmp_path: Path):
    """The first mistake of each script, which is found before anything large is imported."""
    arguments, words = next(mistake for mistake in mistakes(tmp_path) if mistake[0][: len(script)] == script)
    check_is_short(arguments, words, run(arguments, tmp_path))


@pytest.mark.parametrize("script", [TUNE, TRAIN, SUBMIT], ids=lambda s: s[0])
def test_help_teaches(script: list[str], tmp_path: Path):
    """A page by itself; with `all`, the groups and the settings as they would be, without a password."""
    plain = run([*script, "--help"], tmp_path, HARNESS_STORAGE_URL=SERVER, HARNESS_BOARD_URL=SERVER)
    assert plain.returncode == 0 and plain.stderr == "" and len(plain.stdout.splitlines()) < 40
    assert script[0] in plain.stdout and "Examples:" in plain.stdout
    done = run([*script, "--help", "all"], tmp_path, HARNESS_STORAGE_URL=SERVER, HARNESS_BOARD_URL=SERVER)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith(plain.stdout.strip())
    assert (
        "data=cifar10|digits|folder|published|taco" in done.stdout and "url: postgresql+psycopg://u:***@" in done.stdout
    )
    assert "secretpw" not in plain.stdout + done.stdout


def test_help_shows_the_settings_as_the_command_line_leaves_them(tmp_path: Path):
    """An override shows; a wrong one is said where the settings would stand."""
    assert "trials: 77" in command(tmp_path, *TUNE, "--help", "all", "study.trials=77").stdout
    assert "error: study.trails: unknown setting" in command(tmp_path, *TUNE, "--help", "all", "study.trails=77").stdout


def test_the_commands_are_listed(tmp_path: Path):
    """`python -m harness` alone and with --help show what there is."""
    plain, asked = run(VERB, tmp_path), run([*VERB, "--help"], tmp_path)
    assert plain.returncode == asked.returncode == 0
    assert all(f"  {verb} " in plain.stdout for verb in PAGES)
    assert plain.stdout.strip() == asked.stdout.strip()


def test_each_command_has_its_page_and_each_page_its_command(tmp_path: Path):
    """Of ten settings at most, and three examples."""
    assert set(PAGES) == {*COMMANDS, *verbs.VERBS, *organiser.VERBS}
    for verb, told in PAGES.items():
        shown = command(tmp_path, *VERB, verb, "--help")
        assert shown.returncode == 0 and told.examples[0].partition(" ")[2] in shown.stdout
        assert 1 <= len(told.settings) <= 10 and len(told.examples) == 3
        assert all(example.partition(" ")[0] == verb for example in told.examples)


# settings that a page writes otherwise than their dataclass: short names, and numbers of formulas
SPOKEN = {
    "measure": {"runtime", "threads"},
    "rescore": {"f1_target"},
    "machine": {"seconds"},
    "conf": {"conf"},
    "competition": {"data.root"},
    "work": {"data.root"},
}


@pytest.mark.parametrize("verb", PAGES)
def test_a_page_tells_settings_that_there_are_and_their_values(verb: str):
    """Those that aren't capitals are what the setting is by itself, and all compose."""
    root = PAGES[verb].root
    loaded = config.load(root, [])
    for name, _ in PAGES[verb].settings:
        key, _, value = name.partition("=")
        if key in SPOKEN.get(verb, ()) or key in ("study", "space.recipe.optimizer") or verb == "standings":
            continue
        if value.isupper():
            config.load(root, [f"{key}=x"])
            continue
        found = reduce(lambda at, part: getattr(at, part), key.split("."), loaded)
        found = found.get("name") if isinstance(found, dict) else getattr(found, "name", found)
        assert str(found) == value or yaml.safe_load(value or "''") == found, f"{key} is {found!r}"


def test_the_values_that_pages_allow_are_those_of_the_tables():
    """Where a page writes them out."""
    pages = {verb: dict((name.partition("=")[0], what) for name, what in told.settings) for verb, told in PAGES.items()}
    assert all(launcher in pages["tune"]["workers"] for launcher in LAUNCHERS)
    assert all(runtime in pages["measure"]["runtime"] for runtime in (*RUNTIMES, "auto"))
    assert all(mode in pages["score"]["track"] for mode in MODES)
    assert PAGES["rescore"].words == "|".join(sorted(FORMULAS))
    assert set(pages["rescore"]["f1_target"].replace(",", "").split()) >= {*organiser.FORMULAS_TAKE} - {"f1_target"}


@pytest.mark.parametrize("example", [e for told in PAGES.values() for e in told.examples])
def test_the_examples_of_a_page_are_settings_that_there_are(example: str):
    """Each composes, with the folders and files that it names."""
    verb, *words = shlex.split(example)
    taken = SPOKEN.get(verb, set()) | ({"study"} if verb in ("front", "status", "report") else set())
    settings = [w for w in words if "=" in w and w.partition("=")[0] not in taken | {"reference_ms", "competition"}]
    assert config.load(PAGES[verb].root, settings) is not None


def test_the_next_command_gets_the_settings_it_needs_and_no_password() -> None:
    """In a shape that a shell takes; what wasn't given isn't carried on."""
    given = ["study.name=ours", "runs=/my runs", "storage.url=sqlite:///x.db"]
    assert config.carried(given, "runs", "storage.url", "board.url") == " runs='/my runs' storage.url=sqlite:///x.db"
    assert config.carried([f"storage.url={SERVER}"], "storage.url") == ' storage.url="$HARNESS_STORAGE_URL"'
    open_server = "storage.url=postgresql://u@127.0.0.1:1/x"
    assert config.carried([open_server], "runs", "storage.url") == f" {open_server}"
    assert config.carried(["study.name=ours"], "runs", "storage.url") == ""


def test_a_file_of_ones_own_begins_as_one_that_is_shipped(tmp_path: Path) -> None:
    """Wherever one is, as an installed package has no conf/ in the working folder; one's own goes before it."""
    listed = command(tmp_path, "-m", "harness", "conf").stdout.split()
    assert listed == [f"{group}/{name}" for group, names in config.groups().items() for name in names]
    for name in listed:
        printed = command(tmp_path, "-m", "harness", "conf", name).stdout
        assert printed == (config.CONF / f"{name}.yaml").read_text()
    own = tmp_path / "conf" / "space" / "vgg.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: vgg  # 한글\n", encoding="utf-8")
    assert command(tmp_path, "-m", "harness", "conf", "space/vgg").stdout == own.read_text(encoding="utf-8")
    typed = command(tmp_path, "-m", "harness", "conf", "competition=digits")
    assert typed.returncode == 2 and typed.stdout == "" and "harness conf competition/digits" in typed.stderr
    wrong = command(tmp_path, "-m", "harness", "conf", "space/vgq")
    assert wrong.returncode == 2 and "did you mean 'space/vgg'?" in wrong.stderr


@pytest.mark.parametrize("root", ["tune", "train", "submit", "board"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_time_that_nothing_can_be_timed_in_is_refused(root: str, value: str):
    """Before a study or a training is begun with it."""
    with pytest.raises(HarnessError, match=f"latency_s={float(value)}"):
        config.load(root, [f"latency_s={value}"])


def test_a_negative_number_of_threads_is_refused():
    """Else torch raises an error of its own."""
    with pytest.raises(HarnessError, match="threads=-1: allowed: a whole number"):
        config.load("train", ["threads=-1"])
