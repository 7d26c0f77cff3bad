"""Answers to questions about the models of a deployed stack, and the moves of its champions and challengers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from common.errors import DamagedFileError
from common.metric_table import LOWER_IS_BETTER, Scoring
from common.storage import Stored, download, pinned, read_json, split_uri
from crosstrain.command import BadInputError
from crosstrain.delivery.functions import STEPS
from crosstrain.training.moves import move_challenger, move_champion
from crosstrain.training.registry import Item, Registry, challenger_of, champion_history, previous_champion
from crosstrain.training.stack import DeployedStack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES = ("train", "test", "profile", "model", "info", "training_rows", "evaluation", "report")
"""The files of a version that the registry knows by their digests."""
_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchBucket", "404", "AccessDenied", "403"})

Document = dict[str, Any]


@dataclass(frozen=True)
class Models:
    """The registry of a stack, the client for what it refers to, and the stack itself, which moves champions."""

    registry: Registry
    s3: S3Client
    stack: DeployedStack

    @classmethod
    def of(cls, stack: DeployedStack) -> Models:
        """Return the models of a deployed stack.

        Raises
        ------
        BadInputError
            If the stack has no model registry.
        """
        registry = Registry(stack.session.client("dynamodb"), stack.output("ModelRegistryTableName"))
        return cls(registry, stack.session.client("s3"), stack)

    def read(self, uri: str | None) -> tuple[Document, str | None]:
        """Return the JSON document at a URI, empty where there is none, and then why."""
        if uri is None:
            return {}, "the registry does not say where it is"
        try:
            document: Document = read_json(self.s3, Stored(uri))
        except ClientError as error:
            if error.response["Error"]["Code"] not in _GONE:
                raise
            return {}, f"{uri} is gone or may not be read"
        return document, None

    def read_recorded(self, item: Item, kind: str) -> tuple[Document, str | None]:
        """Return a version's JSON document, if it is the one that was recorded; else an empty one, and then why."""
        if kind not in (item.get("sha256") or {}):
            return {}, f"the registry does not record its {kind}"
        try:
            document: Document = read_json(self.s3, pinned(item, kind))
        except DamagedFileError:
            return {}, f"its {kind} is not the one that was recorded"
        except ClientError as error:
            if error.response["Error"]["Code"] not in _GONE:
                raise
            return {}, f"its {kind} is gone or may not be read"
        return document, None

    def state_of(self, item: Item, kind: str) -> str:
        """Return of a version's file `as recorded`, `not recorded` where no digest is, `gone`, or `other` than it was.

        A file that was written again or deleted since, S3 still has as the version that was recorded; it counts as gone
        or as another one all the same, for that is what people find there.
        """
        uri = item[f"{kind}_uri"]
        if not self.has_file(uri):
            return "gone"
        if kind not in (item.get("sha256") or {}):
            return "not recorded"
        recorded = pinned(item, kind)
        with tempfile.TemporaryDirectory() as folder:
            try:
                download(self.s3, replace(recorded, version_id=None), Path(folder) / "file")
            except DamagedFileError:
                return "other"
        return "as recorded"

    def has_file(self, uri: str) -> bool:
        """Return whether there is an object at a URI."""
        bucket, key = split_uri(uri)
        # Unlike HeadObject, it distinguishes "not there" from "not allowed" under a right that is limited to a prefix.
        return any(
            entry["Key"] == key
            for entry in self.s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", ())
        )


def list_models(models: Models, model_name: str | None = None) -> Document:
    """Return what `list_versions` tells of a model or, where none is named, of all of them, as `models`.

    Raises
    ------
    BadInputError
        If there is no model of this name, or none at all.
    """
    if model_name is not None:
        return list_versions(models, model_name)
    known, asked = models.registry.all_names()
    names = sorted({*known, *filter(models.registry.waiting, asked - known)})
    if not names:
        raise models.registry.without_champion("default")
    return {"models": [list_versions(models, name) for name in names]}


def list_versions(models: Models, model_name: str) -> Document:
    """Return all versions, rollbacks and moves of challengers, newest first, and who is champion, challenger, or waits.

    Raises
    ------
    BadInputError
        If there is no model of this name.
    """
    waiting = models.registry.waiting(model_name)
    versions = models.registry.versions(model_name) if waiting else _known_versions(models, model_name)
    pointer = models.registry.champion(model_name)
    return {
        "model_name": model_name,
        "champion": pointer["champion_version"] if pointer else None,
        "versions": versions,
        "rollbacks": models.registry.rollbacks(model_name),
        "challenger": challenger_of(pointer),
        "canaries": models.registry.canaries(model_name),
        "waiting": waiting,
    }


