"""Grows XGBoost's trees on several machines, where the rows fit none: the coordinator's side.

Dask's `distributed` says which workers there are and runs functions on them, over TLS with a certificate made for the
run; XGBoost's own collective adds their sums up. XGBoost's front-end for Dask is not used: it holds the rows as floats
besides, and waits for ever for a worker that is gone (https://github.com/dmlc/xgboost/issues/9419). Here a fit whose
worker is gone begins anew with those that there are, from the last trees that were whole.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.boosted import as_floats
from common.capacity import FEWER_ROWS
from common.conversion import Profile
from common.frames import row_groups
from common.ranges import ObjectFile
from common.storage import Stored, s3_client
from model_training.boosting import Batch, Growth, grow
from model_training.boosting_rows import Learned, not_in

if TYPE_CHECKING:
    from pathlib import Path

    import xgboost
    from distributed import Client, Future
    from distributed.security import Security

logger = logging.getLogger(__name__)

ROUNDS_BETWEEN = 10
"""After so many rounds what was grown is told the coordinator."""
MOST_FITS = 5
"""How often a fit is begun: workers that go again and again have a reason."""
SECONDS_OF_START = 600.0
"""How long workers may take to come."""
SECONDS_OF_END = 30.0
"""How long workers may take to notice that another one is gone."""
SECONDS_TO_BE_MISSED = 5.0
"""How long it may take the scheduler to notice that."""
_OF_COLLECTIVE = re.compile(r"rabit|collective|socket|connection|broken pipe|poll", re.IGNORECASE)
"""What XGBoost says where another worker could not be reached."""
_TOPIC = "trees"


class WorkersGoneError(Exception):
    """Workers were lost so often that no fit has come to its end."""


@dataclass(frozen=True)
class Share:
    """What one worker makes batches of: row groups of the part, and the rows that features have learned of.

    Attributes
    ----------
    part
        The training part on S3, whose digest the coordinator has compared.
    profile
        The profile that was written with it.
    groups, starts
        Its row groups, and the place of the first row of each among all rows.
    features
        The fitted transformer of the features.
    sample
        The places of the rows that it was fitted on, sorted: these are among the batches of one worker, as `learned`.
    is_weighed
        Whether some rows count more than others.
    learned
        What it has made of them, with target and weights; None for all other workers.
    """

    part: Stored
    profile: Profile
    groups: tuple[int, ...]
    starts: tuple[int, ...]
    features: Any
    sample: npt.NDArray[np.intp]
    is_weighed: bool
    learned: Batch | None = None

    def batches(self) -> Iterator[Batch]:
        """Begin a pass over the rows."""
        if self.learned is not None:
            yield self.learned
        read = row_groups(ObjectFile(s3_client(), self.part), self.profile, self.groups)
        for start, (frame, target, weights) in zip(self.starts, read, strict=True):
            others = not_in(self.sample, start, len(target))
            made = as_floats(self.features.transform(frame), slice(None))
            yield made[others], target[others], weights[others] if self.is_weighed and weights is not None else None


def shares(share: Share, rows: Sequence[int], learned: Batch, workers: int) -> list[Share]:
    """Return what each of several workers makes batches of: as many row groups, one after the other.

    Parameters
    ----------
    share
        What all of them have.
    rows
        How many rows each row group has.
    learned
        What the features have made of their sample.
    workers
        How many there are, at most as many as row groups.
    """
    starts = np.cumsum(rows) - rows
    return [
        Share(
            share.part, share.profile, tuple(groups.tolist()), tuple(starts[groups].tolist()), share.features,
            share.sample, share.is_weighed, None if number else learned,
        )
        for number, groups in enumerate(np.array_split(np.arange(len(rows)), workers))
    ]  # fmt: skip


# On a worker


def grow_share(growth: Growth, share: Share, group: Mapping[str, Any], begun: bytes | None) -> bytes:
    """Grow trees together with the other workers, and return all of them, as every worker has them at the end."""
    import xgboost  # noqa: PLC0415 (as in `boosting`)
    from xgboost import collective  # noqa: PLC0415 (as above)

    with collective.CommunicatorContext(**group):
        callbacks = [_told_now_and_then()] if collective.get_rank() == 0 else []
        booster = None if begun is None else xgboost.Booster(model_file=bytearray(begun))
        return bytes(grow(growth, share.batches, booster, callbacks).save_raw("ubj"))


def _told_now_and_then() -> Any:
    import xgboost  # noqa: PLC0415 (as above)
    from distributed import get_worker  # noqa: PLC0415 (as above)

    worker = get_worker()

    class ToldNowAndThen(xgboost.callback.TrainingCallback):
        """Tells the coordinator what was grown."""

        def after_iteration(self, model: xgboost.Booster, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002 - XGBoost's
            rounds = model.num_boosted_rounds()
            if rounds % ROUNDS_BETWEEN == 0:
                worker.log_event(_TOPIC, {"rounds": rounds, "trees": bytes(model.save_raw("ubj"))})
            return False

    return ToldNowAndThen()


# On the coordinator


@dataclass
class _Grown:
    """The last trees that were whole."""

    rounds: int = 0
    trees: bytes | None = None
    begun_at: list[int] = field(default_factory=list)

    def take(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take what a worker tells."""
        _, told = event
        if told["rounds"] > self.rounds:
            self.rounds, self.trees = told["rounds"], told["trees"]


