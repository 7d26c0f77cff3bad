"""How a value becomes what a model sees, in one place: training and prediction must never differ in it.

A column goes through three forms: as it was read (int64, float64, bool, timestamps, texts), as a prepared part stores
it (the smallest type that holds it, which the profile names as `dtype`), and as a column of the frame that scikit-learn
gets. Preparation takes the first step, `common.frames.load_part` the second, and a prediction both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pandas as pd

Profile = Mapping[str, Any]
FINGERPRINT = "crosstrain.fingerprint"
"""What a part's Parquet metadata call the fingerprint of the data set."""
ORDER = "crosstrain.order"
"""The training part's column of what rows were split by: the hash of a key, or a number that sorts as times do."""

MAX_MAGNITUDE = float(np.finfo(np.float32).max)
"""What is beyond counts as infinite: trees are grown in float32, and squares of such numbers overflow float64."""
FLOAT32_TOLERANCE = 1e-6
"""The largest change of a feature's standardised values for which it is handed over as float32."""
FLOAT32_NORMAL = float(np.finfo(np.float32).smallest_normal)
"""From here to `MAX_MAGNITUDE` float32 keeps 24 bits."""
FLOAT32_ROUNDING = 2.0**-24
"""How much of itself rounding changes a number that has these 24 bits, at most."""
EXACT_VALUES = 10_000_000
"""Up to this many feature values (80 MB) float32 is widened: linear models solved in it keep 6 digits at best."""
FLOAT32_INTEGERS = 2**24
"""Up to this magnitude float32 holds every whole number."""

MAX_LEVELS = 20_000
"""How many different texts of a column are counted, and so many a model learns apart: the most frequent ones."""

MOST_CHARACTERS = 2_000
"""How much of a free text counts."""

TEXTS = pa.dictionary(pa.int32(), pa.string())
# Signed before unsigned of the same width: what holds the values and needs no thought about overflow comes first.
INTEGERS = (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64())


def feature_columns(profile: Profile) -> list[dict[str, Any]]:
    """Return the profile's entries of the columns that are features, in the data set's order."""
    return [column for column in profile["columns"] if column["use"] == "feature"]


def described_rows(profile: Profile) -> int:
    """Return of how many rows the figures of columns are: of all with a target, those of no part among them."""
    return int(profile["rows"]["used"] + profile["rows"].get("left_out", 0))


def free_texts(profile: Profile) -> list[str]:
    """Return the features that are free texts, in the data set's order."""
    return [column["name"] for column in feature_columns(profile) if column["role"] == "text"]


def target_column(profile: Profile) -> dict[str, Any]:
    """Return the profile's entry of the column to predict."""
    target: dict[str, Any] = next(column for column in profile["columns"] if column["use"] == "target")
    return target


# From what was read to what a part stores.


OFFSET = r"(Z|[+-]\d\d:?\d\d)$"
"""How a time says its offset from UTC."""


def timestamps(text: pa.StringArray) -> pa.Array:
    """Return the times that texts say: those with an offset as UTC, those without one taken for UTC.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a text says no time.
    """
    zoned = pc.match_substring_regex(text, OFFSET)
    none = pa.scalar(None, pa.string())
    without = pc.cast(pc.if_else(zoned, none, text), pa.timestamp("us"))
    with_offset = pc.cast(pc.if_else(zoned, text, none), pa.timestamp("us", "UTC"))
    return pc.coalesce(without, pc.cast(with_offset, pa.timestamp("us")))


def without_infinities(column: pa.Array) -> tuple[pa.Array, int]:
    """Turn a column's NaN and infinities into nulls, for neither can be trained on, and count the infinities.

    Parameters
    ----------
    column
        Of any type; what holds no floats is returned as it is.

    Returns
    -------
    column, infinities
        The same type; how many values were beyond `MAX_MAGNITUDE`. NaN counts as missing, not as infinite.
    """
    if not pa.types.is_floating(column.type) or _is_finite(column):
        return column, 0
    magnitude = pc.abs(column)
    infinite = pc.sum(pc.greater(magnitude, MAX_MAGNITUDE)).as_py() or 0
    # NaN is in no range, and no infinity either.
    return pc.if_else(pc.less_equal(magnitude, MAX_MAGNITUDE), column, pa.scalar(None, column.type)), infinite


