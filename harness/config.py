"""The door for settings: Hydra composes YAML and command line, dataclasses check it, typed values go on.

Hydra and OmegaConf are imported here and nowhere deeper.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import changes, conf_files, database
from harness.conf_files import CONF, find, given, groups, is_file, read_yaml
from harness.data import published
from harness.data.sets import DATASETS, HERE
from harness.errors import HarnessError, nearest, pick
from harness.record import files
from harness.record.recipe import Recipe
from harness.rules.competition import Competition
from harness.settings import Db, Organise, Send, Submit, Train, Tune

OWN_FILE = "own_file"
"""What Hydra knows a file by that stands in a choice's place."""
HINTS = ("resolutions_px", "flip", "competition")  # what a data set says to the other groups
URLS = {"storage.url": "HARNESS_STORAGE_URL", "board.url": "HARNESS_BOARD_URL"}
"""The variables of the environment that hold a database's url where its password isn't to be shown."""
# what others call a setting: what it is called here
ALSO_CALLED = {
    "batch_size": "batch", "bs": "batch", "learning_rate": "lr", "wd": "weight_decay", "optim": "optimizer",
    "scheduler": "schedule", "epoch": "epochs", "num_epochs": "epochs", "n_trials": "trials", "num_trials": "trials",
    "num_workers": "workers", "n_jobs": "workers", "jobs": "workers", "resolution": "resolution_px",
    "img_size": "resolution_px", "image_size": "resolution_px", "imgsz": "resolution_px", "path": "root", "dir": "root",
    "folder": "root", "dataset": "root", "augmentation": "augment", "timeout": "hours", "db": "url", "database": "url",
}  # fmt: skip
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list[Any]": "a list: [A, {B: {p: 0.5}}]",
}


TEXTS = {f"data.{f.name}" for kind, _ in DATASETS.values() for f in fields(kind) if f.type == "str"} | {"space.name"}
"""Settings within a group that are text, whatever it looks like."""
PATHS = {"runs", "candidate", "model", "weights", "submissions", "board.files", "to", "folder"}
"""Settings that are paths, beside those of the data, whose readers see to it: `~` is the user's own folder in them."""
ROOTS = {"tune": Tune, "train": Train, "submit": Submit, "db": Db, "board": Organise, "send": Send}


def load(root: str, overrides: Sequence[str]) -> Any:
    """Compose `conf/ROOT.yaml` with command-line overrides and return the root's dataclass.

    Raises:
        HarnessError: a key, a choice or a type is wrong; the message names it and what is allowed.
    """
    kind = ROOTS[root]
    hints = _published_hints(overrides)
    said = [*_competition_of([*hints, *overrides]), *hints, *overrides]
    texts, trees, rest = _told_apart(root, said)
    store = ConfigStore.instance()
    store.store(name=f"{root}_schema", node=kind)
    _OwnFirst.own = conf_files.folders(overrides)[:-1]
    Plugins.instance().register(_OwnFirst)
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose(root, overrides=rest)
        for key, value in texts.items():
            OmegaConf.update(composed, key, os.path.expanduser(value) if key in PATHS else value, force_add=True)
        _change(composed, trees)
        return OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as e:
        raise _explained(e, _keys(kind), overrides) from e


class _OwnFirst(SearchPathPlugin):
    """Have Hydra search the user's own folder before the package's; its own setting for that comes after."""

    own: ClassVar[list[Path]] = []

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.own:
            search_path.prepend(provider="own", path=f"file://{folder}", anchor="main")


def _change(composed: Any, trees: Sequence[str]) -> None:
    """Carry out what the command line changes within the groups' trees; what a proxy fixes comes after the space."""
    for override in sorted(trees, key=lambda o: o.startswith("proxy.fix")):
        parsed = OverridesParser.create().parse_override(override)
        path, value = str(parsed.key_or_group), parsed.value()
        if path == "proxy.fix":
            composed.proxy.fix = value
            continue
        group, _, inner = path.removeprefix("proxy.").partition(".")
        fix = dict(OmegaConf.to_container(composed.proxy.fix)) if "proxy" in composed else {}
        if group == "fix":
            changes.change_fixed(fix, inner, value)
        else:
            if group == "space" and changes.let_go(fix, inner, value):
                composed.proxy.fix = fix
                continue
            tree = OmegaConf.to_container(composed[group], resolve=False)
            changes.change(tree, inner, value, group)
            composed[group] = tree
        if "proxy" in composed:
            composed.proxy.fix = fix


