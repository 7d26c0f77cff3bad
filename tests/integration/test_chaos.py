"""Twenty runs of one model while function processes are killed and champions rolled back: what holds afterwards."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from crosstrain.command import BadInputError
from crosstrain.local.server import LocalAws, LocalTrainingStack
from crosstrain.training import execution
from crosstrain.training.models import FILES, Models, roll_back, verify
from crosstrain.training.moves import ChampionMovedError
from crosstrain.training.registry import Item, Registry, champion_history
from event_queues import event_queue, received

pytestmark = pytest.mark.slow

MODEL = "chaos"
RUNS, AT_ONCE, DATA_SETS = 20, 6, 14
ROWS = 160
SECONDS = 600.0
"""After so long it has failed, on a machine however busy."""
SEED_VARIABLE = "CROSSTRAIN_CHAOS_SEED"
"""Makes the same choices again, if not at the same moments."""
MANIFESTS = {"prepared": "profile.json", "model": "model.json", "evaluation": "evaluation.json"}


@dataclass
class Aftermath:
    """What was done and what it came to; pytest shows the fields of the first line where an assertion fails."""

    seed: int
    killed: int = 0
    results: dict[str, execution.ExecutionResult] = field(default_factory=dict, repr=False)
    rollbacks: list[Item] = field(default_factory=list, repr=False)
    events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    running: set[str] = field(default_factory=set, repr=False)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False)
    pointer: Item = field(default_factory=dict, repr=False)
    versions: list[Item] = field(default_factory=list, repr=False)
    recorded_rollbacks: list[Item] = field(default_factory=list, repr=False)
    verified: dict[str, Any] = field(default_factory=dict, repr=False)

    def ended(self, status: str) -> dict[str, execution.ExecutionResult]:
        """Return the runs that ended so, by their ids."""
        return {run_id: result for run_id, result in self.results.items() if result.status == status}


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[LocalTrainingStack]:
    """Deploy the training stack to an embedded AWS whose functions are nobody else's."""
    with LocalAws() as aws:
        yield aws.deploy_training_stack(project / "template.yaml")


@pytest.fixture(scope="module")
def aftermath(stack: LocalTrainingStack) -> Aftermath:
    """Run it all, with a data scientist's rights, and collect what is left."""
    seed = int(os.environ.get(SEED_VARIABLE, secrets.randbits(32)))
    print(f"{SEED_VARIABLE}={seed}")
    found = Aftermath(seed)
    # A rollback announces itself, too, but is no run.
    queue = event_queue(stack, "chaos", ["Model Promoted", "Model Rejected", "Training Failed"])
    registry = Registry(stack.client("dynamodb"), stack.outputs["ModelRegistryTableName"])
    deployed: Any = SimpleNamespace(output=stack.outputs.__getitem__, session=SimpleNamespace(client=stack.client))
    models = Models(registry, stack.client("s3"), deployed)
    started = _run_all(stack, models, found)
    sfn = stack.client("stepfunctions")
    for run_id, arn in started.items():
        found.results[run_id] = execution.outcome(sfn, arn)
    found.running = _running(stack)
    found.events = received(stack, queue, len(started))
    found.files = _files(stack)
    found.pointer = registry.champion(MODEL) or {}
    found.versions, found.recorded_rollbacks = registry.versions(MODEL), registry.rollbacks(MODEL)
    found.verified = verify(models, MODEL)
    return found


def _run_all(stack: LocalTrainingStack, models: Models, found: Aftermath) -> dict[str, str]:
    """Start all runs, so many at once, and kill and roll back until the last has ended; return their ARNs by id."""
    choose, sfn = random.Random(found.seed), stack.client("stepfunctions")  # noqa: S311 - no secret
    data = [_upload(stack, choose.randrange(2**32)) for _ in range(DATA_SETS)]
    waiting = [_request(choose, data) for _ in range(RUNS)]
    started: dict[str, str] = {}
    running: set[str] = set()
    deadline = time.monotonic() + SECONDS
    kill_at, roll_back_at = (time.monotonic() + choose.uniform(1, 3) for _ in range(2))
    while waiting or running:
        now = time.monotonic()
        assert now < deadline, f"{len(waiting)} runs were not started and {len(running)} have not ended: {found}"
        running = _running(stack)
        while waiting and len(running) < AT_ONCE:
            run_id = f"chaos-{len(started):02}-{found.seed}"
            started[run_id] = execution.start(sfn, stack.outputs["StateMachineArn"], waiting.pop(), run_id)
            running.add(run_id)
        # As many as leave most runs alive, however slow the machine makes them.
        if now >= kill_at and found.killed <= (len(started) - len(running)) / 2:
            found.killed += _kill(stack, choose)
            kill_at = now + choose.uniform(0.2, 1.5)
        if now >= roll_back_at:
            # There may be no champion before this one, or another one meanwhile.
            with suppress(BadInputError, ChampionMovedError):
                found.rollbacks.append(roll_back(models, MODEL, reason="chaos"))
            roll_back_at = now + choose.uniform(0.5, 3)
        time.sleep(choose.uniform(0.05, 0.25))
    return started