def show(models: Models, version: str, model_name: str | None = None) -> Document:
    """Return what the registry holds of a version, whether it is the champion and, if a challenger, how it is tried."""
    item = models.registry.find_version(version, model_name)
    pointer = models.registry.champion(item["model_name"])
    trial = challenger_of(pointer)
    return {
        **item,
        "champion": pointer is not None and pointer["champion_version"] == item["version"],
        **({"challenger": trial} if trial is not None and trial["version"] == item["version"] else {}),
    }


def champion(models: Models, model_name: str | None = None) -> Document:
    """Return the champion of a model, since when it is that, where a rollback leads to, and who challenges it.

    Without a name it is that of the only model.
    """
    pointer, item = models.registry.champion_version(model_name or models.registry.only_model())
    return {
        **item,
        "champion": True,
        "promoted_at": pointer["promoted_at"],
        "previous_champion": _previous(models, pointer),
        "challenger": challenger_of(pointer),
    }


def compare(models: Models, first: str, second: str, model_name: str | None = None) -> Document:
    """Return two versions' metrics side by side, which is better, and in what else the versions differ.

    Metrics are only shown as comparable if both were computed on the same rows of the same data.
    """
    items = [models.registry.find_version(version, model_name) for version in (first, second)]
    infos = [models.read(item.get("info_uri"))[0] for item in items]
    same_rows, why = _same_test_rows(items)
    scorings = [Scoring.of(info.get("request", {})) for info in infos]
    names = list(dict.fromkeys(name for item in items for name in item["metrics"]))
    return {
        "versions": [item["version"] for item in items],
        "same_test_rows": same_rows,
        "test_rows": why,
        "metrics": {
            name: _compared(
                name,
                [item["metrics"].get(name) for item in items],
                # One of another class is another metric.
                same_rows and scorings[0].agrees_with(scorings[1], name),
            )
            for name in names
        },
        "differences": _differences(items, infos),
    }


def roll_back(models: Models, model_name: str, to: str | None = None, reason: str = "") -> Document:
    """Have an earlier version made the champion again, and return the rollback as it was recorded.

    Parameters
    ----------
    models
        The models of a stack.
    model_name : str
        The model.
    to : str, optional
        A version that was promoted once; by default the one that was the champion before (`previous_champion`).
    reason : str
        Why, for whoever looks later.

    Raises
    ------
    BadInputError
        If the version is unknown, was never promoted, is the champion already, or its model file is gone or another; or
        if the stack is older than its rollback state machine.
    ChampionMovedError
        If somebody else has moved the champion meanwhile.
    OperationFailedError
        If the state machine does not move it, or it is not known whether it has.
    """
    state_machine_arn = models.stack.output("RollbackStateMachineArn")
    pointer = _pointer(models, model_name)
    to = to if to is not None else _previous(models, pointer)
    if to is None:
        raise BadInputError(
            f'The registry knows no champion of "{model_name}" before {pointer["champion_version"]}: '
            "say which version to go back to with --to."
        )
    target = models.registry.find_version(to, model_name)
    if to == pointer["champion_version"]:
        raise BadInputError(f'{to} is the champion of "{model_name}" already.')
    if target["decision"] != "promote":
        raise BadInputError(f"{to} was never promoted, so it cannot be the champion: {target['reason']}")
    _require_file(models, target, "choose another version with --to")
    sfn = models.stack.session.client("stepfunctions")
    return dict(move_champion(sfn, state_machine_arn, pointer, to, reason=reason))


