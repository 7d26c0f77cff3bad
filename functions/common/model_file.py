"""The file of a model: written the same each time, and read only if it can do nothing but predict.

skops runs nothing that a file brings along, but it makes objects of any type that it trusts, and some of those read
files or index memory without a look at its bounds. So a file is checked by itself, against exactly the types that the
pipelines of this project hold, and the trees in it against themselves, before anything is predicted.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.lib.format
import numpy.typing as npt

from common import own_types
from common.errors import UntrustedModelError, first_few

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline
    from sklearn.tree._tree import Tree

_SCHEMA = "schema.json"
_FILE = re.compile(r"\d+\.npy")
# A member's time; zip knows none before.
_LONG_AGO = (1980, 1, 1, 0, 0, 0)

# What the pipelines of model training hold, by the way in which skops makes it.
ALLOWED: Mapping[str, frozenset[str]] = {
    "DictNode": frozenset({"builtins.dict"}),
    "DTypeNode": frozenset({"numpy.dtype"}),
    "FunctionNode": frozenset({"sklearn.utils.validation.check_array"}),
    "JsonNode": frozenset({"builtins.str"}),
    "ListNode": frozenset({"builtins.list"}),
    "LossNode": frozenset(
        f"sklearn._loss._loss.{name}"
        # Of numbers alone: a quantile is all that any of them holds.
        for name in (
            "CyAbsoluteError", "CyHalfBinomialLoss", "CyHalfGammaLoss", "CyHalfMultinomialLoss", "CyHalfPoissonLoss",
            "CyHalfSquaredError", "CyPinballLoss"
        )
    ),
    "NdArrayNode": frozenset(
        f"numpy.{name}"
        for name in (
            "bool", "bool_", "float32", "float64", "int32", "int64", "ndarray", "str_", "uint8", "uint32", "uint64"
        )
    ),
    "ObjectNode": frozenset(
        {
            *own_types.ESTIMATORS,
            *(trees for trees in own_types.ESTIMATORS.values() if trees is not None),
            *own_types.OTHERS,
            # Ours: these hold numbers, which their `checked` looks at.
            "common.boosted.BoostedClassifier",
            "common.boosted.BoostedRegressor",
            # Ours: these hold numbers, which `_check_adjusted` looks at.
            "common.adjusted.AdjustedClassifier",
            "common.adjusted.IntervalRegressor",
            # Ours: it indexes nothing, and asks of what a file says of it whether it is parts of dates, each once.
            "common.dates.DateParts",
            # Ours: it holds numbers, and sees before it multiplies them whether they go together.
            "common.texts.TextFeatures",
            "sklearn._loss.link.IdentityLink",
            "sklearn._loss.link.Interval",
            "sklearn._loss.link.LogLink",
            "sklearn._loss.link.LogitLink",
            "sklearn._loss.link.MultinomialLogit",
            "sklearn._loss.loss.AbsoluteError",
            "sklearn._loss.loss.HalfBinomialLoss",
            "sklearn._loss.loss.HalfGammaLoss",
            "sklearn._loss.loss.HalfMultinomialLoss",
            "sklearn._loss.loss.HalfPoissonLoss",
            "sklearn._loss.loss.HalfSquaredError",
            "sklearn._loss.loss.PinballLoss",
            "sklearn.compose._column_transformer.ColumnTransformer",
            "sklearn.ensemble._forest.RandomForestClassifier",
            "sklearn.ensemble._forest.RandomForestRegressor",
            "sklearn.ensemble._voting.VotingClassifier",
            "sklearn.ensemble._voting.VotingRegressor",
            "sklearn.frozen._frozen.FrozenEstimator",
            "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
            "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
            "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor",
            "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
            # Compares values with NaN: of all its columns, as training makes it, or of some by NumPy's checked indices.
            "sklearn.impute._base.MissingIndicator",
            "sklearn.impute._base.SimpleImputer",
            "sklearn.linear_model._base.LinearRegression",
            "sklearn.linear_model._logistic.LogisticRegression",
            "sklearn.linear_model._ridge.Ridge",
            "sklearn.model_selection._split.KFold",
            "sklearn.pipeline.Pipeline",
            "sklearn.preprocessing._data.StandardScaler",
            "sklearn.preprocessing._encoders.OneHotEncoder",
            "sklearn.preprocessing._encoders.OrdinalEncoder",
            "sklearn.preprocessing._function_transformer.FunctionTransformer",
            "sklearn.preprocessing._label.LabelEncoder",
            "sklearn.preprocessing._target_encoder.TargetEncoder",
            "sklearn.tree._classes.DecisionTreeClassifier",
            "sklearn.tree._classes.DecisionTreeRegressor",
        }
    ),
    "PartialNode": frozenset({"functools.partial"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "TreeNode": frozenset({"sklearn.tree._tree.Tree"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "TypeNode": frozenset({"builtins.int", "builtins.str", "numpy.float32", "numpy.float64"}),
}  # fmt: skip


_FEATURES = "sklearn.compose._column_transformer.ColumnTransformer"
_BLENDS = frozenset({"sklearn.ensemble._voting.VotingClassifier", "sklearn.ensemble._voting.VotingRegressor"})
_BOOSTED = ("common.boosted.BoostedClassifier", "common.boosted.BoostedRegressor")
_FROZEN = "sklearn.frozen._frozen.FrozenEstimator"
ESTIMATORS: Mapping[str, str | None] = {
    "sklearn.linear_model._base.LinearRegression": None,
    "sklearn.linear_model._logistic.LogisticRegression": None,
    "sklearn.linear_model._ridge.Ridge": None,
    "sklearn.ensemble._forest.RandomForestClassifier": "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.ensemble._forest.RandomForestRegressor": "sklearn.tree._classes.DecisionTreeRegressor",
    **{
        f"sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoosting{kind}": (
            "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
        )
        for kind in ("Classifier", "Regressor")
    },
    # Their trees are arrays of their own, of no type that a file could put in their place.
    **dict.fromkeys(_BOOSTED),
    **own_types.ESTIMATORS,
}
"""What a pipeline of ours ends in, and what its trees are: nothing else that holds trees is looked into."""
_ADJUSTED: Mapping[str, str] = {
    "common.adjusted.AdjustedClassifier": "predict_proba",
    "common.adjusted.IntervalRegressor": "predict",
}
"""What may stand around that, and what the estimator within has to be able to do."""


def save_model(pipeline: Pipeline, path: Path) -> Path:
    """Save a fitted pipeline with skops, and return the path.

    The same pipeline is the same file, to the last byte: what skops names by addresses in memory is numbered in the
    order of its first appearance, and the times in the archive are fixed.
    """
    import skops.io  # noqa: PLC0415 (data preparation, whose image has the same package, does without it)

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(pipeline))) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        numbers: dict[int, int] = {}
        files: dict[str, str] = {}
        for node in _nodes(schema):
            if "__id__" in node:
                node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
            if "file" in node:
                node["file"] = files.setdefault(node["file"], f"{len(files)}.npy")
        with zipfile.ZipFile(path, "w") as numbered:
            for old, new in files.items():
                numbered.writestr(zipfile.ZipInfo(new, _LONG_AGO), archive.read(old))
            numbered.writestr(zipfile.ZipInfo(_SCHEMA, _LONG_AGO), json.dumps(schema))
    return path


def load_model(path: Path) -> Pipeline:
    """Load a pipeline that `save_model` has written; whoever calls knows where the file comes from, by its digest.

    Raises
    ------
    UntrustedModelError
        If the file is no skops file, holds a type that pipelines of this project do not, or trees that point anywhere
        else than into themselves.
    """
    import skops.io  # noqa: PLC0415 (as above)

    with _unreadable_is_untrusted():
        blends = _check_archive(path)
        pipeline = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    with _unreadable_is_untrusted():
        inner = estimator_of(pipeline) if _is_pipeline(pipeline) else None
        # Among the features one would predict, too, by trees that nobody looks at below.
        if blends != (_name_of(inner) in _BLENDS):
            raise UntrustedModelError("The model file holds a blend where training puts none.")
        for each in pipelines_of(pipeline):
            _check_pipeline(each)
        if _is_pipeline(pipeline):
            _check_adjusted(pipeline["model"])
    return pipeline


def pipelines_of(pipeline: Pipeline) -> list[Pipeline]:
    """Return the members of a fitted blend; any other pipeline alone.

    Raises
    ------
    UntrustedModelError
        If members are something else than frozen.
    """
    estimator: Any = estimator_of(pipeline) if _is_pipeline(pipeline) else None
    if _name_of(estimator) not in _BLENDS:
        return [pipeline]
    if any(_name_of(each) != _FROZEN for each in estimator.estimators_):
        raise UntrustedModelError("The model file holds a blend of something else than trained pipelines.")
    return [each.estimator for each in estimator.estimators_]


def _is_pipeline(pipeline: Any) -> bool:
    from sklearn.pipeline import Pipeline  # noqa: PLC0415 (as above)

    fits = type(pipeline) is Pipeline and [name for name, _ in pipeline.steps] == ["features", "model"]
    return fits and _name_of(pipeline["features"]) == _FEATURES


def _check_pipeline(pipeline: Any) -> None:
    """Refuse what training does not make; a pipeline within a blend is no blend."""
    estimator: Any = estimator_of(pipeline) if _is_pipeline(pipeline) else None
    if _name_of(estimator) not in ESTIMATORS:
        raise UntrustedModelError("The model file holds no pipeline of features and a model, as training makes it.")
    _check_trees(estimator)
    if "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=None)


def estimator_of(pipeline: Pipeline) -> Any:
    """Return the estimator that a pipeline ends in, without what its errors have taught (`common.adjusted`)."""
    model = pipeline.steps[-1][1]
    return model.estimator if _name_of(model) in _ADJUSTED else model


def _check_adjusted(model: Any) -> None:
    """Refuse a calibration, a decision or an interval that training does not make."""
    needed = _ADJUSTED.get(_name_of(model))
    if needed is None:
        return
    if not hasattr(model.estimator, needed) or hasattr(model.estimator, "predict_proba") != (needed == "predict_proba"):
        raise UntrustedModelError("The model file adjusts an estimator of another kind.")
    # Of its type: an object of a file may have attributes of any name.
    type(model).checked(model)


def _name_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every node of a schema in the order in which it is written, without a limit to how deep they nest."""
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left += reversed(node.values())
        elif isinstance(node, list):
            left += reversed(node)


