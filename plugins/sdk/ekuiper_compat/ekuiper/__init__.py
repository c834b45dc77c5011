"""Thalweg's own module `ekuiper`: the classes and the start function that portable plugins import.

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
