"""Modbus TCP as far as reading goes: function codes 3 (holding registers) and 4 (input registers).

Modbus Application Protocol V1.1b3 and Modbus Messaging on TCP/IP V1.0b, both of modbus.org.
"""

import socket
import struct
from typing import List, Optional, Tuple

HOLDING, INPUT = 3, 4
# What one answer can hold.
MOST_REGISTERS = 125
_HEADER = struct.Struct(">HHHB")

_REASONS = {
    1: "the device does not know the function code",
    2: "the device does not have all of these registers",
    3: "the device does not take the request's values",
    4: "the device has failed",
    5: "the device needs longer and has not answered yet",
    6: "the device is busy",
    10: "the gateway has no path to the device",
    11: "the device behind the gateway does not answer",
}


class Refused(Exception):
    """The device has answered with an exception code; the connection is fine."""

    def __init__(self, code: int):
        super().__init__("%s (exception code %d)" % (_REASONS.get(code, "the device refuses"), code))
        self.code = code


class Client:
    """One connection to one device or gateway, opened when it is needed. Any failure of it closes it."""

    def __init__(self, host: str, port: int, timeout: float):
        self._address, self._timeout = (host, port), timeout
        self._socket: Optional[socket.socket] = None
        self._transaction = 0

    def read(self, unit: int, function: int, address: int, count: int) -> List[int]:
        """So many registers from an address, as numbers of 16 bits. OSError: the connection; Refused: the device."""
        self._transaction = (self._transaction + 1) & 0xFFFF
        request = struct.pack(">BHH", function, address, count)
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, self._timeout)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(_HEADER.pack(self._transaction, 0, len(request) + 1, unit) + request)
            answer = self._answer(unit)
            if answer[0] == function | 0x80 and len(answer) == 2:
                raise Refused(answer[1])
            if answer[0] != function or len(answer) != 2 + 2 * count or answer[1] != 2 * count:
                raise ConnectionError("the answer does not fit the request: %s" % answer[:8].hex(" "))
        except OSError:
            # Whatever is still on its way belongs to nobody.
            self.close()
            raise
        return list(struct.unpack(">%dH" % count, answer[2:]))

    def _answer(self, unit: int) -> bytes:
        transaction, protocol, length, answering = _HEADER.unpack(self._exactly(_HEADER.size))
        if (transaction, protocol, answering) != (self._transaction, 0, unit) or not 3 <= length <= 254:
            raise ConnectionError("the answer is none of Modbus, or belongs to another request")
        return self._exactly(length - 1)

    def _exactly(self, n: int) -> bytes:
        parts: List[bytes] = []
        while n:
            part = self._socket.recv(n) if self._socket else b""
            if not part:
                raise ConnectionError("the device has closed the connection")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Hangs up; the next read connects again."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()


def address_of(server: str) -> Tuple[str, int]:
    """`host`, `host:port` or `tcp://host:port`; the port of Modbus is 502."""
    rest = server.strip()
    rest = rest[len("tcp://") :] if rest.startswith("tcp://") else rest
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest.rstrip("/"), "502"
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError('property "server" must be host:port, not %r' % (server,))
    return host.strip("[]"), int(port)