@dataclass(frozen=True)
class Cluster:
    """A scheduler that this process has started, and a client of it.

    Attributes
    ----------
    client
        Knows the workers.
    address
        Of the scheduler, `tls://…`.
    host
        The address of this machine that workers reach.
    """

    client: Client
    address: str
    host: str

    def workers(self) -> list[str]:
        """Return the addresses of the workers that there are, sorted."""
        return sorted(self.client.scheduler_info(n_workers=-1)["workers"])

    def wait(self, least: int, seconds: float = SECONDS_OF_START) -> list[str]:
        """Wait for workers, and return all that have come.

        Raises
        ------
        WorkersGoneError
            If there are fewer in time.
        """
        end = time.monotonic() + seconds
        while len(found := self.workers()) < least:
            if time.monotonic() > end:
                raise WorkersGoneError(
                    f"{len(found)} of {least} workers have come within {seconds:,.0f} s: start the run again, or name "
                    "subnets of more zones in JobSubnetIds. The log of a worker that has begun says what it lacks."
                )
            time.sleep(0.2)
        return found

    def grow(
        self, growth: Growth, shares_for: Callable[[int], Sequence[Share]], least: int, most: int
    ) -> xgboost.Booster:
        """Return the trees that the workers grow together.

        Parameters
        ----------
        growth
            How they are to be grown.
        shares_for
            What so many workers make batches of.
        least, most
            How many workers have the memory for it, and how many there is work for.

        Raises
        ------
        WorkersGoneError
            If there are too few, or a fit was broken off too often.
        """
        import xgboost  # noqa: PLC0415 (as above)

        grown = _Grown()
        self.client.subscribe_topic(_TOPIC, grown.take)
        for _ in range(MOST_FITS):
            workers = self.wait(least)[:most]
            grown.begun_at.append(grown.rounds)
            logger.info("trees are grown", extra={"workers": len(workers), "from_round": grown.rounds})
            trees = self._fit(workers, growth, shares_for(len(workers)), grown.trees)
            if trees is not None:
                return xgboost.Booster(model_file=bytearray(trees))
        raise WorkersGoneError(
            f"Workers were lost {MOST_FITS} times while trees were grown: their logs and the stopped tasks in ECS say "
            f"why. If they had too little memory: {FEWER_ROWS}."
        )

    def _fit(self, workers: Sequence[str], growth: Growth, each: Sequence[Share], begun: bytes | None) -> bytes | None:
        """Return the trees; None where a worker was lost."""
        import xgboost  # noqa: PLC0415 (as above)
        from xgboost.tracker import RabitTracker  # noqa: PLC0415 (as above)

        tracker = RabitTracker(n_workers=len(workers), host_ip=self.host, sortby="task")
        tracker.start()
        group = tracker.worker_args()
        futures = [
            self.client.submit(
                grow_share, growth, share, {**group, "dmlc_task_id": f"{number:06d}"}, begun,
                workers=[worker], allow_other_workers=False, retries=0, pure=False,
            )
            for number, (worker, share) in enumerate(zip(workers, each, strict=True))
        ]  # fmt: skip
        try:
            return self._first_whole(futures, workers)
        finally:
            self.client.cancel(futures, force=True)
            # It complains of the connections that were broken off.
            with suppress(xgboost.core.XGBoostError):
                tracker.free()

    def _first_whole(self, futures: Sequence[Future], workers: Sequence[str]) -> bytes | None:
        """Wait for all of them, and return what the first one has; None where a worker was lost.

        Raises
        ------
        InvalidDatasetError
            If the rows themselves cannot be fitted.
        """
        while not all(future.done() for future in futures):
            time.sleep(0.1)
            if set(workers) - set(self.workers()) or any(future.status == "error" for future in futures):
                break
        errors = [future.exception(timeout=SECONDS_OF_END) for future in futures if future.status == "error"]
        is_broken_off = self._is_one_gone(workers, SECONDS_TO_BE_MISSED if errors else 0)
        # Others find that they cannot reach the worker that was refused its rows.
        refused = [each for each in errors if not _OF_COLLECTIVE.search(str(each))]
        if errors or is_broken_off:
            self._let_go(futures, workers)
        if refused and not is_broken_off:
            raise refused[0]
        if errors or is_broken_off:
            return None
        trees: bytes = futures[0].result()
        return trees

    def _is_one_gone(self, workers: Sequence[str], seconds: float) -> bool:
        """Return whether one of the workers is gone, or is within some time."""
        end = time.monotonic() + seconds
        while not (gone := bool(set(workers) - set(self.workers()))) and time.monotonic() < end:
            time.sleep(0.2)
        return gone

    def _let_go(self, futures: Sequence[Future], workers: Sequence[str]) -> None:
        """Give the workers that are left time to notice, and end those that do not."""
        end = time.monotonic() + SECONDS_OF_END
        left = [(future, worker) for future, worker in zip(futures, workers, strict=True)]
        while time.monotonic() < end:
            there = set(self.workers())
            left = [(future, worker) for future, worker in left if worker in there and not future.done()]
            if not left:
                return
            time.sleep(0.2)
        for _, worker in left:
            self.client.run(os._exit, 1, workers=[worker], wait=False)


