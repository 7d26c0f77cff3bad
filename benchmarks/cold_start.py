"""Cold starts: importing a handler, against importing the libraries that it cannot do without."""

from __future__ import annotations

from benchmarks.figures import Section, Spread, at_most, interleaved, ratio
from benchmarks.options import Options
from benchmarks.processes import seconds_of

_PREPARATION = (
    "boto3, botocore.exceptions, numpy, pydantic.main, pydantic.types, pyarrow, pyarrow.compute, pyarrow.csv, "
    "pyarrow.parquet"
)
_TRAINING = (
    "boto3, numpy, pydantic.main, pydantic.types, pandas, pyarrow.compute, pyarrow.parquet, skops.io, sklearn.compose, "
    "sklearn.impute, sklearn.pipeline, sklearn.preprocessing"
)
NEEDED = {
    "data_preparation": _PREPARATION,
    "model_training": _TRAINING,
    "model_evaluation": f"{_TRAINING}, sklearn.metrics",
    # What a model is made of is loaded with the champion, which `scoring` measures.
    "scoring": "boto3, numpy, pyarrow.compute, aws_lambda_powertools.event_handler",
}


def measure(options: Options) -> Section:
    """Return how long fresh processes need to import each handler, and its libraries alone."""
    section = Section("Cold start: a fresh process imports the handler")
    rows = []
    for step, needed in NEEDED.items():
        handler = ["-c", f"import {step}.app"]
        libraries = ["-c", f"import {needed}"]
        seconds_of(handler), seconds_of(libraries)  # writes the bytecode
        seconds = interleaved(
            options.process_repeats,
            {"handler": lambda _, it=handler: seconds_of(it), "libraries": lambda _, it=libraries: seconds_of(it)},
        )
        quotient = ratio(seconds["handler"], seconds["libraries"])
        section.goals.append(at_most(f"import of {step} / of its libraries", quotient, 1.10))
        rows.append((step, *(Spread.of(seconds[name]).text() for name in ("handler", "libraries")), quotient.text()))
        section.data[step] = seconds
    section.tables.append((("", "handler, seconds", "libraries, seconds", "ratio"), rows))
    section.notes += [f"{step}: `import {libraries}`." for step, libraries in NEEDED.items()]
    return section
