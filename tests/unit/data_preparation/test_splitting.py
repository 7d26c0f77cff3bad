"""Properties of the split: where a row goes follows from what it holds, and from nothing else about the data set."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidDatasetError
from common.hashing import mix
from common.request import parse_request
from data_preparation import row_codes, splitting
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from data_preparation.row_codes import RowCodes, time_of
from data_preparation.splitting import Split, Splitter, choose_split, quotas, select

FRACTIONS = st.floats(min_value=0.01, max_value=0.99)
# Few different values, so that rows repeat.
LABELS = st.lists(st.integers(min_value=0, max_value=4), min_size=2, max_size=300)
Prepare = Any


@pytest.fixture
def split(tmp_path: Path) -> Prepare:
    """Return a function that prepares frames, each a file, and returns the result."""
    count = iter(range(1000))

    def run(*frames: pd.DataFrame, suffix: str = "csv", champion: Any = None, **fields: Any) -> PreparedData:
        folder = tmp_path / str(next(count))
        (folder / "work").mkdir(parents=True)
        files = []
        for number, frame in enumerate(frames):
            path = folder / f"{number}.{suffix}"
            if suffix == "parquet":
                frame.to_parquet(path, index=False)
            else:
                frame.to_csv(path, index=False)
            files.append(SourceFile(path.name, path))
        request = parse_request({"dataset_uri": "s3://bucket/x", "target": "y", **fields})
        return prepare(files, request, folder / "work", champion)

    return run


def table(rows: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return rows without a duplicate, with a column of each kind; `id` tells them apart."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": random.normal(size=rows),
            "whole": random.integers(0, 50, rows),
            "kind": random.choice(list("xyz"), rows),
            "flag": random.choice([True, False], rows),
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 10**7, rows), unit="s"),
            "mark": random.normal(size=rows),
            "y": random.normal(size=rows),
        }
    )


def marks(result: PreparedData, part: str = "test") -> set[float]:
    return set(pd.read_parquet(getattr(result, part))["mark"].astype("float32"))


def as_champion(result: PreparedData) -> dict[str, Any]:
    return {"version": "v1", "target": result.profile["target"], "split": result.profile["split"]}


def test_order_format_files_and_batches_leave_every_row_where_it_was(
    split: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table()
    first = split(frame)
    assert first.profile["rows"]["test"] == 400
    others = {
        "order": split(frame.sample(frac=1, random_state=1)),
        "format": split(frame, suffix="parquet"),
        "files": split(frame[:700], frame[700:]),
        "columns": split(frame[frame.columns[::-1]]),
        "types": split(frame.astype({"whole": "float64", "number": "float32", "mark": "float32"}), suffix="parquet"),
        "an empty column": split(frame.assign(empty=None)),
    }
    monkeypatch.setattr("data_preparation.text_reading.BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr("data_preparation.parquet_reading.BATCH_VALUES", 700)
    monkeypatch.setattr(row_codes, "CHUNK_ROWS", 13)
    monkeypatch.setattr(splitting, "BUCKET_ROWS", 100)
    others |= {"batches": split(frame), "batches of Parquet": split(frame, suffix="parquet")}
    for what, other in others.items():
        assert marks(other) == marks(first), what
        assert other.profile["split"]["test_part"] == first.profile["split"]["test_part"] or "types" in what, what


@pytest.mark.parametrize("fields", [{}, {"split_key": ["whole"]}, {"split_time": "when"}])
def test_a_share_of_the_training_rows_is_drawn_and_no_row_of_the_test_part(
    split: Prepare, fields: dict[str, Any]
) -> None:
    frame = table()
    whole, drawn = split(frame, **fields), split(frame, training_fraction=0.25, **fields)
    assert drawn.test.read_bytes() == whole.test.read_bytes()
    assert marks(drawn, "train") < marks(whole, "train")
    rows = drawn.profile["rows"]
    # Four standard deviations.
    share = rows["train"] / whole.profile["rows"]["train"]
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / whole.profile["rows"]["train"])
    assert rows["train"] + rows["test"] == rows["used"] == 2000 - rows["left_out"]
    assert drawn.profile["read"]["told"][0] == (
        f"The training part holds {rows['train']:,} of {2000 - rows['test']:,} rows, drawn by training_fraction 0.25: "
        "the others are neither trained nor tested on."
    )
    assert marks(split(frame, training_fraction=0.25, seed=1, **fields), "train") != marks(drawn, "train")


def test_of_rows_that_repeat_as_large_a_share_is_drawn(split: Prepare) -> None:
    frame = pd.DataFrame({"a": np.arange(2000) % 4, "y": np.arange(2000) % 4 % 3 * 1.5})
    drawn = pd.read_parquet(split(frame, training_fraction=0.25).train)
    assert (drawn["a"].value_counts().sort_index() / 400).between(0.15, 0.35).all()


def test_a_small_share_holds_no_texts_of_other_rows(split: Prepare) -> None:
    """Dictionaries of all rows would wait for a row group of few."""
    frame = table(4000).assign(kind=[f"k{number % 900}" for number in range(4000)])
    part = pq.read_table(split(frame, training_fraction=0.02, columns={"kind": "category"}).train)
    assert sorted(part["kind"].chunk(0).dictionary.to_pylist()) == sorted(set(part["kind"].to_pylist()))


def test_a_class_of_which_too_few_rows_would_be_drawn_is_an_error(split: Prepare) -> None:
    frame = table().assign(y=["rare"] * 3 + ["common", "usual"] * 998 + ["common"])
    with pytest.raises(InvalidDatasetError, match='Less than 2 rows of "rare" would be trained on: raise training_fr'):
        split(frame, training_fraction=0.01)
    with pytest.raises(InvalidDatasetError, match=r"leaves 0 rows to the train part; .*: raise training_fraction"):
        split(table(), training_fraction=1e-9)
    with pytest.raises(InvalidDatasetError, match=r"leaves 0 rows to the test part; .*: mark more rows in"):
        split(table().assign(part="train"), training_fraction=0.5, split_column="part")


def test_a_class_has_its_rows_and_those_that_are_trained_on(split: Prepare) -> None:
    frame = table().assign(y=["few"] * 400 + ["many"] * 1600)
    drawn = split(frame, training_fraction=0.25)
    trained = pd.read_parquet(drawn.train)["y"].value_counts()
    assert drawn.profile["classes"] == [
        {"label": "few", "rows": 400, "trained": trained["few"]},
        {"label": "many", "rows": 1600, "trained": trained["many"]},
    ]


@pytest.mark.parametrize(("more", "limit"), [(0.1, 0.045), (0.5, 0.1)])
def test_rows_that_are_added_or_deleted_leave_nearly_all_others_where_they_were(
    split: Prepare, more: float, limit: float
) -> None:
    # The quota's threshold moves: three standard deviations of it for 2,000 rows.
    frame, new = table(), table(int(2000 * more), seed=1)
    before = split(frame)
    for grown in (pd.concat([frame, new]), pd.concat([new, frame])):
        after = split(grown)
        moved = marks(after) & marks(before, "train")
        assert len(moved) <= limit * after.profile["rows"]["test"]
    fewer = split(frame.sample(frac=1 - more, random_state=1))
    assert len(marks(fewer) & marks(before, "train")) <= limit * fewer.profile["rows"]["test"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "late"),
    [("whole", 0.5), ("flag", "maybe"), ("when", "some day"), ("kind", None), ("number", None)],
)
def test_a_late_row_of_another_kind_moves_no_other(split: Prepare, column: str, late: Any, suffix: str) -> None:
    """The column is read as one kind, and then as another: each value still counts as what it says."""
    frame = table(400)
    wider = pd.concat([frame.astype({column: object}), table(1, seed=2).assign(**{column: late})], ignore_index=True)
    if suffix == "parquet" and isinstance(late, str):
        wider[column] = wider[column].astype(str)
    # A column of times with a text is an error, unless the request says that it is made of texts.
    columns = {column: "category"} if late == "some day" else {}
    before, after = split(frame), split(wider, suffix=suffix, columns=columns)
    assert len(marks(after) & marks(before, "train")) <= 1
    assert len(marks(before) - marks(after)) <= 1


def test_what_pandas_numbers_rows_by_is_no_part_of_a_row(split: Prepare) -> None:
    frame = table(500)
    numbered = frame.assign(**{"Unnamed: 0": range(500)})
    moved = frame.sample(frac=1, random_state=1).assign(**{"Unnamed: 0": range(500)})
    assert marks(split(numbered)) == marks(split(moved))


def test_equal_rows_are_shared_out_and_nobody_notices_their_order(split: Prepare) -> None:
    """Kept together, rows of equal features would leave what a model meets most to one part."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.integers(0, 3, 1000), "b": random.choice(list("xy"), 1000)})
    frame["y"] = random.integers(0, 2, 1000)
    one, other = split(frame), split(frame.sample(frac=1, random_state=1), suffix="parquet")

    def counts(result: PreparedData, part: str) -> Counter[Any]:
        return Counter(map(tuple, pd.read_parquet(getattr(result, part)).astype(str).to_numpy().tolist()))

    assert counts(one, "test") == counts(other, "test")
    assert set(counts(one, "train")) == set(map(tuple, frame.astype({"y": float}).astype(str).to_numpy().tolist()))
    assert len(counts(one, "test")) >= 11
    assert sum(counts(one, "test").values()) == 200


