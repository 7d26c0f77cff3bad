"""Runs of batch scoring by its handler, for the tests of it."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from crosstrain.aws import to_dynamodb
from scoring import batch

MODEL = "houses"
ROWS = 120
STARTED = "2026-03-01T08:00:00.000Z"


def frame(shift: float = 0.0, rows: int = ROWS, seed: int = 3) -> pd.DataFrame:
    """Return rows of a number and a text whose target is plain."""
    random = np.random.default_rng(seed)
    data = pd.DataFrame(
        {"size": random.normal(50 + shift, 9, rows).round(3), "kind": random.choice(["flat", "house"], rows)}
    )
    return data.assign(y=data["size"] + 10 * (data["kind"] == "house"))


class Runs:
    """Runs of the steps that the state machine goes through."""

    def __init__(self, shop: Any) -> None:
        self.shop, self.s3 = shop, shop.s3

    def put(self, key: str, content: bytes | pd.DataFrame) -> str:
        """Store an object and return its URI."""
        body = content.to_csv(index=False).encode() if isinstance(content, pd.DataFrame) else content
        self.s3.put_object(Bucket=self.shop.bucket, Key=key, Body=body)
        return f"s3://{self.shop.bucket}/{key}"

    def uri(self, key: str) -> str:
        """Return the URI of a key."""
        return f"s3://{self.shop.bucket}/{key}"

    def request(self, key: str = "data/in/", **fields: Any) -> dict[str, Any]:
        """Return a request for what is at a key."""
        return {"dataset_uri": self.uri(key), "model_name": MODEL, **fields}

    def plan(self, request: dict[str, Any], run_id: str = "batch-1", version: str | None = "run-1") -> dict[str, Any]:
        """Plan a run with a version, None for none."""
        item = None if version is None else to_dynamodb(self.shop.entries[version])
        return self.call("plan_scoring", run_id, started_at=STARTED, request=request, version=item)

    def call(self, task: str, run_id: str = "batch-1", **fields: Any) -> dict[str, Any]:
        """Call the handler, by way of JSON as the state machine does."""
        event = json.loads(json.dumps({"task": task, "run_id": run_id, **fields}))
        answer = batch.handler(event, None)
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer
        return answer

    def score(self, request: dict[str, Any], run_id: str = "batch-1", **fields: Any) -> dict[str, Any]:
        """Run all steps and return the result."""
        planned = self.plan(request, run_id, **fields)
        for piece in planned["pieces"]:
            assert self.call("score_piece", run_id, plan=planned["plan"], piece=piece) == {"piece": piece}
        return self.compare(planned, run_id)

    def compare(
        self, planned: dict[str, Any], run_id: str = "batch-1", failed: Any = (), earlier: Any = ()
    ) -> dict[str, Any]:
        """End a run."""
        fields = {"plan": planned["plan"], "failed": list(failed), "earlier": list(earlier)}
        return self.call("compare_with_profile", run_id, **fields)

    def read(self, name: str, run_id: str = "batch-1") -> bytes:
        """Return a file of a run."""
        body: bytes = self.s3.get_object(Bucket=self.shop.bucket, Key=f"scoring/{run_id}/{name}")["Body"].read()
        return body

    def json(self, name: str, run_id: str = "batch-1") -> Any:
        """Return a document of a run."""
        return json.loads(self.read(name, run_id))

    def table(self, name: str, run_id: str = "batch-1") -> pa.Table:
        """Return predictions of a run."""
        content = self.read(name, run_id)
        return pq.read_table(io.BytesIO(content)) if name.endswith(".parquet") else pa.csv.read_csv(io.BytesIO(content))

    def written(self, prefix: str = "scoring/") -> list[str]:
        """Return the keys that runs have written."""
        listed = self.s3.list_objects_v2(Bucket=self.shop.bucket, Prefix=prefix)
        return [each["Key"] for each in listed.get("Contents", ())]
