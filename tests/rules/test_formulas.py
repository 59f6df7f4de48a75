"""The formulas against the real figures of the course's two competitions."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.rules.competition import FORMULAS as NAMES
from harness.rules.competition import RANGES, Competition
from harness.rules.formulas import FORMULAS, Figures, better, optimistic, points, points_of_board, ranks

# F1, seconds, score as teams reported them; the base of the time term was 43.16 s.
SECOND_COHORT = [
    (0.7000, 60.000, 1.1950),
    (0.7531, 68.5204, 1.0503),
    (0.6484, 67.6218, 1.5207),
    (0.7194, 63.6555, 1.1415),
    (0.7012, 58.1225, 1.1676),
    (0.6986, 58.1225, 1.1804),
    (0.6897, 59.3327, 1.2388),
    (0.6936, 59.3327, 1.2195),
    (0.6880, 84.985, 1.5460),
    (0.6530, 92.926, 1.7950),
]
# The one F1 published with two digits, and one that misses the half-thousandth by 0.0001.
LOOSER = {0.6880: 0.0018, 0.6530: 0.0007}
# F1, MACs, score; the two that the published constants give exactly.
FIRST_COHORT = [(0.4892, 1_862_490, 1.1343), (0.7085, 42_826_312, 3.2398)]
# Public scores, which imply F1 bases of 0.83 to 0.84. Left out: (0.6206, 1,688,940, 0.4005), which would take 0.86.
FIRST_COHORT_PUBLIC = [
    (0.5176, 1_862_490, 0.5156),
    (0.6149, 1_083_210, 0.3431),
    (0.5718, 3_421_577, 0.5558),
    (0.5112, 2_295_497, 0.5539),
]
figures = st.builds(
    Figures,
    f1=st.floats(0, 1),
    ratio=st.floats(1e-3, 100),
    macs=st.floats(1, 1e12),
)
alone = st.sampled_from([name for name, formula in FORMULAS.items() if formula.score])


@pytest.mark.parametrize(("f1", "time_s", "score"), SECOND_COHORT)
def test_the_second_cohorts_scores_come_out(f1: float, time_s: float, score: float) -> None:
    """The default formula gives the ten reported scores, to 0.0005 but for two."""
    tolerance = LOOSER.get(f1, 0.0005)
    assert points(Competition(), Figures(f1, time_s / 43.16, 1.0)) == pytest.approx(score, abs=tolerance)


@pytest.mark.parametrize(("f1", "macs", "score"), FIRST_COHORT)
def test_the_first_cohorts_scores_come_out(f1: float, macs: float, score: float) -> None:
    """The MACs formula gives the first cohort's scores to the digits they were published with."""
    competition = Competition(formula="boostcamp2021a")
    assert points(competition, Figures(f1, 1.0, macs)) == pytest.approx(score, abs=0.00006)


@pytest.mark.parametrize(("f1", "macs", "score"), FIRST_COHORT_PUBLIC)
def test_the_first_cohorts_public_scores_come_out_roughly(f1: float, macs: float, score: float) -> None:
    """Public scores were taken with another F1 base, so they agree to a hundredth only."""
    competition = Competition(formula="boostcamp2021a")
    assert points(competition, Figures(f1, 1.0, macs)) == pytest.approx(score, abs=0.01)


@given(figures, st.floats(0.1, 100))
def test_the_time_base_is_in_times_of_the_reference(entry: Figures, base: float) -> None:
    """An entry as much slower as the base is larger has the points that it has with a base of one."""
    slower = replace(entry, ratio=entry.ratio * base)
    assert points(Competition(time_base=base), slower) == pytest.approx(points(Competition(), entry))


