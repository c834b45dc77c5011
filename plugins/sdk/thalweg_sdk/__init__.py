"""Thalweg's SDK for plugins in Python: functions, aggregates, sources and sinks for SQL rules.

It needs nothing but Python 3.9 and its standard library; numpy and pyarrow are used where they are installed.
"""

from .api import Accumulator, Function, Sink, Source, aggregate, function, sink, source
from .context import Context
from .log import Secret
from .plugin import PluginConfig, run, start

__version__ = "0.1.0"
__all__ = [
    "Accumulator",
    "Context",
    "Function",
    "PluginConfig",
    "Secret",
    "Sink",
    "Source",
    "aggregate",
    "function",
    "run",
    "sink",
    "source",
    "start",
]
