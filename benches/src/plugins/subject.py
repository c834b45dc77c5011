"""What `bench plugins` calls."""

import os
import sys

import ekuiper
from ekuiper import PluginConfig, plugin

NAME = os.path.splitext(os.path.basename(os.path.abspath(sys.argv[0])))[0]


class Inc(ekuiper.Function):
    """A function of rows, written for the package from PyPI."""

    def validate(self, args):
        return ""

    def exec(self, args, ctx):
        return args[0] + 1

    def is_aggregate(self):
        return False


class Mean(ekuiper.Function):
    """An aggregate, written for the package from PyPI."""

    def validate(self, args):
        return ""

    def exec(self, args, ctx):
        xs = args[0]
        return sum(xs) / len(xs)

    def is_aggregate(self):
        return True


functions = {NAME + "_inc": lambda: Inc(), NAME + "_bundled": lambda: Mean()}

try:
    from thalweg_sdk import aggregate
except ImportError:
    # The package from PyPI has nothing like it.
    aggregate = None

if aggregate is not None:

    @aggregate(name=NAME + "_list")
    def mean(xs):
        """The mean of a list."""
        return sum(xs) / len(xs)

    functions[NAME + "_list"] = mean

    try:
        import numpy as np
    except ImportError:
        np = None

    if np is not None:

        @aggregate(name=NAME + "_group", vector="numpy")
        def mean_of_group(xs):
            """The mean of an array."""
            return xs.mean()

        @aggregate(name=NAME + "_all", vector="groups")
        def mean_of_all(values, offsets):
            """The means of all groups."""
            return np.add.reduceat(values, offsets[:-1]) / np.diff(offsets)

        functions[NAME + "_group"] = mean_of_group
        functions[NAME + "_all"] = mean_of_all

if __name__ == "__main__":
    plugin.start(PluginConfig(NAME, {}, {}, functions))
