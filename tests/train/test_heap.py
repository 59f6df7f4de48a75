"""Between trainings memory goes back, within one it stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KEPT = """
from pathlib import Path
from harness.train.heap import give_back
def held_mb():
    rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows["RssAnon"].split()[0]) / 1024
give_back()
before = held_mb()
pieces = [bytearray(100_000) for _ in range(3_000)]  # on the heap: larger ones are the system's own affair
last = bytearray(100_000)
del pieces
freed = held_mb()
give_back()
print(before, freed, held_mb())
"""


LET_GO = """
from pathlib import Path
import torch
from harness.train.heap import give_back
def mapped_mb():
    rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows["RssFile"].split()[0]) / 1024
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10))
images = torch.ones(2, 3, 8, 8)
said, before = net(images), mapped_mb()
give_back()
after = mapped_mb()
net(images).sum().backward()
print(before, after, bool((net(images) == said).all()))
"""


STEPS = """
import resource, sys
from harness.train.heap import give_back, keep
if sys.argv[1] == "keep":
    keep()
def step():
    return [bytearray(8_000_000) for _ in range(20)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_what_a_step_frees_is_there_for_the_next() -> None:
    """Twenty tensors of 8 MB a step: hardly a page is mapped anew. Negative control: without `keep` all of them are."""
    faults = {}
    for way in ("keep", "default"):
        done = subprocess.run([sys.executable, "-c", STEPS, way], capture_output=True, text=True, check=True)
        faults[way] = int(done.stdout)
    assert faults["keep"] < 0.1 * faults["default"] and faults["default"] > 100_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_freed_memory_goes_back_to_the_system() -> None:
    """Of 300 MB in pieces, freed below one that is still used, nothing is kept; without asking, all of it was."""
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    before, freed, after = map(float, done.stdout.split())
    assert freed - before > 200
    assert after - before < 50


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_libraries_that_are_let_go_work_as_before() -> None:
    """Over 5 s where both cores are busy: a fresh torch. Most pages go; the network says the same afterwards."""
    done = subprocess.run([sys.executable, "-c", LET_GO], capture_output=True, text=True, check=True)
    before, after, same = done.stdout.split()
    assert float(after) < float(before) / 2 and same == "True"