def test_a_new_column_moves_nothing_where_the_champions_columns_are_inherited(split: Prepare) -> None:
    frame = table()
    before = split(frame)
    wider = frame.assign(new=np.random.default_rng(3).normal(size=2000))
    after = split(wider, champion=as_champion(before))
    assert marks(after) == marks(before)
    assert after.profile["split"]["inherited_from"] == "v1"
    assert "new" not in after.profile["split"]["columns"]
    assert len(marks(split(wider)) & marks(before, "train")) > 200
    # Another target is another model.
    other = split(wider, champion={**as_champion(before), "target": "number"})
    assert other.profile["split"]["inherited_from"] is None


def test_a_column_that_went_is_told(split: Prepare) -> None:
    before = split(table())
    after = split(table().drop(columns="whole"), champion=as_champion(before))
    assert after.profile["split"]["missing_columns"] == ["whole"]


def test_a_key_keeps_its_rows_together_and_nothing_else_about_them_counts(split: Prepare) -> None:
    frame = table()
    before = split(frame, split_key=["whole"])
    train, test = (set(pd.read_parquet(getattr(before, part))["whole"]) for part in ("train", "test"))
    assert not train & test
    assert before.profile["split"]["test_share"] == pytest.approx(0.2, abs=0.03)
    corrected = frame.assign(number=0.5, kind="w", y=np.arange(2000.0))
    inherited = split(corrected, champion=as_champion(before))
    assert marks(inherited) == marks(before)
    assert (inherited.profile["split"]["by"], inherited.profile["split"]["inherited_from"]) == ("key", "v1")
    # An empty list says that there is to be none.
    assert split(frame, split_key=[], champion=as_champion(before)).profile["split"]["by"] == "rows"
    both = split(frame, split_key=["whole", "kind"])
    assert len(marks(both) ^ marks(before)) > 100


