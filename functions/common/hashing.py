"""Hashes of rows by their values: the same whatever file, type, order or batch a row comes in.

The split goes by them, and so does the proof of which rows a model was trained on. A value counts as what it says: 1,
1.0 and the text "1" are one value, for the type of a column follows from all its rows, and one late row may widen it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import MAX_MAGNITUDE, timestamps

Hashes = npt.NDArray[np.uint64]
Booleans = npt.NDArray[np.bool_]

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
"""A text that reads as a number."""
_TIME = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([ T]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d(\.\d{1,9})?)?)?)?(Z|[+-]\d\d(:?\d\d)?)?$"
)
_INFINITY = r"(?i)^\s*[+-]?inf(inity)?\s*$"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LARGEST_INTEGER = 2.0**63
_FEW_TEXTS = 256
_SHORT_TEXTS = 1 << 13
_KNOWN_TEXTS = 1 << 10
# The hashes of texts that a column's dictionaries brought, by its name and by whether numbers are exact.
_known_texts: defaultdict[tuple[str, bool], dict[str | None, int]] = defaultdict(dict)
_SLICE_BYTES = 4 << 20
"""How much text is hashed at once, for that takes thirty times as much memory."""


def mix(values: Hashes) -> Hashes:
    """Return the finaliser of splitmix64 of each value, a bijection in which every bit changes half of all bits.

    References
    ----------
    G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, variant 13 of
    D. Stafford's mixers.
    """
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@functools.lru_cache(maxsize=4096)
def seed_of(text: str) -> np.uint64:
    """Return 64 bits of a text's BLAKE2b."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def column_hashes(name: str, column: pa.Array, *, exact: bool = False) -> Hashes:
    """Return a hash of each value of a column, 0 for a missing one.

    Parameters
    ----------
    name
        The column's name, which is part of the hash: the same value in another column is another one.
    column
        Of length n: numbers and booleans of any type, times, texts or dictionaries of texts. NaN and infinities count
        as missing.
    exact
        Whether numbers are told apart by all their digits, as those of a key or of a label are. Else they are taken in
        float32, which is what is left of them in a prepared part.

    Returns
    -------
    numpy.ndarray
        Of shape (n,).
    """
    if pa.types.is_dictionary(column.type):
        # A batch brings the same few texts as the one before.
        if len(column.dictionary) <= _FEW_TEXTS and column.dictionary.nbytes <= _SHORT_TEXTS:
            known = _few_hashes(name, column.dictionary.to_pylist(), exact=exact)
        else:
            known = _with_missing(column_hashes(name, column.dictionary, exact=exact))
        places = pc.fill_null(column.indices, len(known) - 1) if column.indices.null_count else column.indices
        hashes: Hashes = known[places.to_numpy(zero_copy_only=False)]
        return hashes
    codes, missing = _codes(column, exact=exact)
    codes += seed_of(f"col:{name}")
    hashes = mix(codes)
    if missing is not None:
        hashes[missing] = 0
    return hashes


def _few_hashes(name: str, texts: list[str | None], *, exact: bool) -> Hashes:
    """Return what `_with_missing` does, for texts that come in another order with each batch."""
    known = _known_texts[name, exact]
    new = [text for text in texts if text not in known]
    if len(known) + len(new) > _KNOWN_TEXTS:
        known.clear()
        new = texts
    if new:
        hashes = column_hashes(name, pa.array(new, pa.string()), exact=exact)
        known.update(zip(new, hashes.tolist(), strict=True))
    return _with_missing(np.array([known[text] for text in texts], np.uint64))


def forget_texts() -> None:
    """Let go of the texts of a data set, whose worker may serve another one next."""
    _known_texts.clear()


def label_codes(column: pa.Array) -> Hashes:
    """Return a code of each label, shape (n,): numbers by all their digits, texts by their letters, 0 for none.

    Unlike values of a row, the labels "1" and "01" are two.
    """
    if pa.types.is_dictionary(column.type):
        # Decoded, a text of a megabyte would be one for each row.
        known = np.append(label_codes(column.dictionary), label_codes(pa.nulls(1, column.dictionary.type)))
        codes: Hashes = known[pc.fill_null(column.indices, len(known) - 1).to_numpy(zero_copy_only=False)]
        return codes
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.concatenate([_codes_of_words(pc.fill_null(texts, "")) for texts in _slices(column)])
    return _codes(column, exact=True)[0]


def _with_missing(hashes: Hashes) -> Hashes:
    """Return the hashes of a dictionary, and behind the last that of rows without a value."""
    return np.append(hashes, np.uint64(0))


def row_hashes(batch: pa.RecordBatch, names: Iterable[str], *, exact: Collection[str] = ()) -> Hashes:
    """Return the sum of the hashes of the named columns, of shape (rows,); a column that is missing counts as empty."""
    total = np.zeros(batch.num_rows, np.uint64)
    known = frozenset(batch.schema.names)
    for name in names:
        if name in known:
            total += column_hashes(name, batch[name], exact=name in exact)
    return total


