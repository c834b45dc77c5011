"""A plugin that serves a model of scikit-learn as functions of SQL, many rows at a time."""

import functools
import os
from typing import Any, List, Sequence

import serving
from serving import Served
from thalweg_sdk import Context, Function, run

HERE = os.path.dirname(os.path.abspath(__file__))


@functools.lru_cache(maxsize=1)
def model() -> Served:
    """The model, loaded when it is first asked for."""
    return Served(HERE)


class OfModel(Function):
    """What is asked of the model for each row. Rows do not depend on each other."""

    parallel = True
    # Columns come as arrays where there is numpy, else as lists.
    vector = "numpy" if serving.numpy is not None else None
    name = ""

    def validate(self, args: List[Any]) -> str:
        """The number of features, and whether there is a model, when a rule is created."""
        try:
            return model().check(self.name, len(args))
        except Exception as error:
            return "%s: no model: %s" % (self.name, error)

    def exec(self, args: List[Any], ctx: Context) -> Any:
        """One row, of an engine that knows no batches."""
        return self.exec_batch([[arg] for arg in args], ctx)[0]

    def exec_batch(self, cols: Sequence[Any], ctx: Context) -> List[Any]:
        """All rows of a message in one call of the model."""
        return self.ask(model(), cols)

    def ask(self, served: Served, cols: Sequence[Any]) -> List[Any]:
        """The question."""
        raise NotImplementedError("ask")


class Predict(OfModel):
    """The class, or the number of a regression."""

    name = "model_predict"

    def ask(self, served: Served, cols: Sequence[Any]) -> List[Any]:
        """The answer for each row."""
        return served.predict(cols)


class Probability(OfModel):
    """How sure a classifier is."""

    name = "model_probability"

    def ask(self, served: Served, cols: Sequence[Any]) -> List[Any]:
        """The answer for each row."""
        return served.probability(cols)


if __name__ == "__main__":
    run("sklearn_model", Predict, Probability)
