"""What one run costs, for each memory size of each function, and the cheapest size for each number of rows.

A function's processor time is a share of its memory: a worker is held to that share by the kernel's scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import ROOT, data
from benchmarks.cpu_share import CpuShare, NoShareError
from benchmarks.figures import Goal, Section, rounded
from benchmarks.options import Options
from benchmarks.prices import list_prices, price_by_name
from benchmarks.stack import machine
from benchmarks.storage import Storage
from benchmarks.worker import Call, Worker
from common import MB_PER_VCPU
from crosstrain.delivery.functions import STEPS

ROWS = (10_000, 100_000, 1_000_000)
MEMORY_MB = (512, 1024, 1769, 2654, 3538)
"""Up to two vCPUs: more are not on the machines that this is usually run on."""
CALLS = 3
STORAGE_GB = (10_240 - 512) / 1024
"""The temporary disk of template.yaml beyond what is free."""
S3_WRITES = ("Put", "Copy", "Post", "List", "Create", "Complete", "Upload")
# A strongly consistent read of the champion; a transaction, which costs twice, of an item of up to 3 KB and of the
# pointer; and the item's entry in the index.
READ_UNITS, WRITE_UNITS, EVENTS = 1, 2 * 3 + 2 * 1 + 3, 1


def measure(options: Options) -> Section:
    """Return the cost of a run by part, and the sweep over memory sizes."""
    prices, price = list_prices(), price_by_name()
    section = Section(f"Cost of one run ({prices['region']}, list prices read on {prices['read_on']})")
    with machine() as state_machine:
        uri = state_machine.put(ROOT / "data" / "diabetes.csv")
        request = {"dataset_uri": uri, "target": "target", "search_trials": 0}
        transitions = state_machine.run(request).transitions
    try:
        sweep = _sweep(ROWS[:1] if options.quick else ROWS)
    except NoShareError as error:
        section.notes.append(f"The sweep over memory sizes is not measured: {error}")
        return section
    for rows, steps in sweep.items():
        cheapest = {
            step: min(calls, key=lambda memory, calls=calls: lambda_cost(calls[memory], memory, price))
            for step, calls in steps.items()
        }
        chosen = {step: steps[step][memory] for step, memory in cheapest.items()}
        work = sum(lambda_cost(call, cheapest[step], price) for step, call in chosen.items())
        fixed = fixed_cost(chosen.values(), transitions, price)
        words = ", ".join(f"{step} {cheapest[step]:,} MB" for step in STEPS)
        section.goals.append(Goal(f"one run of {rows:,} rows, cheapest memory", f"${rounded(work + fixed)} ({words})"))
    section.tables += [_sweep_table(sweep, price), _parts_table(sweep, transitions, price)]
    section.notes.append(
        f"Lambda: {price['lambda_gb_second']} a GB-second, {price['lambda_request']} a request, "
        f"{price['lambda_storage_gb_second']} a GB-second of temporary disk (10,240 MB, the template's default). "
        f"{transitions} state transitions at {price['state_transition']}. S3: {price['s3_write']} a write, "
        f"{price['s3_read']} a read. DynamoDB: {WRITE_UNITS} write units at {price['dynamodb_write_unit']}, "
        f"{READ_UNITS} read unit at {price['dynamodb_read_unit']}. Sources: `benchmarks/prices.json`."
    )
    section.notes.append(
        f"Each cell: the median of {CALLS} calls of a warm worker. Not in it: free tiers, cold starts (Lambda bills "
        "the import of the handler too: two seconds at most), storage, logs. Seconds are those of this machine with a "
        "share of its cores; a vCPU of Lambda is as fast as it is. Where a size is missing, the function's memory "
        "would not do, by its measured peak."
    )
    section.data = {
        "sweep": {
            str(rows): {
                step: {str(memory): lambda_cost(call, memory, price) for memory, call in calls.items()}
                for step, calls in steps.items()
            }
            for rows, steps in sweep.items()
        }
    }
    return section


def lambda_cost(call: Call, memory_mb: int, price: Mapping[str, float]) -> float:
    """Return the price of one invocation: memory and disk by time, and the request."""
    memory, disk = memory_mb / 1024 * price["lambda_gb_second"], STORAGE_GB * price["lambda_storage_gb_second"]
    return call.seconds * (memory + disk) + price["lambda_request"]


def fixed_cost(calls: Any, transitions: int, price: Mapping[str, float]) -> float:
    """Return the price of what does not depend on memory: S3 requests, state transitions, the registry, the event."""
    return (
        sum(s3_cost(call, price) for call in calls)
        + transitions * price["state_transition"]
        + WRITE_UNITS * price["dynamodb_write_unit"]
        + READ_UNITS * price["dynamodb_read_unit"]
        + EVENTS * price["event"]
    )


def s3_cost(call: Call, price: Mapping[str, float]) -> float:
    """Return the price of a call's requests to S3."""
    return sum(
        count * price["s3_write" if name.startswith(S3_WRITES) else "s3_read"] for name, count in call.requests.items()
    )


