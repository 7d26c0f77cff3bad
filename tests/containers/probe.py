"""Runs inside an image, as the user and on the read-only disk that Lambda gives it, and prints what it finds."""

import importlib.machinery
import importlib.util
import json
import os
import pkgutil
import sys
from pathlib import Path

root = Path(os.environ["LAMBDA_TASK_ROOT"])
sys.path.insert(0, str(root))
sources = list(root.rglob("*.py"))
compiled_at_import: list[str] = []
compile_source = importlib.machinery.SourceFileLoader.source_to_code


def record(loader, data, path, *, _optimize=-1):  # type: ignore[no-untyped-def]
    """Note each source that is compiled although its bytecode should be there."""
    compiled_at_import.append(os.fsdecode(path))
    return compile_source(loader, data, path, _optimize=_optimize)


importlib.machinery.SourceFileLoader.source_to_code = record  # type: ignore[method-assign]
OF_MODELS = ("scipy", "sklearn", "threadpoolctl")
imported = []
for package in ("common", sys.argv[1]):
    for module in pkgutil.walk_packages([str(root / package)], prefix=f"{package}."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            # What is of models alone needs libraries that the image of data preparation does without.
            if (package, sys.argv[1]) != ("common", "data_preparation") or error.name not in OF_MODELS:
                raise
            continue
        imported.append(module.name)

json.dump(
    {
        "imported": imported,
        "compiled_at_import": [path for path in compiled_at_import if path.startswith(str(root))],
        "sources": len(sources),
        "without_bytecode": [str(p) for p in sources if not Path(importlib.util.cache_from_source(str(p))).is_file()],
        "unreadable": [str(path) for path in root.rglob("*") if not os.access(path, os.R_OK)],
        "entries": sorted(path.name for path in root.iterdir()),
        "tests": [str(path) for path in root.rglob("tests") if path.is_dir()],
        "build_files": [str(path) for name in ("Dockerfile", "requirements.txt") for path in root.rglob(name)],
    },
    sys.stdout,
)