def promote(
    models: Models,
    model_name: str,
    version: str,
    share: int | None = None,
    *,
    shadow: bool = False,
    reason: str = "",
) -> Document:
    """Let a version challenge the champion, change how it does, or make the challenger the champion.

    Parameters
    ----------
    models
        The models of a stack.
    model_name : str
        The model.
    version : str
        A version that was promoted once; in the shadow any.
    share : int, optional
        The per cent of rows that it answers.
    shadow : bool
        Whether it predicts all rows and answers none. Without either it has to be the challenger, and is promoted.
    reason : str
        Why, for whoever looks later.

    Returns
    -------
    dict
        The move as it was recorded.

    Raises
    ------
    BadInputError
        If the version is unknown, may not be the challenger, or its model file is gone or another; if there is
        another challenger; or if the stack is older than its canary state machine.
    ChampionMovedError
        If somebody else has moved the champion or its challenger meanwhile.
    OperationFailedError
        If the state machine does not move it, or it is not known whether it has.
    """
    state_machine_arn = models.stack.output("CanaryStateMachineArn")
    if shadow and share is not None:
        raise BadInputError("A challenger has a share of the rows or is in the shadow: give --share or --shadow.")
    if share is not None and not 1 <= share <= 99:
        raise BadInputError(f"--share is {share}, and has to be from 1 to 99 per cent.")
    pointer = _pointer(models, model_name)
    target = models.registry.find_version(version, model_name)
    if version == pointer["champion_version"]:
        raise BadInputError(f'{version} is the champion of "{model_name}" already.')
    trial = challenger_of(pointer)
    is_challenger = trial is not None and trial["version"] == version
    if trial is not None and not is_challenger:
        raise BadInputError(
            f'{trial["version"]} is the challenger of "{model_name}": promote it, or end its canary with stop-canary.'
        )
    if share is None and not shadow and not is_challenger:
        raise BadInputError(
            f'{version} is not the challenger of "{model_name}": try it with --share or --shadow first, or go back to '
            "a version that was the champion with rollback."
        )
    if target["decision"] != "promote" and not shadow:
        raise BadInputError(
            f"{version} was rejected, so it can be tried with --shadow alone, and not be the champion: "
            f"{target['reason']}"
        )
    _require_file(models, target, "choose another version")
    fields: Document = {"reason": reason}
    if share is not None or shadow:
        fields |= {"shadow": True} if shadow else {"share": share}
        action = "change" if is_challenger else "begin"
    else:
        action = "promote"
    sfn = models.stack.session.client("stepfunctions")
    return dict(move_challenger(sfn, state_machine_arn, pointer, action, version, **fields))


def stop_canary(models: Models, model_name: str, reason: str = "") -> Document:
    """End the canary of a model's challenger, and return the move as it was recorded.

    Raises
    ------
    BadInputError
        If there is no challenger, or the stack is older than its canary state machine.
    ChampionMovedError
        If somebody else has moved the champion or its challenger meanwhile.
    OperationFailedError
        If it is not known whether the canary has ended.
    """
    state_machine_arn = models.stack.output("CanaryStateMachineArn")
    pointer = _pointer(models, model_name)
    trial = challenger_of(pointer)
    if trial is None:
        raise BadInputError(f'"{model_name}" has no challenger.')
    sfn = models.stack.session.client("stepfunctions")
    return dict(move_challenger(sfn, state_machine_arn, pointer, "end", trial["version"], reason=reason))


def _pointer(models: Models, model_name: str) -> Item:
    pointer = models.registry.champion(model_name)
    if pointer is None:
        raise models.registry.without_champion(model_name)
    return pointer


def _require_file(models: Models, target: Item, way_out: str) -> None:
    state = models.state_of(target, "model")
    if state != "as recorded":
        told = {"gone": "is gone", "other": "is not the one that was recorded", "not recorded": "was never recorded"}
        raise BadInputError(f"The model file of {target['version']} {told[state]} ({target['model_uri']}): {way_out}.")


def verify(models: Models, model_name: str | None = None) -> Document:
    """Read all files of a model's versions, and return which are not those that were recorded.

    Without a name they are the only model's.

    Returns
    -------
    dict
        `files`, one entry for each with `version`, `file`, `uri` and `state` (`Models.state_of`), and `sound`, whether
        every one is as recorded.

    Raises
    ------
    BadInputError
        If there is no model of this name.
    """
    model_name = model_name or models.registry.only_model()
    versions = _known_versions(models, model_name)
    files = [
        {"version": item["version"], "file": kind, "uri": item[f"{kind}_uri"]} | {"state": models.state_of(item, kind)}
        for item in versions
        for kind in FILES
        if f"{kind}_uri" in item
    ]
    return {"model_name": model_name, "sound": all(each["state"] == "as recorded" for each in files), "files": files}


