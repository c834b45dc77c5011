"""Trains the example model: which of three states is a pump in? Replace the data by your own, keep what is saved.

env/bin/python train.py [FOLDER]
"""

import json
import os
import pickle
import sys
from typing import Any, Tuple

FEATURES = ["temperature", "vibration", "current"]
# Mean and deviation of each feature in each state.
STATES = {
    "normal": ((60, 3), (1.0, 0.2), (8.0, 0.5)),
    "worn bearing": ((68, 4), (3.0, 0.6), (8.6, 0.6)),
    "dry": ((75, 5), (1.6, 0.4), (4.0, 0.5)),
}


def readings(n: int, seed: int) -> Tuple[Any, Any]:
    """Simulated readings with their states."""
    import numpy

    random = numpy.random.default_rng(seed)
    parts = [
        numpy.column_stack([random.normal(mean, deviation, n) for mean, deviation in features])
        for features in STATES.values()
    ]
    return numpy.vstack(parts), numpy.repeat(list(STATES), n)


def train(folder: str) -> float:
    """Writes model.pkl and model.json; the share of right answers for readings that it has not seen."""
    import sklearn
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(*readings(500, 1))
    score = float(model.score(*readings(200, 2)))
    with open(os.path.join(folder, "model.pkl"), "wb") as file:
        pickle.dump(model, file)
    about = {"features": FEATURES, "scikit_learn": sklearn.__version__, "accuracy": round(score, 3)}
    with open(os.path.join(folder, "model.json"), "w", encoding="utf-8") as file:
        json.dump(about, file, indent=2)
    return score


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    print("right for %.1f %% of new readings" % (100 * train(target)))
