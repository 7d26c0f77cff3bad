"""What the delivery knows of a function: its name. docs/delivery-setup.md has the contract that follows.

It needs nothing but Python, for `compose_sources.py` runs before the environment is made.
"""

from __future__ import annotations

FUNCTIONS = {
    "data_preparation": "DataPreparation",
    "model_training": "ModelTraining",
    "model_evaluation": "ModelEvaluation",
    "scoring": "Scoring",
}
"""The folder of each function below functions/, and how releases, parameters and logical ids call it."""
STEPS = ("data_preparation", "model_training", "model_evaluation")
"""Those of them that a run calls, in their order: what they have made, a model's lineage tells."""
