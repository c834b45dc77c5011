"""Running symbols: a thread each."""

import base64
import json
import logging
import threading
import traceback
from typing import Any, Dict, List, Optional

from . import frames, sp
from .api import Sink, make
from .calls import error_text
from .channel import FunctionChannel
from .context import Context, Surroundings
from .outlet import Outlet
from .values import to_json

# How long the end of a function waits for the call in hand.
_PATIENCE = 1.0


class Engine:
    """What the engine has said about itself on the control channel. An engine that has said nothing gets the old
    protocol."""

    def __init__(self) -> None:
        self.caps: List[str] = []
        self.surroundings = Surroundings()


def key_of(control: dict) -> str:
    """What tells a running symbol from others."""
    if control["pluginType"] == "func":
        return "func " + control["symbolName"]
    return "{ruleId} {opId} {instanceId} ".format(**control["meta"]) + control["symbolName"]


def channel_of(control: dict) -> str:
    """The name of the socket of a source's or sink's data."""
    meta = control["meta"]
    if not meta["ruleId"] or not meta["opId"]:
        raise ValueError("ruleId and opId must not be empty")
    return "{ruleId}_{opId}_{instanceId}".format(**meta)


class Symbol:
    """The life of one symbol. Whatever ends it, it is closed once."""

    context: Any = None

    def __init__(self, running: Dict[str, "Symbol"], control: dict):
        self._running = running
        self._key = key_of(control)
        self._lock = threading.RLock()
        self._stopped = False

    def start(self) -> None:
        """Runs it on a thread of its own."""
        before = self._running.get(self._key)
        if before is not None:
            before.stop()
        self._running[self._key] = self
        threading.Thread(target=self._guarded, name=self._key, daemon=True).start()

    def stop(self) -> None:
        """Ends it; the second time does nothing."""
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
        except BaseException:
            if not self._stopped:
                logging.error("%s ended: %s", self._key, traceback.format_exc())
        finally:
            self.stop()

    def run(self) -> None:
        """What the thread does."""
        raise NotImplementedError

    def close(self) -> None:
        """Tells the plugin's object."""

    def hang_up(self) -> None:
        """Closes the sockets."""
        raise NotImplementedError


class FunctionSymbol(Symbol):
    """Answers calls."""

    def __init__(self, running: Dict[str, Symbol], control: dict, maker: Any, engine: Engine):
        super().__init__(running, control)
        name = control["symbolName"]
        self._calls = FunctionChannel(make(maker, name), name, engine.surroundings)
        # Several processes that serve one function have a channel each.
        self._channel = sp.Req(sp.path_of("func_%s" % control.get("channel", name)))

    def run(self) -> None:
        """Serves until the engine closes the channel."""
        try:
            self._channel.serve(self._calls.answer, self._calls.greeting(), self._calls.sent)
        except ConnectionError:
            logging.debug("%s: the engine has closed the channel", self._key)

    def hang_up(self) -> None:
        """After the call in hand."""
        self._channel.close(0 if threading.current_thread().name == self._key else _PATIENCE)
        self._calls.close()


class SourceSymbol(Symbol):
    """Runs a source's open."""

    def __init__(self, running: Dict[str, Symbol], control: dict, maker: Any, engine: Engine):
        super().__init__(running, control)
        path = sp.path_of(channel_of(control))
        config = control.get("config") or {}
        self._source = source = make(maker)
        source.configure(control.get("datasource", ""), config)
        self._data = sp.Push(path)
        most = engine.surroundings.max_message
        credit, saves = control.get("credit", 0), bool(control.get("saves"))
        self.outlet = Outlet(self._data, engine.caps, self._save, credit, most, saves)
        name = control["symbolName"]
        self.context = Context(control["meta"], self.outlet.send, name, config, engine.surroundings)
        self.outlet.context = self.context
        saved = control.get("saved") or {}
        self.context.state = dict(saved.get("state", {}))
        self.outlet.restored(self.context.state, saved)
        if "own" in saved:
            source.restore(self.context, saved["own"])
        self._speaks_batches = "batch" in engine.caps

    def _save(self) -> Any:
        return self._source.save(self.context) if hasattr(self._source, "save") else None

    def run(self) -> None:
        """Ends with the source; an engine that understands it is told why."""
        try:
            self._source.open(self.context)
        except Exception as error:
            if self._speaks_batches and not self._stopped:
                self.outlet.send("error", error_text(error))
            raise
        if not self._stopped:
            self.outlet.end()

    def close(self) -> None:
        """Tells the source, from another thread."""
        self.context.stopping.set()
        self._source.close(self.context)

    def hang_up(self) -> None:
        """After the rows that wait."""
        self.outlet.close()
        self._data.close()


