"""A trained model and what is known of it, with no knowledge of SQL. It works on lists, and on arrays where numpy is."""

import json
import math
import os
import pickle
from typing import Any, List, Optional, Sequence

try:
    import numpy
except ImportError:
    # scikit-learn brings it along; a model without scikit-learn may do without.
    numpy = None


class Served:
    """`model.pkl` and `model.json` of one folder."""

    def __init__(self, folder: str):
        with open(os.path.join(folder, "model.json"), encoding="utf-8") as file:
            self.about = json.load(file)
        self.features: List[str] = self.about["features"]
        _check_version(self.about.get("scikit_learn"))
        # A pickle is a program: only what its own author trained belongs in the package.
        with open(os.path.join(folder, "model.pkl"), "rb") as file:
            self._model = pickle.load(file)

    def check(self, name: str, n_args: int) -> str:
        """What is wrong with a call; nothing if all is well."""
        if n_args == len(self.features):
            return ""
        return "%s takes the %d features of the model, not %d; use it as %s(%s)" % (
            name,
            len(self.features),
            n_args,
            name,
            ", ".join(self.features),
        )

    def predict(self, columns: Sequence[Any]) -> List[Any]:
        """The model's answer for each row; None for rows in which a feature is missing."""
        return self._ask(self._model.predict, columns)

    def probability(self, columns: Sequence[Any]) -> List[Any]:
        """For each row the probability of the likeliest class, or of the second one if there are two of them."""
        is_binary = len(self._model.classes_) == 2

        def ask(rows: Any) -> List[float]:
            return [float(row[1] if is_binary else max(row)) for row in self._model.predict_proba(rows)]

        return self._ask(ask, columns)

    @staticmethod
    def _ask(ask: Any, columns: Sequence[Any]) -> List[Any]:
        rows, complete = _rows_of(columns)
        answers: List[Any] = [None] * len(complete)
        if any(complete):
            found = ask(rows)
            found = iter(found.tolist() if hasattr(found, "tolist") else found)
            answers = [next(found) if is_complete else None for is_complete in complete]
        return answers


def _rows_of(columns: Sequence[Any]) -> Any:
    """The rows without gaps, as a matrix where numpy is, and for each row whether it is one of them."""
    if numpy is not None:
        matrix = numpy.column_stack([_numbers(column) for column in columns])
        complete = numpy.isfinite(matrix).all(axis=1)
        return matrix[complete], complete.tolist()
    rows = list(zip(*[[_number(value) for value in column] for column in columns]))
    complete = [all(math.isfinite(value) for value in row) for row in rows]
    return [list(row) for row, is_complete in zip(rows, complete) if is_complete], complete


def _numbers(column: Any) -> Any:
    if isinstance(column, numpy.ndarray) and column.dtype.kind in "fiu":
        return column.astype("f8")
    return numpy.array([_number(value) for value in column], dtype="f8")


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if numpy is None or not isinstance(value, numpy.number):
            raise TypeError("a feature must be a number, not %r" % (value,))
    return float(value)


def _check_version(trained: Optional[str]) -> None:
    """A model of another version of scikit-learn may answer differently without an error."""
    if trained is None:
        return
    try:
        import sklearn
    except ImportError:
        raise ImportError("the model needs scikit-learn %s, which is not installed: pip install scikit-learn==%s" % (trained, trained))
    if sklearn.__version__.split(".")[:2] != trained.split(".")[:2]:
        raise ImportError("the model was trained with scikit-learn %s, but %s is installed; train it again" % (trained, sklearn.__version__))
