"""Pack a finished run as a submission: model.onnx, predictions.csv, manifest.json."""

import os
import shlex
from pathlib import Path

from harness import config
from harness.errors import HarnessError
from harness.invoked import spelt
from harness.record import files, places
from harness.record.manifest import read


def pack(arguments: list[str]) -> None:
    """Pack what the settings name."""
    folder, name = (config.given(arguments, key) for key in ("run", "name"))
    folder = folder and os.path.expanduser(folder)
    if not folder or not name:
        raise HarnessError(
            f"pack: no {'run' if not folder else 'name'} given", f"{spelt('pack')} run=runs/final/NAME name=NAME"
        )
    from harness.data.sets import load
    from harness.record.run_folder import read_run
    from harness.sandbox import sandbox
    from harness.study.definition import parted
    from harness.submission.pack import pack

    run = read_run(Path(folder))
    overrides = [*config.of_study(run.data, run.competition, arguments), *arguments]
    settings: config.Submit = config.load("submit", overrides)
    competition = config.competition_of(run.competition, arguments, settings.competition)
    dataset = load(*config.data_options(settings.data))
    content = run.to_dict() | {"metrics": run.metrics.figures()}  # an entry says its figures, not the counts behind
    entry = pack(Path(folder), content, dataset, name, Path(settings.submissions), competition, settings.force)
    here = parted(settings.data)[1]
    places.remember(Path(settings.runs), dataset.name, dataset.fingerprint(), here)
    print(f"packed {entry}: {', '.join(sorted(p.name for p in entry.iterdir()))}")
    lies = [f"data.{key}={value}" for key, value in here.items() if isinstance(value, str) and value]
    by = config.carried([*lies, *arguments], *(f"data.{key}" for key in here), "runs")
    judged_by = _judged_by(competition, Path(folder), entry, by)
    config.say_next(f"{spelt('score')} {shlex.quote(str(entry))}{judged_by}{by}{sandbox.own()}")


def _judged_by(competition: config.Competition, folder: Path, entry: Path, by: str) -> str:
    """Return the setting by which `score` judges by this competition, where it wouldn't by itself."""
    overrides = shlex.split(by)
    itself = config.load("submit", [*config.of_manifest(read(entry).data, overrides), *overrides]).competition
    if itself.digest() == competition.digest():
        return ""
    path = folder / "competition.yaml"
    files.write_json(path, competition.rules())  # JSON is YAML
    return f" competition={shlex.quote(str(path))}"
