"""What this machine's earlier measurements have shown: the rulers' best times, and how far measurements lie apart."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from harness.measure.host_state import Best, lowest
from harness.measure.latency import Latency
from harness.measure.machine import cpu_name, microcode
from harness.measure.rulers import KIND
from harness.record import files

KEPT = 1000
"""Measurements that a machine remembers."""
AGE_S = 30 * 86_400.0
"""After which one no longer counts: microcode, kernels' settings and hosts change unseen."""
RANK, OF = 2, 5
"""Which of the measurements, by their rulers, gives the best times: the third, or of few one lower for every five.

Not the first, which may be a clock's mistake; nor a share of them, for a host may have neighbours most of the time."""
OF_LATE = 3
"""Measurements that tell how fast the clock goes of late: what lasts for all of them is no neighbour."""
LATE_S = 3600.0
"""After which they tell it no more."""
LAST = 20
"""Measurements of the control that tell how far apart measurements lie."""
ENOUGH = 3
"""Of them, before a measurement is told how far it may be off."""
EVERY_S = 120.0
"""After which the control is due again."""
APART = 0.004
"""Standard deviation, as a share, that is taken for a machine that has told nothing yet."""
WEIGHT = 8
"""How many measurements that is worth."""
LEAST_APART = 0.001
"""And the least that it is ever taken for."""


@dataclass(frozen=True)
class Past:
    """A machine's earlier measurements, oldest first, and what `assessment` found last, with `when`.

    Each: `when` (s since 1970), `chain_ms` and `vector_ms` (the low end of the rulers). Of the control network also
    `of` (beside which reference, timed how) and, where it was clean, `ratio` (its logarithm) and `error` (its standard
    error over the processes).
    """

    measurements: tuple[dict[str, Any], ...]
    assessment: dict[str, Any] | None = None

    @property
    def best(self) -> Best | None:
        """The rulers' best times; None where nothing is known."""
        ordered = sorted(self.measurements, key=lambda m: m["chain_ms"] * m["vector_ms"])
        if not ordered:
            return None
        found = ordered[min(RANK, len(ordered) // OF)]
        late = [m for m in self.measurements[-OF_LATE:] if time.time() - m["when"] < LATE_S]
        slow = [min(m[name] / found[name] for name in ("chain_ms", "vector_ms")) for m in late]
        return Best(found["chain_ms"], found["vector_ms"], max(1.0, min(slow)) if slow else None)

    def apart(self, of: str) -> float:
        """Return the standard deviation between measurements of the control beyond what their processes show."""
        found = [m for m in self._controls(of) if "ratio" in m]
        known, beyond = max(0, len(found) - 1), 0.0
        if known:
            within = np.mean([m["error"] ** 2 for m in found])
            beyond = max(0.0, float(np.var([m["ratio"] for m in found], ddof=1) - within))
        return max(LEAST_APART, float(np.sqrt((WEIGHT * APART**2 + known * beyond) / (WEIGHT + known))))

    def due(self, of: str) -> int:
        """Return how often the control is to be timed before the next measurement."""
        found = self._controls(of)
        return max(ENOUGH - len(found), int(not found or time.time() - found[-1]["when"] > EVERY_S))

    def _controls(self, of: str) -> list[dict[str, Any]]:
        return [m for m in self.measurements if m.get("of") == of][-LAST:]


def path() -> Path:
    """Return this machine's file; other processors, kernels and limits of frequency have others."""
    facts = [cpu_name(), microcode(), platform.release(), *map(_read, _limits()), np.__version__, KIND]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return user_cache_path("latency-cup") / f"machine-{name}.json"


def key(reference: Path, threads: int, clock: str) -> str:
    """Name what measurements have in common that are held together: reference, threads, and whose clock."""
    return f"{files.sha256(reference)[:16]} {threads} {clock}"


def read(file: Path) -> Past:
    """Read what is known; a file that is missing or damaged tells nothing."""
    try:
        found = json.loads(file.read_text())
        rows = [m for m in found["measurements"] if time.time() - m["when"] < AGE_S]
        kept = [m for m in rows if m["chain_ms"] > 0 and m["vector_ms"] > 0]
        return Past(tuple(kept), found.get("assessment"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what damage can do to a file of JSON
        return Past(())


def add(file: Path, latency: Latency, control_of: str = "") -> None:
    """Remember a measurement, while the host's lock is held. control_of: the key, if it is the control's."""
    loads = [load for process in latency.processes for load in process if load.vector_ms]
    if not loads:
        return
    best = lowest(*([ms for load in loads for ms in getattr(load, name)] for name in ("chain_ms", "vector_ms")))
    row: dict[str, Any] = {"when": time.time(), "chain_ms": best.chain_ms, "vector_ms": best.vector_ms}
    if control_of:
        row |= {"of": control_of}
    if control_of and latency.is_clean:
        row |= dict(zip(("ratio", "error"), latency.log_ratio, strict=True))
    known = read(file)
    _write(file, Past((*known.measurements, row)[-KEPT:], known.assessment))


def note(file: Path, assessment: dict[str, Any]) -> None:
    """Remember what was found of the machine as a whole."""
    _write(file, Past(read(file).measurements, assessment | {"when": time.time()}))


def _write(file: Path, known: Past) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(file, asdict(known))
    except OSError as e:  # the measurement itself is none the worse
        logging.getLogger(__name__).warning("%s can't be written (%s): the next measurement knows less", file, e)


def _limits() -> Sequence[Path]:
    return [Path("/proc/sys/kernel/version"), *sorted(Path("/sys/devices/system/cpu/cpu0/cpufreq").glob("*_max_freq"))]


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
