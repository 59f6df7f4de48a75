"""The settings of the root scripts and of `db`, as dataclasses: their names, types and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.errors import HarnessError, within
from harness.launch.launcher import Ray, Slurm
from harness.measure.process import PATIENCE_S as PATIENCE_CLEAN_S
from harness.record.recipe import PARAMETERS
from harness.rules.competition import Competition
from harness.search.gate import Gate
from harness.search.proxy import Proxy
from harness.seed import LAST_SEED
from harness.study.storage import PATIENCE_S
from harness.study.study import LONGEST, Study

MOST_WORKERS = 4096
MOST_PROCESSES = 1024
AUTO = "auto"
LAST_PORT = 65_535


@dataclass
class Storage:
    """Where studies live."""

    url: str = "sqlite:///runs/harness.db"


@dataclass
class TeamStorage(Storage):
    """Where a study lives that workers run. patience_s: how long a worker waits for a database that is away."""

    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        within(self.patience_s, 0, LONGEST, "storage.patience_s")


@dataclass
class Board:
    """Where verdicts live."""

    url: str = "sqlite:///runs/board.db"


@dataclass
class Schedule:
    """What the final training changes in a candidate's recipe; null keeps the candidate's value."""

    epochs: int = 60
    batch: int | None = None
    label_smoothing: float | None = 0.1
    ema: float | None = 0.998
    lr: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if self.lr is not None:  # within a candidate it has another name
            within(self.lr, *PARAMETERS["lr"], "recipe.lr")


@dataclass
class Change:
    """What the final training changes in a candidate's augmentation; null keeps the candidate's value."""

    n: int | None = None
    m: int | None = None
    flip: bool | None = None
    crop: float | None = None
    cutout: float | None = None
    transforms: list[Any] | None = None
    place: str | None = None


@dataclass
class Measure:
    """Settings of timing. patience_s: how much longer it may take while something else shares the processor."""

    patience_s: float = PATIENCE_CLEAN_S

    def __post_init__(self) -> None:
        within(self.patience_s, 0, 86_400, "measure.patience_s")


@dataclass
class Tune:
    """Settings of `tune.py`."""

    data: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    proxy: Proxy = field(default_factory=Proxy)
    competition: Competition = field(default_factory=Competition)
    gate: Gate = field(default_factory=Gate)
    study: Study = field(default_factory=Study)
    storage: TeamStorage = field(default_factory=TeamStorage)
    workers: int = 1
    launch: str = "local"
    slurm: Slurm = field(default_factory=Slurm)
    ray: Ray = field(default_factory=Ray)
    latency_s: float = 1.5
    measure: Measure = field(default_factory=Measure)
    device: str = "auto"
    layout: str = "auto"
    dtype: str = "auto"
    track: str = "offline"
    runs: str = "runs"

    def __post_init__(self) -> None:
        within(self.latency_s, 0.01, 3600, "latency_s")
        within(self.workers, 1, MOST_WORKERS, "workers", whole=True)


@dataclass
class Train:
    """Settings of `train.py`. latency_s: the most that timing the result takes, about.

    hold_out: keep the validation part out and tell the F1 on it; false for the last run, which learns from it, too.
    threads: of this host, in all; 0 leaves it to the machine. processes: a number, or auto; they share the threads.
    """

    data: dict[str, Any] = field(default_factory=dict)
    competition: Competition = field(default_factory=Competition)
    study: str = ""
    trial: str = "best"
    candidate: str = ""
    model: str = ""
    resolution_px: int = 0
    weights: str = ""
    recipe: Schedule = field(default_factory=Schedule)
    augment: Change = field(default_factory=Change)
    hold_out: bool = True
    run: str = ""
    threads: int = 0
    processes: str = AUTO
    latency_s: float = 3.0
    measure: Measure = field(default_factory=Measure)
    seed: int = 0
    storage: Storage = field(default_factory=Storage)
    device: str = "auto"
    layout: str = "auto"
    dtype: str = "auto"
    track: str = "offline"
    runs: str = "runs"

    def __post_init__(self) -> None:
        within(self.latency_s, 0.01, 3600, "latency_s")
        within(self.threads, 0, 1024, "threads", whole=True)
        within(self.seed, 0, LAST_SEED, "seed", whole=True)
        if self.processes != AUTO and not (self.processes.isdecimal() and 1 <= int(self.processes) <= MOST_PROCESSES):
            what = f"processes={self.processes}: allowed: {AUTO}, or a whole number, 1 to {MOST_PROCESSES:,}"
            raise HarnessError(what, "set processes so")
        within(self.resolution_px, 0, 1024, "resolution_px", whole=True)


@dataclass
class Submit:
    """Settings of `inference.py` and `python -m harness score`.

    sandbox: "strict", or "unsafe" for one's own models where a sandbox can't be had.
    """

    data: dict[str, Any] = field(default_factory=dict)
    competition: Competition = field(default_factory=Competition)
    run: str = ""
    name: str = ""
    submissions: str = "submissions"
    force: bool = False
    latency_s: float = 4.0
    measure: Measure = field(default_factory=Measure)
    sandbox: str = "strict"
    board: Board = field(default_factory=Board)
    runs: str = "runs"
    track: str = "offline"

    def __post_init__(self) -> None:
        within(self.latency_s, 0.01, 3600, "latency_s")


@dataclass
class Db:
    """Settings of `python -m harness db`. host, port: '' and 0 are what `start` takes by itself."""

    folder: str = "runs/db"
    host: str = ""
    port: int = 0

    def __post_init__(self) -> None:
        within(self.port, 0, LAST_PORT, "port", whole=True)


@dataclass
class HostBoard(Board):
    """Where verdicts live, and the files of entries."""

    files: str = "runs/files"


@dataclass
class Organise:
    """Settings of the organiser's verbs.

    competition: the name of a hosted one; '' where there is one. url, baseline: of `team add`. data_url: of `describe`;
    '' takes it away. closes: of `reopen`.
    to: of `export` and `backup`. apply: of `rescore`; false shows what it would change. last: how many rows `log`
    and `submissions` show. head: a hash of the log that was noted, for `audit`. workers, lease_s, latency_s, wait,
    sandbox: of `work`. host, port, hosts: of `serve`; hosts are the names that it may be asked by, parted by
    commas.
    """

    board: HostBoard = field(default_factory=HostBoard)
    competition: str = ""
    team: str = ""
    url: str = ""
    baseline: bool = False
    data_url: str = ""
    closes: str = ""
    to: str = ""
    apply: bool = True
    last: int = 50
    head: str = ""
    workers: int = 1
    lease_s: float = 60.0
    latency_s: float = 4.0
    measure: Measure = field(default_factory=Measure)
    wait: bool = True
    sandbox: str = "strict"
    host: str = "127.0.0.1"
    port: int = 8080
    hosts: str = ""
    runs: str = "runs"

    def __post_init__(self) -> None:
        within(self.latency_s, 0.01, 3600, "latency_s")
        within(self.workers, 1, MOST_WORKERS, "workers", whole=True)
        within(self.lease_s, 5, LONGEST, "lease_s")
        within(self.last, 1, LONGEST, "last", whole=True)
        within(self.port, 0, LAST_PORT, "port", whole=True)


@dataclass
class Send:
    """Settings of `python -m harness submit`. url: of the competition's server. token: the team's."""

    url: str = ""
    token: str = ""
    debug: bool = False
    wait: bool = True
