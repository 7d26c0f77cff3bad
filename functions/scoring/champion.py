"""The champion of a model's name: found in the registry, loaded if it is the one that was recorded, and kept.

A worker lives longer than a champion may: the registry's pointer is looked up again after a time, so that a promotion
or a rollback is followed within it. What cannot be looked up or loaded then leaves the champion that is loaded in use.
A challenger beside it is loaded by the same rules, and nothing that is wrong with one keeps a champion from answering.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError

from common.conversion import Profile, feature_columns, target_column
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
_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
_LOADING_BYTES = 4
"""What loading takes at its peak for each byte of a model's file: three as measured with a forest, and one to spare."""
_SHARE_OF_MEMORY = 0.9
_OWN_MEMORY = Path("/proc/self/statm")

logger = logging.getLogger(__name__)


class NoChampionError(Exception):
    """There is nothing to predict with: no version was promoted, or none can be read.

    Parameters
    ----------
    reason
        A sentence.
    may_pass
        Whether another look may find one in a moment, as where the registry does not answer.
    """

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


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


@dataclass(frozen=True, eq=False)
class Challenger:
    """A version that is tried beside the champion.

    Attributes
    ----------
    loaded
        The version, ready to predict; its `since` is when it became the challenger.
    share
        The per cent of rows that it answers; None if it predicts in the shadow, and answers none.
    """

    loaded: Champion
    share: int | None

    @property
    def version(self) -> str:
        """The run that made it."""
        return self.loaded.version

    @property
    def card(self) -> dict[str, Any]:
        """What it is, and how it is tried."""
        of_version = {name: value for name, value in self.loaded.card.items() if name != "champion_since"}
        return {
            **of_version,
            "challenger_since": self.loaded.since,
            "challenger_share": self.share,
            "shadow": self.share is None,
        }