def test_a_keys_whole_numbers_are_told_apart_by_all_digits_whatever_type_says_them(split: Prepare) -> None:
    base = 2**53
    frame = table(400).assign(key=[base + number % 40 for number in range(400)])
    before = split(frame, split_key=["key"])
    assert before.profile["split"]["test_share"] == pytest.approx(0.2, abs=0.05)
    keys = {base + number for number in range(40)}
    as_texts = split(frame.astype({"key": str}), split_key=["key"], suffix="parquet")
    assert marks(as_texts) == marks(before)
    assert len(keys) == 40


def test_the_last_rows_in_time_are_the_test_part(split: Prepare) -> None:
    frame = table().sort_values("mark")
    result = split(frame, split_time="when")
    train, test = (pd.read_parquet(getattr(result, part))["when"] for part in ("train", "test"))
    assert train.max() < test.min()
    assert len(test) == 400
    assert result.profile["split"]["first_time"] == str(frame["when"].sort_values().iloc[1600]).replace(" ", "T") + (
        ".000000Z"
    )
    assert len(marks(split(frame.assign(number=1.5), split_time="when")) ^ marks(result)) == 0


def test_equal_times_stay_together_and_rows_without_one_are_trained_on(split: Prepare) -> None:
    frame = table(100).assign(day=[None] * 40 + [1.0] * 25 + [2.5] * 30 + [-3.0] * 5)
    result = split(frame, split_time="day")
    assert result.profile["rows"]["test"] == 30
    assert result.profile["split"]["first_time"] == 2.5
    assert pd.read_parquet(result.train)["day"].isna().sum() == 40


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split_time": "kind"}, 'The time column "kind" holds neither times nor numbers'),
        ({"split_time": "one"}, "cannot be split by"),
        ({"split_key": ["one"]}, 'cannot be split by "one"'),
        ({"split_key": ["kinds"]}, 'The key column "kinds" is not a column of the data set. Did you mean "kind"'),
        ({"split_time": "wen"}, 'The time column "wen" is not a column'),
    ],
)
def test_what_cannot_be_split_by_is_named(split: Prepare, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDatasetError, match=message):
        split(table(100).assign(one=1), **fields)


