"""The gate refuses what is too dear or hopeless, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness.rules.competition import Competition
from harness.rules.formulas import Figures, better, points
from harness.search.gate import Gate, Known, hopeless, too_dear

LOWER = Competition()
HIGHER = Competition(formula="f1_squared_fps")
figures = st.builds(Figures, st.floats(0, 1), st.floats(0.01, 10), st.integers(1, 10**9))


def test_limits_hold_and_zero_is_none() -> None:
    """The first limit that is exceeded is named with the value; one that is just met is fine."""
    assert too_dear(Gate(), 10**12, 10**12, 1e6) is None
    assert too_dear(Gate(max_macs=10, max_parameters=10, max_latency_ms=1.5), 10, 10, 1.5) is None
    assert too_dear(Gate(max_parameters=10), 99, 11, 9.0) == "parameters 11 over the limit 10"
    assert too_dear(Gate(max_latency_ms=0.5), 1, 1, 0.75) == "latency_ms 0.75 over the limit 0.5"


def test_nothing_is_hopeless_at_first() -> None:
    """Without a trial that has points there is nothing to beat."""
    assert hopeless(LOWER, Figures(0, 99.0, 1), []) is None
    assert hopeless(LOWER, Figures(0, 99.0, 1), [Known(0, None)]) is None


def test_the_reason_names_the_best_trial() -> None:
    """Both points stand in it."""
    known = [Known(1, 0.9), Known(2, 0.6), Known(3, 0.8)]
    assert "trial 2 has 0.6000" in str(hopeless(LOWER, Figures(0, 2.0, 1), known))


@given(st.sampled_from([LOWER, HIGHER]), figures, st.lists(figures, max_size=6), st.floats(0, 1))
def test_what_could_win_is_never_refused(
    competition: Competition, mine: Figures, others: list[Figures], f1: float
) -> None:
    """If any F1 at this latency beats every known trial, the gate lets it train; else it names a trial."""
    known = [Known(i, points(competition, o)) for i, o in enumerate(others)]
    reason = hopeless(competition, mine, known)
    scores = [points(competition, replace(mine, f1=x)) for x in (f1, 1.0)]
    wins = [all(better(competition, s, k.points) for k in known) for s in scores]
    assert (reason is None) == wins[1]
    assert reason is None or not wins[0]
