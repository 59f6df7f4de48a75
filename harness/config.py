"""The door for settings: Hydra composes YAML and command line, dataclasses check it, typed values go on.

Hydra and OmegaConf are imported here and nowhere deeper.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import database
from harness.data import published
from harness.data.sets import DATASETS
from harness.errors import HarnessError, nearest, pick
from harness.record import files
from harness.rules.competition import Competition
from harness.settings import Db, Organise, Send, Submit, Train, Tune

CONF = Path(__file__).resolve().parents[1] / "conf"
HINTS = ("resolutions_px", "flip", "competition")  # what a data set says to the other groups
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


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
    texts, rest = _told_apart(kind, [*_competition_of([*hints, *overrides]), *hints, *overrides])
    store = ConfigStore.instance()
    store.store(name=f"{root}_schema", node=kind)
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose(root, overrides=rest)
        for key, value in texts.items():
            OmegaConf.update(composed, key, os.path.expanduser(value) if key in PATHS else value, force_add=True)
        return OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as e:
        raise _explained(e, _keys(kind), overrides) from e


def _told_apart(kind: type, overrides: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Part the text settings, which are taken as they stand, from what Hydra is to read.

    Hydra's grammar would stumble over a password, a path or a name with `!`, a comma or `=` in it, and show it.

    Raises:
        HarnessError: a key or a choice is unknown, or a value can't be read.
    """
    known, choices = _keys(kind), groups()
    texts, rest = {}, []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
            raise HarnessError(f"'{key}': not a setting", "write KEY=VALUE, such as seed=1; --help shows all")
        if known.get(key) == "str" or key in TEXTS:
            texts[key] = _unquoted(value)
        elif key in choices and key in kind.__dataclass_fields__:
            rest.append(f"{key}={_choice(key, value, choices[key])}")
        elif known.get(key.split(".")[0], known.get(".".join(key.split(".")[:2]), "")).startswith("dict"):
            rest.append(_readable(f"++{override}"))  # what it may hold is known to those who use it
        elif key in known:
            rest.append(_readable(override))
        else:
            raise _unknown(key, list(known))
    return texts, rest


def _unquoted(text: str) -> str:
    return re.sub(r"""^(['"])(.*)\1$""", r"\2", text, flags=re.DOTALL)


def _choice(group: str, name: str, allowed: list[str]) -> str:
    if name not in allowed:
        fix = f"{nearest(name, allowed)}take one of these"
        raise HarnessError(f"{group}={name}: unknown choice; allowed: {', '.join(allowed)}", fix)
    return name


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
    data = CONF / "data" / f"{given(overrides, 'data')}.yaml"
    if given(overrides, "competition") or not data.exists():
        return []
    return [f"competition={read_yaml(data)['competition']}"]


def _published_hints(overrides: Sequence[str]) -> list[str]:
    """Return what a published copy says to the other groups, as overrides that the command line's come after."""
    root = _unquoted(given(overrides, "data.root") or os.environ.get("HARNESS_PUBLISHED", ""))
    if given(overrides, "data") != "published" or not root:
        return []
    found = {name: value for name, value in published.hints(root).items() if name in HINTS}
    name, known = str(found.pop("competition", "")), groups()["competition"]
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


def given(overrides: Sequence[str], key: str) -> str | None:
    """Return what the command line sets a key to."""
    values = [o.split("=", 1)[1] for o in overrides if o.split("=", 1)[0] == key and "=" in o]
    return values[-1] if values else None


def carried(overrides: Sequence[str], *keys: str) -> str:
    """Return those of these settings that a command was given and the next one needs, a blank before each.

    Of a database's url only that there was one, unless it is a file's: it may hold a password.
    """
    found = {key: value for key in keys if (value := given(overrides, key)) is not None}
    secret = {key for key, value in found.items() if key.endswith(".url") and not value.startswith("sqlite:")}
    return "".join(f" {key}={'...' if key in secret else shlex.quote(value)}" for key, value in found.items())


def read_yaml(path: Path, setting: str = "") -> Any:
    """Read a YAML file. setting: what named it.

    Raises:
        HarnessError: it isn't there, is a folder, in another encoding, or isn't YAML.
    """
    text = files.read_text(path, setting, "a YAML file")
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise HarnessError(f"{path}: not YAML: {' '.join(str(e).split())}", "mend the file") from e


def read_competition(named: str) -> Competition:
    """Read a competition from a YAML file, or from `conf/competition` by its name there.

    Raises:
        HarnessError: there is no such file, or a key or a type in it is wrong.
    """
    known = groups()["competition"]
    path = CONF / "competition" / f"{named}.yaml" if named in known else Path(named)
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


def groups() -> dict[str, list[str]]:
    """List the choices of each group in `conf/`."""
    return {d.name: sorted(p.stem for p in d.glob("*.yaml")) for d in sorted(CONF.iterdir()) if d.is_dir()}


def _first(e: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(e)).strip().splitlines()[0]


def _explained(e: Exception, known: Mapping[str, str], overrides: Sequence[str]) -> HarnessError:
    """Say what Hydra or OmegaConf found wrong, in the harness's words."""
    cause = e
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, HarnessError):
        return cause
    key = getattr(cause, "full_key", None) or ""
    value, kind = given(overrides, key), known.get(key, "").removesuffix(" | None")
    if value is not None and kind in KINDS:
        return HarnessError(f"{key}={value}: allowed: {KINDS[kind]}", f"set {key} to {KINDS[kind]}")
    where = f"{key}: " if key else ""
    return HarnessError(f"{where}{_first(cause)}", "mend it in conf/ or on the command line; --help shows the settings")


def _unknown(key: str, known: Sequence[str]) -> HarnessError:
    """Name an unknown key and its nearest known one."""
    inner = [k for k in known if k.startswith(f"{key}.")]
    if inner:
        fix = f"set one of them, such as {inner[0]}=..."
        return HarnessError(f"{key}: holds several settings: {', '.join(inner)}", fix)
    parent = key.rpartition(".")[0]
    near = [k for k in known if k.rpartition(".")[0] == parent] or sorted({k.split(".")[0] for k in known})
    return HarnessError(f"{key}: unknown setting; allowed: {', '.join(near)}", f"{nearest(key, known)}--help shows all")


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
    there = [] if given(overrides, "competition") else _competition_choice(competition["name"])
    return [*of_manifest(data, overrides), *there]


def competition_of(stored: Mapping[str, Any], overrides: Sequence[str], composed: Competition) -> Competition:
    """Return the competition of a study or a run with what the command line changes in it, or another that it names."""
    if given(overrides, "competition") not in (None, stored["name"]):
        return composed
    keys = (o.partition("=")[0].split(".") for o in overrides if o.startswith("competition."))
    return replace(Competition(**stored), **{key[1]: getattr(composed, key[1]) for key in keys})


def _competition_choice(name: str) -> list[str]:
    return [f"competition={name}"] if (CONF / "competition" / f"{name}.yaml").exists() else []


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
