"""A stand-in for the engine: listens where a plugin dials, and speaks the old protocol or all of the new one.

For tests of the SDK and of plugins. It is given the capabilities that it shall claim; with none it behaves like an
engine that knows nothing of the extension.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from typing import Any, Dict, List, Optional, Sequence

from . import arrow, frames, sp
from .frames import Const
from .values import to_json

ALL = ("batch", "cols", "shm", "arrow", "ping", "state", "acc", "credit", "eof", "shutdown")
META = {"ruleId": "rule1", "opId": "2_project", "instanceId": 0, "funcId": 0}


class PluginFailed(Exception):
    """The plugin answered with an error, or not at all."""


class Rep:
    """The engine's side of a REQ channel: a command is the answer to the request in hand."""

    def __init__(self, path: str, patience: float):
        self._patience = patience
        self._listener = sp.Listener(path, sp.REP)
        self._arrived: "queue.Queue[Any]" = queue.Queue()
        self._connection: Optional[sp.Connection] = None
        self._words = b""
        self.greeting = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                self._arrived.put(self._listener.accept())
        except OSError:
            pass

    def give_up(self) -> None:
        """Nobody will come."""
        self._arrived.put(None)

    def wait(self) -> bytes:
        """Waits for the plugin and returns its first request."""
        try:
            self._connection = self._arrived.get(timeout=self._patience)
        except queue.Empty:
            raise PluginFailed("the plugin did not connect within %g s" % self._patience)
        if self._connection is None:
            raise PluginFailed("the plugin has ended before it connected")
        self._connection.limit(self._patience)
        try:
            self._words, greeting = self._connection.recv_request()
        except OSError as error:
            raise PluginFailed("the plugin said nothing: %s" % error)
        self.greeting = bytes(greeting)
        return self.greeting

    def exchange(self, command: Any) -> bytes:
        """Sends a command (bytes or parts) and returns its result."""
        if self._connection is None:
            self.wait()
        parts = [command] if isinstance(command, bytes) else command
        try:
            while True:
                self._connection.send_parts([self._words, *parts])
                self._words, result = self._connection.recv_request()
                if result != b"handshake" and not result.startswith(b"handshake {"):
                    return bytes(result)
        except OSError as error:
            raise PluginFailed("no answer: %s" % (str(error) or "the plugin is gone"))

    def close(self) -> None:
        """Ends the channel."""
        self._listener.close()
        if self._connection is not None:
            self._connection.close()