@pytest.mark.parametrize("base", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_base_that_is_no_time_is_refused(base: float) -> None:
    """The value is named, and what it means."""
    with pytest.raises(HarnessError, match="competition.time_base=.*above 0"):
        Competition(time_base=base)


@pytest.mark.parametrize(
    "wrong",
    [
        {"formula": "boostcamp"}, {"f1_target": 95.0}, {"f1_target": float("nan")}, {"f1_floor": -0.1},
        {"agreement": 99.5}, {"f1_base": 0.0}, {"macs_base": 0.0}, {"threads": 0}, {"threads": 1.5},
    ],
)  # fmt: skip
def test_rules_that_nothing_can_be_scored_by_are_refused_before_anything_is(wrong: dict[str, object]) -> None:
    """They failed every trial of a study, or made all its points NaN."""
    with pytest.raises(HarnessError, match=f"competition.{next(iter(wrong))}"):
        Competition(**wrong)


def test_the_formulas_have_the_names_that_rules_may_choose() -> None:
    """Two lists, for the rules are below the formulas."""
    assert tuple(FORMULAS) == NAMES


@given(alone, figures, st.floats(0, 1))
def test_a_better_f1_never_scores_worse(formula: str, entry: Figures, f1: float) -> None:
    """Whatever the formula, raising F1 alone keeps or betters the points."""
    competition = Competition(formula=formula)
    low, high = sorted([entry.f1, f1])
    worse, finer = (points(competition, replace(entry, f1=v)) for v in (low, high))
    assert not better(competition, worse, finer)


@given(alone, figures, st.floats(0.01, 1))
def test_less_time_and_fewer_macs_never_score_worse(formula: str, entry: Figures, share: float) -> None:
    """Whatever the formula, a cheaper model of the same F1 keeps or betters the points."""
    competition = Competition(formula=formula)
    cheaper = Figures(entry.f1, entry.ratio * share, entry.macs * share)
    assert not better(competition, points(competition, entry), points(competition, cheaper))


@given(alone, figures)
def test_no_f1_beats_the_optimistic_points(formula: str, entry: Figures) -> None:
    """The gate's bound is a bound: a model of this cost can't do better."""
    competition = Competition(formula=formula)
    assert not better(competition, points(competition, entry), optimistic(competition, entry))


@given(st.lists(figures, min_size=1, max_size=20))
def test_mean_ranks_are_fair(entries: list[Figures]) -> None:
    """Ranks sum to the same whatever the ties, and an entry that is best in both has the best points."""
    got = points_of_board(Competition(formula="rank_mean"), entries)
    n = len(entries)
    assert sum(got) == pytest.approx(n * (n + 1) / 2)
    champion = Figures(1.0, 1e-4, 1.0)
    with_champion = points_of_board(Competition(formula="rank_mean"), [*entries, champion])
    assert min(with_champion) == with_champion[-1]


def test_tied_entries_share_the_mean_rank() -> None:
    """Two seconds of three are both 2.5th."""
    assert ranks(np.array([0.2, 0.1, 0.2])).tolist() == [2.5, 1.0, 2.5]


@given(st.lists(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=3, max_size=3), min_size=1, max_size=9))
def test_ranks_are_those_of_the_definition(rows: list[list[float]]) -> None:
    """By counting: one more than the smaller ones, and half of the other equal ones; each column by itself."""
    values = np.array(rows)
    smaller = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    assert (ranks(values) == smaller + (equal + 1) / 2).all()


def test_the_processors_clock_moves_no_points() -> None:
    """Milliseconds are no part of what formulas look at: a slower host's entry has its ratio alone."""
    assert {f.name for f in fields(Figures)} == {"f1", "ratio", "macs"}


def test_a_reference_time_that_is_no_time_is_refused() -> None:
    """The value is named."""
    with pytest.raises(HarnessError, match="competition.reference_ms=0.*above 0"):
        Competition(reference_ms=0)


@pytest.mark.parametrize(("name", "allowed"), [(name, allowed) for name, (_, _, allowed, _) in RANGES.items()])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -11])
def test_a_number_that_makes_no_points_is_refused(name: str, allowed: str, value: float) -> None:
    """Nor is there a competition whose judge refuses every entry, or takes each for the one that was submitted."""
    with pytest.raises(HarnessError, match=re.escape(f"competition.{name}={value}: allowed: {allowed}")):
        Competition(**{name: value})


