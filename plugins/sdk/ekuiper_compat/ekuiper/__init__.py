"""Thalweg's own module `ekuiper`: the names that portable plugins import, on the runtime of thalweg_sdk.

It needs nothing but Python 3.9 and its standard library. Plugins written for the package `ekuiper` from PyPI run on
it unchanged; the engine puts it first on PYTHONPATH unless `useBundledSdk` is false.
"""

from .function import Function
from .runtime import plugin
from .runtime.context import Context
from .runtime.plugin import PluginConfig
from .sink import Sink
from .source import Source

__all__ = ["plugin", "PluginConfig", "Source", "Sink", "Function", "Context"]

name = "ekuiper"
