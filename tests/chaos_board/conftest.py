"""Let these tests import what those of studies and of the board have: history, processes, hosting, a staged server."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "chaos"), str(TESTS / "board"), str(TESTS / "web")]
