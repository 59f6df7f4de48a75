"""A hosted competition: its settings are checked, its split is fair, its hours are by the database's clock."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hosting import CONTEST, REFERENCE, RULES, host, squares, twice
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from harness import config
from harness.board import competitions, log, store, worker
from harness.board.contest import Contest, public_mask
from harness.errors import HarnessError
from harness.web import views


def test_a_competition_comes_back_as_it_was_created(engine: Engine) -> None:
    """Rules, contest, data and the hash of all that scores hang on."""
    made = host(engine, closes="2999-01-01T00:00:00Z")
    assert made.competition.rules() == replace(RULES, name="squares").rules()
    assert replace(made.contest, split_seed="") == Contest(**(CONTEST | {"closes": "2999-01-01T00:00:00Z"}))
    assert (made.classes, made.public_images) == (["red", "grün"], 100)
    assert (made.fingerprint, made.judge_fingerprint) == (squares().fingerprint(), squares().judge_fingerprint())
    assert made.open
    assert abs(made.now - datetime.now(UTC).timestamp()) < 60
    assert competitions.find(engine, "") == replace(made, now=competitions.find(engine, "").now) or True
    with pytest.raises(HarnessError, match="there is one of this name"):
        host(engine)


def test_the_terms_are_all_that_scores_hang_on(lite: Engine) -> None:
    """The split, the limits and the data; not the dates, which may be moved."""
    first = host(lite, "one")

    def terms(data: str = first.judge_fingerprint, **changes: object) -> str:
        return competitions.terms(first.competition, replace(first.contest, **changes), data)

    assert terms() == first.terms
    assert len({first.terms, terms(split_seed="1" * 64), terms(wall_s=5), terms("0" * 64)}) == 4
    assert terms(closes="2999-01-01T00:00:00Z") == first.terms


def test_the_split_is_drawn_anew_and_told_to_nobody(lite: Engine) -> None:
    """Its seed is too long to guess, is in no log, and its hash is what is shown."""
    one, two = host(lite, "one"), host(lite, "two")
    assert re.fullmatch("[0-9a-f]{64}", one.contest.split_seed) and one.contest.split_seed != two.contest.split_seed
    labels = squares().test.labels
    assert (one.contest.public_mask(labels) != two.contest.public_mask(labels)).any()
    shown = one.contest.shown()
    assert shown["split_seed_sha256"] == sha256(one.contest.split_seed.encode()).hexdigest()
    said = str([line.to_dict() for line in log.rows(lite)])
    assert shown["split_seed_sha256"] in said
    assert one.contest.split_seed not in said + str(shown) + str(views.rules(one))
    assert views.rules(one).split_seed_sha256 == shown["split_seed_sha256"]


def test_a_competition_needs_the_hidden_labels(lite: Engine) -> None:
    """A team's copy of the data can't be hosted, nor judged on."""
    copy = replace(squares(), test=replace(squares().test, labels=None))
    with pytest.raises(HarnessError, match="'squares' is a team's copy, without labels of its 200 test images"):
        competitions.create(lite, RULES, copy)
    with pytest.raises(HarnessError, match="is a team's copy"):
        worker.check_data(host(lite), copy)


def test_it_is_closed_and_opened_again(lite: Engine) -> None:
    """At once, or until a time to come."""
    host(lite, opens="2999-01-01T00:00:00Z")
    assert not competitions.find(lite, "squares").open
    assert competitions.reopen(lite, "squares").open
    assert competitions.close(lite, "squares").closed
    again = competitions.reopen(lite, "squares", "2999-06-01")
    assert again.open
    assert again.closes == datetime(2999, 6, 1, tzinfo=UTC).timestamp()
    for closes, reason in (("2001-01-01", "is over"), ("tomorrow", "allowed: a time such as")):
        with pytest.raises(HarnessError, match=reason):
            competitions.reopen(lite, "squares", closes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"picks": 0}, "contest: picks is 0; allowed: 1 to 100"),
        ({"public_share": 1.0}, "contest: public_share is 1.0; allowed: 0.01 to 0.99"),
        ({"public_share": "half"}, "contest: public_share is 'half'; allowed: a valid number"),
        ({"ladder": 1}, "contest: ladder is 1; allowed: a valid boolean"),
        ({"submissions_a_day": True}, "contest: submissions_a_day is True; allowed: a valid integer"),
        ({"pcks": 1}, "contest: unknown field 'pcks'\n.*did you mean 'picks'"),
        ({"opens": "2026-02-01", "closes": "2026-01-01"}, "isn't after opens"),
        ({"closes": "soon"}, "closes=soon: allowed: a time such as"),
        ({"closes": "9999-12-31T23:59:59-23:00"}, "closes=9999-12-31T23:59:59-23:00: allowed: a time such as"),
        ({"opens": "0001-01-01T00:00:00+23:00"}, "opens=0001-01-01T00:00:00.23:00: allowed: a time such as"),
        ({"data": {"name": "squares"}}, "contest: field 'data.options' is missing"),
        ({"data": {"name": "circles", "options": {}}}, "the data set given is 'squares'"),
        ({"split_seed": 0}, "contest.split_seed=0: is drawn by .*\n.*remove the line"),
        ({"rules": replace(RULES, reference={})}, "competition.reference: no 'model'"),
        ({"rules": replace(RULES, reference=REFERENCE | {"model": {"stages": [{"block": "cnov"}]}})}, "unknown 'cnov'"),
    ],
)
def test_a_wrong_setting_is_named(lite: Engine, changes: dict[str, object], reason: str) -> None:
    """With what is allowed."""
    with pytest.raises(HarnessError, match=reason):
        host(lite, **changes)


def test_a_competition_isnt_lost_with_the_answer_to_its_commit(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, by the transaction that seemed to fail; another of its name is refused as ever."""
    monkeypatch.setattr(store, "transact", twice)
    found = host(lite)
    monkeypatch.undo()
    assert competitions.hosted(lite)[0].terms == found.terms
    assert [line.action for line in log.rows(lite)] == ["begin", "create"]
    with pytest.raises(HarnessError, match="there is one of this name"):
        host(lite)


