"""The plugin's roles in nng's wire protocol (SP) over Unix sockets: REQ, PUSH and PULL, and for tests the others.

Every connection begins with 8 bytes from both sides; every message has a type byte and its length in front. A message
that is too long or of another type ends the connection, because what follows cannot be told from it.
"""

import os
import socket
import struct
import threading
import time
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

PUSH, PULL, REQ, REP = 80, 81, 48, 49
_COUNTERPART = {PUSH: PULL, PULL: PUSH, REQ: REP, REP: REQ}
_HEAD = struct.Struct("!BQ")
_ID = struct.Struct("!I")

# A listener is there before the engine asks us to dial, so failing is an exception.
_TRIES = 51
_PAUSE = 0.1

# Messages that fit are read with one system call and sent in one piece.
_SMALL = 1 << 16
MAX_MESSAGE = 256 << 20

Buffer = Union[bytes, bytearray, memoryview]
Message = Union[bytes, bytearray]
Answer = Union[bytes, List[Buffer]]


def path_of(name: str) -> str:
    """The path of a socket. An engine that shares the machine with another one has a folder of its own for them."""
    return os.path.join(os.environ.get("THALWEG_SOCKETS") or "/tmp", name + ".ipc")


class Last(list):
    """An answer after which the channel ends."""


class Connection:
    """A greeted stream of messages."""

    def __init__(self, sock: socket.socket, role: int, max_message: int = MAX_MESSAGE):
        self._sock = sock
        self._max = max_message
        self._buffer = bytearray(_SMALL)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        sock.sendall(struct.pack("!4sHH", b"\0SP\0", role, 0))
        greeting = self._take(8)
        if greeting[:4] != b"\0SP\0" or struct.unpack_from("!H", greeting, 4)[0] != _COUNTERPART[role]:
            raise ConnectionError("the other side plays another role")

    def send(self, message: bytes) -> None:
        """Sends one message."""
        self.send_parts([message])

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        """Sends one message that lies in several buffers (bytes, or views of bytes)."""
        length = sum(map(len, parts))
        head = _HEAD.pack(1, length)
        if length < _SMALL:
            self._sock.sendall(b"".join((head, *parts)))
            return
        rest = [memoryview(head)] + [memoryview(part) for part in parts if len(part)]
        while rest:
            # More buffers than the system takes at once are no error of the caller's.
            sent = self._sock.sendmsg(rest[:64])
            while rest and sent >= len(rest[0]):
                sent -= len(rest.pop(0))
            if sent:
                rest[0] = rest[0][sent:]

    def recv(self) -> bytes:
        """The next message."""
        return bytes(self._take(self._next_length()))

    def recv_request(self) -> Tuple[bytes, Message]:
        """The next message of a REQ or REP connection: its id words and its body."""
        if self._start == self._end:
            # Usually a message comes alone and whole.
            end = self._sock.recv_into(self._view)
            view = self._view
            if end >= 13 and view[0] == 1 and view[9] & 0x80:
                length = int.from_bytes(view[1:9], "big")
                if length == end - 9:
                    self._start = self._end = 0
                    return bytes(view[9:13]), bytes(view[13:end])
            if not end:
                raise ConnectionError("the other side has hung up")
            self._start, self._end = 0, end
        length, words = self._next_length(), b""
        while True:
            if length < 4:
                raise ConnectionError("a message without id")
            word = self._take(4)
            words, length = words + word, length - 4
            if word[0] & 0x80:
                return words, self._take(length)

    def limit(self, seconds: Optional[float]) -> None:
        """How long sending and receiving may take; then they raise a TimeoutError."""
        self._sock.settimeout(seconds)

    def close(self) -> None:
        """Ends the connection; whoever waits in recv gets a ConnectionError."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()

    def _next_length(self) -> int:
        kind, length = _HEAD.unpack(self._take(_HEAD.size))
        if kind != 1:
            raise ConnectionError("message of type %d" % kind)
        if length > self._max:
            raise ConnectionError("message of %d bytes; at most %d are taken" % (length, self._max))
        return length

    def _take(self, length: int) -> Message:
        """So many bytes, in memory of their own that is aligned for any number."""
        start, end = self._start, self._end
        if end - start >= length:
            self._start = start + length
            return bytes(self._view[start : start + length])
        if length > _SMALL:
            return self._take_large(length)
        if start:
            self._buffer[: end - start] = self._buffer[start:end]
            start, end = 0, end - start
        while end - start < length:
            n_read = self._sock.recv_into(self._view[end:])
            if not n_read:
                raise ConnectionError("the other side has hung up")
            end += n_read
        self._start, self._end = start + length, end
        return bytes(self._view[start : start + length])

    def _take_large(self, length: int) -> bytearray:
        data = bytearray(length)
        filled = self._end - self._start
        data[:filled] = self._buffer[self._start : self._end]
        self._start = self._end = 0
        with memoryview(data) as view:
            while filled < length:
                n_read = self._sock.recv_into(view[filled:])
                if not n_read:
                    raise ConnectionError("the other side has hung up")
                filled += n_read
        return data


def dial(path: str, role: int) -> Connection:
    """Connects, trying again while nobody listens."""
    for left in reversed(range(_TRIES)):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
            return Connection(sock, role)
        except OSError:
            sock.close()
            if not left:
                raise
        time.sleep(_PAUSE)
    raise AssertionError("unreachable")


class Req:
    """Opens every exchange; the engine's commands are the answers."""

    def __init__(self, path: str):
        self._connection = dial(path, REQ)
        self._id = int.from_bytes(os.urandom(4), "big")
        # Set while no command is in hand.
        self._idle = threading.Event()

    def serve(
        self,
        answer: Callable[[Message], Answer],
        greeting: bytes = b"handshake",
        sent: Callable[[], None] = lambda: None,
    ) -> None:
        """Answers commands until the engine goes away, which is a ConnectionError, or an answer is the Last. `sent` is
        called after each answer, while the engine reads it."""
        connection, idle = self._connection, self._idle
        result: Answer = greeting
        try:
            while True:
                self._id = (self._id + 1) & 0x7FFFFFFF
                head = _ID.pack(self._id | 0x80000000)
                connection.send_parts([head, result] if isinstance(result, bytes) else [head, *result])
                if isinstance(result, Last):
                    return
                sent()
                idle.set()
                words, message = connection.recv_request()
                while words != head:
                    words, message = connection.recv_request()
                idle.clear()
                result = answer(message)
        finally:
            idle.set()

    def close(self, patience: float = 0) -> None:
        """Ends serve, after the command in hand if that ends within so many seconds."""
        if patience:
            self._idle.wait(patience)
        self._connection.close()


