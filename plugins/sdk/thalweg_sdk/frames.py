"""Column frames (portable-plugins.md 12.3): typed columns as they lie in the engine, decoded without a loop in Python.

Everything is checked before it is touched: sizes, offsets and types of a frame that makes no sense are a FrameError,
never an exception from somewhere inside.
"""

import array
import datetime
import functools
import itertools
import json
import struct
import sys
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from .values import (
    EXACT,
    millis_of,
    pack_validity,
    plain,
    time_of,
    time_text,
    to_base64,
    to_json,
    unpack_validity,
    with_integers,
    with_nulls,
)

MAGIC, VERSION = 0x43, 1
ROWS, GROUPS, SOURCE, SINK, ANSWER = 1, 2, 3, 4, 128
IN_REGION, HAS_ERRORS, ARROW = 1, 2, 4
HEAD = struct.Struct("<BBBBIQ")
# A frame of constants alone could claim any number of rows.
MAX_ROWS = 1 << 24

_read_document = json.JSONDecoder().raw_decode

_FORMATS = {"i64": ("q", 8), "f64": ("d", 8), "bool": ("?", 1), "ts": ("q", 8)}
_TEXTS = ("str", "bin", "json")
_DTYPES = {"i64": "i8", "f64": "f8", "bool": "?", "ts": "M8[ms]"}
_ALIGN = 64

# The layout is little-endian; a plugin on another machine goes without frames.
USABLE = sys.byteorder == "little"

Buffer = Union[bytes, bytearray, memoryview]


class FrameError(ValueError):
    """What is wrong with a frame. Its sequence number, if that could be read, is needed for the answer."""

    def __init__(self, text: str, seq: Optional[int] = None):
        super().__init__(text)
        self.seq = seq


class Column:
    """One column of a frame. Its buffers are views: nothing is copied until somebody asks for a list."""

    def __init__(
        self, kind: str, n: int, data: Any, null: Any = None, off: Any = None, name: str = "", whole: Any = None
    ):
        self.kind, self.n, self.data, self.null, self.off, self.name = kind, n, data, null, off, name
        # The bit map of the floats that are integers to Python, as they would be in JSON.
        self.whole = whole

    def to_list(self, text_bytes: bool = False, datetimes: bool = False) -> List[Any]:
        """Plain Python values. `text_bytes`: bytes as base64 text. `datetimes`: times as such, else RFC 3339 text."""
        kind = self.kind
        if kind in _TEXTS:
            values = self._texts()
            if kind == "bin" and text_bytes:
                values = [to_base64(value) for value in values]
        else:
            values = self._sliceable().tolist()
        if kind == "ts":
            make = time_of if datetimes else time_text
            # Out of range times are nulls, as they are in the engine's JSON.
            values = [make(value) if -62135596800000 <= value < 253402300800000 else None for value in values]
        if self.whole is not None:
            values = with_integers(values, self.whole)
        if self.null is not None:
            values = with_nulls(values, self.null)
        return values

    def each(self, text_bytes: bool = False, datetimes: bool = False) -> Iterator[Any]:
        """The values of `to_list` one by one. Numbers are made when their turn comes, which keeps them few."""
        if self.kind in ("i64", "f64", "bool") and self.whole is None and self.null is None:
            return iter(self._sliceable())
        return iter(self.to_list(text_bytes, datetimes))

    def _sliceable(self) -> Any:
        if self.kind != "f64":
            return self.data.cast(_FORMATS[self.kind][0])
        # Twice as fast as a memoryview, which takes doubles apart byte by byte since Python 3.11.
        whole = array.array("d")
        whole.frombytes(self.data)
        return whole

    def group_lists(self, offsets: List[int], text_bytes: bool = False, datetimes: bool = False) -> Iterator[List[Any]]:
        """The list of each group, made when its turn comes: the values of one group are gone before the next."""
        if self.kind not in ("f64", "i64", "bool") or self.whole is not None:
            return _slices(self.to_list(text_bytes, datetimes), offsets)
        whole, valid = self._sliceable(), None
        if self.null is not None:
            valid = unpack_validity(self.null, self.n)
        if valid is None or "0" not in valid:
            return (whole[start:end].tolist() for start, end in zip(offsets, offsets[1:]))
        return (_group(whole, valid, start, end) for start, end in zip(offsets, offsets[1:]))

    def _texts(self) -> List[Any]:
        offsets = self.off.cast("i").tolist()
        data = self.data
        pairs = zip(offsets, offsets[1:])
        if self.kind == "bin":
            whole = bytes(data)
            return [whole[start:end] for start, end in pairs]
        try:
            text = str(data, "utf-8")
            if len(text) == len(data):
                values = [text[start:end] for start, end in pairs]
            else:
                values = [str(data[start:end], "utf-8") for start, end in pairs]
            return values if self.kind == "str" else self._documents(values)
        except UnicodeDecodeError as error:
            raise FrameError("column %s: text is no UTF-8: %s" % (self.name or self.kind, error))

    def _documents(self, texts: List[str]) -> List[Any]:
        if self.null is not None:
            texts = [text or "null" for text in texts]
        try:
            values = json.loads("[" + ",".join(texts) + "]")
            if len(values) == len(texts):
                return values
        except ValueError:
            pass
        try:
            return [json.loads(text) for text in texts]
        except ValueError as error:
            raise FrameError("column %s: a value is no JSON: %s" % (self.name or self.kind, error))

    def to_numpy(self, numpy: Any) -> Any:
        """An array over the column's memory, read-only. With nulls: a copy with NaN, or of objects with None."""
        if self.kind in _TEXTS:
            array = numpy.empty(self.n, dtype=object)
            array[:] = self.to_list()
            return array
        values = numpy.frombuffer(self.data, dtype=_DTYPES[self.kind])
        if self.null is None:
            values.flags.writeable = False
            return values
        bits = numpy.unpackbits(numpy.frombuffer(self.null, dtype="u1"), count=self.n, bitorder="little")
        missing = bits == 0
        if self.kind in ("f64", "i64"):
            values = values.astype("f8")
            values[missing] = numpy.nan
        elif self.kind == "ts":
            values = values.copy()
            values[missing] = numpy.datetime64("NaT")
        else:
            values = values.astype(object)
            values[missing] = None
        return values