def _is_finite(column: pa.Array) -> bool:
    values = (column.drop_null() if column.null_count else column).to_numpy()
    # With a NaN among them, least and greatest are NaN, and the comparison is false.
    return not len(values) or bool(values.min() >= -MAX_MAGNITUDE and values.max() <= MAX_MAGNITUDE)


def narrow_integer(minimum: int, maximum: int) -> pa.DataType:
    """Return the smallest integer type that holds a range of values."""
    return next(each for each in INTEGERS if _holds(each, minimum) and _holds(each, maximum))


def _holds(type_: pa.DataType, value: int) -> bool:
    limits = np.iinfo(type_.to_pandas_dtype())
    return bool(limits.min <= value <= limits.max)


def float32_error(values: npt.NDArray[np.float64]) -> float:
    """Return the largest change of a value as float32, of which there is one at least.

    It is infinite where a value is so large or so small that not even `FLOAT32_TOLERANCE` of itself is kept.
    """
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    change = values - narrow
    small = np.count_nonzero(np.abs(narrow, out=narrow) < np.float32(FLOAT32_NORMAL))
    tiny = small > 0 and small > np.count_nonzero(values == 0)
    if tiny and (np.abs(change) > FLOAT32_TOLERANCE * np.abs(values)).any():
        return np.inf
    return max(float(change.max()), -float(change.min()))


def fits_float32(error: float, mean: float, std: float) -> bool:
    """Return whether a column's standardised values are, as float32, what they are as float64.

    They keep within `FLOAT32_TOLERANCE`, and those beyond 1 within so much of themselves: an outlier is known by its
    distance. All do where the largest error is small beside the deviation. All do, too, where the mean is: a value v is
    off by `FLOAT32_ROUNDING` |v| at most, and |v| <= |mean| + |v - mean|.

    Parameters
    ----------
    error
        `float32_error` of all values.
    mean, std
        Of all values.
    """
    near = (abs(mean) + FLOAT32_NORMAL) * FLOAT32_ROUNDING <= (FLOAT32_TOLERANCE - FLOAT32_ROUNDING) * std
    return bool(np.isfinite(error)) and (near or error <= FLOAT32_TOLERANCE * std)


def to_part(column: pa.Array, type_: pa.DataType) -> pa.Array:
    """Return the values of a feature as a prepared part stores them.

    Parameters
    ----------
    column
        As it was read, without infinities, or in any type that it was narrowed to in between.
    type_
        The part's type; timestamps become seconds since 1970-01-01 UTC as float64.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a value does not fit the type.
    """
    if pa.types.is_timestamp(column.type):
        return pc.divide(pc.cast(pc.cast(column, pa.int64()), pa.float64(), safe=False), 1e6)
    if column.type == type_:
        return column
    if pa.types.is_floating(type_):
        # By way of float64, for a whole number of one file may be a float in another; what is lost is within the
        # tolerance that the type was chosen by.
        return pc.cast(pc.cast(column, pa.float64(), safe=False), type_, safe=False)
    if pa.types.is_dictionary(type_) and not pa.types.is_dictionary(column.type):
        column = pc.cast(column, pa.string()).dictionary_encode()
    return column.cast(type_)


def dtype_name(type_: pa.DataType) -> str:
    """Return what the profile calls a part's type."""
    names = {pa.float32(): "float32", pa.float64(): "float64", pa.bool_(): "bool"}
    return "category" if pa.types.is_dictionary(type_) else names.get(type_, str(type_))


def part_type(dtype: str) -> pa.DataType:
    """Return the part's type that the profile calls so."""
    return TEXTS if dtype == "category" else pa.type_for_alias(dtype)


# From what a part stores to the frame that scikit-learn gets.


def is_large(profile: Profile) -> bool:
    """Return whether a model is fitted on so many values that float32 must do, and so scores in it, too."""
    return bool(profile["rows"]["train"] * len(feature_columns(profile)) > EXACT_VALUES)


def feature_dtype(column: Mapping[str, Any], *, large: bool) -> str:
    """Return the NumPy dtype of a number, boolean or time in the frame, by the profile's entry of the column.

    Whole numbers are as they are stored; with nulls among them, and booleans, they are floats. Times, and whole numbers
    in which float32 has gaps, are float64 even where all else is large.
    """
    dtype = str(column["dtype"])
    floats = "float32" if large else "float64"
    if dtype in ("float32", "bool"):
        return floats
    if dtype == "float64" or (column["nulls"] == 0 and not large):
        return dtype
    if max(abs(column["min"]), abs(column["max"])) > FLOAT32_INTEGERS:
        return "float64"
    return dtype if column["nulls"] == 0 and dtype.endswith(("8", "16")) else floats


