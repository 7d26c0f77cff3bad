"""Online scoring under load: callers on this machine, and the deployed function with its role behind its URL."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from botocore.credentials import Credentials

from benchmarks import ROOT, SCRATCH
from benchmarks.figures import Goal, Section, rounded
from benchmarks.options import Options
from benchmarks.peers import CONTESTANTS, environment_of
from benchmarks.stack import Machine
from crosstrain.local.front import Front
from crosstrain.local.server import REGION, LocalAws
from crosstrain.training.endpoint import URL, Endpoint

CLIENTS = (1, 10, 50)
SECONDS = 10
SECONDS_OF_START = 3
"""What a worker for each caller may take to start, one after another."""
MODEL = "diabetes"


def measure(options: Options) -> Section:
    """Return how many requests of one row are answered each second, by how many callers ask at once."""
    section = Section("Online scoring: requests a second")
    rows = []
    with _served() as address:
        body = SCRATCH / "scoring-body.json"
        body.write_text(json.dumps({"rows": [_example(address)]}), encoding="utf-8")
        for clients in CLIENTS[:2] if options.quick else CLIENTS:
            _ask(address, body, clients, SECONDS + clients * SECONDS_OF_START)
            found = _ask(address, body, clients, SECONDS)
            answered = found["num_requests"] - found["num_failures"]
            rate = answered / (found["last_request_timestamp"] - found["start_time"])
            times = _in_order(found["response_times"])
            share = {of: times[min(int(of * len(times)), len(times) - 1)] for of in (0.5, 0.99)}
            rows.append(
                [f"{clients}", rounded(rate), f"{share[0.5]:,.0f}", f"{share[0.99]:,.0f}", f"{found['num_failures']:,}"]
            )
            section.goals.append(Goal(f"requests a second of {clients} callers", f"{rounded(rate)}"))
    header = ["callers", "answers a second", "median, ms", "99 %, ms", "failures"]
    section.tables.append((header, rows))
    section.notes.append(
        f"Locust, {SECONDS} s each, one row of ten numbers for a ridge regression. Callers, what signs for them, the "
        "embedded AWS with its checks and the function's workers share the cores of this machine: on AWS each worker "
        "has its own, and of all that the handler's time alone (the section above) is the project's."
    )
    return section


@contextmanager
def _served() -> Iterator[str]:
    """Train a model, serve it, and yield the address."""
    with LocalAws() as aws:
        parameters = {"RetentionPolicy": "Delete", "ServeModel": MODEL}
        stack = aws.deploy_training_stack(ROOT / "template.yaml", parameters=parameters)
        machine = Machine(stack)
        uri = machine.put(ROOT / "data" / "diabetes.csv")
        machine.run({"dataset_uri": uri, "target": "target", "estimator": "ridge", "model_name": MODEL})
        key = stack.data_scientist
        credentials = Credentials(key.access_key_id, key.secret_access_key)
        with Front(Endpoint(stack.outputs[URL], credentials, REGION, aws.endpoint_url), 0) as front:
            threading.Thread(target=front.serve_forever, daemon=True).start()
            yield front.address
            front.shutdown()


def _example(address: str) -> dict[str, Any]:
    with urlopen(f"{address}/openapi.json", timeout=60) as answer:  # noqa: S310 (of this machine)
        row: dict[str, Any] = json.load(answer)["components"]["schemas"]["Row"]["example"]
    return row


def _ask(address: str, body: Path, clients: int, seconds: int) -> dict[str, Any]:
    command = [str(environment_of("locust") / "bin/locust"), "--locustfile", str(CONTESTANTS / "scoring_callers.py")]
    command += ["--headless", "--json", "--users", str(clients), "--spawn-rate", str(clients), "--host", address]
    command += ["--run-time", f"{seconds}s", "--stop-timeout", "10s", "--exit-code-on-error", "0"]
    environment = {**os.environ, "SCORING_BODY": str(body)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    (found,) = json.loads(done.stdout)
    return dict(found)


def _in_order(counted: dict[str, int]) -> list[float]:
    """Return response times in milliseconds of how often each was, as Locust counts them."""
    return [
        each for each, count in sorted((float(text), count) for text, count in counted.items()) for _ in range(count)
    ]
