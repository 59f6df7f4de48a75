"""An entry that breaks a rule, with the rule's short name."""

from __future__ import annotations

from harness.errors import HarnessError


class Refused(HarnessError):
    """The entry's own fault.

    Args:
        reason: the broken rule's machine name: gate, size, load, timeout, memory, ...
        what, fix: as `HarnessError`.
    """

    def __init__(self, reason: str, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.reason = reason
