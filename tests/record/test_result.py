"""A result survives JSON, and says how many images its F1 is of."""

from __future__ import annotations

import json
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from harness.record.result import Cost, Result

number = st.floats(0, 1e6)
costs = st.builds(Cost, *[st.integers(0, 10**12)] * 2, *[number] * 6, st.sampled_from(["onnx", "openvino"]))
counts = st.integers(1, 4).flatmap(
    lambda c: st.lists(st.tuples(*[st.integers(0, 999)] * c), min_size=c, max_size=c).map(tuple)
)
results = st.builds(
    Result, costs, st.none() | st.floats(0, 1), st.none() | counts, st.none() | st.floats(-10, 10),
    rungs=st.dictionaries(st.integers(1, 99), st.floats(0, 1)), fidelity=st.dictionaries(st.text(), st.integers()),
    precision=st.just({"layout": "channels_last", "dtype": "mixed"}), seconds=number,
    reused_from=st.none() | st.integers(0, 99),
)  # fmt: skip


@given(results)
def test_a_result_survives_json(result: Result) -> None:
    """Rungs keep whole numbers as keys and counts their shape, though JSON knows neither."""
    again = Result.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again == result
    assert {type(epoch) for epoch in again.rungs} <= {int} and again.images == result.images


@given(results)
def test_its_figures_for_people_are_flat(result: Result) -> None:
    """Every figure of the cost, F1 and points, by one name each: what the tracker and `front --json` show."""
    shown = result.figures()
    assert set(shown) == {f.name for f in fields(Cost)} - {"timing"} | {"f1", "points", "seconds"}
    assert shown["ratio"] == result.cost.ratio and not any(isinstance(value, (dict, list)) for value in shown.values())
