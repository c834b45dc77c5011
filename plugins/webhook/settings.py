"""The properties of the action, checked when the rule starts."""

import math
from typing import Any, Callable, Dict
from urllib.parse import urlsplit


class Settings:
    """What an action says; a mistake is an exception that names the property."""

    def __init__(self, conf: Dict[str, Any]):
        self.url = self._text(conf, "url", "")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError('property "url" must be an address such as https://example.com/hook, not %r' % (self.url,))
        self.is_tls, self.host, self.port = parts.scheme == "https", parts.hostname, parts.port
        self.path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        self.method = self._text(conf, "method", "POST").upper()
        if self.method not in ("POST", "PUT", "PATCH"):
            raise ValueError('property "method" must be POST, PUT or PATCH, not %r' % (self.method,))
        self.headers = self._headers(conf.get("headers") or {})
        self.batch_size = self._whole(conf, "batchSize", 100, 1)
        self.retries = self._whole(conf, "retries", 4, 0)
        self.timeout = self._seconds(conf, "timeout", 10.0)
        self.backoff = self._seconds(conf, "backoff", 0.5)
        self.secret = self._text(conf, "secret", "")
        self.ca_file = self._text(conf, "caFile", "")

    @staticmethod
    def _text(conf: Dict[str, Any], key: str, default: str) -> str:
        value = conf.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ValueError('property "%s" must be a text, not %r' % (key, value))
        return value

    @staticmethod
    def _headers(headers: Any) -> Dict[str, str]:
        if not isinstance(headers, dict):
            raise ValueError('property "headers" must be an object, not %r' % (headers,))
        for name, value in headers.items():
            if not isinstance(value, (str, int, float)) or "\n" in str(value) or "\r" in str(value):
                raise ValueError('header "%s" must be a text of one line, not %r' % (name, value))
        return {name: str(value) for name, value in headers.items()}

    @staticmethod
    def _whole(conf: Dict[str, Any], key: str, default: int, least: int) -> int:
        value = conf.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError('property "%s" must be a whole number from %d, not %r' % (key, least, value))
        return value

    @staticmethod
    def _seconds(conf: Dict[str, Any], key: str, default: float) -> float:
        value = conf.get(key, default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not (value > 0 and math.isfinite(value)):
            raise ValueError('property "%s" must be seconds above 0, not %r' % (key, value))
        return float(value)


def retry_after(text: Any, longest: float) -> float:
    """How long a server asks to be left alone, as far as it says so in seconds."""
    convert: Callable[[Any], float] = float
    try:
        return min(longest, max(0.0, convert(text)))
    except (TypeError, ValueError):
        return 0.0
