"""An embedded AWS whose training stack has the model of a folder as its champion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosstrain.local.server import LocalTrainingStack, open_training_stack
from crosstrain.training.folder_models import promote_folder
from crosstrain.training.progress import Progress


@contextmanager
def open_with_model(progress: Progress, folder: Path, serve: str = "") -> Iterator[LocalTrainingStack]:
    """Start an embedded AWS with the project's training stack and a champion, and stop it at the end.

    Parameters
    ----------
    progress
        Where it is told what goes on.
    folder
        Of the results of a run.
    serve : str
        The model that the stack serves; empty for none.

    Raises
    ------
    BadInputError, DamagedFileError
        If the folder holds no model.
    """
    with open_training_stack(progress, {"ServeModel": serve} if serve else None) as stack:
        bucket, table = (stack.outputs[each] for each in ("ArtifactBucketName", "ModelRegistryTableName"))
        # Nobody but state machines writes to a registry; root may.
        promote_folder(folder, stack.aws.client("s3"), stack.aws.client("dynamodb"), bucket=bucket, table=table)
        yield stack