class Champions:
    """The champion of one model's name, and its challenger, as the registry has them at a time.

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

    Attributes
    ----------
    on_broken
        Called with the version of a challenger that cannot be used, whenever one was to be loaded.
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
        self.on_broken: Callable[[str], None] = lambda _: None
        self._loaded: Champion | None = None
        self._challenger: Challenger | None = None
        self._objection: str | None = None
        self._challenger_objection: str | None = None
        self._looked_up = float("-inf")
        self._is_away = False

    @property
    def loaded(self) -> Champion | None:
        """The champion that is in memory, whatever the registry says by now."""
        return self._loaded

    @property
    def challenger(self) -> Challenger | None:
        """The challenger of what `current` has returned last."""
        return self._challenger

    def current(self) -> tuple[Champion, list[str]]:
        """Return the champion, and why it or its challenger may not be the registry's.

        Raises
        ------
        NoChampionError
            If there is none, or none that can be used.
        """
        if self._loaded is None or self._clock() - self._looked_up >= self._seconds:
            self._look_up()
        if self._loaded is None:
            raise NoChampionError(self._objection or "", may_pass=self._is_away)
        return self._loaded, [each for each in (self._objection, self._challenger_objection) if each]

    def _look_up(self) -> None:
        self._objection = self._challenger_objection = None
        self._is_away = False
        try:
            pointer = self._get("champion")
            if pointer is None:
                # Nobody vouches any longer for one that is loaded.
                self._loaded = self._challenger = None
                self._objection = (
                    f'The model "{self.model_name}" has no champion yet: train it, and what is promoted is served.'
                )
            else:
                self._let_go(pointer)
                self._loaded = self._follow(pointer)
                self._challenger = self._try_challenger(pointer, self._loaded)
        except (ClientError, BotoCoreError) as error:
            self._is_away = _code(error) not in _GONE
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
        """Return the version that the pointer names: one that is loaded, or else from its files."""
        version, since = pointer["champion_version"], pointer["promoted_at"]
        if self._loaded is not None and self._loaded.version == version:
            # It may have become the champion once more, by a promotion and a rollback.
            return replace(self._loaded, since=since)
        if self._challenger is not None and self._challenger.version == version:
            return replace(self._challenger.loaded, since=since)
        entry = self._get(f"version#{version}")
        if entry is None:
            raise DamagedFileError(f"the registry does not hold the version {version}. Roll back to one that it holds.")
        champion = load_champion(self._s3, self.model_name, since, entry)
        logger.info("champion loaded", extra={"model_name": self.model_name, "version": version})
        return champion

    def _let_go(self, pointer: Mapping[str, Any]) -> None:
        """Forget a challenger that the pointer no longer names, before another model takes its memory."""
        named = (pointer["champion_version"], pointer.get("challenger_version"))
        if self._challenger is not None and self._challenger.version not in named:
            self._challenger = None

    def _try_challenger(self, pointer: Mapping[str, Any], champion: Champion) -> Challenger | None:
        """Return the challenger that the pointer names, or None, and then object."""
        version = pointer.get("challenger_version")
        if version is None:
            return None
        try:
            return self._follow_challenger(pointer, champion)
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _GONE:
                self.on_broken(str(version))
            reason: str = f"its files cannot be read ({_code(error)})"
            self._object_to_challenger(version, reason, error)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a challenger, the champion answers)
            self.on_broken(str(version))
            is_told = isinstance(error, DamagedFileError | UntrustedModelError)
            self._object_to_challenger(version, str(error) if is_told else type(error).__name__, error)
        return None

    def _object_to_challenger(self, version: Any, reason: str, error: Exception) -> None:
        told = f"The challenger {version} cannot be used: {reason.rstrip('.')}. The champion alone predicts."
        self._challenger_objection = told
        logger.error("challenger not read", extra={"reason": told}, exc_info=error)

    def _follow_challenger(self, pointer: Mapping[str, Any], champion: Champion) -> Challenger:
        """Return the challenger that the pointer names, if its own entry vouches for it."""
        version, share = pointer["challenger_version"], _share(pointer)
        since = str(pointer.get("challenger_since", ""))
        if version == champion.version:
            raise DamagedFileError("it is the champion itself.")
        if self._challenger is not None and self._challenger.version == version:
            loaded = replace(self._challenger.loaded, since=since)
        else:
            entry = self._get(f"version#{version}")
            if entry is None:
                raise DamagedFileError("the registry does not hold it.")
            _require_memory(entry)
            loaded = load_champion(self._s3, self.model_name, since, entry)
            logger.info("challenger loaded", extra={"model_name": self.model_name, "version": version})
        _require_fit(loaded, champion, share)
        return Challenger(loaded, share)


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


def _share(pointer: Mapping[str, Any]) -> int | None:
    """Return the per cent of rows that a pointer gives its challenger, None for the shadow."""
    share, shadow = pointer.get("challenger_share"), pointer.get("shadow")
    if shadow is True and share is None:
        return None
    if shadow is None and type(share) is int and share in range(1, 100):
        return share
    raise DamagedFileError("the registry gives it neither a share from 1 to 99 per cent nor the shadow.")


def _require_fit(loaded: Champion, champion: Champion, share: int | None) -> None:
    """Refuse a version that may not answer, or answers another question than the champion."""
    if share is not None and loaded.entry.get("decision") != "promote":
        raise DamagedFileError("it was rejected, so it may be tried in the shadow alone.")
    questions = [(each.profile["problem"], target_column(each.profile)["name"]) for each in (loaded, champion)]
    if questions[0] != questions[1]:
        raise DamagedFileError("it predicts something else than the champion.")


def _require_memory(entry: Mapping[str, Any]) -> None:
    """Refuse a model that may not fit beside the champion: a function that runs out of memory answers nobody."""
    megabytes = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
    needed = _LOADING_BYTES * int(entry.get("bytes", {}).get("model", 0))
    if not megabytes or not _OWN_MEMORY.exists():
        return
    resident = int(_OWN_MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if resident + needed > _SHARE_OF_MEMORY * (megabytes << 20):
        raise DamagedFileError(
            f"loading it may take {needed >> 20:,} MB, and {resident >> 20:,} of {megabytes:,} MB are in use: raise "
            "ScoringMemory."
        )


def _code(error: ClientError | BotoCoreError) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
