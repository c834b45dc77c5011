"""The log: one line of JSON per message on stderr, which the engine reads with its level, rule and symbol."""

import json
import logging
import sys
import threading
import time
import traceback
from typing import Any, Dict, Optional, Set

_secrets: Set[str] = set()
# The same complaint comes at most once a second from each place.
_EVERY = 1.0


class Secret(str):
    """Text that does not show itself when it is looked at, and that the log blackens."""

    def __new__(cls, text: str) -> "Secret":
        if text:
            _secrets.add(str(text))
        return super().__new__(cls, text)

    def __repr__(self) -> str:
        return "'***'"


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: Dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + ".%03dZ" % record.msecs,
            "level": "warn" if record.levelno == logging.WARNING else record.levelname.lower(),
        }
        line.update(getattr(record, "fields", None) or {})
        line["message"] = record.getMessage()
        if record.exc_info:
            line["trace"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        text = json.dumps(line, ensure_ascii=False, default=str)
        for secret in _secrets:
            text = text.replace(secret, "***")
        return text


class Logger(logging.LoggerAdapter):
    """A logger that knows for whom it speaks. It can also be written to like a file: both uses exist in plugins."""

    def process(self, msg: Any, kwargs: Any) -> Any:
        """Adds rule and symbol to a message's own fields (`extra={"fields": {...}}`)."""
        own = (kwargs.get("extra") or {}).get("fields") or {}
        kwargs["extra"] = {"fields": {**(self.extra or {}), **own}}
        return msg, kwargs

    def __getattr__(self, name: str) -> Any:
        if name == "logger":
            raise AttributeError(name)
        return getattr(self.logger, name)

    def write(self, text: str) -> int:
        """Prints, as plugins do that take the logger for a file."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Flushes what was printed."""
        sys.stdout.flush()


def logger_for(fields: Optional[Dict[str, Any]] = None) -> Logger:
    """A logger whose lines carry these fields."""
    return Logger(logging.getLogger("plugin"), {key: value for key, value in (fields or {}).items() if value != ""})


def log_as_json(level: int = logging.INFO) -> None:
    """Sends the log to stderr as JSON lines."""
    root = logging.getLogger()
    root.setLevel(level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root.addHandler(handler)


def log_as_text(level: int = logging.INFO) -> None:
    """Sends the log to stdout as `LEVEL name: message`, as plugins of the old SDK expect."""
    root = logging.getLogger()
    root.setLevel(level)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)


class Seldom:
    """Lets a complaint through once a second and counts the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0
        self._held_back = 0

    def passes(self) -> Optional[int]:
        """How many were held back since the last one that passed; None if this one is held back too."""
        now = time.monotonic()
        with self._lock:
            if now < self._next:
                self._held_back += 1
                return None
            self._next = now + _EVERY
            held_back, self._held_back = self._held_back, 0
            return held_back
