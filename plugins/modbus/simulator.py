"""A Modbus TCP device for trials and tests.

python3 simulator.py [PORT] plays a pump: input registers 30001 temperature in tenths of a degree, 30002 and 30003
pressure as float32, 30004 and 30005 a counter as uint32, 30006 bits (0 runs, 1 alarm); holding register 40001 speed.
"""

import math
import socketserver
import struct
import sys
import threading
import time
from typing import Callable, Dict, List, Optional, Tuple

from client import HOLDING, INPUT, MOST_REGISTERS

Read = Callable[[], Dict[Tuple[int, int], int]]


class Simulator(socketserver.ThreadingTCPServer):
    """Answers reads of whatever `read` gives: a number of 16 bits for each function code and address."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, read: Read, port: int = 0, unit: int = 1):
        self.read, self.unit = read, unit
        # Connections are taken and closed at once.
        self.is_away = False
        self.requests: List[Tuple[int, int, int]] = []
        self._connections: List[socketserver.BaseRequestHandler] = []
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_address[1]

    def start(self) -> "Simulator":
        """Serves in a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Ends it, as if its power was cut."""
        self.shutdown()
        self.server_close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Closes what is open; new connections are taken."""
        for connection in self._connections:
            try:
                connection.request.shutdown(2)
            except OSError:
                pass
        self._connections.clear()

    def go_away(self) -> None:
        """Closes what is open, and what comes, until `is_away` is taken back."""
        self.is_away = True
        self.drop_connections()

    def answer(self, unit: int, request: bytes) -> Optional[bytes]:
        """The answer to one request; None for a unit that is not there."""
        if unit != self.unit:
            return None
        function = request[0]
        if function not in (HOLDING, INPUT) or len(request) != 5:
            return bytes([function | 0x80, 1])
        address, count = struct.unpack(">HH", request[1:])
        self.requests.append((function, address, count))
        if not 1 <= count <= MOST_REGISTERS:
            return bytes([function | 0x80, 3])
        registers = self.read()
        words = [registers.get((function, address + i)) for i in range(count)]
        if None in words:
            return bytes([function | 0x80, 2])
        return bytes([function, 2 * count]) + struct.pack(">%dH" % count, *words)


class _Handler(socketserver.StreamRequestHandler):
    server: Simulator

    def handle(self) -> None:
        self.server._connections.append(self)
        try:
            while True:
                header = self.rfile.read(7)
                if len(header) < 7 or self.server.is_away:
                    return
                transaction, _, length, unit = struct.unpack(">HHHB", header)
                answer = self.server.answer(unit, self.rfile.read(length - 1))
                if answer is not None:
                    self.wfile.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
        except OSError:
            pass


def words(form: str, value: float) -> List[int]:
    """A value in the form of struct as registers, the highest first."""
    packed = struct.pack(">" + form, value)
    return list(struct.unpack(">%dH" % (len(packed) // 2), packed))


def pump() -> Dict[Tuple[int, int], int]:
    """What the registers of the pump hold now."""
    now = time.time()
    temperature = 60 + 5 * math.sin(now / 10)
    inputs = [round(10 * temperature), *words("f", 2.5 + 0.2 * math.sin(now)), *words("I", int(now) & 0xFFFFFFFF)]
    inputs.append(1 | (2 if temperature > 64 else 0))
    return {**{(INPUT, address): word for address, word in enumerate(inputs)}, (HOLDING, 0): 1450}


if __name__ == "__main__":
    simulator = Simulator(pump, int(sys.argv[1]) if len(sys.argv) > 1 else 1502)
    print("a pump listens on 127.0.0.1:%d, unit 1" % simulator.port, flush=True)
    simulator.serve_forever()