def _codes(column: pa.Array, *, exact: bool) -> tuple[Hashes, Booleans | None]:
    """Return 64 bits for each value, the same for equal ones, and which are missing; None where none is."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        codes, unknown = zip(*(_codes_of_texts(texts, exact=exact) for texts in _slices(column)), strict=True)
        return np.concatenate(codes), np.concatenate(unknown)
    missing = _booleans(column.is_null()) if column.null_count else None
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.uint64), missing
    if pa.types.is_timestamp(column.type):
        microseconds = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
        return _values(microseconds).view(np.uint64).copy(), missing
    values = _values(pc.cast(column, pa.uint8()) if pa.types.is_boolean(column.type) else column)
    if exact and pa.types.is_integer(column.type):
        return values.astype(np.int64).view(np.uint64), missing
    return _codes_of_numbers(values, missing, exact=exact)


def _codes_of_numbers(
    values: npt.NDArray[Any], missing: Booleans | None, *, exact: bool
) -> tuple[Hashes, Booleans | None]:
    wide = values.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        # Adding zero makes one of both zeros.
        narrow = wide.astype(np.float32) + np.float32(0)
    if not np.isfinite(narrow).all():
        beyond = ~(np.abs(wide) <= MAX_MAGNITUDE)
        wide = np.where(beyond, 0.0, wide)
        missing = beyond if missing is None else missing | beyond
        narrow = wide.astype(np.float32) + np.float32(0)
    if not exact:
        return narrow.view(np.uint32).astype(np.uint64), missing
    codes = (wide + 0.0).view(np.uint64).copy()
    whole = (wide == np.floor(wide)) & (np.abs(wide) < _LARGEST_INTEGER)
    codes[whole] = wide[whole].astype(np.int64).view(np.uint64)
    return codes, missing


def _values(column: pa.Array) -> npt.NDArray[Any]:
    """Return a column's values, 0 for those that are missing."""
    filled = pc.fill_null(column, pa.scalar(0, column.type)) if column.null_count else column
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _slices(texts: pa.Array) -> list[pa.Array]:
    """Return texts in slices of `_SLICE_BYTES` each, or of a single text that is longer."""
    if texts.nbytes <= _SLICE_BYTES:
        return [texts]
    ends = np.cumsum(pc.fill_null(pc.binary_length(texts), 0).to_numpy(), dtype=np.int64)
    cuts = np.flatnonzero(np.diff(ends // _SLICE_BYTES)) + 1
    return [texts[begin:end] for begin, end in itertools.pairwise([0, *cuts.tolist(), len(texts)])]


def _codes_of_texts(column: pa.Array, *, exact: bool) -> tuple[Hashes, Booleans]:
    """Return the codes of texts: those of the number, the truth value or the time that a text says, else its own."""
    missing = _booleans(column.is_null())
    texts = pc.fill_null(column, "")
    codes = _codes_of_words(texts)
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    for word, value in (("true", 1.0), ("false", 0.0)):
        said = _booleans(pc.equal(lower, word))
        codes[said] = _codes_of_numbers(np.array([value]), None, exact=exact)[0]
    missing = missing | _booleans(pc.match_substring_regex(texts, _INFINITY))
    numbers = _booleans(pc.match_substring_regex(texts, NUMBER)) & ~missing
    if numbers.any():
        said = pc.utf8_trim_whitespace(texts.filter(pa.array(numbers)))
        codes[numbers], beyond = _codes_of_number_texts(said, exact=exact)
        if beyond is not None:
            missing[np.flatnonzero(numbers)[beyond]] = True
    times = _booleans(pc.match_substring_regex(texts, _TIME))
    if times.any():
        values = texts.filter(pa.array(times))
        known = _times(values)
        places = np.flatnonzero(times)[_booleans(known.is_valid())]
        codes[places] = known.drop_null().cast(pa.int64()).to_numpy(zero_copy_only=False).view(np.uint64)
    return codes, missing


def _codes_of_number_texts(texts: pa.Array, *, exact: bool) -> tuple[Hashes, Booleans | None]:
    values = np.asarray(pc.cast(pc.replace_substring_regex(texts, r"^\+", ""), pa.float64()).to_numpy())
    codes, beyond = _codes_of_numbers(values, None, exact=exact)
    if exact:
        # A whole number of more digits than a float has.
        for place in np.flatnonzero(np.abs(values) >= 2.0**53):
            text = texts[int(place)].as_py().strip().lstrip("+")
            if text.lstrip("-").isdigit() and -(2**63) <= int(text) < 2**63:
                codes[place] = np.int64(int(text)).view(np.uint64)
    return codes, beyond


def _times(texts: pa.Array) -> pa.Array:
    """Return the times that texts say, null where a text only looks like one, such as the 30th of February."""
    try:
        return timestamps(texts)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, pa.timestamp("us"))
        half = len(texts) // 2
        return pa.concat_arrays([_times(texts[:half]), _times(texts[half:])])


def _codes_of_words(texts: pa.Array) -> Hashes:
    """Return 64 bits of each text, from its words of eight bytes, each mixed with its place."""
    texts = pc.cast(texts, pa.large_string())
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    words = -(-lengths // 8)
    first = np.concatenate([[0], np.cumsum(words)])
    padded = np.zeros(8 * int(first[-1]), np.uint8)
    if len(padded):
        held = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
        padded[np.arange(len(held)) + np.repeat(8 * first[:-1] - (offsets[:-1] - offsets[0]), lengths)] = held
    places = np.arange(int(first[-1]), dtype=np.uint64) - np.repeat(first[:-1], words).astype(np.uint64)
    mixed = mix(padded.view("<u8").astype(np.uint64) ^ mix((places + np.uint64(1)) * _GOLDEN))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    return mix(sums[first[1:]] - sums[first[:-1]] + (lengths.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def _booleans(column: pa.Array) -> Booleans:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.bool_)