@pytest.mark.parametrize("name", ["f1_base", "macs_base", "threads"])
def test_nothing_is_divided_by_zero_nor_runs_on_no_thread(name: str) -> None:
    """Zero is refused where it can't be."""
    with pytest.raises(HarnessError, match=f"competition.{name}=0: allowed: "):
        Competition(**{name: 0})


def test_what_is_stored_is_read_though_nobody_could_judge_by_it_today() -> None:
    """An engine that has left makes no scores unreadable; whoever judges by it is refused."""
    rules = Competition(f1_target=0.8).rules() | {"runtime": "inductor"}
    found = Competition.stored(rules)
    assert found.rules() == rules
    with pytest.raises(HarnessError, match="competition.runtime: unknown 'inductor'"):
        found.check()


def test_below_the_floor_f1_squared_fps_is_zero() -> None:
    """A fast guesser scores the worst there is; at the floor the formula holds."""
    competition = Competition(formula="f1_squared_fps", f1_floor=0.6)
    assert points(competition, Figures(0.59, 0.001, 1.0)) == 0.0
    assert points(competition, Figures(0.6, 2.0, 1.0)) == pytest.approx(0.36 * 500)
    twice = replace(competition, reference_ms=0.5)
    assert points(twice, Figures(0.6, 2.0, 1.0)) == pytest.approx(0.36 * 1000)


def test_a_board_formula_has_no_points_for_a_model_alone() -> None:
    """Asking rank_mean for one model's points says which formulas can."""
    with pytest.raises(HarnessError, match="scores a whole board.*\n.*boostcamp2021b"):
        points(Competition(formula="rank_mean"), Figures(0.5, 1.0, 1.0))


def test_an_unknown_formula_lists_the_known() -> None:
    """A misspelt formula is an error with the close name."""
    with pytest.raises(HarnessError, match="unknown 'rank_men'.*\n.*did you mean 'rank_mean'"):
        points_of_board(Competition(formula="rank_men"), [])


def test_the_digest_changes_with_every_option() -> None:
    """Scores under other rules don't compare, so each rule is part of the hash."""
    changed = [
        {"name": "x"}, {"formula": "rank_mean"}, {"f1_target": 0.8}, {"macs_base": 1.0}, {"f1_base": 0.9},
        {"f1_floor": 0.1}, {"reference": {"resolution_px": 32}}, {"threads": 2}, {"runtime": "openvino"},
        {"agreement": 1.0},
        {"formula": "f1_squared_fps", "reference_ms": 0.4}, {"formula": "f1_squared_fps"},
    ]  # fmt: skip
    digests = {Competition(**options).digest() for options in changed} | {Competition().digest()}
    assert len(digests) == len(changed) + 1
    assert all(len(d) == 16 for d in digests)


def test_a_formula_whose_meaning_changed_has_other_hashes_than_before() -> None:
    """Boards of the others go on under the hashes that they had; the two that took milliseconds begin anew."""
    before = {
        "boostcamp2021b": "22205b0a8a4bcd24",
        "f1_squared_fps": "2827a261d80341cf",
        "rank_mean": "71861bf907d9fabe",
    }
    assert Competition(reference_ms=0.4).digest() == before["boostcamp2021b"]
    for name in ("f1_squared_fps", "rank_mean"):
        found = Competition(formula=name)
        assert found.digest() != before[name] and Competition(**found.rules()) == found


def test_the_organisers_side_is_no_part_of_the_rules() -> None:
    """A board goes on when submissions a day or the closing time change; what a study keeps doesn't hold them."""
    plain, open_ = Competition(), Competition(contest={"submissions_a_day": 3})
    assert open_.digest() == plain.digest() and open_.rules() == plain.rules()
    assert Competition(**plain.rules()) == plain
