"""Fits one library's default model to tables and prints what each is worth: `quality_peers.py CONTESTANT`.

A line of stdin is a table, as a JSON object with the parameters of `evaluate`; a line of stdout is what it has led to.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd

from common.metrics import Predictions, metrics_of

MOST_CATEGORIES = 255
"""HistGradientBoosting takes no more categories of a column; the codes of others are numbers to it."""


def mean_or_prior(problem, _seed, _seconds):
    """Predict the mean of the target, or the shares of its classes."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    return DummyRegressor() if problem == "regression" else DummyClassifier(strategy="prior")


def sklearn_boosting(problem, seed, _seconds):
    """Make scikit-learn's histogram boosting, with categories as the frame has them."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor if problem == "regression" else HistGradientBoostingClassifier
    return model(categorical_features="from_dtype", random_state=seed)


def skrub(problem, seed, _seconds):
    """Make skrub's pipeline for tables, which ends in scikit-learn's histogram boosting."""
    from skrub import tabular_pipeline

    pipeline = tabular_pipeline("regressor" if problem == "regression" else "classifier", n_jobs=1)
    pipeline[-1].set_params(random_state=seed)
    return pipeline


def lightgbm(problem, seed, _seconds):
    """Make LightGBM's model with its defaults."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    model = LGBMRegressor if problem == "regression" else LGBMClassifier
    return model(n_jobs=1, random_state=seed, verbosity=-1)


def xgboost(problem, seed, _seconds):
    """Make XGBoost's model with its defaults."""
    from xgboost import XGBClassifier, XGBRegressor

    model = XGBRegressor if problem == "regression" else XGBClassifier
    return model(enable_categorical=True, n_jobs=1, random_state=seed)


def catboost(problem, seed, _seconds):
    """Make CatBoost's model with its defaults."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    model = CatBoostRegressor if problem == "regression" else CatBoostClassifier
    return model(thread_count=1, random_seed=seed, verbose=False, allow_writing_files=False)


def flaml(problem, seed, seconds):
    """Make FLAML's search, with its own choice of models and so many seconds."""
    import flaml

    task = "regression" if problem == "regression" else "classification"
    metric = {"regression": "rmse", "binary": "roc_auc", "multiclass": "log_loss"}[problem]
    search = {"task": task, "metric": metric, "time_budget": seconds, "n_jobs": 1, "seed": seed}
    return flaml.AutoML(**search, verbose=0, log_file_name="")


CONTESTANTS = {
    make.__name__: make for make in (mean_or_prior, sklearn_boosting, skrub, lightgbm, xgboost, catboost, flaml)
}


def features_of(frame, train, contestant):
    """Return the features as the contestant takes them: texts as categories that the training part has."""
    features = frame.rename(columns={name: f"x{number}" for number, name in enumerate(frame.columns)})
    if contestant == "skrub":
        return features
    texts = features.select_dtypes(["str", "object", "bool"]).columns
    if contestant == "catboost":
        return features.assign(**{name: features[name].astype("str").fillna("missing") for name in texts})
    for name in texts:
        levels = sorted(features.loc[train, name].dropna().unique())
        features[name] = pd.Categorical(features[name], levels)
        if contestant == "sklearn_boosting" and len(levels) > MOST_CATEGORIES:
            codes = features[name].cat.codes
            features[name] = codes.where(codes >= 0).astype("float64")
    return features


def evaluate(contestant, path, target, problem, seed, seconds):
    """Return the metrics on the test part, and the processor seconds of the fit."""
    frame = pd.read_csv(path)
    train = (frame[f"split_{seed}"] == "train").to_numpy()
    splits = [name for name in frame.columns if name.startswith("split_")]
    features = features_of(frame.drop(columns=[target, *splits]), train, contestant)
    # All take whole numbers from 0 for classes, and not all take texts.
    values = frame[target].to_numpy()
    values = values.astype("float64") if problem == "regression" else np.unique(values, return_inverse=True)[1]
    model = CONTESTANTS[contestant](problem, seed, seconds)
    options = {}
    if contestant == "catboost":
        options["cat_features"] = list(features.select_dtypes(["str", "object"]).columns)
    started, on_clock = time.process_time(), time.perf_counter()
    model.fit(features[train], values[train], **options)
    took = {"fit_seconds": time.process_time() - started, "fit_elapsed": time.perf_counter() - on_clock}
    if problem == "regression":
        predictions = Predictions(np.asarray(model.predict(features[~train]), np.float64))
    else:
        outputs = np.asarray(model.predict_proba(features[~train]), np.float64)
        # float32 probabilities add up to one less exactly than the metric asks for.
        predictions = Predictions(outputs / outputs.sum(axis=1, keepdims=True), np.unique(values[train]))
    return {"metrics": metrics_of(predictions, values[~train])[0], **took}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for job in sys.stdin:
        print(json.dumps(evaluate(sys.argv[1], **json.loads(job))), flush=True)
