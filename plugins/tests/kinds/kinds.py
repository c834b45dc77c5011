"""A test subject that shows what reaches Python. The file `caps` beside it, a JSON list, says which capabilities of the
SDK it has; without that file it has all."""

import json
import os
import signal
import sys

from ekuiper import Function, PluginConfig, plugin
from thalweg_sdk import Accumulator, aggregate
from thalweg_sdk import channel as sdk

NAME = os.path.splitext(os.path.basename(os.path.abspath(sys.argv[0])))[0]
HERE = os.path.dirname(os.path.abspath(sys.argv[0]))


def limit():
    """Takes away what the file does not name."""
    path = os.path.join(HERE, "caps")
    if os.path.exists(path):
        with open(path) as file:
            allowed = json.load(file)
        real = sdk.capabilities
        sdk.capabilities = lambda: [cap for cap in real() if cap in allowed]


def shown(value):
    """A value and its type."""
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return "%s %r" % (type(value).__name__, value)


class Tell(Function):
    """What its arguments are."""

    def exec(self, args, ctx):
        return shown(args)


class TellAll(Tell):
    """The same of groups."""

    def is_aggregate(self):
        return True


class Back(Function):
    """Its argument, but for words that make it do something else."""

    def exec(self, args, ctx):
        word = args[0]
        if word == "raise":
            raise ValueError("told to")
        if word == "nan":
            return float("nan")
        if word == "large":
            return 2**53 + 1
        if word == "half":
            return 0.5
        if word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "kill once":
            try:
                os.mkdir(os.path.join(HERE, "killed"))
            except FileExistsError:
                return "survived"
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "pid":
            return os.getpid()
        return word


class Count(Function):
    """How many rows this rule has had: it remembers."""

    def exec(self, args, ctx):
        n = ctx.state["n"] = ctx.state.get("n", 0) + 1
        if args[0] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    def save(self, ctx):
        """Nothing beside ctx.state."""

    def restore(self, ctx, saved):
        """Nothing beside ctx.state."""


@aggregate(name="joined")
class Joined(Accumulator):
    """The words of a group in their order."""

    def __init__(self):
        self.words = []

    def add(self, word):
        if word == "raise":
            raise ValueError("told to")
        if word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.words.append(word)

    def merge(self, other):
        self.words.extend(other.words)

    def finish(self):
        return " ".join(self.words)


if __name__ == "__main__":
    limit()
    functions = {"tell": Tell, "tellall": TellAll, "back": Back, "count": Count, "joined": lambda: Joined}
    made = {"%s_%s" % (NAME, name): (lambda kind=kind: kind()) for name, kind in functions.items()}
    plugin.start(PluginConfig(NAME, {}, {}, made))