def _slices(values: List[Any], offsets: List[int]) -> Iterator[List[Any]]:
    return (values[start:end] for start, end in zip(offsets, offsets[1:]))


def _group(whole: Any, valid: str, start: int, end: int) -> List[Any]:
    """The values from start to end, with None where they are not valid."""
    values = whole[start:end].tolist()
    position = valid.find("0", start, end)
    while position >= 0:
        values[position - start] = None
        position = valid.find("0", position + 1, end)
    return values


class Const:
    """A literal argument: the same value for every row."""

    kind = "const"
    null = None

    def __init__(self, value: Any, n: int, name: str = ""):
        self.value, self.n, self.name = value, n, name

    def to_list(self, text_bytes: bool = False, datetimes: bool = False) -> List[Any]:
        """The value, n times."""
        return [self.value] * self.n

    def each(self, text_bytes: bool = False, datetimes: bool = False) -> Iterator[Any]:
        """The same one by one."""
        return itertools.repeat(self.value, self.n)

    def group_lists(self, offsets: List[int], text_bytes: bool = False, datetimes: bool = False) -> Iterator[List[Any]]:
        """The value as often as each group has rows."""
        return ([self.value] * (end - start) for start, end in zip(offsets, offsets[1:]))

    def to_numpy(self, numpy: Any) -> Any:
        """An array of n values that takes the memory of one."""
        value = numpy.nan if self.value is None else self.value
        if isinstance(value, (list, dict)):
            array = numpy.empty(self.n, dtype=object)
            array[:] = [value] * self.n
            return array
        return numpy.broadcast_to(numpy.asarray(value), (self.n,))


