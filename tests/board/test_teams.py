"""Teams: names that can't be taken for others, tokens that are shown once."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from hosting import twice
from sqlalchemy import Engine

from harness.board import log, teams
from harness.errors import HarnessError


def test_a_token_is_its_teams_until_it_is_revoked(engine: Engine) -> None:
    """On each kind of database; a revoked one stays so."""
    anna, token = teams.add(engine, "anna")
    ben, other = teams.add(engine, "ben")
    assert (teams.by_token(engine, token), teams.by_token(engine, other)) == (anna, ben)
    assert teams.revoke(engine, "anna").revoked
    assert teams.revoke(engine, "anna").revoked
    assert teams.by_token(engine, token) is None
    assert teams.by_token(engine, other) == ben
    assert [(t.name, t.revoked) for t in teams.listed(engine)] == [("anna", True), ("ben", False)]


def test_a_team_that_lost_its_token_gets_a_new_one(engine: Engine) -> None:
    """The old one stops working, it stays the same team, and the log says so without the token; a revoked one, too."""
    anna, lost = teams.add(engine, "anna")
    again, token = teams.renew(engine, "anna")
    assert teams.by_token(engine, lost) is None
    assert teams.by_token(engine, token) == again
    assert (again.id, again.name, again.prefix) == (anna.id, "anna", token[3:11])
    line = log.rows(engine)[-1]
    assert (line.action, json.loads(line.detail)) == ("team token", {"team": "anna", "prefix": token[3:11]})
    teams.revoke(engine, "anna")
    assert teams.by_token(engine, teams.renew(engine, "anna")[1]) == teams.find(engine, "anna")
    assert not teams.find(engine, "anna").revoked
    with pytest.raises(HarnessError, match="team 'ben': there is none"):
        teams.renew(engine, "ben")


def test_a_token_isnt_lost_with_the_answer_to_its_commit(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The team is there, by the transaction that seemed to fail: the second try finds its own."""
    monkeypatch.setattr(teams.store, "transact", twice)
    _, token = teams.add(lite, "anna")
    monkeypatch.undo()
    assert teams.by_token(lite, token) == teams.find(lite, "anna")
    with pytest.raises(HarnessError, match="there is one of this name\n.*team token NAME"):
        teams.add(lite, "anna")


def test_what_people_score_for_themselves_is_no_team_with_a_token(lite: Engine) -> None:
    """However it is written: it can't be found, revoked or given a token."""
    for name in ("local", "LOCAL"):
        for act in (teams.find, teams.renew, teams.revoke):
            with pytest.raises(HarnessError, match=f"team '{name}': there is none"):
                act(lite, name)


def test_no_guess_is_let_in(lite: Engine) -> None:
    """Not the right beginning, not what is stored, nothing of an odd shape."""
    team, token = teams.add(lite, "anna")
    near = [token[:-1] + c for c in "abcxyz" if c != token[-1]]
    near += [token[:11] + secrets.token_urlsafe(26)[:35] for _ in range(200)]
    odd = [
        "",
        "hb_",
        token[3:],
        token + "a",
        f" {token}",
        token.lower(),
        team.prefix,
        "hb_\x00",
        "hb_" + "ü" * 43,
        "x" * 10**6,
    ]
    for guess in near + odd:
        assert teams.by_token(lite, guess) is None, guess[:60]


@pytest.mark.parametrize("name", ["anna", "Team-1_x", "Äpfel und Birnen", "ひまわり", "команда 7", "a" * 40])
def test_a_name_of_letters_digits_blanks_is_taken(lite: Engine, name: str) -> None:
    """In any script."""
    assert teams.add(lite, name)[0].name == name


@pytest.mark.parametrize(
    "name",
    [
        "", " ", " a", "a ", "a  b", "a" * 41, "a\u202eb", "a\u200bb", "\ufeffa", "a\nb", "a\tb", "a\x00b", "<b>",
        "a'b", "=1", "😀", "a/b", "a\u00a0b", "a\u0336b", "a.b",
    ],
)  # fmt: skip
def test_another_name_is_refused(lite: Engine, name: str) -> None:
    """What turns the line, isn't seen, or means something elsewhere; the message shows it harmlessly."""
    with pytest.raises(HarnessError, match="allowed: 1 to 40 letters") as e:
        teams.add(lite, name)
    assert str(e.value).isascii()


@pytest.mark.parametrize("other", ["anna", "ANNA", "\uff41nna"])
def test_names_that_look_alike_are_one(lite: Engine, other: str) -> None:
    """By case or width; `local` is taken by what people score for themselves."""
    teams.add(lite, "anna")
    for name in (other, "local"):
        with pytest.raises(HarnessError, match="there is one of this name"):
            teams.add(lite, name)
    assert teams.find(lite, other).name == "anna"


def test_of_many_who_take_a_name_at_once_one_gets_it(engine: Engine) -> None:
    """The others are told."""

    def add(_: int) -> bool:
        try:
            teams.add(engine, "anna")
        except HarnessError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(8))) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://wandb.ai/x", "javascript:alert(1)", "https://", "https://a@b.c/", "//wandb.ai", "https://w.ai/\u202e",
        "https://w.ai/ x", 'https://w.ai/"', "https://w.ai/<b>", "https://w.ai/" + "x" * 200, "data:text/html,x",
    ],
)  # fmt: skip
def test_only_a_plain_https_address_is_a_teams_page(lite: Engine, url: str) -> None:
    """It becomes a link."""
    with pytest.raises(HarnessError, match="begins with https://"):
        teams.add(lite, "anna", url)
    team, _ = teams.add(lite, "anna")
    assert teams.set_url(lite, team, "https://wandb.ai/anna/trash?x=1#a").url == "https://wandb.ai/anna/trash?x=1#a"


def test_an_unknown_team_is_named_with_the_nearest(lite: Engine) -> None:
    """As everywhere."""
    teams.add(lite, "anna")
    with pytest.raises(HarnessError, match="there are: anna\n.*did you mean 'anna'"):
        teams.revoke(lite, "ana")
