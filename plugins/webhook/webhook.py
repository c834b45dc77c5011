"""A sink that posts rows to a web address, signed, in batches, and again where that makes sense."""

import hashlib
import http.client
import json
import random
import ssl
import threading
import time
from typing import Any, Dict, List, Optional, Tuple

from settings import Settings, retry_after
from signature import sign
from thalweg_sdk import Context, Sink, run

LONGEST_WAIT_S = 30.0
# Besides these every 5xx.
WORTH_A_RETRY = (408, 425, 429)
# So much of an answer is read for the text of a refusal.
SHOWN_BYTES = 300


class Refused(Exception):
    """The address has not taken the rows."""


class Webhook(Sink):
    """One action. Rows are safe when the address has answered 2xx; until then the rule does not forget them."""

    name = "webhook"

    def configure(self, conf: Dict[str, Any]) -> None:
        """Checks the properties."""
        self._settings = Settings(conf)
        self._stopping = threading.Event()
        self._connection: Optional[http.client.HTTPConnection] = None
        self._key = b""

    def open(self, ctx: Context) -> None:
        """Looks the secret up; connects at the first row."""
        if self._settings.secret:
            self._key = ctx.secret(self._settings.secret).encode()

    def collect_batch(self, ctx: Context, rows: List[Dict[str, Any]]) -> None:
        """Posts the rows in their order; raising is a refusal of those that are not out."""
        size = self._settings.batch_size
        for start in range(0, len(rows), size):
            part: Any = rows[start : start + size]
            body = json.dumps(part if size > 1 else part[0], ensure_ascii=False, separators=(",", ":")).encode()
            self._deliver(ctx, body, len(rows[start : start + size]))

    def close(self, ctx: Context) -> None:
        """Ends a wait for the next try."""
        self._stopping.set()
        self._hang_up()

    def _deliver(self, ctx: Context, body: bytes, n_rows: int) -> None:
        settings = self._settings
        for attempt in range(settings.retries + 1):
            problem, asked = self._attempt(body)
            if not problem:
                ctx.metrics.count("requests")
                ctx.metrics.count("rows", n_rows)
                return
            if asked is None or attempt == settings.retries:
                ctx.metrics.count("refused", n_rows)
                raise Refused("%s: %s (try %d of %d)" % (settings.url, problem, attempt + 1, settings.retries + 1))
            ctx.metrics.count("retries")
            wait = min(LONGEST_WAIT_S, settings.backoff * 2**attempt) * random.uniform(0.75, 1.25)
            ctx.log.warning("%s: %s; next try in %.1f s", settings.url, problem, max(wait, asked))
            if self._stopping.wait(max(wait, asked)):
                raise Refused("%s: %s, and the rule stops" % (settings.url, problem))

    def _attempt(self, body: bytes) -> Tuple[str, Optional[float]]:
        """One request: what is wrong, and how long the server asks to wait; None if trying again is no use."""
        is_fresh = self._connection is None
        try:
            status, answer, asked = self._request(body)
        except (OSError, http.client.HTTPException) as error:
            self._hang_up()
            if not is_fresh and isinstance(error, (ConnectionError, http.client.RemoteDisconnected)):
                # The server has closed a connection that was not in use: no failure of its own.
                return self._attempt(body)
            if isinstance(error, ssl.SSLCertVerificationError):
                return "the certificate is not trusted: %s" % error.verify_message, None
            return "%s: %s" % (type(error).__name__, error), 0.0
        if 200 <= status < 300:
            return "", 0.0
        text = answer[:SHOWN_BYTES].decode("utf-8", "replace").strip()
        problem = "status %d%s" % (status, ": " + text if text else "")
        is_worth_it = status >= 500 or status in WORTH_A_RETRY
        return problem, retry_after(asked, LONGEST_WAIT_S) if is_worth_it else None

    def _request(self, body: bytes) -> Tuple[int, bytes, Optional[str]]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        connection.request(self._settings.method, self._settings.path, body, self._headers(body))
        response = connection.getresponse()
        answer = response.read()
        if response.will_close:
            self._hang_up()
        return response.status, answer, response.headers.get("Retry-After")

    def _connect(self) -> http.client.HTTPConnection:
        settings = self._settings
        if not settings.is_tls:
            return http.client.HTTPConnection(settings.host, settings.port, timeout=settings.timeout)
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        return http.client.HTTPSConnection(settings.host, settings.port, timeout=settings.timeout, context=context)

    def _headers(self, body: bytes) -> Dict[str, str]:
        # The same rows have the same key: a receiver can tell that it has them.
        headers = {"Content-Type": "application/json", "Idempotency-Key": hashlib.sha256(body).hexdigest()[:32]}
        if self._key:
            stamp = "%d" % time.time()
            headers["X-Timestamp"] = stamp
            headers["X-Signature-256"] = sign(self._key, stamp, body)
        return {**headers, **self._settings.headers}

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


if __name__ == "__main__":
    run("webhook", Webhook)
