"""The best trials of a study, printed when it has ended."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import optuna
from rich.console import Console

from harness.invoked import spelt
from harness.rules.competition import Competition
from harness.search.front import front, table
from harness.study import refused
from harness.study.best import doubt
from harness.study.ending import reasons_in
from harness.study.study import finished


def summarise(study: optuna.Study, folder: Path, competition: Competition, carried: str = "") -> list[str]:
    """Print the best trials of a study, say so where the best is so whatever its F1, and return the next commands.

    carried: settings that the next commands need to find the study, as `config.carried` gives them.
    """
    best, several = finished(study)[:5], len(study.directions) > 1
    trials = study.get_trials(deepcopy=False)
    if said := refused.words(refused.counts(trials)):
        print(said)
    if not best:
        reasons = sorted(
            {t.user_attrs["reason"] for t in trials if "reason" in t.user_attrs and not refused.is_refused(t)}
        )
        why = "; ".join(reasons[:3]) or ("none has ended" if trials else "none was begun")
        print(f"no trial of study {study.study_name} went to its end: {why}")
        if where := reasons_in(folder):
            print(f"see:   {where}")
        return []
    shown = front(finished(study)) if several else best
    title = f"study {study.study_name}: {'Pareto set' if several else 'best trials'}"
    Console(width=None if sys.stdout.isatty() else 140).print(table(shown, title))
    if words := doubt(study, competition):
        print(f"note:  {words}")
    number = shown[0].number if several else "best"
    print(f"runs:  {folder}")
    name = shlex.quote(study.study_name)
    return [
        f"{spelt('train')} study={name} trial={number}{carried}",
        *(f"{spelt(verb)} study={name}{carried}" for verb in ("front", "report")),
    ]
