"""Random submissions through the API learn little of the public labels. Over 5 s: 300 entries are posted and judged.

The short form of `long_ladder_attack.py`, on fewer labels, which are the easier prey.
"""

from __future__ import annotations

from pathlib import Path

from ladder_attack import Setting, attack

SUBMISSIONS = 150


def test_the_ladder_holds_the_attack_off(tmp_path: Path) -> None:
    """The gap is what chance makes of 300 labels: its standard deviation is 0.04."""
    gain = attack(tmp_path, Setting(classes=2, public=300, private=300, ladder=True), SUBMISSIONS)
    assert gain.gap < 0.08, gain


def test_without_the_ladder_the_attack_succeeds(tmp_path: Path) -> None:
    """The control."""
    gain = attack(tmp_path, Setting(classes=2, public=300, private=300, ladder=False), SUBMISSIONS)
    assert gain.gap > 0.1, gain
