"""One pipeline of three nodes."""

import functools
import time

from kedro.pipeline import Pipeline, node, pipeline

STARTED = time.perf_counter()
import pandas_steps  # noqa: E402 (it is what is timed)

# The libraries of the steps are the steps' own expense.
SECONDS = [time.perf_counter() - STARTED]


def timed(function):
    """Note how long a node's own work takes."""

    @functools.wraps(function)
    def run(*arguments):
        started = time.perf_counter()
        result = function(*arguments)
        SECONDS.append(time.perf_counter() - started)
        return {**result, "seconds": SECONDS} if isinstance(result, dict) else result

    return run


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipeline."""
    training = pipeline(
        [
            node(timed(pandas_steps.split), ["data_set", "params:target"], ["train_part", "test_part"], name="prepare"),
            node(timed(pandas_steps.fit), ["train_part", "params:target"], "pipeline", name="train"),
            node(timed(pandas_steps.score), ["pipeline", "test_part", "params:target"], "result", name="evaluate"),
        ]
    )
    return {"__default__": training}