def _told_apart(root: str, overrides: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Part the text settings, which are taken as they stand, and changes within a tree from what Hydra is to read.

    Hydra's grammar would stumble over a password, a path or a name with `!`, a comma or `=` in it, and show it. It
    would merge where a choice is to be replaced.

    Raises:
        HarnessError: a key or a choice is unknown, or a value can't be read.
    """
    kind = ROOTS[root]
    known, choices = _keys(kind), groups(overrides)
    texts, trees, rest = {}, [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
            raise HarnessError(f"'{key}': not a setting", "write KEY=VALUE, such as seed=1; --help shows all")
        if key == "conf":  # of `conf_files.folders`
            continue
        if known.get(key) == "str" or key in TEXTS:
            texts[key] = _unquoted(value)
        elif key in choices and key in kind.__dataclass_fields__:
            rest.append(f"{key}={_choice(key, value, choices[key])}")
        elif key.startswith("proxy.fix") or known.get(key.split(".")[0], "").startswith("dict"):
            trees.append(_readable(override))  # what it may hold is known to those who use it
        elif known.get(".".join(key.split(".")[:2]), "").startswith("dict"):
            rest.append(_readable(f"++{override}"))
        elif key in known:
            rest.append(_readable(override))
        else:
            raise _unknown(root, key, list(known), overrides)
    return texts, trees, rest


def _unquoted(text: str) -> str:
    return re.sub(r"""^(['"])(.*)\1$""", r"\2", text, flags=re.DOTALL)


def _choice(group: str, name: str, allowed: list[str]) -> str:
    """Check a group's choice and return its name for Hydra; a file becomes a choice of its own."""
    if is_file(name.strip("\"'")):
        return _own_file(group, name.strip("\"'"))
    if name not in allowed:
        fix = f"{nearest(name, allowed)}take one of these, or name a file: {group}=path/{name}.yaml"
        raise HarnessError(f"{group}={name}: unknown choice; allowed: {', '.join(allowed)}", fix)
    return name


def _own_file(group: str, name: str) -> str:
    """Make a file a choice of a group, and return the choice's name."""
    path = find(group, name)
    if path is None:
        raise HarnessError(f"{group}={name}: no such file", "check the path")
    content = read_yaml(path, group)
    if not isinstance(content, dict):
        raise HarnessError(f"{group}={name}: holds no settings", f"write it as conf/{group}/*.yaml")
    try:
        node = OmegaConf.load(io.StringIO(files.read_text(path, group)))
    except (OmegaConfBaseException, yaml.YAMLError) as e:
        raise HarnessError(f"{path}: {_first(e)}", "mend the file") from e
    if "name" not in node:
        node = OmegaConf.merge({"name": path.stem}, node)
    ConfigStore.instance().store(group=group, name=OWN_FILE, node=node)
    return OWN_FILE


def _readable(override: str) -> str:
    """Refuse a value that Hydra's grammar can't take for one value."""
    key, _, value = override.lstrip("+").partition("=")
    try:
        one = not OverridesParser.create().parse_override(override).is_sweep_override()
    except (HydraException, ValueError):  # a number of so many digits that Python doesn't read it
        one = False
    if not one:
        raise HarnessError(f"{key}={value}: can't be read as one value", f"""put text in quotes: '{key}="..."'""")
    return override


def _competition_of(overrides: Sequence[str]) -> list[str]:
    """Choose the competition that goes with the data set, where the command line names none."""
    data = find("data", (given(overrides, "data") or "").strip("\"'"), overrides)
    if given(overrides, "competition") or data is None:
        return []
    content = read_yaml(data)
    named = content.get("competition") if isinstance(content, dict) else None
    return [f"competition={named}"] if named else []


def _published_hints(overrides: Sequence[str]) -> list[str]:
    """Return what a published copy says to the other groups, as overrides that the command line's come after."""
    root = _unquoted(given(overrides, "data.root") or os.environ.get("HARNESS_PUBLISHED", ""))
    if given(overrides, "data") != "published" or not root:
        return []
    found = {name: value for name, value in published.hints(root).items() if name in HINTS}
    name, known = str(found.pop("competition", "")), groups(overrides)["competition"]
    hints = _settings_of_data(found)
    if given(overrides, "competition"):
        return hints
    if name not in known:
        what = f"data.root={root}: is of competition '{name}'; in conf/competition there is: {', '.join(known)}"
        raise HarnessError(what, f"put the organiser's file {name}.yaml there, or give competition=NAME")
    return [f"competition={name}", *hints]


def data_options(data: Mapping[str, Any]) -> tuple[str, Any]:
    """Turn the `data` group into a data set's name and its typed options.

    Raises:
        HarnessError: an option is unknown or of the wrong type.
    """
    options = {k: v for k, v in data.items() if k != "name" and k not in HINTS}
    kind, _ = pick(DATASETS, str(data.get("name")), "data.name")
    allowed = [f.name for f in fields(kind)]
    for key in options:
        if key not in allowed:
            raise HarnessError(
                f"data.{key}: unknown option of {data['name']}; allowed: {', '.join(allowed)}",
                f"{nearest(key, allowed)}rename or remove it",
            )
        if f"data.{key}" in TEXTS and not isinstance(options[key], str):
            what = f"data.{key}: {options[key]!r} was read as a number or a word of YAML's; allowed: text"
            raise HarnessError(what, f'put it in quotes where the file of the group data has it: {key}: "..."')
    try:
        return str(data["name"]), OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), options))
    except OmegaConfBaseException as e:
        raise HarnessError(f"data.{getattr(e, 'full_key', '')}: {_first(e)}", "give a value of that type") from e