def _running(stack: LocalTrainingStack) -> set[str]:
    """Return the ids of the runs that have not ended."""
    listed = stack.aws.client("stepfunctions").list_executions(
        stateMachineArn=stack.outputs["StateMachineArn"], statusFilter="RUNNING"
    )
    return {each["name"] for each in listed["executions"]}


def _request(choose: random.Random, data: list[str]) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [
        {"promote_if": "not_worse", "margin": 1},
        {"promote_if": "better"},
        {},
        {"threshold": 1e-6},
    ]
    return {
        "dataset_uri": choose.choice(data),
        "target": "y",
        "search_trials": 0,
        "model_name": MODEL,
        "estimator": "ridge",
        "hyperparameters": {"alpha": choose.choice([0.1, 1, 10])},
        **choose.choices(rules, [8, 3, 3, 1])[0],
    }


def _upload(stack: LocalTrainingStack, seed: int) -> str:
    """Store fresh rows of the one relation that all data sets hold."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(ROWS, 4))
    target = features @ [4.0, 3.0, 2.0, 1.0] + draw.normal(0, 2, ROWS)
    lines = ["a,b,c,d,y", *(",".join(f"{value:.6f}" for value in row) for row in np.column_stack([features, target]))]
    bucket, key = stack.outputs["ArtifactBucketName"], f"data/{seed}.csv"
    stack.client("s3").put_object(Bucket=bucket, Key=key, Body="\n".join(lines).encode())
    return f"s3://{bucket}/{key}"


def _kill(stack: LocalTrainingStack, choose: random.Random) -> bool:
    """End one of the functions' processes as a kernel without memory does; return whether there was one.

    Not while one starts: the embedded AWS ends all processes of a function then, those at work too.
    """
    assert stack.aws._server is not None
    found = []
    for process in psutil.Process(stack.aws._server.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            # Its imports done, it waits for the next event or has asked for the data.
            connected = any(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))
            if connected and "awslambdaric" in process.cmdline():
                found.append(process)
    if not found:
        return False
    with suppress(psutil.NoSuchProcess):
        choose.choice(sorted(found, key=lambda process: process.pid)).kill()
        return True
    return False


def _files(stack: LocalTrainingStack) -> dict[str, dict[str, bytes]]:
    """Return the contents of all files by run and by name, `model/<call>/model.json` say."""
    s3, bucket = stack.aws.client("s3"), stack.outputs["ArtifactBucketName"]
    found: dict[str, dict[str, bytes]] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="runs/"):
        for entry in page.get("Contents", ()):
            _, run_id, name = entry["Key"].split("/", 2)
            found.setdefault(run_id, {})[name] = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
    return found


def test_it_was_chaos(aftermath: Aftermath) -> None:
    """What follows says something only if functions died, and champions came and went, by promotion and by rollback."""
    assert aftermath.killed >= RUNS / 3
    assert len(aftermath.results) == RUNS
    assert aftermath.rollbacks
    assert sum(item["decision"] == "promote" for item in aftermath.versions) >= 5
    assert aftermath.ended("FAILED")


def test_every_run_has_ended(aftermath: Aftermath) -> None:
    assert aftermath.running == set()
    assert len(aftermath.ended("SUCCEEDED")) + len(aftermath.ended("FAILED")) == RUNS


def test_one_champion_is_what_its_history_leads_to(aftermath: Aftermath) -> None:
    """Every promotion and every rollback is one move, and in the chain once, in its order."""
    promotions = [item for item in aftermath.versions if item["decision"] == "promote"]
    moves = {item["move"]: ("promotion", item["version"]) for item in promotions}
    moves |= {item["move"]: ("rollback", item["to_version"]) for item in aftermath.recorded_rollbacks}
    assert sorted(moves) == list(range(1, len(promotions) + len(aftermath.recorded_rollbacks) + 1))
    assert aftermath.pointer["moves"] == len(moves)
    history = champion_history(aftermath.pointer["champion_version"], aftermath.versions, aftermath.recorded_rollbacks)
    assert {change.move: (change.kind, change.version) for change in history} == moves
    assert [change.move for change in history] == sorted(moves)
    assert [change.origin for change in history] == [None, *(change.version for change in history[:-1])]


def test_a_rollback_is_recorded_if_and_only_if_it_was_answered(aftermath: Aftermath) -> None:
    by_move = {item["move"]: item for item in aftermath.rollbacks}
    assert {item["move"]: item for item in aftermath.recorded_rollbacks} == by_move


def test_output_record_and_event_of_a_run_say_the_same(aftermath: Aftermath) -> None:
    versions = {item["version"]: item for item in aftermath.versions}
    events = {event["detail"].get("version"): event for event in aftermath.events}
    for run_id, result in aftermath.ended("SUCCEEDED").items():
        assert result.output is not None
        said, item, event = result.output["evaluation"], versions[run_id], events[run_id]
        assert event["detail-type"] == {"promote": "Model Promoted", "reject": "Model Rejected"}[said["decision"]]
        for told in (item, event["detail"]):
            assert (told["rule"], told["metric"]) == (said["rule"], said["metric"])
            assert told["value"] == pytest.approx(said["value"])
        assert item["decision"] == said["decision"]
        assert item["reason"] == said["reason"]
        name = said["evaluation_uri"].partition(f"/{run_id}/")[2]
        assert json.loads(aftermath.files[run_id][name])["reason"] == said["reason"]
    assert len(versions) == len(aftermath.versions) == len(aftermath.ended("SUCCEEDED"))


def test_a_failed_run_names_its_step_and_leaves_no_version(aftermath: Aftermath) -> None:
    versions = {item["version"] for item in aftermath.versions}
    events = {event["detail"].get("run_id"): event for event in aftermath.events}
    for run_id, result in aftermath.ended("FAILED").items():
        assert result.failed_state in ("PrepareData", "TrainModel", "EvaluateModel")
        # Of what was done here nothing else makes a run fail.
        assert result.error == "Runtime.ExitError", (result, aftermath)
        assert result.cause is not None
        assert result.cause.startswith(f"{result.failed_state}: ")
        assert len(result.cause) > len(f"{result.failed_state}: ")
        assert run_id not in versions
        assert events[run_id]["detail-type"] == "Training Failed"
        assert events[run_id]["detail"]["step"] == result.failed_state
        assert events[run_id]["detail"]["error"] == result.error
    assert len(aftermath.ended("FAILED")) <= aftermath.killed


def test_every_run_announces_once(aftermath: Aftermath) -> None:
    told = Counter(event["detail"].get("version") or event["detail"]["run_id"] for event in aftermath.events)
    assert told == dict.fromkeys(aftermath.results, 1)


def test_all_recorded_files_are_whole(aftermath: Aftermath) -> None:
    assert aftermath.verified["sound"], [each for each in aftermath.verified["files"] if each["state"] != "as recorded"]
    assert len(aftermath.verified["files"]) == len(FILES) * len(aftermath.versions)


def test_where_a_manifest_is_its_step_is_whole(aftermath: Aftermath) -> None:
    """A manifest is written last, so a process that died before it has left nothing that looks whole."""
    for run_id, files in aftermath.files.items():
        for folder in {name.rpartition("/")[0] for name in files}:
            step = folder.partition("/")[0]
            own = {name.removeprefix(f"{folder}/"): body for name, body in files.items() if name.startswith(folder)}
            if MANIFESTS[step] in own:
                _check_whole(run_id, step, json.loads(own.pop(MANIFESTS[step])), own)
    for run_id in aftermath.ended("SUCCEEDED"):
        assert set(MANIFESTS.values()) <= {name.rpartition("/")[2] for name in aftermath.files[run_id]}


def _check_whole(run_id: str, folder: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    if folder == "prepared":
        rows = {name: pq.read_metadata(io.BytesIO(files[f"{name}.parquet"])).num_rows for name in ("train", "test")}
        assert rows == {name: manifest["rows"][name] for name in rows}
    elif folder == "model":
        digests = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
        recorded = manifest["sha256"]
        assert digests == {"model.skops": recorded["model"], "training_rows.bloom": recorded["training_rows"]}
        assert manifest["run_id"] == run_id
    else:
        assert manifest["run_id"] == run_id
        assert files["report.html"].rstrip().endswith(b"</html>")
