"""The model in a folder of results as the champion of an empty registry, for an AWS that is this run's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import DamagedFileError
from common.lineage import now
from common.storage import describe_files, digest_of, upload
from crosstrain.aws import to_dynamodb
from crosstrain.command import BadInputError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

# Where scoring may read them.
_PLACES = {
    "model": ("model.skops", "model/served"),
    "info": ("model.json", "model/served"),
    "profile": ("profile.json", "prepared/served"),
    "evaluation": ("evaluation.json", "evaluation/served"),
}


def name_in(folder: Path) -> str:
    """Return the name that a folder's model was trained under.

    Raises
    ------
    BadInputError
        If the folder holds no results of a run.
    """
    info = _document(folder, "model.json")
    try:
        return str(info["request"]["model_name"])
    except (KeyError, TypeError) as error:
        raise _no_results(folder, "model.json") from error


def promote_folder(folder: Path, s3: S3Client, dynamodb: DynamoDBClient, *, bucket: str, table: str) -> str:
    """Copy a folder's model to a bucket, record it as the champion, and return its version.

    Raises
    ------
    BadInputError
        If the folder holds no results of a run.
    DamagedFileError
        If the model is not the one that its run has described.
    """
    name, info = name_in(folder), _document(folder, "model.json")
    for file, _ in _PLACES.values():
        if not (folder / file).is_file():
            raise _no_results(folder, file)
    if (info.get("sha256") or {}).get("model") not in (None, digest_of(folder / "model.skops")):
        raise DamagedFileError(f'"{folder / "model.skops"}" is not the file that its run has described: train again.')
    evaluation, version, since = _document(folder, "evaluation.json"), str(info.get("run_id", "folder")), now()
    files = {
        kind: upload(s3, folder / file, f"s3://{bucket}/runs/{version}/{place}/{file}")
        for kind, (file, place) in _PLACES.items()
    }
    entry = {
        "model_name": name,
        "entry": f"version#{version}",
        "version": version,
        **{each: evaluation[each] for each in ("decision", "rule", "reason") if isinstance(evaluation.get(each), str)},
        **{each: info[each] for each in ("problem", "estimator", "target") if isinstance(info.get(each), str)},
        **describe_files(files),
    }
    pointer = {"model_name": name, "entry": "champion", "champion_version": version, "promoted_at": since}
    for item in (entry, pointer):
        dynamodb.put_item(TableName=table, Item=to_dynamodb(item))
    return version


def _document(folder: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_results(folder, name) from error
    if not isinstance(document, dict):
        raise _no_results(folder, name)
    return document


def _no_results(folder: Path, name: str) -> BadInputError:
    return BadInputError(f'There is no {name} of a run in "{folder}": name a folder that `make train` has written.')