def numbers(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a part's numbers, booleans or times as an array; nulls are NaN."""
    values = pc.cast(column, pa.uint8()) if pa.types.is_boolean(column.type) else column
    return np.asarray(values.to_numpy(zero_copy_only=False))


def categories(pieces: Iterable[pa.Array]) -> pd.Series:
    """Return a part's texts as a categorical; nulls are missing values."""
    import pandas as pd  # noqa: PLC0415 (preparation does without it)

    texts: Any = pa.chunked_array(pieces).unify_dictionaries().combine_chunks()
    codes = pc.fill_null(texts.indices, -1).to_numpy()
    # Python's own strings: encoders ask for each row's text, and of pandas' they would get a copy each time.
    different = pd.Index(np.array(texts.dictionary.to_pylist(), dtype=object), dtype=object)
    # Not validated: Arrow's codes are of its dictionary.
    return pd.Series(pd.Categorical.from_codes(codes, different, validate=False))


def strings(pieces: Iterable[pa.Array]) -> pd.Series:
    """Return a part's free texts; nulls are missing values."""
    import pandas as pd  # noqa: PLC0415 (preparation does without it)

    return pd.Series(pd.array(pa.chunked_array(pieces, pa.string()), dtype="str"))


def make_frame(columns: Mapping[str, npt.NDArray[Any] | pd.Series]) -> pd.DataFrame:
    """Return a frame that holds the columns themselves, not copies."""
    import pandas as pd  # noqa: PLC0415 (preparation does without it)

    return pd.DataFrame(columns, copy=False)


# Both steps in one, for rows that no part holds.


def features(rows: pa.RecordBatch, profile: Profile) -> pd.DataFrame:
    """Return rows as the frame that a model was trained on, had they been among its training rows.

    Parameters
    ----------
    rows
        Columns as they were read, among them every feature: numbers of any type, booleans, timestamps, texts, or null.
    profile
        Of the model's training data.

    Returns
    -------
    pandas.DataFrame of shape (rows, features)
        The dtypes of the training frame; a wider one where a value lies outside of what training saw, and a float one
        where nulls are new. An unknown text is one more category.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a column is of a kind that its feature cannot be made of.
    """
    large = is_large(profile)
    columns = {each["name"]: _feature(rows[each["name"]], each, large=large) for each in feature_columns(profile)}
    return make_frame(columns)


def as_stored(column: pa.Array, described: Mapping[str, Any]) -> pa.Array:
    """Return a feature's values as a prepared part would store them, in a wider type where that does not hold them.

    Parameters
    ----------
    column
        As it was read.
    described
        The profile's entry of the column.

    Raises
    ------
    pyarrow.ArrowInvalid
        If the column is of a kind that its feature cannot be made of.
    """
    if described["role"] == "timestamp":
        column = pc.cast(column, pa.timestamp("us"))
    if pa.types.is_floating(column.type):
        column = pc.cast(column, pa.float64())
    finite, _ = without_infinities(column)
    try:
        return to_part(finite, part_type(described["dtype"]))
    except pa.ArrowInvalid:
        if described["role"] != "numeric":
            raise
        # A whole number beyond the training's, or a fraction among whole numbers.
        return finite


def _feature(column: pa.Array, described: Mapping[str, Any], *, large: bool) -> npt.NDArray[Any] | pd.Series:
    stored = as_stored(column, described)
    if described["role"] == "categorical":
        return categories([stored])
    if described["role"] == "text":
        return strings([stored])
    # A copy, for Arrow's own memory cannot be written to.
    return numbers(stored).astype(feature_dtype(_widened(described, stored), large=large))


def _widened(described: Mapping[str, Any], stored: pa.Array) -> dict[str, Any]:
    """Return the profile's entry of a column as it were if training had seen these values, too."""
    widened = {**described, "nulls": described["nulls"] + stored.null_count}
    if stored.type != part_type(described["dtype"]):
        widened["dtype"] = dtype_name(stored.type)
        if pa.types.is_integer(stored.type):
            seen = pc.min_max(stored)
            widened["min"] = min(described["min"], seen["min"].as_py())
            widened["max"] = max(described["max"], seen["max"].as_py())
    return widened
