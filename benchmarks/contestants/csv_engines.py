"""Reads one CSV file with one engine and prints what it took: `csv_engines.py ENGINE OUTPUT FILE KINDS THREADS`."""

# ruff: noqa: S608 (names, types and paths are the benchmark's own)
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_preparation.columns import Columns
from data_preparation.notation import NULL_VALUES
from data_preparation.reading import SourceFile, open_table

BATCH_ROWS = 65_536
DUCKDB_TYPES = {"boolean": "BOOLEAN", "integer": "BIGINT", "float": "DOUBLE", "timestamp": "TIMESTAMP"}
DUCKDB_MEMORY = "300MB"


def pyarrow(path, _kinds, parquet):
    """Read as this project does; the kinds are found on the way."""
    with open_table(SourceFile(path.name, path)) as table:
        return _used(table.batches(Columns(), encode_texts=True), parquet)


def duckdb(path, kinds, parquet):
    """Read in one pass, to the kinds that are given."""
    types = {name: DUCKDB_TYPES.get(kind, "VARCHAR") for name, kind in kinds.items()}
    return _of_query(_connection(), f"SELECT * FROM {_source(path, types)}", parquet)


def duckdb_staged(path, kinds, parquet):
    """Read all as text, count what each type does not take, and convert."""
    connection = _connection()
    connection.execute(f"CREATE TABLE staged AS SELECT * FROM {_source(path, dict.fromkeys(kinds, 'VARCHAR'))}")
    types = {name: DUCKDB_TYPES[kind] for name, kind in kinds.items() if kind in DUCKDB_TYPES}
    refused = (f'count("{name}") - count(TRY_CAST("{name}" AS {given}))' for name, given in types.items())
    if any(*connection.sql(f"SELECT {', '.join(refused)} FROM staged").fetchall()):
        raise ValueError("a kind does not hold its column")
    casts = (f'CAST("{name}" AS {types.get(name, "VARCHAR")}) AS "{name}"' for name in kinds)
    return _of_query(connection, f"SELECT {', '.join(casts)} FROM staged", parquet)


def polars(path, kinds, parquet):
    """Read in one pass, to the kinds that are given, texts as categories."""
    os.environ["POLARS_MAX_THREADS"] = sys.argv[5]  # it asks when it is imported
    import polars as pl

    types = {"boolean": pl.Boolean, "integer": pl.Int64, "float": pl.Float64, "timestamp": pl.Datetime("us")}
    schema = {name: types.get(kind, pl.Categorical) for name, kind in kinds.items()}
    frame = pl.scan_csv(path, schema=schema, null_values=list(NULL_VALUES), glob=False)
    if parquet:
        frame.sink_parquet(parquet, compression="lz4", engine="streaming")
        return pq.read_metadata(parquet).num_rows
    return sum(each.to_arrow().num_rows for each in frame.collect_batches(chunk_size=BATCH_ROWS, engine="streaming"))


def _connection():
    import duckdb

    offline = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    limits = {"threads": sys.argv[5], "memory_limit": DUCKDB_MEMORY, "temp_directory": tempfile.gettempdir()}
    return duckdb.connect(config={**offline, **limits})


def _source(path, types):
    """Return the call that reads a file without guessing anything."""
    return (
        f"read_csv('{path}', auto_detect=false, header=true, delim=',', quote='\"', escape='\"', comment='', "
        f"nullstr={list(NULL_VALUES)}, strict_mode=true, columns={types})"
    )


def _of_query(connection, query, parquet):
    if parquet:
        connection.execute(f"COPY ({query}) TO '{parquet}' (FORMAT parquet, COMPRESSION lz4)")
        return pq.read_metadata(parquet).num_rows
    return _used(map(_encoded, connection.sql(query).to_arrow_reader(BATCH_ROWS)), None)


def _encoded(batch):
    """Return texts as dictionaries, as the pipeline needs them: a category is hashed once, not once for each row."""
    arrays = [each.dictionary_encode() if pa.types.is_string(each.type) else each for each in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _used(batches, parquet):
    if not parquet:
        return sum(batch.num_rows for batch in batches)
    first = next(batches)
    texts = [field.name for field in first.schema if pa.types.is_dictionary(field.type)]
    with pq.ParquetWriter(parquet, first.schema, use_dictionary=texts, compression="lz4") as writer:
        writer.write_batch(first)
        rows = first.num_rows
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


if __name__ == "__main__":
    engine, output, file, kinds = sys.argv[1:5]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = globals()[engine](Path(file), json.loads(kinds), Path(folder) / "part" if output == "parquet" else None)
        seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": peak}))
