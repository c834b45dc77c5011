"""The plugin's main program calls start, which does not return while the engine lives."""

import json
import logging
import signal
import sys
import threading
import traceback
from typing import Callable, Dict

from . import sp
from .symbol import FunctionSymbol, SinkSymbol, SourceSymbol, Symbol, key_of


class PluginConfig:
    """The plugin's name, which is that of its package, and what makes its symbols."""

    def __init__(
        self,
        name: str,
        sources: Dict[str, Callable],
        sinks: Dict[str, Callable],
        functions: Dict[str, Callable],
    ):
        self.name = name
        self.sources = sources
        self.sinks = sinks
        self.functions = functions

    def get(self, plugin_type: str, symbol_name: str):
        """The maker of a symbol; a KeyError if there is no such symbol, None if there is no such type."""
        kinds = {"source": self.sources, "sink": self.sinks, "func": self.functions}
        kind = kinds.get(plugin_type)
        return None if kind is None else kind[symbol_name]


_KINDS = {"source": SourceSymbol, "sink": SinkSymbol, "func": FunctionSymbol}


class _Control:
    """Carries out the engine's commands, one after the other, in the main thread."""

    def __init__(self, config: PluginConfig):
        self._config = config
        self._running: Dict[str, Symbol] = {}

    def answer(self, request: bytes) -> bytes:
        try:
            command = json.loads(request)
            control = json.loads(command["arg"])
            if command["cmd"] == "start":
                return self._start(control)
            if command["cmd"] == "stop":
                self._stop(control)
            return b"ok"
        except Exception:
            return traceback.format_exc().encode()

    def _start(self, control: dict) -> bytes:
        make = self._config.get(control["pluginType"], control["symbolName"])
        if make is None:
            return b"symbol not found"
        if key_of(control) in self._running:
            self._stop(control)
        _KINDS[control["pluginType"]](self._running, control, make()).start()
        return b"ok"

    def _stop(self, control: dict) -> None:
        symbol = self._running.get(key_of(control))
        if symbol is not None:
            symbol.stop()

    def stop_all(self) -> None:
        for symbol in list(self._running.values()):
            symbol.stop()


def start(config: PluginConfig) -> None:
    """Serves the engine. Ends the process with status 1 when the engine goes away, with 0 on SIGTERM."""
    _log_to_stdout()
    control = _Control(config)

    def terminate(_signal, _frame):
        control.stop_all()
        sys.exit(0)

    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
    try:
        sp.Req("/tmp/plugin_%s.ipc" % config.name).serve(control.answer)
    except OSError as error:
        logging.error("plugin %s: the engine is gone: %s", config.name, error)
        control.stop_all()
        sys.exit(1)


def _log_to_stdout() -> None:
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