def _sweep(sizes: tuple[int, ...]) -> dict[int, dict[str, dict[int, Call]]]:
    """Return the call of each step for each number of rows and each memory size that it fits."""
    sweep: dict[int, dict[str, dict[int, Call]]] = {}
    with Storage() as storage:
        for rows in sizes:
            request = {"dataset_uri": storage.put(data.mixed(rows)), "target": data.TARGET, "estimator": "ridge"}
            event: dict[str, Any] = {"run_id": f"cost-{rows}", "request": request, "champion": None, "contended": False}
            sweep[rows] = {}
            for step, adopt in zip(STEPS, (dict, lambda result: {"model": result}, dict), strict=True):
                calls = sweep[rows][step] = {}
                for memory in MEMORY_MB:
                    with (
                        CpuShare(memory / MB_PER_VCPU) as share,
                        storage.worker(f"{step}.app:handler", memory_mb=memory, quiet=True) as worker,
                    ):
                        call = _in_share(share, worker, event)
                    if call and call.peak_bytes < memory * 2**20:
                        calls[memory] = call
                with storage.worker(f"{step}.app:handler") as worker:
                    event |= adopt(worker(event).result)
            storage.forget("")
    return sweep


def _in_share(share: CpuShare, worker: Worker, event: Mapping[str, Any]) -> Call | None:
    """Return the median call of a warm worker, or None where the handler itself refuses the data for its memory."""
    share.add(worker.pid)
    try:
        worker(event)
        return sorted((worker(event) for _ in range(CALLS)), key=lambda call: call.seconds)[CALLS // 2]
    except RuntimeError:
        return None


def _sweep_table(
    sweep: Mapping[int, Mapping[str, Mapping[int, Call]]], price: Mapping[str, float]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = []
    for count, steps in sweep.items():
        for step, calls in steps.items():
            cheapest = min(calls, key=lambda memory, calls=calls: lambda_cost(calls[memory], memory, price))
            cells = []
            for memory in MEMORY_MB:
                if memory not in calls:
                    cells.append("")
                    continue
                cost = f"{lambda_cost(calls[memory], memory, price) * 1e6:.0f}, {rounded(calls[memory].seconds)} s"
                cells.append(f"**{cost}**" if memory == cheapest else cost)
            rows.append((f"{count:,}", step, *cells))
    return ("rows", "millionths of a dollar, seconds", *(f"{memory:,} MB" for memory in MEMORY_MB)), rows


def _parts_table(
    sweep: Mapping[int, Mapping[str, Mapping[int, Call]]], transitions: int, price: Mapping[str, float]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = []
    for count, steps in sweep.items():
        calls = {step: each[max(each)] for step, each in steps.items()}
        parts = {
            "Lambda, 3,538 MB each": sum(lambda_cost(call, max(steps[step]), price) for step, call in calls.items()),
            "state transitions": transitions * price["state_transition"],
            "S3 requests": sum(s3_cost(call, price) for call in calls.values()),
            "registry and event": WRITE_UNITS * price["dynamodb_write_unit"]
            + READ_UNITS * price["dynamodb_read_unit"]
            + EVENTS * price["event"],
        }
        rows.append((f"{count:,}", *(f"{part * 1e6:.0f}" for part in parts.values())))
        names = tuple(parts)
    return ("rows", *(f"{name}, millionths of a dollar" for name in names)), rows