def carried(overrides: Sequence[str], *keys: str) -> str:
    """Return those of these settings that a command was given and the next one needs, a blank before each; and conf=.

    A database's url with a password is not printed: the environment's variable stands for it.
    """
    found = {key: value for key in (*keys, "conf") if (value := given(overrides, key)) is not None}
    return "".join(f" {key}={_carried(key, value)}" for key, value in found.items())


def _carried(key: str, value: str) -> str:
    if not key.endswith(".url") or "***" not in database.shown(value, key):
        return shlex.quote(value)
    return f'"${URLS[key]}"'


def model_file(named: str, overrides: Sequence[str] = ()) -> Path:
    """Find a model's YAML file, by its path or by its name in `conf/model`.

    Raises:
        HarnessError: there is no such file.
    """
    path = Path(named).expanduser()
    if path.is_file():
        return path
    if found := find("model", named, overrides):
        return found
    if path.exists():  # a folder, as its reader says
        return path
    known = groups(overrides)["model"]
    what = f"model={named}: no such file; in conf/model: {', '.join(known)}"
    raise HarnessError(what, f"{nearest(named, known)}name one of these, or a YAML file")


@contextlib.contextmanager
def lines_of(path: Path) -> Iterator[None]:
    """Name a model's file, and the line in it, of what is found wrong with its network."""
    try:
        yield
    except HarnessError as e:
        what = e.what.removeprefix(f"{path}: ")
        begin = re.match(
            r"(?:model\.)?((?:backbone|stages)\.\d+)|(?:model: )?unknown (?:key|part) '(\w+)'|(?:model\.)?(\w+)[=:]",
            what,
        )
        keys = next((found for found in begin.groups() if found), "").split(".") if begin else [""]
        line = conf_files.line_of(path, keys) or conf_files.line_of(path, ["model", *keys])
        raise HarnessError(f"{path}{f', line {line}' if line else ''}: {what}", e.fix) from e


def say_next(*lines: str) -> None:
    """Print the commands that come next, each as it can be run."""
    if not lines:
        return
    print("\n".join(f"{'      ' if number else 'next: '} {line}" for number, line in enumerate(lines)))
    needed = sorted({name for name in URLS.values() if any(f"${name}" in line for line in lines)})
    if lacking := [name for name in needed if name not in os.environ]:
        print(f"note:  a password isn't printed: export {lacking[0]}='...', with the url as you gave it, goes before")


def only(arguments: Sequence[str], *prefixes: str) -> list[str]:
    """Return the settings that begin so, and where conf/ lies."""
    return [a for a in arguments if a.startswith((*prefixes, "conf="))]