class Engine:
    """The engine as one plugin sees it. `name` is in the names of its sockets; where it is not the plugin's own,
    `is_trial` tells the plugin so, and an engine that has the plugin installed is not disturbed."""

    def __init__(self, name: str, caps: Sequence[str] = (), patience: float = 20.0, is_trial: bool = False):
        self.name, self.caps, self.patience = name, list(caps), patience
        path = "/tmp/plugin_%s.ipc" % name
        self._environment = {"THALWEG_CONTROL": path} if is_trial else {}
        self.control = Rep(path, patience)
        self.process: Optional[subprocess.Popen] = None
        self.output: List[str] = []
        self.plugin: Dict[str, Any] = {}
        self._open: List[Any] = []
        self._n_symbols = 0

    def next_number(self) -> int:
        """Tells symbols of the same name apart."""
        self._n_symbols += 1
        return self._n_symbols

    def launch(self, *command: str, cwd: Optional[str] = None, env: Optional[Dict[str, str]] = None) -> None:
        """Starts the plugin's process and waits for its handshake. What it prints is in `output`."""
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        folders = [here, os.path.join(here, "ekuiper_compat")]
        whole = {**os.environ, **self._environment, **(env or {})}
        whole["PYTHONPATH"] = os.pathsep.join(folders + [path for path in [whole.get("PYTHONPATH")] if path])
        self.process = subprocess.Popen(
            [*command, '{"sendTimeout":1000}'],
            cwd=cwd,
            env=whole,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        self.greet()

    def launch_python(self, script: str, cwd: Optional[str] = None) -> None:
        """Starts a script with this interpreter."""
        self.launch(sys.executable, "-u", script, cwd=cwd)

    def _read_output(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
        # What comes in after this is of no interest: the process has closed its output, or ended.
        self.control.give_up()

    def greet(self) -> None:
        """Waits for the handshake, and answers a plugin that advertises something with what the engine can do."""
        greeting = self.control.wait()
        self.plugin = json.loads(greeting[len(b"handshake ") :]) if greeting.startswith(b"handshake {") else {}
        if self.plugin and self.caps:
            self.command("hello", {"engine": "stub", "proto": 1, "caps": self.caps})

    def has(self, cap: str) -> bool:
        """Whether a capability is in force on the control channel."""
        return cap in self.caps and cap in self.plugin.get("caps", [])

    def command(self, cmd: str, arg: Any) -> str:
        """One command on the control channel; an answer that is not ok is an exception."""
        answer = self.control.exchange(json.dumps({"cmd": cmd, "arg": json.dumps(arg)}).encode()).decode()
        if answer != "ok" and not answer.startswith("ok "):
            raise PluginFailed(answer)
        return answer

    def function(self, name: str) -> "Calls":
        """Starts a function."""
        # Where the plugin can, out of the way of an engine that has the same function.
        further = {"channel": "%s.%s" % (self.name, name)} if self.plugin else {}
        channel = Rep("/tmp/func_%s.ipc" % further.get("channel", name), self.patience)
        self._open.append(channel)
        meta = {"ruleId": "", "opId": "", "instanceId": 0}
        self.command("start", {"symbolName": name, "meta": meta, "pluginType": "func", **further})
        return Calls(channel, self.caps)

    def source(self, name: str, config: Optional[dict] = None, **further: Any) -> "Rows":
        """Starts a source."""
        return Rows(self, name, config or {}, further)

    def sink(self, name: str, config: Optional[dict] = None) -> "Outbox":
        """Starts a sink."""
        return Outbox(self, name, config or {})

    def shutdown(self) -> Optional[int]:
        """Ends the plugin as gently as it allows and returns its exit code."""
        if self.has("shutdown"):
            self.command("shutdown", {})
        elif self.process is not None:
            self.process.terminate()
        code = None
        if self.process is not None:
            try:
                code = self.process.wait(self.patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise PluginFailed("the plugin did not end within %g s" % self.patience)
        self.close()
        return code

    def close(self) -> None:
        """Closes all sockets and kills what is left."""
        for channel in self._open:
            channel.close()
        self.control.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            self.process.stdout.close()
        for sink in self._open:
            # A plugin that was killed leaves its listener's file.
            if isinstance(sink, Outbox) and os.path.exists(sink.path):
                os.unlink(sink.path)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Calls:
    """A started function."""

    def __init__(self, channel: Rep, caps: Sequence[str]):
        self.channel = channel
        greeting = channel.wait()
        self.traits = json.loads(greeting[len(b"handshake ") :]) if greeting.startswith(b"handshake {") else {}
        self.caps: List[str] = []
        self._seq = 0
        self._meta, self._ctx = META, 1
        if self.traits and caps:
            self.caps = self.ask("Hello", {"caps": [cap for cap in caps if cap != "shm"]})["result"]["caps"]

    def ask(self, func: str, arg: Any) -> Dict[str, Any]:
        """Any request; an answer with state false is an exception."""
        answer = json.loads(self.channel.exchange(json.dumps({"func": func, "arg": arg}).encode()))
        if not answer["state"]:
            raise PluginFailed(str(answer["result"]))
        return answer

    def is_aggregate(self) -> bool:
        """`IsAggregate`."""
        return self.ask("IsAggregate", None)["result"]

    def validate(self, args: Sequence[Any]) -> str:
        """`Validate`; a text is what is wrong."""
        try:
            self.ask("Validate", list(args))
            return ""
        except PluginFailed as error:
            return str(error)

    def exec(self, *args: Any) -> Any:
        """`Exec`, the call of the old protocol."""
        return self.ask("Exec", [*args, json.dumps(self._meta)])["result"]

    def batch(self, cols: Sequence[Sequence[Any]], n: Optional[int] = None) -> Dict[str, Any]:
        """`ExecBatch`."""
        n = len(cols[0]) if n is None else n
        return self.ask("ExecBatch", {"seq": 1, "meta": self._meta, "n": n, "cols": list(map(list, cols))})

    def groups(self, groups: Sequence[Sequence[Sequence[Any]]], **further: Any) -> Dict[str, Any]:
        """`ExecGroups`."""
        return self.ask("ExecGroups", {"seq": 1, "meta": self._meta, "groups": groups, **further})

    def bind(self) -> None:
        """Gives the context a number, which frames name it by."""
        self.ask("Ctx", {"id": self._ctx, "meta": self._meta})

    def speak_for(self, rule: str) -> None:
        """From now on the calls are those of another rule, which has a state of its own."""
        self._meta, self._ctx = {**META, "ruleId": rule}, self._ctx + 1
        if self.caps:
            self.bind()

    def frame(self, cols: Sequence[Any], n: int, groups: Optional[Sequence[int]] = None) -> Dict[str, Any]:
        """A column frame of lists, or of Const; for groups with their offsets. Needs bind."""
        self._seq += 1
        packed = [col if isinstance(col, Const) else frames.pack(list(col), []) for col in cols]
        op = frames.ROWS if groups is None else frames.GROUPS
        parts = frames.encode(op, self._seq, n, packed, '"ctx":%d,' % self._ctx, groups=groups)
        answer = self.channel.exchange(b"".join(parts))
        return read_answer(answer, self._seq)


def read_answer(answer: bytes, seq: int) -> Dict[str, Any]:
    """An answer to a frame in the shape of one to ExecBatch."""
    if answer[:1] == b"{":
        raise PluginFailed(str(json.loads(answer)["result"]))
    frame = frames.decode(answer)
    if frame.seq != seq:
        raise PluginFailed("answer %d where %d was awaited" % (frame.seq, seq))
    if frame.flags & frames.ARROW:
        values = arrow.Arguments(frame.body, frame.n, False).cols[0].to_list()
    else:
        values = frame.cols[0].to_list(datetimes=True)
    return {**frame.header, "result": values, "errors": frame.header.get("errors", [])}


class Rows:
    """A started source: its messages one by one."""

    def __init__(self, engine: Engine, name: str, config: dict, further: dict):
        self._engine, self._name = engine, name
        self.meta = {"ruleId": engine.name, "opId": "demo%d" % engine.next_number(), "instanceId": 0}
        self._listener = sp.Listener("/tmp/{ruleId}_{opId}_{instanceId}.ipc".format(**self.meta), sp.PULL)
        self._messages: "queue.Queue[Any]" = queue.Queue()
        self._rows: List[Any] = []
        threading.Thread(target=self._read, daemon=True).start()
        engine._open.append(self)
        config = {"datasource": "", "format": "json", **config}
        self.control = {"symbolName": name, "meta": self.meta, "pluginType": "source", "config": config}
        if engine.has("credit"):
            further.setdefault("credit", 1 << 30)
        engine.command("start", {**self.control, "datasource": config["datasource"], **further})

    def _read(self) -> None:
        self._listener.read_one(self._messages.put)
        self._messages.put(None)

    def message(self) -> Any:
        """The next message as it was sent: a document or a frame; None after the end of the connection."""
        try:
            message = self._messages.get(timeout=self._engine.patience)
        except queue.Empty:
            raise PluginFailed("source %s sent nothing within %g s" % (self._name, self._engine.patience))
        if message is None:
            return None
        return frames.decode(message) if message[:1] == b"C" else json.loads(message)

    def take(self, n: int) -> List[Any]:
        """The next n rows, however they travel."""
        while len(self._rows) < n:
            message = self.message()
            if message is None:
                raise PluginFailed("source %s ended after %d rows" % (self._name, len(self._rows)))
            if isinstance(message, frames.Frame):
                names = [col.name for col in message.cols]
                rows = zip(*[col.to_list() for col in message.cols])
                self._rows.extend(dict(zip(names, row)) for row in rows)
            elif "error" in message:
                raise PluginFailed(str(message["error"]))
            else:
                self._rows.extend(message.get("messages") or [message["message"]])
        taken, self._rows = self._rows[:n], self._rows[n:]
        return taken

    def credit(self, rows: int) -> None:
        """Grants room."""
        self._engine.command("credit", {"meta": self.meta, "rows": rows})

    def save(self, epoch: int) -> None:
        """Asks for the state, which comes among the messages."""
        self._engine.command("save", {"meta": self.meta, "epoch": epoch})

    def stop(self) -> None:
        """Stops it, then closes the channel."""
        self._engine.command("stop", self.control)
        self.close()

    def close(self) -> None:
        """Closes the channel."""
        self._listener.close()


class Outbox:
    """A started sink."""

    def __init__(self, engine: Engine, name: str, config: dict):
        self._engine = engine
        meta = {"ruleId": engine.name, "opId": "%s_%d" % (name, engine.next_number()), "instanceId": 0}
        path = "/tmp/{ruleId}_{opId}_{instanceId}".format(**meta)
        self._listener = sp.Listener(path + "_ack.ipc", sp.PULL)
        self._acks: "queue.Queue[Any]" = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.control = {"symbolName": name, "meta": meta, "pluginType": "sink", "config": config}
        try:
            engine.command("start", self.control)
        except PluginFailed:
            self._listener.close()
            raise
        self.path = path + ".ipc"
        self._data = sp.Push(self.path)
        self._seq = 0
        engine._open.append(self)

    def _read(self) -> None:
        self._listener.read_one(lambda message: self._acks.put(json.loads(message)))
        self._acks.put(None)

    def send(self, payload: bytes) -> None:
        """One encoded message, as in the old protocol."""
        self._data.send(payload)

    def send_batch(self, batch: List[Any]) -> int:
        """Many messages or rows; returns their sequence number."""
        self._seq += 1
        self._data.send(to_json({"batch": batch, "seq": self._seq}).encode())
        return self._seq

    def send_columns(self, columns: Dict[str, List[Any]]) -> int:
        """Rows as a column frame; returns their sequence number."""
        self._seq += 1
        n = len(next(iter(columns.values()), []))
        packed = [frames.pack(values, [], name=name) for name, values in columns.items()]
        self._data.send(frames.encode(frames.SINK, self._seq, n, packed))
        return self._seq

    def ack(self) -> Any:
        """The next acknowledgement; None after the end of the connection."""
        try:
            return self._acks.get(timeout=self._engine.patience)
        except queue.Empty:
            raise PluginFailed("no acknowledgement within %g s" % self._engine.patience)

    def stop(self) -> None:
        """Closes the data channel, stops the sink, then closes the acknowledgements' channel."""
        self._data.close()
        self._engine.command("stop", self.control)
        self._listener.close()

    def close(self) -> None:
        """Closes the channels."""
        self._data.close()
        self._listener.close()
