"""Running symbols: a thread each."""

import json
import logging
import threading
import traceback
from typing import Dict

from . import sp
from .context import Context

# Contexts of rules that are long gone are forgotten together when there are this many.
_MAX_CONTEXTS = 10_000


def key_of(control: dict) -> str:
    """What tells a running symbol from others."""
    if control["pluginType"] == "func":
        return "func " + control["symbolName"]
    return "{ruleId} {opId} {instanceId} ".format(**control["meta"]) + control["symbolName"]


def channel_of(control: dict) -> str:
    """The path of a source's or sink's data, without its end."""
    meta = control["meta"]
    if not meta["ruleId"] or not meta["opId"]:
        raise ValueError("ruleId and opId must not be empty")
    return "/tmp/{ruleId}_{opId}_{instanceId}".format(**meta)


class Symbol:
    """The life of one symbol. Whatever ends it, it is closed once."""

    def __init__(self, running: Dict[str, "Symbol"], key: str):
        self._running = running
        self._key = key
        self._lock = threading.RLock()
        self._stopped = False

    def start(self) -> None:
        before = self._running.get(self._key)
        if before is not None:
            before.stop()
        self._running[self._key] = self
        threading.Thread(target=self._guarded, name=self._key, daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        try:
            self.close()
        except Exception:
            logging.error("while closing %s: %s", self._key, traceback.format_exc())
        finally:
            self.hang_up()
            if self._running.get(self._key) is self:
                del self._running[self._key]

    def _guarded(self) -> None:
        try:
            self.run()
        except Exception:
            if not self._stopped:
                logging.error("%s ended: %s", self._key, traceback.format_exc())
        finally:
            self.stop()

    def run(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Tells the plugin's object."""

    def hang_up(self) -> None:
        raise NotImplementedError


class FunctionSymbol(Symbol):
    """Answers calls."""

    def __init__(self, running, control: dict, function):
        super().__init__(running, key_of(control))
        self._function = function
        self._channel = sp.Req("/tmp/func_%s.ipc" % control["symbolName"])
        self._contexts: Dict[str, Context] = {}

    def run(self) -> None:
        try:
            self._channel.serve(self._answer)
        except ConnectionError:
            logging.debug("%s: the engine has closed the channel", self._key)

    def hang_up(self) -> None:
        self._channel.close()

    def _answer(self, request: bytes) -> bytes:
        try:
            call = json.loads(request)
            state, result = self._call(call["func"], call["arg"])
            return json.dumps({"state": state, "result": result}).encode()
        except Exception:
            return json.dumps({"state": False, "result": traceback.format_exc()}).encode()

    def _call(self, name: str, arg):
        if name == "Exec":
            if not isinstance(arg, list) or not arg:
                return False, "invalid arg"
            return True, self._function.exec(arg[:-1], self._context(arg[-1]))
        if name == "Validate":
            error = self._function.validate(arg)
            return error == "", error
        if name == "IsAggregate":
            return True, self._function.is_aggregate()
        return False, "invalid func %s" % name

    def _context(self, text: str) -> Context:
        context = self._contexts.get(text)
        if context is None:
            meta = json.loads(text)
            missing = [key for key in ("ruleId", "opId", "instanceId", "funcId") if key not in meta]
            if missing:
                raise ValueError("the call's context lacks " + ", ".join(missing))
            if len(self._contexts) >= _MAX_CONTEXTS:
                self._contexts.clear()
            context = self._contexts[text] = Context(meta)
        return context


class SourceSymbol(Symbol):
    """Runs a source's open."""

    def __init__(self, running, control: dict, source):
        super().__init__(running, key_of(control))
        path = channel_of(control) + ".ipc"
        source.configure(control.get("datasource", ""), control.get("config") or {})
        self._source = source
        self._data = sp.Push(path)
        self._context = Context(control["meta"], self._data.send)

    def run(self) -> None:
        self._source.open(self._context)

    def close(self) -> None:
        self._source.close(self._context)

    def hang_up(self) -> None:
        self._data.close()


class SinkSymbol(Symbol):
    """Hands messages to a sink."""

    def __init__(self, running, control: dict, sink):
        super().__init__(running, key_of(control))
        path = channel_of(control)
        sink.configure(control.get("config") or {})
        self._sink = sink
        self._data = sp.Pull(path + ".ipc")
        try:
            self._ack = sp.Push(path + "_ack.ipc")
        except OSError:
            self._data.close()
            raise
        self._context = Context(control["meta"], self._ack.send)

    def run(self) -> None:
        self._sink.open(self._context)
        while True:
            self._sink.collect(self._context, self._data.recv())

    def close(self) -> None:
        self._sink.close(self._context)

    def hang_up(self) -> None:
        self._data.close()
        self._ack.close()