def recalled(here: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return the overrides by which data are found where they lay; none where the command line says anything of it."""
    if given(overrides, "data") or any(o.startswith(tuple(f"data.{key}=" for key in HERE)) for o in overrides):
        return []
    return _settings_of_data(here)


def read_competition(named: str, overrides: Sequence[str] = ()) -> Competition:
    """Read a competition from a YAML file, or from `conf/competition` by its name there.

    Raises:
        HarnessError: there is no such file, or a key or a type in it is wrong.
    """
    known = groups(overrides)["competition"]
    path = find("competition", named, overrides) or Path(named).expanduser()
    if not path.is_file():
        what = f"competition {named}: no such file; in conf/competition: {', '.join(known)}"
        raise HarnessError(what, f"{nearest(named, known)}name one of these, or a YAML file")
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise HarnessError(f"{path}: holds no settings", "write it as conf/competition/digits.yaml")
    allowed = [f.name for f in fields(Competition)]
    for key in raw:
        if key not in allowed:
            what = f"{path}: unknown setting '{key}'; allowed: {', '.join(allowed)}"
            raise HarnessError(what, f"{nearest(str(key), allowed)}rename or remove it")
    contest = raw.get("contest") or {}
    if isinstance(contest, dict):  # YAML reads a time without quotes as one
        times = {k: v.isoformat() for k, v in contest.items() if hasattr(v, "isoformat")}
        raw["contest"] = contest | times
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Competition), raw))
    except OmegaConfBaseException as e:
        raise _explained(e, _keys(Competition), []) from e


def _first(e: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(e)).strip().splitlines()[0]


def _explained(e: Exception, known: Mapping[str, str], overrides: Sequence[str]) -> HarnessError:
    """Say what Hydra or OmegaConf found wrong, in the harness's words."""
    cause = e
    while inner := cause.__cause__ or (cause.__context__ if isinstance(cause, HydraException) else None):
        cause = inner
    if isinstance(cause, HarnessError):
        return cause
    if isinstance(cause, yaml.YAMLError):
        mark = getattr(cause, "problem_mark", None)
        return conf_files.not_yaml(_short(Path(mark.name)) if mark else "conf/", cause)
    key = getattr(cause, "full_key", None) or ""
    value, kind = given(overrides, key), known.get(key, "").removesuffix(" | None")
    if value is not None and kind in KINDS:
        return HarnessError(f"{key}={value}: allowed: {KINDS[kind]}", f"set {key} to {KINDS[kind]}")
    where = f"{key}: " if key else ""
    return HarnessError(f"{where}{_first(cause)}", "mend it in conf/ or on the command line; --help shows the settings")


def located(e: HarnessError, root: str, overrides: Sequence[str]) -> HarnessError:
    """Add the file and the line of the setting that an error begins with, unless the command line has set it."""
    begin = re.match(r"([A-Za-z_][\w.]*)(?=[=:\s]|$)(?: (?=[a-z]\w*[.:])([\w.]+))?", e.what)
    key = ".".join(part for part in (begin.groups() if begin else ()) if part).strip(".")
    group, _, inner = key.partition(".")
    setters = [o.partition("=")[0] for o in overrides]
    chosen = group if _is_group(root, group) else ""  # to name a group's file isn't to set what is in it
    if root not in ROOTS or any(f"{key}.".startswith(f"{s}.") for s in setters if s != chosen):
        return e
    try:
        path = _file_of(root, group, overrides)
    except HarnessError:
        return e
    keys = inner.split(".") if chosen and inner else key.split(".")
    quoted = re.search(r"'([^']+)'", e.what)
    line = conf_files.line_of(path, keys, quoted[1] if quoted else None, deepest=group == "space") if path else 0
    return HarnessError(f"{e.what} ({_short(path)}, line {line})", e.fix) if path and line else e


def _file_of(root: str, group: str, overrides: Sequence[str]) -> Path | None:
    """Return the file that a setting is from: its group's choice, or the root's own file."""
    path = find("", root, overrides)
    if not _is_group(root, group) or path is None:
        return path
    defaults = read_yaml(path).get("defaults") or []
    chosen = {k: v for item in defaults if isinstance(item, dict) for k, v in item.items()}
    hinted = given(_competition_of(overrides), group)
    return find(group, str(given(overrides, group) or hinted or chosen.get(group, "")).strip("\"'"), overrides)


def _is_group(root: str, name: str) -> bool:
    return name in groups() and name in ROOTS[root].__dataclass_fields__


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _unknown(root: str, key: str, known: Sequence[str], overrides: Sequence[str]) -> HarnessError:
    """Name an unknown key, and the settings of its name or the nearest known one."""
    inner = [k for k in known if k.startswith(f"{key}.")]
    if inner:
        fix = f"set one of them, such as {inner[0]}=..."
        return HarnessError(f"{key}: holds several settings: {', '.join(inner)}", fix)
    if ways := _ways(root, key.rpartition(".")[2], known, overrides):
        value = given(overrides, key) or ""
        ways = [_with_value(way, value) for way in ways]
        more = f" (or {', '.join(ways[1:4])})" if ways[1:] else ""
        return HarnessError(f"{key}: not a setting by this name", f"set {ways[0]}{more}; --help all shows all settings")
    parent = key.rpartition(".")[0]
    near = [k for k in known if k.rpartition(".")[0] == parent] or sorted({k.split(".")[0] for k in known})
    fix = f"{nearest(key, known)}--help all shows all settings"
    if root == "train" and key.rpartition(".")[2] in Recipe.__dataclass_fields__:
        fix = f"a network keeps its {key}: change it in a copy of its candidate.json, and train candidate=COPY.json"
    return HarnessError(f"{key}: unknown setting; allowed: {', '.join(near)}", fix)


def _ways(root: str, name: str, known: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the settings that somebody may mean by a name alone, those that people change first."""
    wanted = ALSO_CALLED.get(name.lower().replace("-", "_"), name)
    found = [f"{key}=..." for key in known if key.rpartition(".")[2] == wanted]
    trees = [group for group, kind in _keys(ROOTS[root]).items() if kind.startswith("dict") and group in groups()]
    for group in trees:
        path = _file_of(root, group, overrides)
        found += [f"{group}.{way}" for way in changes.named(read_yaml(path) if path else None, wanted)]
    order = {name: number for number, name in enumerate(("study", "recipe", "space", "proxy", "data", "storage"))}
    return sorted(found, key=lambda way: order.get(way.split(".")[0], len(order)))


def _with_value(way: str, value: str) -> str:
    """Show what somebody has set, where it is a number or a name that is allowed: it may be a password."""
    key, _, allowed = way.partition("=")
    shown = value in allowed.split("|") or re.fullmatch(r"[0-9]+([.e][-+0-9]+)?", value)
    return f"{key}={value}" if shown and value else way


def _keys(kind: type, prefix: str = "") -> dict[str, str]:
    """Return the settings of a dataclass with the names of their types, nested ones with their path."""
    found = {}
    for f in fields(kind):
        default = f.default_factory() if callable(f.default_factory) else f.default
        if is_dataclass(default):
            found |= _keys(type(default), f"{prefix}{f.name}.")
        else:
            found[f"{prefix}{f.name}"] = str(f.type)
    return found


def as_text(settings: Any) -> str:
    """Return a root's settings as YAML, without the passwords of its databases."""
    plain = OmegaConf.structured(settings)
    for name in ("storage", "board"):
        if name in plain:
            plain[name].url = database.shown(plain[name].url, f"{name}.url")
    return OmegaConf.to_yaml(plain)


def of_study(data: Mapping[str, Any], competition: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return the overrides that make the data set that of a study; what the command line says comes after them."""
    if given(overrides, "data"):
        return []
    there = [] if given(overrides, "competition") else _competition_choice(competition["name"], overrides)
    return [*of_manifest(data, overrides), *there]


def competition_of(stored: Mapping[str, Any], overrides: Sequence[str], composed: Competition) -> Competition:
    """Return the competition of a study or a run with what the command line changes in it, or another that it names."""
    if given(overrides, "competition") not in (None, stored["name"]):
        return composed
    keys = (o.partition("=")[0].split(".") for o in overrides if o.startswith("competition."))
    return replace(Competition(**stored), **{key[1]: getattr(composed, key[1]) for key in keys})


def _competition_choice(name: str, overrides: Sequence[str]) -> list[str]:
    return [f"competition={name}"] if name in groups(overrides)["competition"] else []


def of_manifest(data: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return the overrides that load the data set a manifest names; paths come from the command line or conf/."""
    if given(overrides, "data"):
        return []
    return [f"data={data['name']}", *_settings_of_data({k: v for k, v in data["options"].items() if v != ""})]


def _settings_of_data(options: Mapping[str, Any]) -> list[str]:
    """Write options of a data set as a command line has them: text as it stands, other values for Hydra to read."""

    def written(key: str, value: Any) -> str:
        return f'"{value}"' if f"data.{key}" in TEXTS else json.dumps(value, ensure_ascii=False)

    return [f"data.{key}={written(key, value)}" for key, value in options.items()]
