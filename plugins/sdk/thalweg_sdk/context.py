"""Who a symbol works for, what it remembers and counts for them, and its way back to the engine."""

import os
import threading
from typing import Any, Callable, Dict, List, Optional

from .log import Logger, Secret, logger_for
from .sp import MAX_MESSAGE


class Metrics:
    """Counters and gauges of one context. Their totals travel with answers; only what has changed is sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: Dict[str, float] = {}
        self._gauges: Dict[str, float] = {}
        self._changed: Dict[str, set] = {"counters": set(), "gauges": set()}
        self.is_changed = False

    def count(self, name: str, by: float = 1) -> None:
        """Adds to a counter."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + by
            self._changed["counters"].add(name)
            self.is_changed = True

    def gauge(self, name: str, value: float) -> None:
        """Sets a gauge."""
        with self._lock:
            self._gauges[name] = value
            self._changed["gauges"].add(name)
            self.is_changed = True

    def take_changed(self) -> Dict[str, Dict[str, float]]:
        """The totals that have changed since the last call."""
        with self._lock:
            counters = {name: self._counters[name] for name in sorted(self._changed["counters"])}
            gauges = {name: self._gauges[name] for name in sorted(self._changed["gauges"])}
            self._changed = {"counters": set(), "gauges": set()}
            self.is_changed = False
        return {kind: values for kind, values in (("counters", counters), ("gauges", gauges)) if values}


class Surroundings:
    """What the engine says about itself once and all contexts share: configuration and secrets."""

    def __init__(self) -> None:
        self.config: Dict[str, Any] = {}
        self.secrets: Dict[str, str] = {}
        # A longer message would end the connection.
        self.max_message = MAX_MESSAGE

    def take_in(self, document: Dict[str, Any]) -> None:
        """Reads the keys `config`, `secrets` and `maxMessage` of a greeting."""
        for key, target in (("config", self.config), ("secrets", self.secrets)):
            if isinstance(document.get(key), dict):
                target.update(document[key])
        if isinstance(document.get("maxMessage"), int) and document["maxMessage"] > 0:
            self.max_message = document["maxMessage"]


class Context:
    """Given to every call of a symbol."""

    def __init__(
        self,
        meta: Dict[str, Any],
        send: Optional[Callable[[Any], None]] = None,
        symbol: str = "",
        config: Optional[Dict[str, Any]] = None,
        surroundings: Optional[Surroundings] = None,
    ):
        self._meta = meta
        self._send = send
        self._symbol = symbol
        self._surroundings = surroundings or Surroundings()
        self._config = config
        self._logger: Optional[Logger] = None
        self.metrics = Metrics()
        # Set when a source is told to end; wait on it rather than sleep.
        self.stopping = threading.Event()
        # What the symbol remembers for this rule; part of the rule's checkpoint. JSON values only, and set anew
        # (state["at"] = 7) rather than changed inside, so that what is saved is what was.
        self.state: Dict[str, Any] = {}

    def get_rule_id(self) -> str:
        """The rule."""
        return self._meta["ruleId"]

    def get_op_id(self) -> str:
        """The node of the rule."""
        return self._meta["opId"]

    def get_instance_id(self) -> int:
        """The number of the instance."""
        return self._meta["instanceId"]

    def get_logger(self) -> Any:
        """For messages, which end up in the engine's log under the plugin's name."""
        return self.log

    @property
    def rule_id(self) -> str:
        """The rule."""
        return self._meta.get("ruleId", "")

    @property
    def log(self) -> Logger:
        """A logger whose lines name the rule and the symbol."""
        if self._logger is None:
            self._logger = logger_for({"rule": self.rule_id, "symbol": self._symbol})
        return self._logger

    @property
    def config(self) -> Dict[str, Any]:
        """The properties of the stream or action; of a function what the engine's configuration says for it."""
        return self._surroundings.config if self._config is None else self._config

    def secret(self, name: str) -> Secret:
        """A secret by name: from the engine, else the file THALWEG_SECRETS_DIR/name, else the environment variable
        THALWEG_SECRET_NAME. Logs show *** in its place."""
        if name in self._surroundings.secrets:
            return Secret(str(self._surroundings.secrets[name]))
        folder = os.environ.get("THALWEG_SECRETS_DIR")
        if folder and name == os.path.basename(name):
            try:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    return Secret(file.read().rstrip("\n"))
            except FileNotFoundError:
                pass
        variable = "THALWEG_SECRET_" + name.upper().replace("-", "_").replace(".", "_")
        if variable in os.environ:
            return Secret(os.environ[variable])
        raise KeyError("no secret %s: set it in the engine, or %s in the environment" % (name, variable))

    def emit(self, message: dict, meta: Optional[dict] = None) -> None:
        """Source: hand over a row. Waits while the engine has no room, where it says so."""
        self._reply("emit", [message], None if meta is None else [meta])

    def emit_many(self, messages: List[dict], metas: Any = None) -> None:
        """Source: hand over rows together; `metas` is one object for all or a list with one for each."""
        self._reply("emit", messages, metas)

    def emit_columns(self, columns: Dict[str, Any], meta: Optional[dict] = None) -> None:
        """Source: hand over rows as columns: lists or numpy arrays of the same length."""
        self._reply("columns", columns, meta)

    def emit_error(self, error: str) -> None:
        """Source: report an error. Reading goes on."""
        self._reply("error", error)

    def ack_ok(self) -> None:
        """Sink: the message is safely out."""
        self._reply("ack", "")

    def ack_error(self, error: str) -> None:
        """Sink: the message could not be written."""
        self._reply("ack", error)

    def _reply(self, what: str, *args: Any) -> None:
        if self._send is None:
            raise RuntimeError("a function has nothing to emit or acknowledge; it returns its result")
        self._send(what, *args)
