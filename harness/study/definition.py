"""What all trials of a study share: stored with the study, and read from there by every worker."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from harness.data.sets import DATASETS, HERE
from harness.data.split import Dataset
from harness.errors import HarnessError, pick
from harness.rules.competition import Competition
from harness.search.gate import Gate
from harness.search.proxy import Proxy

SHARED_SETTINGS = ("objective", "sampler", "pruner", "duplicates", "seed")
"""Settings of `study.*` that change what a trial is or comes to."""
LABELS = ("space.name", "proxy.name")
"""Names that change no trial: they are shown where something beside them differs."""
LISTED = 5
"""How many differences a message lists."""
LACKS = object()
S = TypeVar("S")


@dataclass(frozen=True)
class Definition:
    """All that can change a trial's result, by the names of the settings, as plain JSON values.

    data: name, options and fingerprint; options that say where the data lie are left out. study: SHARED_SETTINGS.
    What differs between machines stays out: where a network trains, with how many threads and, where layout or dtype
    are `auto`, in which precision. Each trial records its own.
    """

    data: dict[str, Any]
    space: dict[str, Any]
    proxy: dict[str, Any]
    competition: dict[str, Any]
    gate: dict[str, Any] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)
    latency_s: float = 1.5
    layout: str = "auto"
    dtype: str = "auto"

    @classmethod
    def of(
        cls, *, data_name: str, data_options: Any, space: Mapping[str, Any], proxy: Proxy, competition: Competition,
        gate: Gate, study: Any, latency_s: float, layout: str, dtype: str,
    ) -> Definition:  # fmt: skip
        """Define a study by its settings; its data are yet to be read. study: a `Study`."""
        return cls(
            data={"name": data_name, "options": parted(asdict(data_options))[0]}, space=dict(space),
            proxy=proxy.to_dict(), competition=competition.rules(), gate=asdict(gate), latency_s=latency_s,
            layout=layout, dtype=dtype,
        ).settled(study)  # fmt: skip

    def settled(self, settings: Any) -> Definition:
        """Return the definition with what a `Study`'s settings have for all its trials."""
        return replace(self, study={name: getattr(settings, name) for name in SHARED_SETTINGS})

    def applied(self, settings: S) -> S:
        """Return a `Study`'s settings with what this definition has for all its trials."""
        changed = copy.copy(settings)
        vars(changed).update(self.study)
        return changed

    @property
    def is_whole(self) -> bool:
        """Tell whether all of it is known: earlier versions kept neither seed nor sampler, pruner, gate and more."""
        return set(self.study) == set(SHARED_SETTINGS)

    @property
    def objective(self) -> str:
        """Name of the objective."""
        return str(self.study["objective"])

    @property
    def seed(self) -> int:
        """Seed of the images that trials see, and of first weights."""
        return int(self.study["seed"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Definition:
        """Rebuild what `to_dict` gave; of a study that an earlier version made, what that had kept.

        Raises:
            HarnessError: a later version has stored what this one doesn't know.
        """
        known = dict(stored)
        if "objective" in known:  # an earlier version's, which kept no `study`
            known |= {"study": {"objective": known.pop("objective")}}
        strange = sorted(set(known) - {f.name for f in fields(cls)})
        if strange:
            raise HarnessError(
                f"the study's definition has unknown settings: {', '.join(strange)}",
                "a later version of the harness has made it: install that one",
            )
        return cls(**known)

    def proxy_settings(self) -> Proxy:
        """Return the proxy."""
        return Proxy(**self.proxy)

    def rules(self) -> Competition:
        """Return the competition."""
        return Competition(**self.competition)

    def limits(self) -> Gate:
        """Return the gate's limits."""
        return Gate(**self.gate)

    def reader(self, here: Mapping[str, Any]) -> tuple[str, Any]:
        """Return what reads the data: their name and typed options. here: where they lie on this machine."""
        kind, _ = pick(DATASETS, self.data["name"], "data.name")
        takes = {f.name for f in fields(kind)}
        return self.data["name"], kind(**self.data["options"], **{k: v for k, v in here.items() if k in takes})

    def with_data(self, dataset: Dataset) -> Definition:
        """Return the definition with the data's fingerprint.

        Raises:
            HarnessError: the study was made with other data.
        """
        found, stored = dataset.fingerprint(), self.data.get("fingerprint")
        if stored not in (None, found):
            raise HarnessError(
                f"data.fingerprint: {stored[:16]} in the study, {found[:16]} here: these are other images or labels",
                "set data.root and the like to the data that the study was made with",
            )
        return replace(self, data=self.data | {"fingerprint": found})

    def differences(self, other: Definition) -> list[Difference]:
        """List what another definition has otherwise than this one, a study's, by path."""
        mine, theirs = dict(_leaves(self.to_dict())), dict(_leaves(other.to_dict()))
        found = [Difference(path, mine.get(path, LACKS), theirs.get(path, LACKS)) for path in {**mine, **theirs}]
        differ = [d for d in found if d.here != d.there and d.path not in LABELS]
        groups = {d.path.partition(".")[0] for d in differ}
        labels = [d for d in found if d.here != d.there and d.path in LABELS and d.path.partition(".")[0] in groups]
        return labels + differ


@dataclass(frozen=True)
class Difference:
    """A setting that two definitions have otherwise."""

    path: str
    there: Any
    here: Any

    def is_named(self, settings: Sequence[str]) -> bool:
        """Tell whether one of these settings is this one, holds it (`proxy`), or is a part of it."""
        path = f"{self.path}."
        return any(path.startswith(f"{s}.") or s.startswith(path) for s in settings)

    def __str__(self) -> str:
        there, here = ("nothing" if value is LACKS else _short(value) for value in (self.there, self.here))
        return f"{self.path}: {there} in the study, {here} here"


def listed(differences: Sequence[Difference]) -> str:
    """Say some of the differences in one line."""
    more = len(differences) - LISTED
    return "; ".join(map(str, differences[:LISTED])) + (f"; and {more} more" if more > 0 else "")


def parted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a data set's options into what they say of the data and where these lie."""
    shared = {name: value for name, value in options.items() if name not in HERE}
    return shared, {name: value for name, value in options.items() if name in HERE}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that holds no others by name, with its path; data.options.seed is set as data.seed."""
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        yield path.replace("data.options.", "data."), value
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{path}.{name}" if path else name)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
