"""The words for a user's mistake."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, nearest, pick

TABLE = {"sgd": 1, "adamw": 2}


def test_a_known_name_is_looked_up():
    """What stands in the table comes back."""
    assert [pick(TABLE, name, "here") for name in TABLE] == [1, 2]


def test_an_unknown_name_is_answered_with_place_choices_and_the_nearest():
    """The value, where it stood, what is allowed, what to do next."""
    with pytest.raises(HarnessError, match="recipe: unknown 'adam'; allowed: adamw, sgd\n  do: did you mean 'adamw'?"):
        pick(TABLE, "adam", "recipe")


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
