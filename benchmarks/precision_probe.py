"""Ask the probe of precision again and again, and hold what it chooses to a long run of all its plans.

    python benchmarks/precision_probe.py                  about 20 minutes on two cores
    python benchmarks/precision_probe.py --probes 2 --seconds 8 --networks depthwise

Three networks, one thread and all (two of the last processors that the script may use), quiet and beside processes
that train, one on each of these processors. Each probe is made in a fresh process that knows nothing yet. The truth,
for each network and number of threads: steps of a whole batch in every plan that agrees with float32, by turns, quiet,
the tenth percentile of them. By the wall's clock that is what training takes, and needs a machine without other work;
by the CPU time of the training thread it stands beside it, for a look on a machine that is never quiet.
The last line is one JSON object: of each condition, the share of probes that chose within 5 % of the fastest plan.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
from neighbours import DENSE, training
from paired import publish
from train_throughput import NETWORKS as TRAINED

NETWORKS = {"residual": TRAINED["residual"], "wide": DENSE, "depthwise": TRAINED["depthwise"]}
BATCH, SIDE_PX, WITHIN, LOW = 128, 32, 0.05, 0.1
CLOCKS = {"wall": time.perf_counter, "thread": time.thread_time}
CONDITIONS = ("quiet", "busy")


def main() -> None:
    """Find the truth, probe under each condition, print, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probes", type=int, default=10, help="of each network, threads and condition")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the truth, for each network and threads")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_child(json.loads(arguments.child))))
        return
    begin = time.perf_counter()
    processors = sorted(os.sched_getaffinity(0))[-2:]
    os.sched_setaffinity(0, processors)
    cases = [(name, threads) for name in arguments.networks for threads in sorted({1, len(processors)})]
    truths = {case: _asked("truth", *case, seconds=arguments.seconds) for case in cases}
    for (name, threads), truth in truths.items():
        for plan, found in truth.items():
            print(f"{name}, {threads} thread(s), {plan}: {found['wall']:.1f} ms, of the thread {found['thread']:.1f}")
    conditions = {}
    for condition in CONDITIONS:
        with training(processors) if condition == "busy" else nullcontext():
            rows = [_probed(*case, truths[case], condition) for case in cases for _ in range(arguments.probes)]
        conditions[condition] = _figures(rows)
    load = os.getloadavg()[0]
    publish(
        "precision_probe",
        {"conditions": conditions, "probes": arguments.probes, "truth_s": arguments.seconds, "load": round(load, 1)}
        | {"truth_ms": {f"{name} {threads}": truth for (name, threads), truth in truths.items()}}
        | {"took_s": round(time.perf_counter() - begin)},
    )


def _probed(name: str, threads: int, truth: dict[str, dict[str, float]], condition: str) -> dict[str, Any]:
    """Probe once; say how far the chosen plan is from the fastest, as a share, by both clocks."""
    found = _asked("probe", name, threads)
    behind = {
        clock: truth[found["plan"]][clock] / min(plan[clock] for plan in truth.values()) - 1 for clock in CLOCKS
    }  # fmt: skip
    print(
        f"{condition}: {name}, {threads} thread(s): {found['plan']} in {found['wall_s']:.1f} s "
        f"({found['thread_s']:.1f} of the processor), behind by {behind['wall']:.1%}, "
        f"of the thread {behind['thread']:.1%}",
        flush=True,
    )
    return found | {"behind": behind}


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    shares = {
        f"within_5_{clock}": round(float(np.mean([row["behind"][clock] <= WITHIN for row in rows])), 3)
        for clock in CLOCKS
    }
    worst = {f"worst_{clock}": round(max(row["behind"][clock] for row in rows), 3) for clock in CLOCKS}
    longest = {f"longest_{name}": round(max(row[name] for row in rows), 2) for name in ("wall_s", "thread_s")}
    return shares | worst | longest


def _asked(what: str, name: str, threads: int, **more: float) -> Any:
    """Ask a fresh process."""
    job = json.dumps({"what": what, "name": name, "threads": threads, **more})
    ran = subprocess.run([sys.executable, __file__, "--child", job], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def _child(job: dict[str, Any]) -> Any:
    import torch

    from harness.models.build import build
    from harness.models.spec import ModelSpec

    torch.set_num_threads(job["threads"])
    model = build(ModelSpec.from_dict({"stages": NETWORKS[job["name"]]}), 10, SIDE_PX)
    return _truth(model, job["seconds"]) if job["what"] == "truth" else _probe(model)


def _probe(model: Any) -> dict[str, Any]:
    from harness.train.probe import fastest

    wall, thread = time.perf_counter(), time.thread_time()
    found = fastest(model, SIDE_PX, BATCH)
    took = {"wall_s": time.perf_counter() - wall, "thread_s": time.thread_time() - thread}
    return {"plan": f"{found.layout} {found.dtype}"} | took


def _truth(model: Any, seconds: float) -> dict[str, dict[str, float]]:
    """Train a batch in all plans that agree, by turns; return the milliseconds of a step by plan and clock."""
    import torch

    from harness.train.heap import keep
    from harness.train.probe import Trainee, agree, plans

    keep()
    images = torch.randn(BATCH, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    plain, *others = [Trainee(model, plan) for plan in plans(model)]
    wanted = plain.step(images)
    trained = [plain, *[one for one in others if agree(one.step(images), wanted)]]
    taken = {f"{one.plan.layout} {one.plan.dtype}": {clock: [] for clock in CLOCKS} for one in trained}
    end, turn = time.monotonic() + seconds, 0
    while turn < 3 or time.monotonic() < end:
        for one, of in list(zip(trained, taken.values(), strict=True))[:: -1 if turn % 2 else 1]:
            starts = {clock: now() for clock, now in CLOCKS.items()}
            one.step(images)
            for clock, now in CLOCKS.items():
                of[clock].append(1e3 * (now() - starts[clock]))
        turn += 1
    return {
        plan: {clock: round(float(np.quantile(ms, LOW)), 2) for clock, ms in of.items()} for plan, of in taken.items()
    }


if __name__ == "__main__":
    main()
