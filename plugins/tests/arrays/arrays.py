"""A test subject whose functions take and return arrays of pyarrow. The file `caps` beside it, a JSON list, says which
capabilities of the SDK it has; without that file it has all."""

import json
import os
import sys

from thalweg_sdk import aggregate, arrow, function, run
from thalweg_sdk import channel as sdk

NAME = os.path.splitext(os.path.basename(os.path.abspath(sys.argv[0])))[0]
CAPS = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "caps")

if os.path.exists(CAPS):
    with open(CAPS) as file:
        allowed = json.load(file)
    real = sdk.capabilities
    sdk.capabilities = lambda: [cap for cap in real() if cap in allowed]


class Counted(arrow.Arguments):
    """Knows how many streams were read."""

    n_streams = 0

    def __init__(self, *args):
        super().__init__(*args)
        Counted.n_streams += 1


arrow.Arguments = Counted


@function(name=NAME + "_streams")
def streams(word):
    """How many Arrow streams have come, none of them for this function."""
    return Counted.n_streams


@function(name=NAME + "_kind", vector="arrow")
def kind(x):
    """The type of the array and the values in it."""
    return ["%s %s" % (x.type, value.as_py()) for value in x]


@function(name=NAME + "_back", vector="arrow")
def back(x):
    """The array itself, after pyarrow has looked at all of it."""
    x.validate(full=True)
    return x


@function(name=NAME + "_twice", vector="arrow")
def twice(x, factor):
    """As many numbers, each computed by pyarrow."""
    import pyarrow.compute

    return pyarrow.compute.multiply(x, factor)


@function(name=NAME + "_small", vector="arrow")
def small(x):
    """Types that the engine does not have."""
    import pyarrow

    if pyarrow.types.is_string(x.type):
        return x.dictionary_encode()
    if pyarrow.types.is_boolean(x.type):
        return pyarrow.chunked_array([x.cast(pyarrow.int8())])
    return pyarrow.array([None if value is None else {"n": value} for value in x.to_pylist()])


@function(name=NAME + "_picky", vector="arrow")
def picky(x):
    """Nothing but sevens make it fail."""
    if 7 in x.to_pylist():
        raise ValueError("a seven")
    return x


@aggregate(name=NAME + "_total", vector="arrow")
def total(xs, ws):
    """The sum of each group's products: one array of lists for each argument."""
    import pyarrow.compute

    products = pyarrow.compute.multiply(xs.flatten(), ws.flatten())
    ends = xs.offsets.to_pylist()
    return pyarrow.array([pyarrow.compute.sum(products[a:b]).as_py() for a, b in zip(ends, ends[1:])])


@aggregate(name=NAME + "_lists", vector="arrow")
def lists(xs):
    """The lists themselves, after pyarrow has looked at all of them."""
    xs.validate(full=True)
    return xs


if __name__ == "__main__":
    run(NAME, streams, kind, back, twice, small, picky, total, lists)
