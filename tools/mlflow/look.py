"""Load what `scripts/models.py export` has written as MLflow's users do, and print what they get as a JSON document.

Run by tools/mlflow/.venv/bin/python with the exported folder, the id of its run, a Parquet file of rows, and a file for
the predictions. Nothing of this project but what was exported is on its path.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# The store is in maintenance, as MLflow says, and has to be asked for.
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

import mlflow
import pandas as pd
import pyarrow as pa


def main(folder: str, run_id: str, rows: str, out: str) -> None:
    """Predict as each flavor does, and read the run."""
    path, frame = Path(folder, "artifacts/model"), pd.read_parquet(rows)
    mlflow.set_tracking_uri(Path(folder, "mlruns").absolute().as_uri())
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    predictions = model.predict(frame)
    predictions.to_parquet(out)
    pipeline = mlflow.sklearn.load_model(str(path))
    # That takes what training has prepared; the exported code knows how.
    from common.conversion import feature_columns, features  # noqa: PLC0415 - on the path only now

    profile = json.loads(Path(path, "data/profile.json").read_text(encoding="utf-8"))
    names = [column["name"] for column in feature_columns(profile)]
    prepared = features(pa.RecordBatch.from_pandas(frame[names], preserve_index=False), profile)
    run = mlflow.tracking.MlflowClient().get_run(run_id)
    artifacts = [each.path for each in mlflow.tracking.MlflowClient().list_artifacts(run_id)]
    document = {
        "inputs": model.metadata.get_input_schema().to_dict(),
        "outputs": model.metadata.get_output_schema().to_dict(),
        "example": model.predict(model.input_example).to_dict("list"),
        "pipeline": pipeline.predict(prepared).tolist(),
        "code": sys.modules["common"].__file__,
        "status": run.info.status,
        "metrics": run.data.metrics,
        "params": run.data.params,
        "tags": run.data.tags,
        "artifacts": artifacts,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