@dataclass(frozen=True)
class Workers:
    """Grows trees on workers, for `model_training.boosting_rows.fit_block_by_block`.

    Attributes
    ----------
    cluster
        Whose workers have begun.
    part
        The training part on S3, where the workers read it.
    least
        How many workers have the memory for it.
    """

    cluster: Cluster
    part: Stored
    least: int = 1

    def __call__(self, growth: Growth, learned: Learned) -> xgboost.Booster:
        """Return the trees.

        Raises
        ------
        WorkersGoneError
            If there are too few workers, or they were lost too often.
        """
        rows = learned.rows_of_groups
        share = Share(self.part, learned.profile, (), (), learned.features, learned.sample, learned.made[2] is not None)
        return self.cluster.grow(
            growth, lambda count: shares(share, rows, learned.made, count), min(self.least, len(rows)), len(rows)
        )


@contextmanager
def started(host: str, folder: Path, port: int = 0) -> Iterator[Cluster]:
    """Start a scheduler as a process, with a certificate of its own, and end it, and by that its workers, at the end.

    Parameters
    ----------
    host
        The address of this machine that workers reach.
    folder
        Where the certificate is written, as `credentials.json`: workers need it.
    port
        That workers reach; 0 for a free one.
    """
    from distributed import Client  # noqa: PLC0415 (a run that needs no other machine does without it)
    from distributed.security import Security  # noqa: PLC0415 (as above)

    security = Security.temporary()
    credentials = folder / "credentials.json"
    credentials.touch(mode=0o600)
    credentials.write_text(json.dumps(_credentials(security)))
    command = [sys.executable, "-m", "model_training.cluster_process", "scheduler", str(credentials), f"{host}:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as scheduler:  # noqa: S603 - this package's own
        try:
            address = str(scheduler.stdout and scheduler.stdout.readline()).strip()
            with Client(address, security=security_of(json.loads(credentials.read_text()))) as client:
                try:
                    yield Cluster(client, address, host)
                finally:
                    client.shutdown()
        finally:
            scheduler.terminate()


def _credentials(security: Security) -> dict[str, str]:
    return {"certificate": security.tls_client_cert, "key": security.tls_client_key}


def security_of(credentials: Mapping[str, str]) -> Security:
    """Return what scheduler, workers and client know each other by: the run's one certificate, which each must have."""
    from distributed.security import Security  # noqa: PLC0415 (as above)

    certificate, key = credentials["certificate"], credentials["key"]
    roles = ("client", "scheduler", "worker")
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        **{f"tls_{role}_cert": certificate for role in roles},
        **{f"tls_{role}_key": key for role in roles},
    )
