"""Callers of an endpoint, as Locust runs them: one row over and over, each as soon as the last one is answered."""

import json
import os
from pathlib import Path

from locust import HttpUser, constant, task

BODY = Path(os.environ["SCORING_BODY"]).read_text(encoding="utf-8")


class Caller(HttpUser):
    """Asks for one prediction at a time."""

    wait_time = constant(0)

    @task
    def predict(self) -> None:
        """Ask; an answer that is none of 200 with a prediction is a failure."""
        with self.client.post(
            "/predictions", data=BODY, headers={"Content-Type": "application/json"}, catch_response=True
        ) as answer:
            if answer.status_code != 200 or "predictions" not in json.loads(answer.text):
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
