"""Pack a finished run as a submission: model.onnx, predictions.csv, manifest.json.

python inference.py run=runs/final/NAME name=NAME            writes submissions/NAME/
python inference.py run=runs/final/NAME name=NAME force=true     replaces an entry of that name
python inference.py run=runs/final/NAME name=NAME competition=NAME   for another competition than it was trained for
"""

import os
import sys
from pathlib import Path

from harness import config
from harness.__main__ import shell
from harness.errors import HarnessError


def main(arguments: list[str]) -> None:
    """Pack what the settings name."""
    folder, name = (config.given(arguments, key) for key in ("run", "name"))
    folder = folder and os.path.expanduser(folder)
    if not folder or not name:
        raise HarnessError(
            f"inference.py: no {'run' if not folder else 'name'} given",
            "python inference.py run=runs/final/NAME name=NAME",
        )
    from harness.data.sets import load
    from harness.record.run_folder import read_run
    from harness.study.definition import parted
    from harness.submission.pack import pack

    run = read_run(Path(folder))
    overrides = [*config.of_study(run.data, run.competition, arguments), *arguments]
    settings: config.Submit = config.load("submit", overrides)
    competition = config.competition_of(run.competition, arguments, settings.competition)
    dataset = load(*config.data_options(settings.data))
    content = run.to_dict() | {"metrics": run.metrics.figures()}  # an entry says its figures, not the counts behind
    entry = pack(Path(folder), content, dataset, name, Path(settings.submissions), competition, settings.force)
    print(f"packed {entry}: {', '.join(sorted(p.name for p in entry.iterdir()))}")
    lies = {f"data.{key}": value for key, value in parted(settings.data)[1].items() if isinstance(value, str) and value}
    print(f"next:  python -m harness score {entry}{config.carried([f'{k}={v}' for k, v in lies.items()], *lies)}")


if __name__ == "__main__":
    shell(main, sys.argv[1:], __doc__, root="submit")