def lineage(models: Models, version: str, model_name: str | None = None) -> Document:
    """Return the chain from the data and the code to a version's decision, and say which link is missing and why.

    Returns
    -------
    dict
        `links`, each with `value` and, where that is None, with why it is `missing`; and `contradictions`, what the
        registry and the run's files say differently.
    """
    item = models.registry.find_version(version, model_name)
    profile, no_profile = models.read(item.get("profile_uri"))
    info, no_info = models.read(item.get("info_uri"))
    digests = item.get("image_digests") or {}
    release, commit = item.get("release"), item.get("commit")
    has_model = models.has_file(item["model_uri"])
    links = {
        "data_set": _link(item.get("dataset_uri"), _UNRECORDED),
        "data_fingerprint": _link(item.get("data_fingerprint"), _UNRECORDED),
        "source_files": _link(profile.get("sources"), no_profile or "the profile does not name them"),
        "code_commit": _link(commit if commit != "unknown" else None, "the stack was deployed without one"),
        **{
            f"image_digest_of_{name}": _link(digests.get(name), "the image was not deployed by digest")
            for name in STEPS
        },
        "release": _link(release if release != "unreleased" else None, "the stack was deployed without one"),
        "run": _link(item.get("run_id"), _UNRECORDED),
        "model_file": _link(item["model_uri"] if has_model else None, f"{item['model_uri']} is gone"),
        "model_class": _link(info.get("class"), no_info or "model.json does not name it"),
        "library_versions": _link(info.get("versions"), no_info or "model.json does not name them"),
        "metrics": _link(item.get("metrics"), _UNRECORDED),
        "decision": _link(item.get("decision"), _UNRECORDED),
        "reason": _link(item.get("reason"), _UNRECORDED),
        # None where there was no champion yet, which is no gap.
        "compared_with": {"value": item.get("compared_with"), "missing": None},
    }
    return {
        "model_name": item["model_name"],
        "version": item["version"],
        "recorded_at": item["recorded_at"],
        "links": links,
        "contradictions": _contradictions(item, profile, info),
    }


_UNRECORDED = "the registry does not record it"


def _link(value: Any, why_missing: str) -> Document:
    return {"value": value, "missing": why_missing if value is None else None}


def _contradictions(item: Item, profile: Document, info: Document) -> list[str]:
    """Say where the run's files differ from the registry: then one of them was changed afterwards."""
    digest = (item.get("image_digests") or {}).get("model_training")
    compared = [
        ("data fingerprint", item.get("data_fingerprint"), "profile.json", profile.get("fingerprint")),
        ("data fingerprint", item.get("data_fingerprint"), "model.json", info.get("data_fingerprint")),
        ("image digest of model_training", digest, "model.json", info.get("image_digest")),
        ("run", item.get("run_id"), "model.json", info.get("run_id")),
    ]
    return [
        f"{what}: the registry says {recorded}, {file} says {found}"
        for what, recorded, file, found in compared
        if recorded is not None and found is not None and recorded != found
    ]


def _known_versions(models: Models, model_name: str) -> list[Item]:
    versions = models.registry.versions(model_name)
    if not versions:
        raise models.registry.without_champion(model_name)
    return versions


def _previous(models: Models, pointer: Item) -> str | None:
    name = pointer["model_name"]
    history = champion_history(
        pointer["champion_version"],
        models.registry.versions(name),
        models.registry.rollbacks(name),
        models.registry.canaries(name),
    )
    return previous_champion(history)


def _same_test_rows(items: Sequence[Item]) -> tuple[bool | None, str]:
    """Return whether two versions were scored on the same rows (None if it cannot be known), and why."""
    parts = [json.loads(item["split"])["test_part"] if "split" in item else None for item in items]
    if None in parts or items[0]["target"] != items[1]["target"]:
        if items[0]["data_fingerprint"] != items[1]["data_fingerprint"] or None not in parts:
            return False, "They were scored on different data: their metrics cannot be compared."
        return None, "One of them does not say which rows it was scored on: whether they are the same is unknown."
    if parts[0] != parts[1]:
        return False, f"They were scored on different rows ({parts[0]}, {parts[1]}): their metrics cannot be compared."
    return True, "They were scored on the same rows."


def _compared(name: str, values: Sequence[float | None], same_rows: bool | None) -> Document:
    first, second = values
    if first is None or second is None:
        return {"values": list(values), "difference": None, "better": None}
    better = None
    if same_rows and first != second:
        better = 0 if (first < second) == (name in LOWER_IS_BETTER) else 1
    return {"values": list(values), "difference": second - first, "better": better}


def _differences(items: Sequence[Item], infos: Sequence[Document]) -> dict[str, list[Any]]:
    """Return what differs, besides metrics and what is different for every run."""
    fields = ("model_name", "dataset_uri", "data_fingerprint", "target", "problem", "estimator", "release", "commit")
    sides = [
        {name: item.get(name) for name in fields}
        | {f"rows.{name}": count for name, count in {"left_out": 0, **item["rows"]}.items()}
        | {f"image_digest.{name}": digest for name, digest in (item.get("image_digests") or {}).items()}
        | {f"parameters.{name}": value for name, value in info.get("parameters", {}).items()}
        | {f"versions.{name}": value for name, value in info.get("versions", {}).items()}
        for item, info in zip(items, infos, strict=True)
    ]
    names = dict.fromkeys(name for side in sides for name in side)
    pairs = {name: [side.get(name) for side in sides] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
