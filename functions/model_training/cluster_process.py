"""The processes beside the coordinator of a fit on several machines: the scheduler, and each worker.

    python3 -m model_training.cluster_process scheduler CREDENTIALS HOST:PORT
    python3 -m model_training.cluster_process worker [CREDENTIALS tls://HOST:PORT]

`CREDENTIALS` is the file that `model_training.distributed.started` writes, here or, as `s3://…`, there. A task is told
both by the variables CREDENTIALS and SCHEDULER.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import dask
from distributed import Scheduler, Worker

from common.storage import Stored, read_bytes, s3_client
from model_training.distributed import security_of

LOOPBACK = "127.0.0.1:0"
"""Where its pages are shown, which nobody is asked a password for."""
SECONDS_WITHOUT_SCHEDULER = 60
"""After so long without it a worker ends: nobody waits for its trees."""


async def schedule(credentials: dict[str, str], address: str) -> None:
    """Run the scheduler until it is told to end, and print its address."""
    host, _, port = address.rpartition(":")
    where = f"tls://{host}:{port}"
    scheduler = Scheduler(host=where, security=security_of(credentials), dashboard_address=LOOPBACK)
    async with scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()


async def work(credentials: dict[str, str], address: str) -> None:
    """Run a worker until the scheduler ends."""
    worker = Worker(
        address,
        security=security_of(credentials),
        nthreads=1,
        memory_limit=0,
        dashboard_address=LOOPBACK,
        death_timeout=SECONDS_WITHOUT_SCHEDULER,
    )
    async with worker:
        await worker.finished()


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    told = [os.environ.get(name, "") for name in ("CREDENTIALS", "SCHEDULER")]
    kind, where, address = arguments if len(arguments) > 1 else [*arguments, *told]
    content = read_bytes(s3_client(), Stored(where)) if where.startswith("s3://") else Path(where).read_bytes()
    credentials = json.loads(content)
    # Batches are counted by nobody: XGBoost holds what a worker holds.
    dask.config.set({"distributed.worker.daemon": False, "distributed.admin.tick.limit": "1h"})
    asyncio.run({"scheduler": schedule, "worker": work}[kind](credentials, address))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