def _check_archive(path: Path) -> int:
    """Refuse an archive that unpacks to more than it is, arrays larger than their files, and types of no pipeline.

    Return how many blends it holds.
    """
    with zipfile.ZipFile(path) as archive:
        members = {each.filename: each for each in archive.infolist()}
        odd = [name for name in members if name != _SCHEMA and not _FILE.fullmatch(name)]
        stored = all(each.compress_type == zipfile.ZIP_STORED for each in members.values())
        unpacked = sum(each.file_size for each in archive.infolist())
        if odd or not stored or len(members) != len(archive.infolist()) or unpacked > path.stat().st_size:
            raise UntrustedModelError("The model file is no archive as training writes it.")
        schema = json.loads(archive.read(_SCHEMA))
        untrusted: dict[str, None] = {}
        blends = 0
        for node in _nodes(schema):
            if "__loader__" in node:
                name = f"{node.get('__module__')}.{node.get('__class__')}"
                blends += name in _BLENDS
                if name not in ALLOWED.get(str(node["__loader__"]), ()):
                    untrusted[name] = None
            if "file" in node and node["file"] not in members:
                raise UntrustedModelError(f"The model file lacks {node['file']!r}.")
        if untrusted:
            raise UntrustedModelError(
                f"The model file holds {first_few(untrusted)}, which is not in the list of trusted types: train the "
                "model with this project, or review the type and add it to common/own_types.py."
            )
        for name, member in members.items():
            if name != _SCHEMA:
                _check_array(archive, member)
    return blends


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """See that an array is as large as its file says: NumPy takes the memory before it reads."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(stream)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject or stream.tell() + size != member.file_size:
            raise UntrustedModelError(f"The model file's array {member.filename} is not as large as it says.")


@contextmanager
def _unreadable_is_untrusted() -> Iterator[None]:
    """Name the error: a damaged file, or one of other versions of the libraries, makes skops fail in any way."""
    try:
        yield
    except UntrustedModelError:
        raise
    except Exception as error:
        name = type(error).__name__
        raise UntrustedModelError(f"The model file cannot be read as a skops file ({name}: {error}).") from error


# Trees: scikit-learn follows their indices without a look at bounds.


def _check_trees(estimator: Any) -> None:
    """Refuse trees whose nodes lead out of them, or back, or to a feature that is none."""
    if _name_of(estimator) in _BOOSTED:
        # Of its type: an object of a file may have attributes of any name.
        type(estimator).checked(estimator)
        return
    kind = ESTIMATORS[_name_of(estimator)]
    predictors = [each for iteration in getattr(estimator, "_predictors", ()) for each in iteration]
    trees = list(getattr(estimator, "estimators_", ()))
    if any(_name_of(each) != kind for each in (*trees, *predictors)):
        raise UntrustedModelError("The model file holds trees of another kind than its model has.")
    for tree in trees:
        _check_tree(tree.tree_, estimator.n_features_in_)
    if predictors:
        _check_bins(estimator)
    for predictor in predictors:
        _check_predictor(predictor, estimator.n_features_in_)


def _check_tree(tree: Tree, features: int) -> None:
    # The number of nodes is an attribute of its own, by which the arrays are made that are looked at below.
    if tree.node_count < 1 or tree.capacity != tree.node_count:
        raise UntrustedModelError("The model file holds a tree with another number of nodes than it says.")
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    _check_children(left[inner], right[inner], np.flatnonzero(inner), tree.node_count)
    if (right[~inner] != -1).any():
        raise UntrustedModelError("The model file holds a tree with half a leaf.")
    _check_features(tree.feature[inner], features)


def _check_predictor(predictor: Any, features: int) -> None:
    nodes, bitsets = predictor.nodes, predictor.raw_left_cat_bitsets
    inner = nodes["is_leaf"] == 0
    _check_children(nodes["left"][inner], nodes["right"][inner], np.flatnonzero(inner), len(nodes))
    _check_features(nodes["feature_idx"][inner], features)
    categorical = inner & (nodes["is_categorical"] != 0)
    if bitsets.ndim != 2 or bitsets.shape[1] != 8 or (nodes["bitset_idx"][categorical] >= len(bitsets)).any():
        raise UntrustedModelError("The model file holds a tree whose categories are not there.")


def _check_bins(estimator: Any) -> None:
    """Refuse categories beyond 255: for each a bit is set, wherever that is."""
    mapper, features = estimator._bin_mapper, estimator.n_features_in_
    is_categorical = np.asarray(mapper.is_categorical_)
    if is_categorical.shape != (features,) or len(mapper.bin_thresholds_) != features:
        raise UntrustedModelError("The model file holds bins of another number of features.")
    for feature in np.flatnonzero(is_categorical):
        known = np.asarray(mapper.bin_thresholds_[feature])
        if not ((known >= 0) & (known <= 255)).all():
            raise UntrustedModelError("The model file holds a category that has no bin.")


def _check_children(left: npt.NDArray[Any], right: npt.NDArray[Any], parents: npt.NDArray[np.intp], nodes: int) -> None:
    """See that every child stands behind its parent, so that each path ends, and within the tree."""
    for children in (left, right):
        wide = children.astype(np.int64)
        if not ((wide > parents) & (wide < nodes)).all():
            raise UntrustedModelError("The model file holds a tree whose nodes lead out of it, or back.")


def _check_features(found: npt.NDArray[Any], features: int) -> None:
    wide = found.astype(np.int64)
    if not ((wide >= 0) & (wide < features)).all():
        raise UntrustedModelError("The model file holds a tree that asks for a feature that is not there.")
