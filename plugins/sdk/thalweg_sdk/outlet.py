"""A source's way to the engine: rows one by one, or together where the engine understands that.

A row that comes after a quiet moment leaves at once; while rows come quickly they leave together, after 256 rows or
one millisecond. Where the engine grants credit, emitting waits for it.
"""

import json
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from . import frames, sp
from .context import Context
from .values import numpy_if_there, plain, to_json

_MOST = 256
# Rows of one call stay together up to this, because what the source remembers covers all of them.
_MOST_TOGETHER = 4096
# And up to so many bytes.
_MOST_BYTES = 8 << 20
_LINGER = 0.001


class Outlet:
    """Sends what one source emits."""

    def __init__(
        self,
        push: sp.Push,
        caps: List[str],
        save: Callable[[], Any],
        credit: int = 0,
        most: int = sp.MAX_MESSAGE,
        saves: bool = False,
    ):
        self._push, self._caps, self._save_own = push, caps, save
        # How many bytes a message may have.
        self._longest = most
        self.context: Optional[Context] = None
        # Guards the rows that wait and the order of messages.
        self._lock = threading.Condition()
        self._rows: List[str] = []
        self._n_bytes = 0
        self._metas: List[str] = []
        self._last = 0.0
        self._flusher: Optional[threading.Thread] = None
        self._failure: Optional[BaseException] = None
        self._closed = False
        # Of its own, so that credit can be granted while a message is on its way.
        self._room = threading.Condition()
        self._credit = credit if "credit" in caps else None
        # What the source remembered when it emitted last.
        self._state: Dict[str, Any] = {}
        # Whether each message says so, and what the last one said.
        self._saves = saves and "state" in caps
        self._saved, self._said = "null", "null"

    def send(self, what: str, *args: Any) -> None:
        """What Context calls."""
        if what == "emit":
            self._emit(*args)
        elif what == "columns":
            self._emit_columns(*args)
        elif what == "error":
            self._in_order(to_json({"error": args[0]}).encode())
        else:
            raise RuntimeError("a source has nothing to acknowledge")

    def grant(self, rows: int) -> None:
        """The engine has room for so many rows more."""
        with self._room:
            if self._credit is not None:
                self._credit += rows
                self._room.notify_all()

    def save(self, epoch: Any) -> None:
        """Sends what the source remembers, right behind the rows that it has emitted so far."""
        with self._lock:
            self._flush()
            self._push.send(to_json({"epoch": epoch, "saved": self._to_save()}).encode())

    def restored(self, state: Dict[str, Any], saved: Any = None) -> None:
        """What the source starts with."""
        self._state = dict(state)
        self._saved = self._said = to_json(saved or None)

    def end(self) -> None:
        """The source has no more rows."""
        if "batch" in self._caps:
            self._in_order(b'{"eof":true}')

    def close(self) -> None:
        """Sends what waits and wakes whoever waits for credit."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        try:
            with self._lock:
                self._flush()
                self._lock.notify_all()
        except OSError:
            pass

    def _emit(self, rows: List[dict], metas: Any) -> None:
        each = metas if isinstance(metas, list) else [metas] * len(rows)
        if len(each) != len(rows):
            raise ValueError("%d rows but %d metas" % (len(rows), len(each)))
        if "batch" not in self._caps:
            for row, meta in zip(rows, each):
                self._in_order(self._fitting(json.dumps({"message": row, "meta": meta}, default=plain)).encode())
            with self._lock:
                self._remember()
            return
        # What cannot be encoded is the caller's error, so it is done here.
        texts, meta_texts = [self._fitting(to_json(row)) for row in rows], [to_json(meta) for meta in each]
        # Rows that are long go in smaller parties.
        longest = max(map(len, texts), default=0) + max(map(len, meta_texts), default=0)
        most = min(self._longest >> 1, _MOST_BYTES) // (longest + 2)
        most = max(1, min(_MOST_TOGETHER if self._saves else _MOST, most))
        for start in range(0, len(texts), most):
            part = texts[start : start + most]
            self._take_credit(len(part))
            with self._lock:
                self._check()
                if (self._n_bytes + len(part) * longest) * 2 > self._longest:
                    self._flush()
                self._n_bytes += len(part) * (longest + 2)
                self._rows.extend(part)
                self._metas.extend(meta_texts[start : start + most])
                if start + most >= len(texts):
                    self._remember()
                now = time.monotonic()
                if len(self._rows) >= _MOST or now - self._last > _LINGER:
                    self._flush()
                else:
                    self._flush_soon()

    def _emit_columns(self, columns: Dict[str, Any], meta: Any) -> None:
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise ValueError("columns of different lengths: %s" % sorted(lengths))
        n = lengths.pop() if lengths else 0
        if "cols" not in self._caps:
            names = list(columns)
            lists = [values.tolist() if hasattr(values, "tolist") else values for values in columns.values()]
            self._emit([dict(zip(names, row)) for row in zip(*lists)], meta)
            return
        for start in range(0, max(n, 1), _MOST_TOGETHER):
            # Whole columns are not copied.
            part = columns if n <= _MOST_TOGETHER else {
                name: values[start : start + _MOST_TOGETHER] for name, values in columns.items()
            }
            self._emit_frame(part, meta, range(start, min(start + _MOST_TOGETHER, n)), n)

    def _emit_frame(self, columns: Dict[str, Any], meta: Any, rows: range, n_rows: int) -> None:
        n = len(rows)
        self._take_credit(n)
        errors: List[List[Any]] = []
        packed = []
        for name, values in columns.items():
            if hasattr(values, "dtype"):
                packed.append(frames.pack_array(values, numpy_if_there(), errors, name))
            else:
                packed.append(frames.pack(list(values), errors, name=name))
        if errors:
            raise TypeError("row %d: %s" % (rows.start + errors[0][0], errors[0][1]))
        further = "" if meta is None else '"meta":%s,' % to_json(meta)
        with self._lock:
            self._check()
            self._flush()
            if rows.stop == n_rows:
                self._remember()
            self._push.send(frames.encode(frames.SOURCE, 0, n, packed, further + self._news('%s,')))

    def _fitting(self, text: str) -> str:
        if len(text) + 64 > self._longest:
            raise ValueError("the row has %d bytes, the engine takes at most %d" % (len(text), self._longest))
        return text

    def _in_order(self, message: sp.Answer) -> None:
        with self._lock:
            self._check()
            self._flush()
            self._push.send(message)

    def _remember(self) -> None:
        """What the source remembers covers all rows up to here."""
        if self.context is not None and self.context.state:
            self._state = dict(self.context.state)
        if self._saves:
            self._saved = to_json(self._to_save())

    def _to_save(self) -> Any:
        saved: Dict[str, Any] = {}
        if self._state:
            saved["state"] = self._state
        own = self._save_own()
        if own is not None:
            saved["own"] = own
        return saved or None

    def _news(self, form: str) -> str:
        """The member that says what the source remembers, if that has changed."""
        if self._saved == self._said:
            return ""
        self._said = self._saved
        return form % ('"saved":%s' % self._saved)

    def _check(self) -> None:
        if self._failure is not None:
            raise ConnectionError("the engine is gone: %s" % self._failure)

    def _take_credit(self, rows: int) -> None:
        if self._credit is None:
            return
        with self._room:
            while self._credit <= 0:
                if self._closed:
                    raise ConnectionError("the source was closed while it waited for room")
                self._room.wait()
            self._credit -= rows

    def _flush(self) -> None:
        self._last = time.monotonic()
        if not self._rows:
            return
        rows, metas = self._rows, self._metas
        self._rows, self._metas, self._n_bytes = [], [], 0
        text = '{"messages":[%s]' % ",".join(rows)
        if len(set(metas)) > 1:
            text += ',"metas":[%s]' % ",".join(metas)
        elif metas[0] != "null":
            text += ',"meta":%s' % metas[0]
        self._push.send((text + self._news(",%s") + "}").encode())

    def _flush_soon(self) -> None:
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_later, name="flush", daemon=True)
            self._flusher.start()
        self._lock.notify()

    def _flush_later(self) -> None:
        with self._lock:
            while not self._closed:
                if not self._rows:
                    self._lock.wait()
                    continue
                left = self._last + _LINGER - time.monotonic()
                if left > 0:
                    self._lock.wait(left)
                    continue
                try:
                    self._flush()
                except OSError as error:
                    self._failure = error
                    return
