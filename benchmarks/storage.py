"""The storage of every contestant: S3 of one embedded AWS, with warm workers that reach it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.worker import Call, Worker
from common.storage import split_uri
from crosstrain.delivery.functions import STEPS
from crosstrain.local.server import LocalAws

BUCKET = "crosstrain-benchmarks"
CSV_STEPS = ("prepare", "train", "evaluate")


class Storage:
    """Context manager: an embedded AWS with one bucket."""

    def __enter__(self) -> Self:
        self._resources = ExitStack()
        self._aws = self._resources.enter_context(LocalAws())
        self._s3 = self._aws.client("s3")
        self._s3.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def put(self, path: Path) -> str:
        """Store a file under `data/` and return its URI."""
        self._s3.upload_file(str(path), BUCKET, f"data/{path.name}")
        return f"s3://{BUCKET}/data/{path.name}"

    def fetch(self, uri: str, path: Path) -> Path:
        """Copy an object to a path, and return the path."""
        self._s3.download_file(*split_uri(uri), str(path))
        return path

    def keep_versions(self) -> None:
        """Keep what is replaced, as a stack's bucket does: what reads ranges of an object insists on its version."""
        self._s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def document(self, uri: str) -> dict[str, Any]:
        """Return a stored JSON document."""
        bucket, key = split_uri(uri)
        document: dict[str, Any] = json.load(self._s3.get_object(Bucket=bucket, Key=key)["Body"])
        return document

    def forget(self, prefix: str) -> None:
        """Remove all objects under a prefix: the embedded AWS keeps them in memory."""
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for entry in page.get("Contents", ()):
                self._s3.delete_object(Bucket=BUCKET, Key=entry["Key"])

    def size(self, prefix: str) -> int:
        """Return the bytes of all objects under a prefix."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(entry["Size"] for page in pages for entry in page.get("Contents", ()))

    def worker(
        self,
        function: str,
        vcpus: int | None = None,
        memory_mb: int = 10_240,
        *,
        quiet: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Worker:
        """Return a worker that sees the bucket, with as many threads and cores as a function has vCPUs."""
        environment = {**self._aws.environment(), **(variables or {})} | {
            "ARTIFACT_BUCKET": BUCKET,
            "STACK_NAME": "benchmarks",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
            "TMPDIR": str(self._aws.directory),
        }
        return Worker(function, environment, set(range(vcpus)) if vcpus else None, quiet=quiet)


class Project:
    """Context manager: this project's three handlers, each in a warm worker."""

    def __init__(self, storage: Storage, **limits: int) -> None:
        self._storage, self._limits = storage, limits

    def __enter__(self) -> Self:
        self._resources = ExitStack()
        self._workers = {
            step: self._resources.enter_context(self._storage.worker(f"{step}.app:handler", **self._limits))
            for step in STEPS
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def __call__(self, run_id: str, request: Mapping[str, Any], *, profile: bool = False) -> dict[str, Call]:
        """Return the call of each step for one request."""
        calls = {}
        event: dict[str, Any] = {"run_id": run_id, "request": dict(request)}
        calls["data_preparation"] = self._workers["data_preparation"](event, profile=profile)
        event |= calls["data_preparation"].result
        calls["model_training"] = self._workers["model_training"](event, profile=profile)
        event |= {"model": calls["model_training"].result, "champion": None, "contended": False}
        calls["model_evaluation"] = self._workers["model_evaluation"](event, profile=profile)
        return calls


class CsvDesign:
    """Context manager: the plain design's three functions, each in a warm worker."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __enter__(self) -> Self:
        self._resources = ExitStack()
        module = "benchmarks.contestants.csv_design"
        self._workers = [self._resources.enter_context(self._storage.worker(f"{module}:{step}")) for step in CSV_STEPS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def __call__(self, run_id: str, uri: str, target: str) -> list[Call]:
        """Return the call of each step."""
        event: dict[str, Any] = {"run_id": run_id, "dataset_uri": uri, "target": target}
        calls = []
        for worker in self._workers:
            calls.append(worker(event))
            event = calls[-1].result
        return calls
