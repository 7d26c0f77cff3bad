"""The champion of a model's name: found in the registry, loaded if it is the one that was recorded, and kept.

A worker lives longer than a champion may: the registry's pointer is looked up again after a time, so that a promotion
or a rollback is followed within it. What cannot be looked up or loaded then leaves the champion that is loaded in use.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError

from common.conversion import Profile, feature_columns
from common.errors import DamagedFileError, InvalidRowsError, UntrustedModelError
from common.model_file import load_model
from common.storage import download, pinned, read_json, workspace
from data_preparation.notation import kind_of
from scoring.fitted import FittedModel, is_profile
from scoring.oddities import Oddities
from scoring.versions import get_entry

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from data_preparation.notation import Kind

ROWS = "rows"
"""What messages call rows that come without a file."""
# What the card takes of the registry's entry, and of the model's description.
_OF_ENTRY = (
    "run_id", "recorded_at", "decision", "rule", "reason", "target", "problem", "estimator", "metric", "value",
    "metrics", "rows", "data_fingerprint", "release", "commit", "image_digests",
)  # fmt: skip
_OF_INFO = ("class", "parameters", "versions")

logger = logging.getLogger(__name__)


class NoChampionError(Exception):
    """There is nothing to predict with: no version was promoted, or none can be read."""


@dataclass(frozen=True, eq=False)
class Champion:
    """A version that was promoted, ready to predict.

    Attributes
    ----------
    model_name
        The model.
    version
        The run that made it.
    since
        When it became the champion, as the registry has it.
    entry
        What the registry says of the version.
    info
        The document that training wrote beside the model.
    model
        The pipeline with the profile.
    """

    model_name: str
    version: str
    since: str
    entry: Mapping[str, Any]
    info: Mapping[str, Any]
    model: FittedModel

    @property
    def profile(self) -> Profile:
        """The profile of the data that it was trained on."""
        return self.model.profile

    @cached_property
    def card(self) -> dict[str, Any]:
        """What it is, what it was trained on and how good it was then, without a value of the data."""
        return {
            "model_name": self.model_name,
            "version": self.version,
            "champion_since": self.since,
            **{name: self.entry[name] for name in _OF_ENTRY if name in self.entry},
            **{name: self.info[name] for name in _OF_INFO if name in self.info},
        }

    def predict(
        self, rows: pa.RecordBatch, kinds: Mapping[str, Kind] | None = None, source: str = ROWS
    ) -> tuple[pa.Table, Oddities]:
        """Return the predictions for rows, in their order, and what is odd in these.

        Parameters
        ----------
        rows
            Has the features, by name and in any order, of the types that a reader of data sets makes.
        kinds
            The kind of each; if not given, by the types.
        source
            What messages call the rows.

        Returns
        -------
        predictions : pyarrow.Table of shape (rows, columns)
            With the columns of `FittedModel.schema`.
        oddities : Oddities
            Missing values, and categories that training has not seen.

        Raises
        ------
        InvalidRowsError
            If a feature is missing or of another kind than in training, or scikit-learn refuses the rows.
        UntrustedModelError
            If the model fails in any other way.
        """
        self.model.check_columns(source, rows.schema.names)
        oddities = Oddities()
        batches = list(self.model.score_rows(rows, kinds or self._kinds(rows, source), source, oddities))
        return pa.Table.from_batches(batches, self.model.schema), oddities

    def _kinds(self, rows: pa.RecordBatch, source: str) -> dict[str, Kind]:
        kinds: dict[str, Kind] = {}
        for column in feature_columns(self.profile):
            type_ = rows[column["name"]].type
            kind = kind_of(type_)
            if kind is None:
                raise InvalidRowsError(
                    f'Column "{column["name"]}" of "{source}" has the type {type_}, which no feature can be made of.'
                )
            kinds[column["name"]] = kind
        return kinds


class Champions:
    """The champion of one model's name, as the registry has it at a time.

    Parameters
    ----------
    dynamodb, s3
        Clients.
    table
        The registry's.
    model_name
        The model.
    seconds
        How old what is known of the registry may be.
    clock
        Tells seconds.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        s3: S3Client,
        table: str,
        model_name: str,
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model_name = model_name
        self._dynamodb, self._s3, self._table = dynamodb, s3, table
        self._seconds, self._clock = seconds, clock
        self._loaded: Champion | None = None
        self._objection: str | None = None
        self._looked_up = float("-inf")

    @property
    def loaded(self) -> Champion | None:
        """The champion that is in memory, whatever the registry says by now."""
        return self._loaded

    def current(self) -> tuple[Champion, list[str]]:
        """Return the champion, and why it may be an earlier one than the registry's.

        Raises
        ------
        NoChampionError
            If there is none, or none that can be used.
        """
        if self._loaded is None or self._clock() - self._looked_up >= self._seconds:
            self._look_up()
        if self._loaded is None:
            raise NoChampionError(self._objection)
        return self._loaded, [self._objection] if self._objection else []

    def _look_up(self) -> None:
        self._objection = None
        try:
            pointer = self._get("champion")
            if pointer is None:
                # Nobody vouches any longer for one that is loaded.
                self._loaded = None
                self._objection = (
                    f'The model "{self.model_name}" has no champion yet: train it, and what is promoted is served.'
                )
            else:
                self._loaded = self._follow(pointer)
        except (ClientError, BotoCoreError) as error:
            self._object(f"The registry or the model's files cannot be read ({_code(error)})", error)
        except (DamagedFileError, UntrustedModelError) as error:
            self._object(f"The champion of the registry cannot be used: {error}", error)
        # As long as it takes, a lookup that fails is one lookup.
        self._looked_up = self._clock()

    def _object(self, reason: str, error: Exception) -> None:
        self._objection = reason
        if self._loaded is not None:
            self._objection = f"{reason.rstrip('.')}. Predictions are those of {self._loaded.version}."
        logger.error("champion not read", extra={"reason": self._objection}, exc_info=error)

    def _get(self, entry: str) -> dict[str, Any] | None:
        return get_entry(self._dynamodb, self._table, self.model_name, entry)

    def _follow(self, pointer: Mapping[str, Any]) -> Champion:
        """Return the version that the pointer names: the one that is loaded, or else from its files."""
        version, since = pointer["champion_version"], pointer["promoted_at"]
        if self._loaded is not None and self._loaded.version == version:
            # It may have become the champion once more, by a promotion and a rollback.
            return replace(self._loaded, since=since)
        entry = self._get(f"version#{version}")
        if entry is None:
            raise DamagedFileError(f"the registry does not hold the version {version}. Roll back to one that it holds.")
        champion = load_champion(self._s3, self.model_name, since, entry)
        logger.info("champion loaded", extra={"model_name": self.model_name, "version": version})
        return champion