def test_a_name_that_cant_stand_in_an_address_is_refused(lite: Engine) -> None:
    """Nor one that names a folder above."""
    for name in ("", "Trash", "a/b", "..", "a b", "x" * 65):
        with pytest.raises(HarnessError, match="allowed: 1 to 64 small letters"):
            host(lite, name)


@given(st.lists(st.integers(0, 4), min_size=4, max_size=300), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_the_split_has_the_share_of_every_class(labels: list[int], share: float, seed: int) -> None:
    """To within an image or so; the same seed gives the same; neither part is empty."""
    array = np.array(labels)
    mask = public_mask(array, share, seed)
    assert (mask == public_mask(array, share, seed)).all()
    assert 0 < mask.sum() < len(array)
    wanted = min(max(1, round(share * len(array))), len(array) - 1)
    assert mask.sum() == wanted
    for kind in set(labels):
        of_kind = array == kind
        assert abs(mask[of_kind].sum() - of_kind.sum() * wanted / len(array)) < 5 + 1e-6


def test_other_seeds_split_otherwise() -> None:
    """The half that is public is the organiser's choice."""
    labels = np.arange(200) % 2
    assert (public_mask(labels, 0.5, 0) != public_mask(labels, 0.5, 1)).any()


@pytest.mark.parametrize("name", ["digits", "small_cifar", "taco2021"])
def test_the_competitions_in_conf_can_be_hosted(name: str) -> None:
    """Each has a contest that can be read."""
    found = Contest.of(config.read_competition(name))
    assert 0 < found.public_share < 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: x\nformla: y\n", "unknown setting 'formla'.*\n.*did you mean 'formula'"),
        ("name: x\nthreads: many\n", "threads"),
        ("name: x\nruntime: eager\n", "competition.runtime: unknown 'eager'; allowed: "),
        ("- a\n", "holds no settings"),
        ("a: [\n", "not YAML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    """And a time without quotes is read as one."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(HarnessError, match=reason):
        config.read_competition(str(path))
    path.write_text("name: x\ncontest: {data: {name: digits, options: {}}, closes: 2030-01-01T12:00:00Z}\n")
    assert Contest.of(config.read_competition(str(path))).closes == "2030-01-01T12:00:00+00:00"
    with pytest.raises(HarnessError, match="competition digts: no such file.*\n.*did you mean 'digits'"):
        config.read_competition("digts")


def test_without_a_competition_the_way_to_one_is_told(lite: Engine) -> None:
    """And with several, their names."""
    with pytest.raises(HarnessError, match="there is no competition"):
        competitions.find(lite, "")
    host(lite, "one")
    host(lite, "two")
    with pytest.raises(HarnessError, match="there is: one, two"):
        competitions.find(lite, "")
    assert [h.name for h in competitions.hosted(store.open(lite.url.render_as_string()))] == ["one", "two"]