class SinkSymbol(Symbol):
    """Hands messages to a sink."""

    def __init__(self, running: Dict[str, Symbol], control: dict, maker: Any, engine: Engine):
        super().__init__(running, control)
        name = channel_of(control)
        config = control.get("config") or {}
        self._sink = sink = make(maker)
        sink.configure(config)
        # An engine that batches sends nothing but batches.
        self._gets_batches = "batch" in engine.caps
        self._takes_rows = hasattr(sink, "collect_batch")
        self._takes_bytes = not self._takes_rows or getattr(type(sink), "collect", None) is not Sink.collect
        self._outcome: Optional[str] = None
        self._data = sp.Pull(sp.path_of(name))
        try:
            self._ack = sp.Push(sp.path_of(name + "_ack"))
        except OSError:
            self._data.close()
            raise
        name = control["symbolName"]
        self.context = Context(control["meta"], self._reply, name, config, engine.surroundings)

    def _reply(self, what: str, error: str = "", *_: Any) -> None:
        if what != "ack":
            raise RuntimeError("a sink has nothing to emit")
        if self._gets_batches:
            self._outcome = error
            return
        self._ack.send(json.dumps({"error": error} if error else {}).encode())

    def run(self) -> None:
        """Takes messages until the channel is closed."""
        self._sink.open(self.context)
        while True:
            message = self._data.recv()
            if self._gets_batches:
                self._ack.send(to_json(self._take_batch(message)).encode())
            elif self._takes_bytes:
                self._sink.collect(self.context, message)
            else:
                self._take_as_rows(message)

    def _take_as_rows(self, message: bytes) -> None:
        try:
            self._sink.collect_batch(self.context, _rows_of(message))
        except Exception as error:
            logging.error("%s refused a message: %s", self._key, traceback.format_exc())
            self.context.ack_error(error_text(error))
        else:
            self.context.ack_ok()

    def _take_batch(self, message: bytes) -> Dict[str, Any]:
        """The acknowledgement of one batch."""
        ack: Dict[str, Any] = {}
        try:
            if message[:1] == b"C":
                frame = frames.decode(message)
                ack["seq"], batch = frame.seq, _rows_of_frame(frame)
            else:
                document = json.loads(message)
                ack["seq"], batch = document["seq"], document["batch"]
            if self._takes_rows:
                rows: List[Any] = []
                for item in batch:
                    rows.extend([item] if isinstance(item, dict) and "b64" not in item else _rows_of(_payload(item)))
                self._sink.collect_batch(self.context, rows)
            else:
                self._collect_each(batch, ack)
        except Exception as error:
            logging.error("%s refused a batch: %s", self._key, traceback.format_exc())
            ack["error"] = error_text(error)
            if isinstance(error, frames.FrameError) and error.seq is not None:
                ack["seq"] = error.seq
            failed = getattr(error, "failed", None)
            if failed is not None:
                ack["failed"] = list(failed)
        return ack

    def _collect_each(self, batch: List[Any], ack: Dict[str, Any]) -> None:
        failed = []
        for position, item in enumerate(batch):
            self._outcome = None
            try:
                self._sink.collect(self.context, _payload(item))
            except Exception as error:
                logging.error("%s: %s", self._key, traceback.format_exc())
                self._outcome = error_text(error)
            if self._outcome:
                failed.append(position)
                ack.setdefault("error", self._outcome)
        if failed:
            ack["failed"] = failed

    def close(self) -> None:
        """Tells the sink."""
        self._sink.close(self.context)

    def hang_up(self) -> None:
        """Both channels."""
        self._data.close()
        self._ack.close()


def _payload(item: Any) -> bytes:
    """An encoded message in a batch: text, bytes as base64, or a row."""
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, dict) and set(item) == {"b64"}:
        return base64.b64decode(item["b64"])
    return to_json(item).encode()


def _rows_of(message: bytes) -> List[Any]:
    rows = json.loads(message)
    return rows if isinstance(rows, list) else [rows]


def _rows_of_frame(frame: frames.Frame) -> List[dict]:
    if frame.op != frames.SINK or frame.flags & frames.ARROW:
        raise frames.FrameError("a sink takes frames of sink rows (4), not %d" % frame.op, frame.seq)
    names = [col.name for col in frame.cols]
    if not names:
        return [{} for _ in range(frame.n)]
    return [dict(zip(names, row)) for row in zip(*[col.to_list() for col in frame.cols])]
