"""The plugin's main program calls start, which does not return while the engine lives."""

import json
import logging
import os
import signal
import sys
import threading
import traceback
from typing import Any, Callable, Dict, Optional

from . import log, sp
from .api import Accumulator, Function, FunctionOf, Maker, Sink, Source
from .channel import capabilities, greeting
from .symbol import Engine, FunctionSymbol, SinkSymbol, SourceSymbol, Symbol, key_of
from .values import to_json


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

    def get(self, plugin_type: str, symbol_name: str) -> Any:
        """The maker of a symbol; a KeyError if there is no such symbol, None if there is no such type."""
        kinds = {"source": self.sources, "sink": self.sinks, "func": self.functions}
        kind = kinds.get(plugin_type)
        return None if kind is None else kind[symbol_name]


def config_of(name: str, *symbols: Any) -> PluginConfig:
    """Sorts decorated functions and classes by what they are."""
    config = PluginConfig(name, {}, {}, {})
    for symbol in symbols:
        kind, own_name = kind_of(symbol), getattr(symbol, "name", None) or getattr(symbol, "__name__", None)
        if kind is None or not isinstance(own_name, str):
            raise TypeError("%r is no function, source or sink: decorate it or derive it from one" % (symbol,))
        {"function": config.functions, "source": config.sources, "sink": config.sinks}[kind][own_name] = symbol
    return config


def kind_of(symbol: Any) -> Optional[str]:
    """What a class, an instance or something decorated is in SQL; None if it is none of ours."""
    if isinstance(symbol, Maker):
        return symbol.kind
    kinds = (("function", (Function, FunctionOf, Accumulator)), ("source", Source), ("sink", Sink))
    for kind, parents in kinds:
        if issubclass(symbol, parents) if isinstance(symbol, type) else isinstance(symbol, parents):
            return kind
    return None


_KINDS = {"source": SourceSymbol, "sink": SinkSymbol, "func": FunctionSymbol}


class Control:
    """Carries out the engine's commands, one after the other."""

    def __init__(self, config: PluginConfig):
        self._config = config
        self._running: Dict[str, Symbol] = {}
        self._engine = Engine()
        self._commands: Dict[str, Callable[[dict], sp.Answer]] = {
            "start": self._start,
            "stop": self._stop,
            "hello": self._hello,
            "ping": self._ping,
            "credit": self._credit,
            "save": self._save,
            "shutdown": self._shutdown,
        }

    def greeting(self) -> bytes:
        """The first request on the control channel."""
        sinks = {}
        for name, maker in self._config.sinks.items():
            sinks[name] = {"rows": hasattr(maker, "collect_batch") or isinstance(maker, Maker)}
        known = {"sources": list(self._config.sources), "sinks": sinks, "functions": list(self._config.functions)}
        document = {"plugin": self._config.name, "symbols": known}
        return greeting({**document, "caps": _control_caps()})

    def answer(self, request: sp.Message) -> sp.Answer:
        """The answer to one command."""
        try:
            command = json.loads(request)
            carry_out = self._commands.get(command["cmd"])
            return carry_out(json.loads(command["arg"])) if carry_out else b"ok"
        except Exception:
            return traceback.format_exc().encode()
        except SystemExit as error:
            return ("Traceback (most recent call last): …\nSystemExit: exit(%s) was called" % error.code).encode()

    def _start(self, control: dict) -> bytes:
        maker = self._config.get(control["pluginType"], control["symbolName"])
        if maker is None:
            return b"symbol not found"
        if key_of(control) in self._running:
            self._stop(control)
        _KINDS[control["pluginType"]](self._running, control, maker, self._engine).start()
        return b"ok"

    def _stop(self, control: dict) -> bytes:
        symbol = self._running.get(key_of(control))
        if symbol is not None:
            symbol.stop()
        return b"ok"

    def _hello(self, document: dict) -> bytes:
        offered = document.get("caps", [])
        self._engine.caps = [cap for cap in _control_caps() if cap in offered]
        self._engine.surroundings.take_in(document)
        return b"ok"

    def _ping(self, _: dict) -> bytes:
        changed = []
        for symbol in list(self._running.values()):
            context = symbol.context
            if context is not None and context.metrics.is_changed:
                meta = {"ruleId": context.get_rule_id(), "opId": context.get_op_id()}
                changed.append({**meta, **context.metrics.take_changed()})
        return b"ok " + to_json({"metrics": changed}).encode() if changed else b"ok"

    def _credit(self, grant: dict) -> bytes:
        for symbol in self._sources_of(grant):
            symbol.outlet.grant(int(grant["rows"]))
        return b"ok"

    def _save(self, request: dict) -> bytes:
        for symbol in self._sources_of(request):
            symbol.outlet.save(request.get("epoch"))
            return b"ok"
        return b"source not found"

    def _sources_of(self, document: dict) -> Any:
        """The sources that a command speaks of by their meta."""
        wanted = [document["meta"][key] for key in ("ruleId", "opId", "instanceId")]
        for symbol in list(self._running.values()):
            context = symbol.context
            if isinstance(symbol, SourceSymbol) and context is not None:
                if [context.get_rule_id(), context.get_op_id(), context.get_instance_id()] == wanted:
                    yield symbol

    def _shutdown(self, _: dict) -> sp.Answer:
        self.stop_all()
        return sp.Last([b"ok"])

    def stop_all(self) -> None:
        """Ends all symbols."""
        for symbol in list(self._running.values()):
            symbol.stop()


def _control_caps() -> list:
    return [cap for cap in capabilities() if cap not in ("shm", "arrow", "acc")] + ["credit", "eof", "shutdown"]


def start(config: PluginConfig, set_up_log: Callable[[], None] = log.log_as_json) -> None:
    """Serves the engine. Returns after the engine's command to shut down; ends the process with status 1 when the
    engine goes away, with 0 on SIGTERM."""
    set_up_log()
    control = Control(config)

    def terminate(_signal: Any, _frame: Any) -> None:
        control.stop_all()
        sys.exit(0)

    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
    try:
        # A trial run stays out of the way of an engine that has the same plugin.
        path = os.environ.get("THALWEG_CONTROL") or sp.path_of("plugin_%s" % config.name)
        sp.Req(path).serve(control.answer, control.greeting())
    except OSError as error:
        logging.error("plugin %s: the engine is gone: %s", config.name, error)
        control.stop_all()
        sys.exit(1)


def run(name: str, *symbols: Any) -> None:
    """Serves decorated functions and classes under a plugin's name."""
    start(config_of(name, *symbols))
