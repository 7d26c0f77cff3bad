"""The image ledger: a DynamoDB table of images, of releases, of the latest one, and of what is deployed in each stage.

It has one key, `id`. Nothing in it is half-written: a release is one item, and whatever points to a release has a
copy of it (a release never changes), so every question is one strongly consistent read of one item.

- `IMAGE#<function>#<content hash>`: uri (by digest), built_at, commit, bases (the images it is built upon, by digest)
- `RELEASE#<release>`: release, images, order, recorded_at, model_commit, infrastructure_commit, pipeline_execution
- `LATEST`: release, order, contents (the release)
- `STAGE#<stage>`: release, previous, deployed_at, contents (the release), earlier (those before it, newest first)
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from crosstrain.aws import CALL_ATTEMPTS, THROTTLED, from_dynamodb, make_client, timestamp, to_dynamodb
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery.stages import STAGES

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLE_VARIABLE = "LEDGER_TABLE"
COMMIT = re.compile(r"[0-9a-f]{12,64}")
# With one pointer for each stage and rarely two at once to move it, more means that something else is wrong.
_ATTEMPTS = 12
_KEPT_EARLIER = 10
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
# Why one item of a transaction may have been refused although the same may go through a moment later.
_AGAIN = THROTTLED | {"TransactionConflict"}

Item = dict[str, Any]
"""One item of the ledger, in the types of JSON."""


@dataclass(frozen=True)
class Release:
    """The images that one pair of commits was built to.

    Attributes
    ----------
    id : str
        The first 12 characters of both commits: `<model>-<infrastructure>`.
    images : mapping
        The URI by digest of each function, by the names `DataPreparation`, `ModelTraining` and `ModelEvaluation`.
    order : int
        Which of two releases is the newer one: when its pipeline execution began, in milliseconds.
    model_commit, infrastructure_commit : str
        The commits in full.
    recorded_at : str
        When, in ISO 8601.
    pipeline_execution : str
        The id of the execution that recorded it; empty outside a pipeline.
    """

    id: str
    images: Mapping[str, str]
    order: int
    model_commit: str
    infrastructure_commit: str
    recorded_at: str = ""
    pipeline_execution: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Release:
        """Return the release that an item holds; what the item lacks is empty, for whoever resolves it to refuse."""
        return cls(
            id=item.get("release", ""),
            images=item.get("images", {}),
            order=item.get("order", 0),
            model_commit=item.get("model_commit", ""),
            infrastructure_commit=item.get("infrastructure_commit", ""),
            recorded_at=item.get("recorded_at", ""),
            pipeline_execution=item.get("pipeline_execution", ""),
        )

    def contents(self) -> Item:
        """Return the release as an item holds it."""
        return {
            "release": self.id,
            "images": dict(self.images),
            "order": self.order,
            "model_commit": self.model_commit,
            "infrastructure_commit": self.infrastructure_commit,
            "recorded_at": self.recorded_at,
            "pipeline_execution": self.pipeline_execution,
        }

    def is_same_as(self, other: Release) -> bool:
        """Return whether both hold the same images of the same commits, whenever they were recorded."""
        return (self.id, dict(self.images), self.model_commit, self.infrastructure_commit) == (
            other.id,
            dict(other.images),
            other.model_commit,
            other.infrastructure_commit,
        )


def latest_order() -> int:
    """Return the largest order that a release can have: a day from now, for clocks differ."""
    return int((time.time() + 24 * 60 * 60) * 1000)


class Ledger:
    """Reads and writes the image ledger.

    Parameters
    ----------
    dynamodb
        A DynamoDB client.
    table : str
        The name of the table.
    """

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self.table = table

    def images(self, hashes: Mapping[str, str]) -> dict[str, str]:
        """Return the URI of the image of each function and content hash that the ledger knows.

        Parameters
        ----------
        hashes
            The content hash of each function.
        """
        found = ((name, self._get(_image_id(name, each))) for name, each in hashes.items())
        return {name: uri for name, item in found if item is not None and (uri := _uri(item))}

    def record_image(
        self,
        function: str,
        content_hash: str,
        uri: str,
        commit: str,
        *,
        bases: Mapping[str, str] | None = None,
        replaces: str | None = None,
    ) -> str:
        """Record an image unless one of the same contents is recorded, and return the URI that the ledger then holds.

        Parameters
        ----------
        function, content_hash, uri, commit
            The image.
        bases
            The images that it is built upon: their names by digest, by those in the Dockerfile.
        replaces
            The URI that the ledger holds although it does not serve, because the registry has lost the image or it is
            in another repository: the new one takes its place.
        """
        item: Item = {
            "id": _image_id(function, content_hash),
            "uri": uri,
            "built_at": timestamp("microseconds"),
            "commit": commit,
            "bases": dict(bases or {}),
        }
        # An item without a URI, which only a hand can have made, is none.
        values = {":text": "S", ":empty": ""} | ({":replaced": replaces} if replaces is not None else {})
        condition = "NOT attribute_type(uri, :text) OR uri = :empty" + (" OR uri = :replaced" if replaces else "")
        if self._put(item, condition, values=values):
            return uri
        recorded = self._get(item["id"])
        return uri if recorded is None else _uri(recorded) or uri

    def record_release(self, release: Release) -> bool:
        """Record a release, and make it the latest unless a newer one is; both in one transaction.

        The same release again is no error: it is only made the latest if its order says so.

        Returns
        -------
        bool
            Whether it is the latest now.

        Raises
        ------
        BadInputError
            If other images are recorded for the same commits.
        """
        contents = release.contents() | {"recorded_at": release.recorded_at or timestamp("microseconds")}
        item = {"id": _release_id(release.id)} | contents
        latest = {"id": "LATEST", "release": release.id, "order": release.order, "contents": contents}
        known = newer = False
        for wait in _waits():
            puts = [self._put_request(item, "attribute_not_exists(id)")] if not known else []
            puts += [self._latest_request(latest)] if not newer else []
            if not puts:
                return False
            refused = self._transact(puts)
            if not any(refused):
                return not newer
            if not known and refused[0] == "ConditionalCheckFailed":
                self._require_same(release)
                known = True
            if not newer and refused[-1] == "ConditionalCheckFailed":
                newer = not self._is_latest(release)
                if not newer:
                    return True
            if _AGAIN.intersection(refused):
                time.sleep(wait)
        raise OperationFailedError(
            f'The ledger "{self.table}" is written by too many at once, and release {release.id} was not recorded: '
            "try again."
        )

    def release(self, release_id: str) -> Release:
        """Return a release by its id.

        Raises
        ------
        BadInputError
            If there is no such release.
        """
        item = self._get(_release_id(release_id))
        if item is None:
            raise BadInputError(
                f'The ledger "{self.table}" holds no release {release_id}: `latest` is the newest, and an id is the '
                "first 12 characters of the model's and of the infrastructure's commit, <model>-<infrastructure>."
            )
        return Release.of(item)

    def resolve(self, reference: str) -> Release:
        """Return the release that `latest`, `stage:<stage>`, `previous:<stage>` or a release's id stands for.

        Each takes one strongly consistent read of one item.

        Raises
        ------
        BadInputError
            If there is none.
        """
        kind, separator, stage = reference.partition(":")
        if reference == "latest":
            item = self._get("LATEST")
            if item is None:
                raise BadInputError(
                    f'The ledger "{self.table}" holds no release yet: let the pipeline build one first.'
                )
            return Release.of(item.get("contents", {}))
        if not separator:
            return self.release(reference)
        if kind not in ("stage", "previous") or stage not in STAGES:
            raise BadInputError(
                f'"{reference}" stands for no release: say latest, a release\'s id, stage:<stage> or '
                f"previous:<stage>, with {', '.join(STAGES)} as the stages."
            )
        item = self.stage(stage)
        if kind == "stage":
            return Release.of(item.get("contents", {}))
        if not item.get("earlier"):
            raise BadInputError(
                f"Stage {stage} runs {item['release']}, the first release that was deployed there: none is previous."
            )
        return Release.of(item["earlier"][0])

    def stage(self, stage: str) -> Item:
        """Return what is recorded of a stage.

        Raises
        ------
        BadInputError
            If nothing was ever deployed there.
        """
        item = self._get(_stage_id(stage))
        if item is None:
            raise BadInputError(f'The ledger "{self.table}" knows of no release that was deployed in stage {stage}.')
        return item

    def deployed(self, stage: str) -> Release | None:
        """Return the release that a stage is recorded to run, or None if nothing was ever deployed there."""
        item = self._get(_stage_id(stage))
        return None if item is None else Release.of(item.get("contents", {}))

    def mark_deployed(self, stage: str, release_id: str) -> Item:
        """Record that a stage runs a release, and return what is then recorded of the stage.

        What ran before becomes the previous release. A release that ran earlier takes everything above it off again:
        after a rollback, the previous release is the one before it, never the one that was left.

        Raises
        ------
        BadInputError
            If there is no such release.
        """
        contents = self.release(release_id).contents()
        for wait in _waits():
            old = self._get(_stage_id(stage))
            if old is not None and old["release"] == release_id:
                return old
            earlier = _earlier(old, release_id)
            new = {
                "id": _stage_id(stage),
                "release": release_id,
                "deployed_at": timestamp("microseconds"),
                "contents": contents,
                "earlier": earlier,
            } | ({"previous": earlier[0]["release"]} if earlier else {})
            condition, values = "attribute_not_exists(id)", {}
            if old is not None:
                condition = "#release = :release AND deployed_at = :deployed_at"
                values = {":release": old["release"], ":deployed_at": old["deployed_at"]}
            if self._put(new, condition, names={"#release": "release"} if old else {}, values=values):
                return new
            time.sleep(wait)
        raise OperationFailedError(
            f"Somebody else keeps recording deployments of stage {stage}, and {release_id} was not recorded: try again."
        )

    def _require_same(self, release: Release) -> None:
        recorded = self.release(release.id)
        if not release.is_same_as(recorded):
            raise BadInputError(
                f"Release {release.id} is recorded with other images of the same commits, as after an update of the "
                "base image, and a release never changes: make a commit, an empty one will do, and release that."
            )

    def _is_latest(self, release: Release) -> bool:
        item = self._get("LATEST")
        return item is not None and (item["release"], item["order"]) == (release.id, release.order)

    def _latest_request(self, latest: Item) -> Any:
        return self._put_request(
            latest,
            # One of the future, which nothing could ever follow, gives way too.
            "attribute_not_exists(id) OR #order < :order OR #order > :latest",
            names={"#order": "order"},
            values={":order": latest["order"], ":latest": latest_order()},
        )

    def _put_request(
        self, item: Item, condition: str, *, names: Mapping[str, str] | None = None, values: Item | None = None
    ) -> Any:
        request: dict[str, Any] = {
            "TableName": self.table,
            "Item": to_dynamodb(item),
            "ConditionExpression": condition,
        }
        if names:
            request["ExpressionAttributeNames"] = dict(names)
        if values:
            request["ExpressionAttributeValues"] = to_dynamodb(values)
        return request

    def _put(
        self, item: Item, condition: str, *, names: Mapping[str, str] | None = None, values: Item | None = None
    ) -> bool:
        """Put an item and return True, or False where the condition does not hold."""
        request = self._put_request(item, condition, names=names, values=values)
        try:
            with _explained(self.table):
                self._dynamodb.put_item(**request)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _transact(self, puts: Sequence[Any]) -> list[str]:
        """Do all puts or none; return for each why it did not go through, or an empty text."""
        try:
            with _explained(self.table):
                self._dynamodb.transact_write_items(TransactItems=[{"Put": put} for put in puts])
        except self._dynamodb.exceptions.TransactionCanceledException as error:
            reasons: Any = error.response.get("CancellationReasons", [])
            codes = [reason.get("Code", "None") for reason in reasons]
            refused = ["" if code == "None" else code for code in codes]
            unknown = set(refused) - {"", "ConditionalCheckFailed"} - _AGAIN
            if unknown or not any(refused):
                code = ", ".join(sorted(unknown)) or error.response["Error"]["Code"]
                raise _explanation(code, str(error), "TransactWriteItems", self.table) from error
            return refused
        return [""] * len(puts)

    def _get(self, item_id: str) -> Item | None:
        with _explained(self.table):
            answer = self._dynamodb.get_item(TableName=self.table, Key={"id": {"S": item_id}}, ConsistentRead=True)
        item = answer.get("Item")
        return from_dynamodb(item) if item is not None else None


def open_ledger(table: str | None) -> Ledger:
    """Return the ledger of a name or, without one, of the name in `LEDGER_TABLE`.

    Calls that are throttled are tried six times, each after a longer wait.

    Raises
    ------
    BadInputError
        If no ledger is named, or the user's settings do not reach AWS.
    """
    chosen = table or os.environ.get(TABLE_VARIABLE)
    if not chosen:
        raise BadInputError(f"No image ledger is named: say --ledger TABLE or set {TABLE_VARIABLE}.")
    return Ledger(make_client("dynamodb"), chosen)


def release_id(model_commit: str, infrastructure_commit: str) -> str:
    """Return the id of the release that a pair of commits is built to.

    Raises
    ------
    BadInputError
        If one of them is no commit.
    """
    for name, commit in (("model", model_commit), ("infrastructure", infrastructure_commit)):
        if not COMMIT.fullmatch(commit):
            raise BadInputError(f'The {name} commit "{commit}" is none: give the full hexadecimal id of a commit.')
    return f"{model_commit[:12]}-{infrastructure_commit[:12]}"


def _earlier(stage: Item | None, release: str) -> list[Item]:
    """Return the releases below the one that is deployed now, newest first."""
    if stage is None:
        return []
    below = [stage["contents"], *stage.get("earlier", [])]
    positions = [position for position, each in enumerate(below) if each["release"] == release]
    return below[positions[0] + 1 if positions else 0 :][:_KEPT_EARLIER]


def _waits() -> Iterator[float]:
    """Yield the seconds to wait after each attempt, longer each time and different for each writer."""
    for attempt in range(_ATTEMPTS):
        yield random.uniform(0.5, 1) * min(2.0, 0.05 * 2**attempt)  # noqa: S311 - no secret


@contextmanager
def _explained(table: str) -> Iterator[None]:
    """Turn what AWS answers into one sentence; failed conditions and cancelled transactions are for the caller."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("ConditionalCheckFailedException", "TransactionCanceledException"):
            raise
        raise _explanation(code, error.response["Error"].get("Message", ""), error.operation_name, table) from error
    except BotoCoreError as error:
        raise OperationFailedError(
            f'The image ledger "{table}" cannot be reached: {str(error).rstrip(".")}. See whether AWS_PROFILE and '
            "AWS_REGION are those of the tools account."
        ) from error


