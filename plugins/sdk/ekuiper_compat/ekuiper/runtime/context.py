"""Who a symbol works for, and its way back to the engine."""

import json
import logging
import sys
from typing import Any, Callable, Optional


class Log:
    """A logger that can also be written to like a file, because both uses exist in plugins."""

    def __init__(self, logger: logging.Logger):
        self._logger = logger

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)


class Context:
    """Given to every call of a symbol."""

    def __init__(self, meta: dict, send: Optional[Callable[[bytes], None]] = None):
        self._meta = meta
        self._send = send

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
        return Log(logging.getLogger("plugin"))

    def emit(self, message: dict, meta: Optional[dict] = None) -> None:
        """Source: hand over a row."""
        self._reply({"message": message, "meta": meta})

    def emit_error(self, error: str) -> None:
        """Source: report an error. Reading goes on."""
        self._reply({"error": error})

    def ack_ok(self) -> None:
        """Sink: the message is safely out."""
        self._reply({})

    def ack_error(self, error: str) -> None:
        """Sink: the message could not be written."""
        self._reply({"error": error})

    def _reply(self, document: dict) -> None:
        if self._send is None:
            raise RuntimeError("a function has nothing to emit or acknowledge; it returns its result")
        self._send(json.dumps(document).encode())