def test_another_split_seed_draws_another_part_and_the_estimators_seed_does_not(split: Prepare) -> None:
    frame = table()
    first, other = split(frame), split(frame, split_seed=1)
    assert len(marks(first) & marks(other)) < 150
    assert marks(split(frame, seed=7)) == marks(first)
    assert marks(split(frame, champion=as_champion(other))) == marks(other)
    assert marks(split(frame, split_seed=0, champion=as_champion(other))) == marks(first)


@pytest.mark.parametrize(
    "labels",
    [
        ["true", "True", "unknown"],
        ["inf", "Infinity", "ok"],
        ["1", "01", "u", "x", "y", "z"],
        ["2024-01-01", "2024-01-01 00:00", "x"],
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_that_say_the_same_are_classes_of_their_own(split: Prepare, labels: list[str], suffix: str) -> None:
    frame = table(300).assign(y=labels * (300 // len(labels)))
    # Most of them are dates where they are: without the request's word that is an error.
    columns = {"y": "category"} if "x" in labels else {}
    result = split(frame, suffix=suffix, problem="classification", columns=columns)
    counts = pd.read_parquet(result.test)["y"].value_counts().to_dict()
    assert counts == dict.fromkeys(labels, 60 // len(labels))


def test_whole_labels_of_one_file_and_fractions_of_another_are_one_column(split: Prepare) -> None:
    first = table(100).assign(y=[2**40 + 1, 7] * 50)
    second = table(100, seed=1).assign(y=[0.5, 7.0] * 50)
    result = split(first, second, suffix="parquet", problem="classification")
    assert result.profile["rows"]["test"] == 40


@pytest.mark.parametrize(("by", "spoilt"), [("split_key", {"kind": "x"}), ("split_time", {"whole": "text"})])
def test_an_inherited_split_that_does_not_fit_says_where_it_comes_from(
    split: Prepare, by: str, spoilt: dict[str, Any]
) -> None:
    (column,) = spoilt
    before = split(table(200), **{by: [column] if by == "split_key" else column})
    changed = table(200).assign(**spoilt)
    with pytest.raises(
        InvalidDatasetError, match="that of the champion v1; an empty split_key in the request splits by rows"
    ):
        split(changed, champion=as_champion(before))
    assert split(changed, champion=as_champion(before), split_key=[]).profile["split"]["by"] == "rows"


def test_a_split_by_time_has_one_id_whatever_the_seed(split: Prepare) -> None:
    one, other = (split(table(200), split_time="when", split_seed=seed).profile["split"] for seed in (0, 5))
    assert one["test_part"] == other["test_part"]


def test_a_column_of_parts_is_used_as_it_is_and_names_its_test_part(split: Prepare) -> None:
    frame = table(100).assign(part=["test"] * 30 + ["train"] * 70)
    result = split(frame, split_column="part", champion=as_champion(split(frame)))
    assert marks(result) == set(frame["mark"][:30].astype("float32"))
    assert result.profile["split"]["by"] == "column"
    assert int(result.profile["split"]["test_part"], 16) > 0


@given(LABELS, FRACTIONS)
def test_every_class_keeps_a_training_row_and_gives_its_share(labels: list[int], fraction: float) -> None:
    sizes = [labels.count(label) for label in sorted(set(labels))]
    found = quotas(sizes, fraction)
    assert (found < sizes).all()
    assert abs(found - np.array(sizes) * fraction).max() <= 1.5


@given(LABELS, FRACTIONS, st.integers(1, 40))
def test_exactly_the_quotas_are_drawn_of_rows_that_repeat(labels: list[int], fraction: float, batch_rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_codes, "CHUNK_ROWS", 7)
        patch.setattr(splitting, "BUCKET_ROWS", 16)
        masks = _masks(labels, fraction, batch_rows)
    assert (masks == _masks(labels, fraction, len(labels))).all()
    sizes = [labels.count(label) for label in sorted(set(labels))]
    found = [int(masks[np.array(labels) == label].sum()) for label in sorted(set(labels))]
    assert found == quotas(sizes, fraction).tolist()


def _masks(labels: Sequence[int], fraction: float, batch_rows: int) -> Any:
    # A folder for each example.
    with tempfile.TemporaryDirectory() as folder:
        batch = pa.record_batch({"a": pa.array([label % 2 for label in labels]), "y": pa.array(labels)})
        codes = RowCodes(Path(folder) / "codes", hashed=["a", "y"], target="y", seed=0)
        with codes:
            codes.write(batch)
        counted = [(pa.scalar(label), labels.count(label)) for label in sorted(set(labels))]
        request = parse_request({"dataset_uri": "s3://bucket/x", "target": "y", "test_fraction": fraction})
        splitter = Splitter(Split("rows", ("a", "y")), [codes], counted, request)
        pieces = [splitter.test_mask(batch.slice(at, batch_rows)) for at in range(0, len(labels), batch_rows)]
        return np.concatenate(pieces)


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=200),
    st.data(),
)
def test_the_code_of_a_rank_is_found_without_sorting_all(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    codes, places = np.array([code for code, _ in rows], np.uint64), np.array([place for _, place in rows])
    sizes = np.bincount(places, minlength=3)
    ranks = np.array([data.draw(st.integers(0, int(size))) for size in sizes])
    pieces = [(codes[at : at + 9, None], codes[at : at + 9], places[at : at + 9]) for at in range(0, len(rows), 9)]
    for most in (0, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(splitting, "BUCKET_ROWS", most)
            values, below, up_to = select(lambda: pieces, ranks)
        for place in np.flatnonzero(ranks):
            own = np.sort(codes[places == place])
            assert values[place] == own[ranks[place] - 1]
            assert (below[place], up_to[place]) == ((own < values[place]).sum(), (own <= values[place]).sum())


@pytest.mark.parametrize("value", [-1.5e300, -1.0, -0.0, 0.0, 3.25, 1e300])
def test_numbers_sort_as_their_codes_do(value: float, tmp_path: Path) -> None:
    codes = RowCodes(tmp_path / "codes", hashed=["t"], target="y", seed=0, time="t")
    with codes:
        codes.write(pa.record_batch({"t": pa.array([value, value + abs(value) + 1, None]), "y": pa.array([1, 2, 3])}))
    ((low, high, missing),) = (chunk[:, 2] for chunk in codes.chunks())
    assert missing == 0 < low < high
    assert time_of(low, is_time=False) == value


def test_the_choice_of_a_split_says_where_it_comes_from() -> None:
    def choice(champion: Mapping[str, Any] | None = None, **fields: Any) -> Split:
        request = parse_request({"dataset_uri": "s3://bucket/x", "target": "y", **fields})
        return choose_split(request, ["a", "b", "y"], champion)

    old = {"version": "v", "target": "y", "split": {"by": "rows", "columns": ["a", "y"], "seed": 3}}
    assert choice() == Split("rows", ("a", "b", "y"))
    assert choice(old) == Split("rows", ("a", "y"), 3, "v")
    # How much a row counts is no part of it.
    assert choice(weight_column="b") == Split("rows", ("a", "y"))
    # With the target alone, or fewer than are gone, rows could hardly be told apart.
    few = {**old, "split": {"by": "rows", "columns": ["y", "c"], "seed": 0}}
    assert choice(few) == Split("rows", ("a", "b", "y"), 0, None, ("c",))
    gone = {**old, "split": {"by": "rows", "columns": ["a", "c", "d"], "seed": 0}}
    assert choice(gone) == Split("rows", ("a", "b", "y"), 0, None, ("c", "d"))
    assert choice(old, split_seed=5) == Split("rows", ("a", "y"), 5, "v")
    assert choice(old, split_column="a") == Split("column", ("a",), 3)
    keyed = {**old, "split": {"by": "key", "columns": ["c"], "seed": 0}}
    assert choice(keyed) == Split("rows", ("a", "b", "y"), 0, None, ("c",))
    assert choice({**keyed, "split": {"by": "time", "columns": ["a"], "seed": 0}}) == Split("time", ("a",), 0, "v")


def test_mixing_is_that_of_splitmix64() -> None:
    """The first outputs of splitmix64 for the seed 1234567: https://prng.di.unimi.it/splitmix64.c."""
    golden, state = 0x9E3779B97F4A7C15, 1234567
    states = np.array([(state + golden * step) % 2**64 for step in range(1, 4)], np.uint64)
    assert mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
