"""A process of scoring, its registry and bucket a folder: `python -m benchmarks.scoring_worker WHAT FOLDER [COUNT]`."""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from common.storage import digest_of
from scoring import app
from scoring.champion import Champion, Champions
from scoring.settings import Settings

FILES = {"model": "model.skops", "profile": "profile.json", "info": "model.json"}


class Folder:
    """What the function calls of DynamoDB and S3."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        digests = {name: {"S": digest_of(folder / file)} for name, file in FILES.items()}
        uris = {f"{name}_uri": {"S": f"s3://bucket/{file}"} for name, file in FILES.items()}
        self._entry = {"version": {"S": "1"}, "sha256": {"M": digests}, **uris}

    def get_item(self, *, Key: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803 (boto3's own name)
        """Return the pointer or the version."""
        pointer = {"champion_version": {"S": "1"}, "promoted_at": {"S": "2026-01-01T00:00:00Z"}}
        return {"Item": pointer if Key["entry"]["S"] == "champion" else self._entry}

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803 (as above)
        """Return a file's contents."""
        return {"Body": io.BytesIO((self._folder / Key).read_bytes())}

    def download_file(self, _bucket: str, key: str, path: str, **_: Any) -> None:
        """Copy a file."""
        shutil.copyfile(self._folder / key, path)


def main() -> None:
    """Do what is asked, and print the seconds as JSON."""
    what, folder, *count = sys.argv[1:]
    aws: Any = Folder(Path(folder))
    champions = Champions(aws, aws, "registry", "model", seconds=60)
    # The clients, which take a call of their own to be made, are not what is measured.
    app._champions = lambda: champions  # type: ignore[assignment]
    # Both are functions with a cache.
    app._settings = lambda: Settings("model", "registry", 60, "benchmark")  # type: ignore[assignment]
    if what == "bulk":
        print(json.dumps(bulk(champions.current()[0], int(count[0]))))
        return
    row = json.loads(app.handler(request("GET", "/openapi.json"), None)["body"])["components"]["schemas"]["Row"][
        "example"
    ]
    event = request("POST", "/predictions", json.dumps({"rows": [row]}))
    seconds = []
    for _ in range(int(count[0]) if count else 1):
        started = time.perf_counter()
        answer = app.handler(event, None)
        seconds.append(time.perf_counter() - started)
        assert answer["statusCode"] == 200, answer  # noqa: S101 (what fails takes no time)
    print(json.dumps(seconds))


def request(method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """Return what the handler takes of a Function URL's event."""
    http = {"method": method, "path": path, "sourceIp": "127.0.0.1", "userAgent": "", "protocol": "HTTP/1.1"}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": http, "stage": "$default", "requestId": "1"},
        "body": body,
        "isBase64Encoded": False,
    }


def bulk(champion: Champion, count: int) -> tuple[float, float]:
    """Return the seconds that rows take by the champion, and by its pipeline alone."""
    import pyarrow as pa  # noqa: PLC0415 (the same)

    from benchmarks import data  # noqa: PLC0415 (for this alone)
    from common import conversion  # noqa: PLC0415 (the same)
    from data_preparation.columns import Columns  # noqa: PLC0415 (the same)
    from data_preparation.reading import SourceFile, open_table  # noqa: PLC0415 (the same)
    from scoring.reading import wishes  # noqa: PLC0415 (the same)

    names = frozenset(each["name"] for each in conversion.feature_columns(champion.profile))
    with open_table(SourceFile("x.csv", data.mixed(count))) as table:
        columns = Columns(wishes(champion.profile))
        for _ in columns.readings("x.csv"):
            batches = list(table.batches(columns, names, encode_texts=True))
    rows = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]
    frame = conversion.features(rows, champion.profile)
    # What is looked up once is looked up.
    champion.predict(rows.slice(0, 1000), columns.kinds)
    started = time.perf_counter()
    predicted, _ = champion.predict(rows, columns.kinds)
    between = time.perf_counter()
    alone = champion.model.pipeline.predict(frame)
    ended = time.perf_counter()
    assert len(predicted) == len(alone) == rows.num_rows  # noqa: S101 (both did the work)
    return between - started, ended - between


if __name__ == "__main__":
    main()
