"""The three steps in Metaflow, run by its local scheduler: each is a process, and artifacts pass through its datastore.

python metaflow_flow.py run --data data.csv --target y --out result.json
"""

import json
import time
from pathlib import Path

from metaflow import FlowSpec, Parameter, step


class TrainingFlow(FlowSpec):
    """Prepare, train and evaluate."""

    data = Parameter("data", required=True)
    target = Parameter("target", required=True)
    out = Parameter("out", required=True)

    @step
    def start(self):
        """Read the data set and split it."""
        started = time.perf_counter()
        import pandas as pd
        import pandas_steps

        self.train_part, self.test_part = pandas_steps.split(pd.read_csv(self.data), self.target)
        self.seconds = [time.perf_counter() - started]
        self.next(self.train)

    @step
    def train(self):
        """Fit the model."""
        started = time.perf_counter()
        import pandas_steps

        self.pipeline = pandas_steps.fit(self.train_part, self.target)
        self.seconds = [*self.seconds, time.perf_counter() - started]
        self.next(self.end)

    @step
    def end(self):
        """Score the model."""
        started = time.perf_counter()
        import pandas_steps

        result = pandas_steps.score(self.pipeline, self.test_part, self.target)
        seconds = [*self.seconds, time.perf_counter() - started]
        Path(self.out).write_text(json.dumps({**result, "seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    TrainingFlow()
