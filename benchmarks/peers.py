"""Metaflow and Kedro with the same three steps, each in an environment of its own, run locally without a network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ROOT, SCRATCH

CONTESTANTS = ROOT / "benchmarks" / "contestants"
KEDRO_PROJECT = CONTESTANTS / "kedro_project"


@dataclass(frozen=True)
class PeerRun:
    """One run of a peer, as its command.

    Attributes
    ----------
    seconds
        From the command's start to its end.
    step_seconds
        What the bodies of its three steps took; the rest is the peer's own.
    result
        Test rows and rmse.
    """

    seconds: float
    step_seconds: float
    result: dict[str, Any]

    @property
    def overhead(self) -> float:
        """What the peer itself took, in seconds."""
        return self.seconds - self.step_seconds


def environment_of(name: str) -> Path:
    """Return the folder of a peer's environment, made anew when its requirements have changed."""
    requirements = ROOT / "benchmarks" / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = SCRATCH / "environments" / f"{name}-{digest}"
    if not (folder / "ready").exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(folder / "bin/python")]
        subprocess.run([*install, "--requirements", str(requirements)], check=True)
        (folder / "ready").touch()
    return folder


def metaflow(data: Path, target: str) -> PeerRun:
    """Run the flow with Metaflow's local scheduler, metadata and datastore."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        out = Path(folder) / "result.json"
        command = [str(environment_of("metaflow") / "bin/python"), str(CONTESTANTS / "metaflow_flow.py"), "--quiet"]
        command += ["--metadata=local", "--datastore=local", "run"]
        command += ["--data", str(data), "--target", target, "--out", str(out)]
        settings = {
            "METAFLOW_HOME": folder,
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": folder,
            "METAFLOW_USER": "benchmark",
            "METAFLOW_DEFAULT_METADATA": "local",
            "METAFLOW_DEFAULT_DATASTORE": "local",
        }
        return _timed(command, settings, Path(folder), out)


def kedro(data: Path, target: str) -> PeerRun:
    """Run the project with Kedro's sequential runner; its catalog keeps Parquet between the nodes."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        command = [str(environment_of("kedro") / "bin/kedro"), "run"]
        command += ["--params", f"data={data},target={target},folder={folder}"]
        settings = {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1"}
        return _timed(command, settings, KEDRO_PROJECT, Path(folder) / "result.json")


def _timed(command: list[str], settings: dict[str, str], folder: Path, out: Path) -> PeerRun:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, "PYTHONPATH": f"{ROOT}:{CONTESTANTS}", "PYTHONWARNINGS": "ignore", **settings}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout)[-2000:]}")
    result = json.loads(out.read_text(encoding="utf-8"))
    return PeerRun(seconds, sum(result.pop("seconds")), result)