class Push:
    """Sends; may be used by several threads."""

    def __init__(self, path: str):
        self._connection = dial(path, PUSH)
        self._lock = threading.Lock()

    def send(self, message: Answer) -> None:
        """Sends one message, in one piece or in parts."""
        with self._lock:
            self._connection.send_parts([message] if isinstance(message, bytes) else message)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


class Listener:
    """Listens on a path and accepts connections of one role."""

    def __init__(self, path: str, role: int):
        self._path, self._role = path, role
        _remove_stale(path)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.bind(path)
            os.chmod(path, 0o600)
            self._sock.listen()
        except OSError:
            self._sock.close()
            raise

    def accept(self) -> Connection:
        """The next peer that plays the counterpart."""
        while True:
            sock, _ = self._sock.accept()
            try:
                return Connection(sock, self._role)
            except OSError:
                sock.close()

    def read_one(self, take: Callable[[bytes], Any]) -> None:
        """Hands over the messages of one peer until it hangs up or the listener is closed."""
        try:
            connection = self.accept()
        except OSError:
            return
        try:
            while True:
                take(connection.recv())
        except OSError:
            connection.close()

    def close(self) -> None:
        """Wakes a thread that waits in accept, and removes the file."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass


def _remove_stale(path: str) -> None:
    """Removes a socket that nobody listens on; one that is in use stays, and is an error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except OSError:
            os.unlink(path)
            return
    raise OSError("address in use: another process listens on %s" % path)


class Pull:
    """Listens for one sender at a time."""

    def __init__(self, path: str):
        self._closed = False
        self._connection: Optional[Connection] = None
        self._listener = Listener(path, PULL)

    def recv(self) -> bytes:
        """The next message; waits for another sender when one has gone."""
        while not self._closed:
            if self._connection is None:
                self._connection = self._listener.accept()
            try:
                return self._connection.recv()
            except OSError:
                self._connection.close()
                self._connection = None
        raise ConnectionError("closed")

    def close(self) -> None:
        """Ends recv."""
        if self._closed:
            return
        self._closed = True
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