class Values:
    """A column of a JSON batch: a list already."""

    kind = "list"
    null = None

    def __init__(self, values: List[Any], name: str = ""):
        self.values, self.n, self.name = values, len(values), name

    def to_list(self, text_bytes: bool = False, datetimes: bool = False) -> List[Any]:
        """The list itself."""
        return self.values

    def each(self, text_bytes: bool = False, datetimes: bool = False) -> Iterator[Any]:
        """Its values one by one."""
        return iter(self.values)

    def group_lists(self, offsets: List[int], text_bytes: bool = False, datetimes: bool = False) -> Iterator[List[Any]]:
        """The list of each group."""
        return _slices(self.values, offsets)

    def to_numpy(self, numpy: Any) -> Any:
        """An array of the narrowest type that holds the values; nulls are NaN among numbers."""
        kinds = set(map(type, self.values))
        if kinds <= {int, float, type(None)} and kinds:
            if type(None) in kinds or float in kinds:
                return numpy.array([numpy.nan if v is None else v for v in self.values], dtype="f8")
            return numpy.array(self.values)
        if kinds == {bool}:
            return numpy.array(self.values)
        array = numpy.empty(self.n, dtype=object)
        array[:] = self.values
        return array


class Frame:
    """A decoded frame: `n` results are wanted; `offsets` has one more than groups and is None for rows."""

    __slots__ = ("op", "flags", "seq", "header", "n", "cols", "offsets", "body")

    def __init__(self, op: int, flags: int, seq: int, header: Dict[str, Any], body: Any):
        self.op, self.flags, self.seq, self.header, self.body = op, flags, seq, header, body
        self.n = 0
        self.cols: List[Any] = []
        self.offsets: Optional[List[int]] = None