def load_champion(s3: S3Client, model_name: str, since: str, entry: Mapping[str, Any]) -> Champion:
    """Load a version, if its files are those that were recorded and hold nothing but a model of this project.

    Raises
    ------
    DamagedFileError
        If the registry does not record the files, or one of them is not the one that was recorded.
    UntrustedModelError
        If the model may not be loaded.
    botocore.exceptions.ClientError
        If a file cannot be read.
    """
    version = entry["version"]
    try:
        files = {name: pinned(entry, name) for name in ("model", "profile", "info")}
    except KeyError as error:
        raise DamagedFileError(
            f"the registry does not say which files the version {version} has. Train again."
        ) from error
    try:
        profile, info = read_json(s3, files["profile"]), read_json(s3, files["info"])
    except json.JSONDecodeError as error:
        raise DamagedFileError(f"a file of the version {version} is not JSON ({error}).") from error
    if not is_profile(profile) or not isinstance(info, dict):
        raise DamagedFileError(f"the profile of the version {version} is none that data preparation has written.")
    with workspace() as folder:
        model = FittedModel(load_model(download(s3, files["model"], folder / "model.skops")), profile)
    model.require_own_labels()
    return Champion(model_name, version, since, entry, info, model)


def _code(error: ClientError | BotoCoreError) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
