"""Whether a machine is one to rank on: how often its processor is all ours, how far measurements lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from harness.measure.host_state import Best, clean, slowdowns
from harness.measure.latency import Latency

SPANS_S = (1, 3, 10)
"""Seconds of a measurement that a spread is told of."""
RANGE = 3.078
"""The range of ten normal values, in standard deviations. Source: Tippett, On the extreme individuals and the range of
samples taken from a normal population, Biometrika 17 (1925), https://doi.org/10.1093/biomet/17.3-4.364"""
STRIP = 60
WINDOW = 20
"""Looks at the rulers whose slowdown is one: a tenth of a second."""
GOOD_SPREAD = 0.02
"""Of ten measurements of 3 s: what a ranking needs."""
OFTEN = 0.5
SELDOM = 0.1
"""Shares of clean time between which a measurement has to wait."""


@dataclass(frozen=True)
class Assessment:
    """What was seen of a machine's clock.

    clean: share of the time when the processor was all ours. spells_s: how long its clean and its other spells lasted,
    in the median; 0.0 where there was none. contended: how much slower the rulers were in the others, as a share.
    clock: how much slower than at best the processor's clock went, as a share, least and most. spread: of ten
    measurements of a network, by the seconds of each, as a share. coverage: share of the intervals called 95 % that
    held the true value, by the same. measurements: how many of a second there were. strip: how much slower than at best
    the throughput ruler was, as a share, in each of `STRIP` parts of the time.
    """

    clean: float
    spells_s: tuple[float, float]
    contended: float
    clock: tuple[float, float]
    spread: dict[str, float]
    coverage: dict[str, float]
    measurements: int
    strip: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @property
    def is_fit(self) -> bool:
        """Whether it is a machine to rank on."""
        return self.clean >= SELDOM and self.spread.get("3", 1.0) <= GOOD_SPREAD

    def advice(self) -> list[str]:
        """Say in words what follows."""
        if "3" not in self.spread:
            return ["too few measurements to tell whether it is a machine to rank on: give it more seconds"]
        fit = "a machine to rank on" if self.is_fit else "no machine to rank on as it is"
        said = [f"{fit}: ten measurements of 3 s spread by {self.spread['3']:.1%}"]
        if self.clean < SELDOM:
            said.append(
                f"its processor is all yours {self.clean:.0%} of the time: stop what runs beside, take another host, "
                "or raise measure.patience_s"
            )
        elif self.clean < OFTEN:
            said.append(f"something shares its processor {1 - self.clean:.0%} of the time: measurements wait for it")
        if self.clock[1] - self.clock[0] > GOOD_SPREAD:
            said.append(f"its clock moves by {self.clock[1] - self.clock[0]:.1%}: trust ratios, not milliseconds")
        return said


def assess(series: Sequence[Sequence[float]], best: Best, measurements: Sequence[Latency]) -> Assessment:
    """Judge a machine by its rulers over time and by measurements of the reference against itself.

    series: seconds, chain_ms and vector_ms, one row a look. measurements: of a second each, of the reference beside
    itself, so that their true ratio is 1.
    """
    at_s, chain, vector = np.asarray(series, dtype=float).T
    pairs = list(zip(_windows(chain), _windows(vector), strict=True))
    slow = np.concatenate([np.full(len(p[0]), s) for p, s in zip(pairs, slowdowns(pairs, best), strict=True)])
    # each look stands for itself: the same rulers before and after
    state = np.array([clean([c, c], [v, v], best, s)[0] for c, v, s in zip(chain, vector, slow, strict=True)])
    return Assessment(
        clean=round(float(state.mean()), 4),
        spells_s=(_spell(at_s, state, True), _spell(at_s, state, False)),
        contended=round(float(np.median(vector[~state]) / best.vector_ms - 1), 4) if not state.all() else 0.0,
        clock=(round(float(slow.min()) - 1, 4), round(float(slow.max()) - 1, 4)),
        spread={str(s): _spread(_together(measurements, s)) for s in SPANS_S if len(measurements) >= 3 * s},
        coverage={str(s): _coverage(_together(measurements, s)) for s in SPANS_S if len(measurements) >= 3 * s},
        measurements=len(measurements),
        strip=tuple(
            round(float(np.median(v)) / best.vector_ms - 1, 3) for v in np.array_split(vector, STRIP) if len(v)
        ),
    )


def _windows(values: np.ndarray) -> list[np.ndarray]:
    return np.array_split(values, max(1, len(values) // WINDOW))


def _spell(at_s: np.ndarray, state: np.ndarray, which: bool) -> float:
    """Return the median length of the spells of a state, in s, a look or two of the other counting as none."""
    smooth = [bool(np.median(state[max(0, i - 2) : i + 3]) >= 0.5) for i in range(len(state))]
    runs = groupby(range(len(smooth)), key=smooth.__getitem__)
    spells = [list(run) for kind, run in runs if kind == which]
    return round(float(np.median([at_s[s[-1]] - at_s[s[0]] for s in spells])), 2) if spells else 0.0


def _together(measurements: Sequence[Latency], seconds: int) -> list[Latency]:
    groups = [measurements[i : i + seconds] for i in range(0, len(measurements) - seconds + 1, seconds)]
    return [Latency.pooled(group) for group in groups]


def _spread(measured: Sequence[Latency]) -> float:
    return round(RANGE * float(np.std(np.log([m.ratio for m in measured]), ddof=1)), 5)


def _coverage(measured: Sequence[Latency]) -> float:
    return round(float(np.mean([m.ratio_low <= 1 <= m.ratio_high for m in measured])), 4)
