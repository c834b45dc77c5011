"""A source that polls registers of a Modbus TCP device and gives a row for each poll."""

import time
from typing import Any, Dict, List, Optional

import registers
from client import Client, Refused, address_of
from thalweg_sdk import Context, Source, run

# Between tries to reach a device that is not there.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0


class ModbusTcp(Source):
    """One stream: one device, its registers, an interval."""

    name = "modbus_tcp"

    def configure(self, datasource: str, conf: Dict[str, Any]) -> None:
        """Checks the properties. The device is DATASOURCE or `server`."""
        host, port = address_of(str(conf.get("server") or datasource))
        self._device = "%s:%d" % (host, port)
        self._interval = self._milliseconds(conf, "interval", 1000)
        self._client = Client(host, port, self._milliseconds(conf, "timeout", 2000))
        self._unit = self._whole(conf, "unit", 1, 0, 255)
        self._fields = registers.read_fields(conf.get("registers"))
        self._blocks = registers.blocks_of(self._fields, self._whole(conf, "maxGap", 0, 0, 100))
        self._homes = [registers.block_of(field, self._blocks) for field in self._fields]
        # What is wrong with each block, so that it is said once and not at every poll.
        self._problems: List[str] = [""] * len(self._blocks)

    @staticmethod
    def _whole(conf: Dict[str, Any], key: str, default: int, least: int, most: int) -> int:
        value = conf.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError('property "%s" must be a whole number from %d to %d, not %r' % (key, least, most, value))
        return value

    @classmethod
    def _milliseconds(cls, conf: Dict[str, Any], key: str, default: int) -> float:
        return cls._whole(conf, key, default, 1, 86_400_000) / 1000

    def open(self, ctx: Context) -> None:
        """Polls until the stream ends."""
        try:
            self._run(ctx)
        finally:
            self._client.close()

    def _run(self, ctx: Context) -> None:
        wait, due = FIRST_WAIT_S, time.monotonic()
        while not ctx.stopping.wait(max(0.0, due - time.monotonic())):
            try:
                row = self._poll(ctx)
            except OSError as error:
                ctx.metrics.count("disconnects")
                ctx.emit_error("modbus %s: %s; next try in %g s" % (self._device, error or type(error).__name__, wait))
                due, wait = time.monotonic() + wait, min(LONGEST_WAIT_S, 2 * wait)
                continue
            wait = FIRST_WAIT_S
            if row is not None:
                ctx.emit(row, {"device": self._device, "unit": self._unit})
            ctx.metrics.count("polls")
            # Polls that are over before they could begin are left out, so that a slow device is not asked ever faster.
            late = max(0.0, time.monotonic() - due)
            due += self._interval * (1 + late // self._interval)

    def close(self, ctx: Context) -> None:
        """The poll in hand ends by itself or by its time-out."""
        ctx.stopping.set()

    def _poll(self, ctx: Context) -> Optional[Dict[str, Any]]:
        """A row; what the device refuses is null in it. None if it refuses everything."""
        answers: List[Optional[List[int]]] = []
        for number, block in enumerate(self._blocks):
            try:
                answers.append(self._client.read(self._unit, *block))
                problem = ""
            except Refused as refusal:
                answers.append(None)
                problem = str(refusal)
            if problem and problem != self._problems[number]:
                last = block.address + block.count - 1
                ctx.emit_error("modbus %s, addresses %d to %d: %s" % (self._device, block.address, last, problem))
            self._problems[number] = problem
        if all(answer is None for answer in answers):
            return None
        row: Dict[str, Any] = {}
        for field, home in zip(self._fields, self._homes):
            words, start = answers[home], field.address - self._blocks[home].address
            row[field.name] = None if words is None else field.value(words[start : start + field.count])
        return row


if __name__ == "__main__":
    run("modbus", ModbusTcp)
