"""What is asked of a model that is in use: predictions of a data set, and feedback by labels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, Field

from common.reading_options import ReadOptions, check_read
from common.request import DATASET_URI, MODEL_NAME
from common.validation import Strict, validated


class ScoringRequest(Strict):
    """The input document of a run of batch scoring.

    Examples
    --------
    >>> parse_scoring_request({"dataset_uri": "s3://bucket/incoming/", "model_name": "houses"}).output_format
    'parquet'
    """

    dataset_uri: Annotated[str, Field(pattern=DATASET_URI)] = Field(
        description="an object with rows on S3, or a prefix of them that ends in a slash"
    )
    model_name: Annotated[str, Field(pattern=MODEL_NAME)] = Field(description="the model that scores")
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")] | None = Field(
        default=None, description="one of its versions; the champion, if not given"
    )
    keep: list[Annotated[str, Field(min_length=1)]] | Literal["all"] = Field(
        default_factory=list, description="the columns that are written before the predictions, or all of them"
    )
    output_format: Literal["parquet", "csv"] = Field(
        default="parquet", description="what the predictions are written as"
    )
    read: ReadOptions | None = Field(
        default=None, description="how the files are to be read, if not as training's were said to be"
    )


def in_utc(time: datetime) -> datetime:
    """Return a time in UTC.

    Raises
    ------
    ValueError
        If there was nothing to look at yet.
    """
    if time.year < _FIRST_YEAR:
        raise ValueError(f"It is before {_FIRST_YEAR}, when there was nothing to look at.")
    return time.astimezone(UTC)


_FIRST_YEAR = 2000
Time = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A time with its offset, in UTC whichever that was."""


class FeedbackRequest(Strict):
    """What is asked of feedback: which labels belong to which predictions.

    Examples
    --------
    >>> parse_feedback_request({"model_name": "houses", "labels_uri": "s3://bucket/data/sold.csv", "keys": ["id"]}).keys
    ['id']
    """

    model_name: Annotated[str, Field(pattern=MODEL_NAME)] = Field(description="the model that has predicted")
    labels_uri: Annotated[str, Field(pattern=DATASET_URI)] = Field(
        description="an object with labels on S3, or a prefix of them that ends in a slash"
    )
    keys: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, description="the columns that tell which label belongs to which prediction"
    )
    target: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the column of the labels; the target of training, if not given"
    )
    predictions_uri: Annotated[str, Field(pattern=DATASET_URI)] | None = Field(
        default=None,
        description="the manifest of a run of batch scoring, or files of predictions; captured requests, if not given",
    )
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")] | None = Field(
        default=None, description="the version that has predicted; the run's or else the champion, if not given"
    )
    since: Time | None = Field(default=None, strict=False, description="from when on requests were captured")
    until: Time | None = Field(default=None, strict=False, description="before when requests were captured")
    read: ReadOptions | None = Field(
        default=None, description="how the labels are to be read, if not as training's files were said to be"
    )


def parse_feedback_request(document: Any) -> FeedbackRequest:
    """Validate what is asked of feedback.

    Raises
    ------
    InvalidRequestError
        As `parse_request` does.
    """
    return _with_checked_read(validated(FeedbackRequest, document))


def parse_scoring_request(document: Any) -> ScoringRequest:
    """Validate the input document of a run of batch scoring.

    Raises
    ------
    InvalidRequestError
        As `parse_request` does.
    """
    return _with_checked_read(validated(ScoringRequest, document))


_OfReading = TypeVar("_OfReading", FeedbackRequest, ScoringRequest)


def _with_checked_read(request: _OfReading) -> _OfReading:
    if request.read is not None:
        check_read(request.read)
    return request