def decode(message: Buffer, region: Optional[memoryview] = None) -> Frame:
    """Takes a frame apart and checks it. Columns of a frame with flag 4 are read by module arrow instead."""
    view = memoryview(message)
    if len(view) < HEAD.size:
        raise FrameError("a frame has at least %d bytes, not %d" % (HEAD.size, len(view)))
    magic, version, op, flags, length, seq = HEAD.unpack_from(view)
    try:
        if magic != MAGIC or version != VERSION:
            raise FrameError("frame of version %d; this SDK reads version %d" % (version, VERSION))
        if length > len(view) - HEAD.size:
            raise FrameError("the header would have %d bytes, the frame has %d" % (length, len(view)))
        end = HEAD.size + length
        header = (_known_header if length <= _SHORT else _read_header)(bytes(view[HEAD.size : end]))
        frame = Frame(op, flags, seq, header, view[min(-(-end // _ALIGN) * _ALIGN, len(view)) :])
        frame.n = _count(header.get("n"), "n")
        if flags & ARROW:
            return frame
        if flags & IN_REGION and region is None:
            raise FrameError("the frame's buffers are in shared memory, but none was agreed upon")
        memory = region if flags & IN_REGION and region is not None else view
        if op & ~ANSWER == GROUPS and not op & ANSWER:
            frame.offsets = _group_offsets(header, memory, frame.n)
        _read_columns(frame, memory)
        return frame
    except FrameError as error:
        error.seq = seq
        raise


def _read_header(text: bytes) -> Dict[str, Any]:
    try:
        # Zeros or blanks may follow.
        header, _ = _read_document(str(text, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise FrameError("the header is no JSON: %s" % error)
    if not isinstance(header, dict):
        raise FrameError("the header is no object")
    return header


# Frames of one size have one header, which is read once. Nobody changes what was read.
_known_header = functools.lru_cache(maxsize=64)(_read_header)
_SHORT = 2048


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ROWS:
        raise FrameError("%s must be a whole number from 0 to %d, not %s" % (what, MAX_ROWS, _shown(value)))
    return value


def _shown(value: Any) -> str:
    text = to_json(value) if isinstance(value, (dict, list, str, int, float, type(None))) else str(value)
    return text if len(text) <= 40 else text[:40] + "…"


def _buffer(spec: Any, memory: memoryview, what: str) -> memoryview:
    whole = isinstance(spec, list) and len(spec) == 2 and all(type(part) is int for part in spec)
    if not whole or spec[0] < 0 or spec[1] < 0 or spec[0] + spec[1] > len(memory):
        raise FrameError("%s %s does not lie within %d bytes" % (what, _shown(spec), len(memory)))
    return memory[spec[0] : spec[0] + spec[1]]


def _offsets(buffer: memoryview, n: int, limit: int, what: str) -> List[int]:
    if len(buffer) < 4 * (n + 1):
        raise FrameError("%s has %d bytes, %d offsets need %d" % (what, len(buffer), n + 1, 4 * (n + 1)))
    offsets = buffer[: 4 * (n + 1)].cast("i").tolist()
    if offsets[0] < 0 or offsets[-1] > limit or offsets != sorted(offsets):
        raise FrameError("%s must ascend from 0 or more to at most %d" % (what, limit))
    return offsets


def _group_offsets(header: Dict[str, Any], memory: memoryview, n: int) -> List[int]:
    if "groups" not in header:
        raise FrameError("a frame of groups needs the key groups")
    return _offsets(_buffer(header["groups"], memory, "groups"), n, MAX_ROWS, "groups")


def _read_columns(frame: Frame, memory: memoryview) -> None:
    specs = frame.header.get("cols", [])
    if not isinstance(specs, list) or not all(isinstance(spec, dict) for spec in specs):
        raise FrameError("cols must be a list of objects")
    n_values = frame.n if frame.offsets is None else frame.offsets[-1]
    for index, spec in enumerate(specs):
        frame.cols.append(_column(spec, memory, n_values, "column %d" % index))


def _column(spec: Dict[str, Any], memory: memoryview, n_values: int, what: str) -> Any:
    kind, name = spec.get("t"), spec.get("name", "")
    if kind == "const":
        return Const(spec.get("v"), n_values, name)
    n = _count(spec.get("len", n_values), what + ": len")
    if n < n_values:
        raise FrameError("%s has %d values, %d are needed" % (what, n, n_values))
    n = n_values
    null = spec.get("null")
    if null is not None:
        null = _buffer(null, memory, what + ": null")
        if 8 * len(null) < n:
            raise FrameError("%s: %d bytes of null bits are too few for %d values" % (what, len(null), n))
    data = _buffer(spec.get("data"), memory, what + ": data")
    if kind in _TEXTS:
        off = _buffer(spec.get("off"), memory, what + ": off")
        _offsets(off, n, len(data), what + ": off")
        return Column(kind, n, data, null, off[: 4 * (n + 1)], name)
    if not isinstance(kind, str) or kind not in _FORMATS:
        raise FrameError("%s has the unknown type %s" % (what, _shown(kind)))
    width = _FORMATS[kind][1]
    if len(data) < n * width:
        raise FrameError("%s: %d bytes are too few for %d values of type %s" % (what, len(data), n, kind))
    whole = spec.get("whole")
    if whole is not None:
        whole = _buffer(whole, memory, what + ": whole")
        if kind != "f64" or 8 * len(whole) < n:
            raise FrameError("%s: whole is for f64 and needs a bit for each of %d values" % (what, n))
    return Column(kind, n, data[: n * width], null, None, name, whole)


class Packed:
    """A column ready to be put into a frame."""

    __slots__ = ("kind", "data", "null", "off", "name")

    def __init__(self, kind: str, data: Buffer, null: Buffer = b"", off: Buffer = b"", name: str = ""):
        self.kind, self.data, self.null, self.off, self.name = kind, data, null, off, name


_KIND_OF = {float: "f64", int: "i64", bool: "bool", str: "str", bytes: "bin", datetime.datetime: "ts"}
_PACK = {"f64": "d", "i64": "q"}


def pack(values: List[Any], errors: List[List[Any]], declared: Optional[str] = None, name: str = "") -> Packed:
    """Packs values under the type they share, else as JSON. A value that fits nowhere becomes null and an error."""
    if declared in _PACK:
        try:
            return Packed(declared, struct.pack("%d%s" % (len(values), _PACK[declared]), *values), name=name)
        except (struct.error, TypeError, OverflowError):
            pass
    if values:
        # One type throughout is the usual case, and quicker to see than all the types there are.
        first = _KIND_OF.get(type(values[0]))
        if first is not None and list(map(type, values)).count(type(values[0])) == len(values):
            try:
                return _pack_as(first, values, b"", name)
            except (struct.error, OverflowError, UnicodeEncodeError):
                return _pack_documents(values, errors, name)
    kinds = set(map(type, values))
    if any(kind.__module__ == "numpy" for kind in kinds):
        if all(issubclass(kind, float) for kind in kinds):
            kinds = {float}
        else:
            values = [value.tolist() if type(value).__module__ == "numpy" else value for value in values]
            kinds = set(map(type, values))
    null: Buffer = b""
    if type(None) in kinds:
        kinds.discard(type(None))
        null = pack_validity(values)
    if len(kinds) <= 1:
        kind = _KIND_OF.get(kinds.pop()) if kinds else "f64"
    else:
        kind = "f64" if kinds == {int, float} and _fit_floats(values) else None
    if kind is not None:
        try:
            return _pack_as(kind, values, null, name)
        except (struct.error, OverflowError, UnicodeEncodeError):
            pass
    return _pack_documents(values, errors, name)


def _fit_floats(values: List[Any]) -> bool:
    return all(type(value) is not int or -EXACT <= value <= EXACT for value in values)


def _pack_as(kind: str, values: List[Any], null: Buffer, name: str) -> Packed:
    if kind in ("str", "bin"):
        return _pack_texts(kind, values, null, name)
    if null:
        values = [0 if value is None else value for value in values]
    if kind == "bool":
        return Packed(kind, bytes(values), null, name=name)
    if kind == "ts":
        values = [value if value == 0 and type(value) is int else millis_of(value) for value in values]
    code = "d" if kind == "f64" else "q"
    return Packed(kind, struct.pack("%d%s" % (len(values), code), *values), null, name=name)


def _pack_texts(kind: str, values: List[Any], null: Buffer, name: str) -> Packed:
    if null:
        empty = "" if kind == "str" else b""
        values = [empty if value is None else value for value in values]
    if kind != "bin":
        data = "".join(values).encode()
        if len(data) != sum(map(len, values)):
            values = [value.encode() for value in values]
    else:
        data = b"".join(values)
    offsets = [0]
    total = 0
    add = offsets.append
    for length in map(len, values):
        total += length
        add(total)
    # A column beyond 2 GiB does not fit 32 bits: struct.error, which the caller knows.
    return Packed(kind, data, null, struct.pack("%di" % len(offsets), *offsets), name)


def _pack_documents(values: List[Any], errors: List[List[Any]], name: str) -> Packed:
    texts: List[Optional[str]] = []
    for position, value in enumerate(values):
        try:
            if isinstance(value, (bytes, bytearray)):
                raise TypeError("bytes among other types have no place in an answer")
            texts.append(None if value is None else _document(value))
        except Exception as error:
            texts.append(None)
            errors.append([position, "%s: %s" % (type(error).__name__, error)])
    null = pack_validity(texts) if None in texts else b""
    return _pack_texts("json", [text or "" for text in texts], null, name)


def _document(value: Any) -> str:
    # NaN and the infinities stay what Python calls them, which the engine takes for null, and counts.
    text = _encode(value)
    # Half a character is an error of this value, not of all.
    text.encode()
    return text


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=plain).encode


def pack_array(values: Any, numpy: Any, errors: List[List[Any]], name: str = "") -> Packed:
    """Packs an array by its type, without a loop where the type is one of ours."""
    kind = values.dtype.kind
    is_ours = kind in "fib" or kind == "M" or (kind == "u" and values.dtype.itemsize < 8)
    if not is_ours or values.ndim != 1 or isinstance(values, numpy.ma.MaskedArray):
        return pack(values.tolist(), errors, name=name)
    if kind == "M":
        missing = numpy.isnat(values)
        millis = values.astype("M8[ms]").astype("i8")
        null = numpy.packbits(~missing, bitorder="little").tobytes() if missing.any() else b""
        return Packed("ts", millis.tobytes(), null, name=name)
    kind, dtype = {"f": ("f64", "f8"), "b": ("bool", "?")}.get(kind, ("i64", "i8"))
    return Packed(kind, values.astype(dtype, copy=False).tobytes(), name=name)


def encode(
    op: int,
    seq: int,
    n: int,
    cols: Sequence[Union[Packed, Const]],
    further: str = "",
    flags: int = 0,
    region: Optional[Tuple[memoryview, int]] = None,
    groups: Optional[Sequence[int]] = None,
) -> List[Buffer]:
    """A frame in parts, to be sent one after the other. `further` is JSON text of more keys, ending in a comma.

    `region` is the place in shared memory that the buffers may use, and where that begins in the whole; a frame that
    does not fit travels whole.
    """
    if len(cols) == 1 and region is None and groups is None:
        only = cols[0]
        if isinstance(only, Packed) and not only.null and not only.off and not only.name:
            return _one_plain(op, seq, n, only, further, flags)
    if groups is not None:
        cols = [*cols, Packed("groups", struct.pack("%di" % len(groups), *groups))]
    n_bytes = sum(_size(col) for col in cols)
    if region is not None and n_bytes <= len(region[0]):
        start, place = region[1], region[0]
        specs, buffers = _lay_out(cols, start)
        for offset, buffer in buffers:
            place[offset - start : offset - start + len(buffer)] = buffer
        return [_head(op, seq, flags | IN_REGION, _header(further, n, specs))]
    # How long the header is depends on the offsets in it, and these on its length: numbers of 12 digits at most.
    guess = 16 + len(_header(further, n, "").encode()) + sum(map(_header_size, cols))
    start = -(-guess // _ALIGN) * _ALIGN
    specs, buffers = _lay_out(cols, start)
    parts: List[Buffer] = [_head(op, seq, flags, _header(further, n, specs), start - HEAD.size)]
    at = start
    for offset, buffer in buffers:
        if offset > at:
            parts.append(bytes(offset - at))
        parts.append(buffer)
        at = offset + len(buffer)
    return parts


_PLAIN = '{%s"n":%d,"cols":[{"t":"%s","null":null,"off":null,"data":[%d,%d]}]}'


def _one_plain(op: int, seq: int, n: int, col: Packed, further: str, flags: int) -> List[Buffer]:
    """What most answers are: one column without nulls. The header's room is fixed unless there are many errors."""
    start = 256 if len(further) < 80 else -(-(len(further.encode()) + 176) // _ALIGN) * _ALIGN
    text = (_PLAIN % (further, n, col.kind, start, len(col.data))).encode()
    return [HEAD.pack(MAGIC, VERSION, op, flags, start - 16, seq) + text.ljust(start - 16), col.data]


def _header(further: str, n: int, specs: str) -> str:
    specs, mark, groups = specs.partition(_GROUPS)
    if mark:
        return '{%s"n":%d,"groups":%s,"cols":[%s]}' % (further, n, groups, specs.rstrip(","))
    return '{%s"n":%d,"cols":[%s]}' % (further, n, specs)


# Stands before the place of the groups' offsets among the columns' descriptions; no JSON text holds it.
_GROUPS = "\0"


def _size(col: Union[Packed, Const]) -> int:
    return 0 if isinstance(col, Const) else len(col.data) + len(col.null) + len(col.off) + 3 * _ALIGN


def _header_size(col: Union[Packed, Const]) -> int:
    return 40 + len(to_json(col.value).encode()) if isinstance(col, Const) else 160 + 6 * len(col.name)


def _lay_out(cols: Sequence[Union[Packed, Const]], at: int) -> Tuple[str, List[Tuple[int, Buffer]]]:
    specs, buffers = [], []
    for col in cols:
        if isinstance(col, Const):
            specs.append('{"t":"const","v":%s}' % to_json(col.value))
            continue
        places = []
        for buffer, is_there in ((col.null, col.null), (col.off, col.off), (col.data, True)):
            if not is_there:
                places.append("null")
                continue
            places.append("[%d,%d]" % (at, len(buffer)))
            buffers.append((at, buffer))
            at += -(-len(buffer) // _ALIGN) * _ALIGN
        if col.kind == "groups":
            specs.append(_GROUPS + places[2])
            continue
        name = '"name":%s,' % to_json(col.name) if col.name else ""
        specs.append('{%s"t":"%s","null":%s,"off":%s,"data":%s}' % (name, col.kind, *places))
    return ",".join(specs), buffers


def _head(op: int, seq: int, flags: int, text: str, length: int = 0) -> bytes:
    header = text.encode().ljust(length)
    return HEAD.pack(MAGIC, VERSION, op, flags, len(header), seq) + header
