"""What is in which registers: from configuration to requests, and from their answers to named values."""

import csv
import json
import math
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from client import HOLDING, INPUT, MOST_REGISTERS

# For each type its width in registers and its form in struct.
_TYPES = {
    "int16": (1, "h"),
    "uint16": (1, "H"),
    "int32": (2, "i"),
    "uint32": (2, "I"),
    "float32": (2, "f"),
    "int64": (4, "q"),
    "uint64": (4, "Q"),
    "float64": (4, "d"),
}
_KEYS = {"name", "register", "address", "function", "type", "scale", "offset", "bit", "length", "wordOrder"}
_FUNCTIONS = {"holding": HOLDING, "input": INPUT, "3": HOLDING, "4": INPUT}


class Block(NamedTuple):
    """Registers that one request reads."""

    function: int
    address: int
    count: int


class Field:
    """One named value."""

    def __init__(self, conf: Dict[str, Any]):
        self.name = conf.get("name")
        if not isinstance(self.name, str) or not self.name:
            raise ValueError("a register needs a name: %s" % json.dumps(conf))
        unknown = sorted(set(conf) - _KEYS)
        if unknown:
            raise self._wrong("there is no property %s; there are %s" % (unknown[0], ", ".join(sorted(_KEYS))))
        self.function, self.address = self._place(conf)
        self._type = conf.get("type", "uint16")
        self._bit = self._whole(conf, "bit", 0, 15) if self._type == "bool" else 0
        if self._type == "string":
            self.count = self._whole(conf, "length", 1, MOST_REGISTERS)
        elif self._type == "bool":
            self.count = 1
        elif self._type in _TYPES:
            self.count = _TYPES[self._type][0]
        else:
            raise self._wrong("type must be bool, string, %s, not %r" % (", ".join(_TYPES), self._type))
        if self.address + self.count > 65536:
            raise self._wrong("it reaches beyond register address 65535")
        self._scale, self._offset = self._number(conf, "scale", 1), self._number(conf, "offset", 0)
        self._little = conf.get("wordOrder", "big") == "little"
        if conf.get("wordOrder", "big") not in ("big", "little"):
            raise self._wrong("wordOrder must be big or little, not %r" % (conf["wordOrder"],))

    def _wrong(self, text: str) -> ValueError:
        return ValueError("register %s: %s" % (self.name, text))

    def _place(self, conf: Dict[str, Any]) -> Any:
        """Function code and address: `register` counts as device manuals do (40001 is holding address 0)."""
        if ("register" in conf) == ("address" in conf):
            raise self._wrong('say either "register" (such as 40001) or "address" (such as 0)')
        if "address" in conf:
            function = _FUNCTIONS.get(str(conf.get("function", "holding")))
            if function is None:
                raise self._wrong("function must be holding or input, not %r" % (conf["function"],))
            return function, self._whole(conf, "address", 0, 65535)
        for first, last, function in ((30001, 39999, INPUT), (40001, 49999, HOLDING), (300001, 365536, INPUT), (400001, 465536, HOLDING)):
            if conf["register"] in range(first, last + 1) and not isinstance(conf["register"], bool):
                return function, conf["register"] - first
        raise self._wrong("register must be from 30001 (input) or 40001 (holding) on, not %r" % (conf["register"],))

    def _whole(self, conf: Dict[str, Any], key: str, least: int, most: int) -> int:
        value = conf.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong("%s must be a whole number from %d to %d, not %r" % (key, least, most, value))
        return value

    def _number(self, conf: Dict[str, Any], key: str, default: float) -> float:
        value = conf.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong("%s must be a number, not %r" % (key, value))
        return value

    def value(self, words: Sequence[int]) -> Any:
        """The value of these registers; None for a float that is no number."""
        if self._type == "bool":
            return bool(words[0] >> self._bit & 1)
        packed = struct.pack(">%dH" % self.count, *(reversed(words) if self._little else words))
        if self._type == "string":
            return packed.split(b"\0")[0].decode("latin-1").rstrip()
        (value,) = struct.unpack(">" + _TYPES[self._type][1], packed)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if self._type == "float32":
            value = _shortest(value)
        if (self._scale, self._offset) == (1, 0):
            return value
        # 2175 · 0.1 is 217.5, not 217.50000000000003.
        return float("%.12g" % (value * self._scale + self._offset))


def _shortest(value: float) -> float:
    """The shortest number that is the same with 32 bits: 2.6 and not 2.5999999046325684."""
    short = (float("%.*g" % (digits, value)) for digits in range(6, 9))
    return next((number for number in short if struct.pack(">f", number) == struct.pack(">f", value)), float("%.9g" % value))


def read_fields(registers: Any) -> List[Field]:
    """The property `registers`: a list of objects, or the path of a JSON or CSV file with them."""
    if isinstance(registers, str):
        registers = _of_file(registers)
    if not isinstance(registers, list) or not registers or not all(isinstance(conf, dict) for conf in registers):
        raise ValueError('property "registers" must be a list of objects, or the path of a .json or .csv file')
    fields = [Field(conf) for conf in registers]
    names = [field.name for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError("two registers are called %s" % twice[0])
    return fields


def _of_file(path: str) -> Any:
    with open(path, encoding="utf-8", newline="") as file:
        if not path.endswith(".csv"):
            return json.load(file)
        rows = [{key: text for key, text in row.items() if key and text} for row in csv.DictReader(file)]
    return [{key: _cell(key, text) for key, text in row.items()} for row in rows]


def _cell(key: str, text: str) -> Any:
    if key in ("register", "address", "bit", "length"):
        return int(text)
    return float(text) if key in ("scale", "offset") else text.strip()


def blocks_of(fields: Sequence[Field], gap: int = 0) -> List[Block]:
    """The fewest requests for all fields. Up to `gap` registers that nobody asked for are read along; many devices
    refuse a request that touches one that they do not have."""
    blocks: List[Block] = []
    for field in sorted(fields, key=lambda field: (field.function, field.address, field.count)):
        end = field.address + field.count
        last: Optional[Block] = blocks[-1] if blocks else None
        if last is not None and last.function == field.function and field.address <= last.address + last.count + gap:
            count = max(last.count, end - last.address)
            if count <= MOST_REGISTERS:
                blocks[-1] = last._replace(count=count)
                continue
        blocks.append(Block(field.function, field.address, field.count))
    return blocks


def block_of(field: Field, blocks: Sequence[Block]) -> int:
    """The number of the block that holds a field."""
    for number, block in enumerate(blocks):
        inside = block.address <= field.address and field.address + field.count <= block.address + block.count
        if block.function == field.function and inside:
            return number
    raise LookupError(field.name)