def _explanation(code: str, message: str, operation: str, table: str) -> BadInputError | OperationFailedError:
    if code == "ResourceNotFoundException":
        return BadInputError(
            f'There is no image ledger "{table}" in this account and region: see whether AWS_PROFILE and AWS_REGION '
            "are those of the tools account, where tools-account.yaml makes it."
        )
    if code in _DENIED:
        return OperationFailedError(
            f'The image ledger "{table}" denies {operation}: let the role that calls have dynamodb:GetItem to read it '
            f"and dynamodb:PutItem as well to write it ({message})"
        )
    if code in THROTTLED:
        return OperationFailedError(
            f'The image ledger "{table}" is throttled still after {CALL_ATTEMPTS} attempts at '
            f"{operation}, and nothing was written: try again in a minute."
        )
    return OperationFailedError(f'The image ledger "{table}" failed {operation}: {code}, {message}')


def _uri(item: Mapping[str, Any]) -> str | None:
    """Return the URI of an item of an image, or None where it holds none."""
    uri = item.get("uri")
    return uri if isinstance(uri, str) and uri else None


def _image_id(function: str, content_hash: str) -> str:
    return f"IMAGE#{function}#{content_hash}"


def _release_id(release: str) -> str:
    return f"RELEASE#{release}"


def _stage_id(stage: str) -> str:
    return f"STAGE#{stage}"
