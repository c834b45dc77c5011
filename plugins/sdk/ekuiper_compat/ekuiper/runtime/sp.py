"""The roles of a plugin in nng's wire protocol (SP) over Unix sockets: REQ, PUSH and PULL.

Every connection begins with 8 bytes from both sides; every message has a type byte and its length in front.
"""

import os
import socket
import struct
import threading
import time
from typing import Callable, Optional

PUSH, PULL, REQ, REP = 80, 81, 48, 49
_COUNTERPART = {PUSH: PULL, PULL: PUSH, REQ: REP}
_HEAD = struct.Struct("!BQ")
_ID = struct.Struct("!I")

# A listener is there before the engine asks us to dial, so failing is an exception.
_TRIES = 51
_PAUSE = 0.1


class Connection:
    """A greeted stream of messages."""

    def __init__(self, sock: socket.socket, role: int):
        self._sock = sock
        self._reader = sock.makefile("rb", buffering=1 << 16)
        sock.sendall(struct.pack("!4sHH", b"\0SP\0", role, 0))
        greeting = self._exactly(8)
        if greeting[:4] != b"\0SP\0" or struct.unpack_from("!H", greeting, 4)[0] != _COUNTERPART[role]:
            raise ConnectionError("the other side plays another role")

    def send(self, message: bytes) -> None:
        self._sock.sendall(_HEAD.pack(1, len(message)) + message)

    def recv(self) -> bytes:
        kind, length = _HEAD.unpack(self._exactly(_HEAD.size))
        if kind != 1:
            raise ConnectionError("message of type %d" % kind)
        return self._exactly(length)

    def close(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()

    def _exactly(self, length: int) -> bytes:
        data = self._reader.read(length)
        if data is None or len(data) < length:
            raise ConnectionError("the other side has hung up")
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

    def serve(self, answer: Callable[[bytes], bytes]) -> None:
        """Answers commands until the engine goes away, which is a ConnectionError."""
        result = b"handshake"
        while True:
            self._id = (self._id + 1) & 0x7FFFFFFF
            head = _ID.pack(self._id | 0x80000000)
            self._connection.send(head + result)
            message = self._connection.recv()
            while message[:4] != head:
                message = self._connection.recv()
            result = answer(message[4:])

    def close(self) -> None:
        self._connection.close()


class Push:
    """Sends; may be used by several threads."""

    def __init__(self, path: str):
        self._connection = dial(path, PUSH)
        self._lock = threading.Lock()

    def send(self, message: bytes) -> None:
        with self._lock:
            self._connection.send(message)

    def close(self) -> None:
        self._connection.close()


class Pull:
    """Listens for one sender at a time."""

    def __init__(self, path: str):
        self._path = path
        self._closed = False
        self._connection: Optional[Connection] = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen()

    def recv(self) -> bytes:
        """The next message; waits for another sender when one has gone."""
        while not self._closed:
            if self._connection is None:
                sock, _ = self._listener.accept()
                try:
                    self._connection = Connection(sock, PULL)
                except OSError:
                    sock.close()
                    continue
            try:
                return self._connection.recv()
            except OSError:
                self._connection.close()
                self._connection = None
        raise ConnectionError("closed")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            # Wakes a thread that waits in accept.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass
