"""The words for a user's mistake."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, nearest, pick, within

TABLE = {"sgd": 1, "adamw": 2}


def test_a_known_name_is_looked_up():
    """What stands in the table comes back."""
    assert [pick(TABLE, name, "here") for name in TABLE] == [1, 2]


def test_an_unknown_name_is_answered_with_place_choices_and_the_nearest():
    """The value, where it stood, what is allowed, what to do next."""
    with pytest.raises(HarnessError, match="recipe: unknown 'adam'; allowed: adamw, sgd\n  do: did you mean 'adamw'?"):
        pick(TABLE, "adam", "recipe")


@pytest.mark.parametrize("name", [[], {}, None, 5])
def test_what_is_no_text_is_no_name(name: object):
    """A list can't even be looked up."""
    with pytest.raises(HarnessError, match="here: unknown"):
        pick(TABLE, name, "here")


@pytest.mark.parametrize("value", [0.9, 3.1, float("nan"), float("inf"), True, None, "2", [2]])
def test_a_number_outside_its_range_and_what_is_no_number_are_refused(value: object):
    """NaN is neither below nor above; the ends are allowed."""
    with pytest.raises(HarnessError, match=r"here=.*: allowed: a number, 1 to 3\n"):
        within(value, 1, 3, "here")
    within(1, 1, 3, "here")
    within(3.0, 1, 3, "here")
    with pytest.raises(HarnessError, match="a whole number"):
        within(2.0, 1, 3, "here", whole=True)


@given(st.text())
def test_any_name_is_found_or_refused(name: str):
    """Whatever the text, the answer is an entry or a HarnessError, never a KeyError."""
    if name in TABLE:
        assert pick(TABLE, name, "here") == TABLE[name]
    else:
        with pytest.raises(HarnessError, match="allowed: adamw, sgd"):
            pick(TABLE, name, "here")


def test_a_far_name_has_no_nearest():
    """A guess that isn't close is worse than none."""
    assert nearest("zzz", TABLE) == "" and nearest("sgb", TABLE) == "did you mean 'sgd'? "


def test_an_error_survives_the_way_between_processes():
    """Workers send it home pickled: both of its parts arrive."""
    error = pickle.loads(pickle.dumps(HarnessError("x=1: wrong", "set x=2")))
    assert (error.what, error.fix, str(error)) == ("x=1: wrong", "set x=2", "x=1: wrong\n  do: set x=2")
