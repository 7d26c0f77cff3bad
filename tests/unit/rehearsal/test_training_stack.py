"""What is read of a state machine: the calls of its tasks, wherever they are."""

from __future__ import annotations

from typing import Any

import pytest

from crosstrain.rehearsal.cloudformation.training_stack import calls_of

FUNCTION = "arn:aws:lambda:eu-west-1:000000000002:function:inner"
INNER = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": FUNCTION, "End": True}}}


@pytest.mark.parametrize(
    "outer",
    [
        {"Type": "Parallel", "Branches": [INNER]},
        {"Type": "Map", "ItemProcessor": INNER},
        {"Type": "Map", "Iterator": INNER},
        {"Type": "Map", "ItemProcessor": {"States": {"Twice": {"Type": "Parallel", "Branches": [INNER]}}}},
    ],
    ids=["branch", "item-processor", "iterator", "nested"],
)
def test_tasks_inside_other_states_are_found(outer: dict[str, Any]) -> None:
    assert list(calls_of({"States": {"Outer": outer}}, "000000000002")) == [("lambda:InvokeFunction", FUNCTION)]
