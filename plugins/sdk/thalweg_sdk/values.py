"""Values on their way between Python and the engine: what JSON cannot hold by itself, times, and null bit maps."""

import base64
import datetime
import json
import sys
from typing import Any, List, Optional

# Integers beyond this cannot be floats without loss.
EXACT = 1 << 53
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_DIGITS = bytes.maketrans(b"\0\1", b"01")


def plain(value: Any) -> Any:
    """What json asks for objects it does not know: numpy's are as good as Python's, times are text."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, datetime.datetime):
        return time_text(millis_of(value))
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


to_json = json.JSONEncoder(separators=(",", ":"), default=plain).encode


def millis_of(time: datetime.datetime) -> int:
    """Milliseconds since 1970; a time without zone is UTC."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.timezone.utc)
    return (time - _EPOCH) // datetime.timedelta(milliseconds=1)


def time_of(millis: int) -> datetime.datetime:
    """The time so many milliseconds after 1970, in UTC."""
    return _EPOCH + datetime.timedelta(milliseconds=millis)


def time_text(millis: int) -> str:
    """RFC 3339 as the engine writes times in JSON: no zeros at the end of the fraction."""
    text = time_of(millis).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = millis % 1000
    return text + (".%03d" % fraction).rstrip("0") + "Z" if fraction else text + "Z"


def to_time(value: Any) -> Any:
    """A time out of what JSON carries: RFC 3339 text or milliseconds; what is neither stays what it is."""
    try:
        if isinstance(value, str):
            return _parsed_time(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return time_of(int(value))
    except (ValueError, OverflowError):
        pass
    return value


def _parsed_time(text: str) -> datetime.datetime:
    text = text[:-1] + "+00:00" if text.endswith("Z") else text
    head, dot, tail = text.partition(".")
    if dot:
        # Python 3.9 wants 3 or 6 digits.
        n_digits = len(tail) - len(tail.lstrip("0123456789"))
        text = head + dot + tail[:n_digits].ljust(6, "0")[:6] + tail[n_digits:]
    time = datetime.datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)


def to_bytes(value: Any) -> Any:
    """Bytes out of what JSON carries: base64 text; what is none stays what it is."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value
    except ValueError:
        return value


def to_base64(value: Any) -> Any:
    """Bytes as JSON carries them."""
    return base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray, memoryview)) else value


def pack_validity(values: List[Any]) -> bytes:
    """The bit map that says which values are not None, least significant bit first."""
    flags = bytes([value is not None for value in values])
    return int(flags[::-1].translate(_DIGITS) or b"0", 2).to_bytes((len(values) + 7) // 8, "little")


def unpack_validity(bits: Any, n: int) -> str:
    """One character a value: "1" is valid, "0" is null."""
    whole = int.from_bytes(bits[: (n + 7) // 8], "little") & ((1 << n) - 1)
    return format(whole, "0%db" % n)[::-1] if n else ""


def with_nulls(values: List[Any], bits: Any) -> List[Any]:
    """The list with None wherever the bit map has 0; changes it in place."""
    valid = unpack_validity(bits, len(values))
    position = valid.find("0")
    while position >= 0:
        values[position] = None
        position = valid.find("0", position + 1)
    return values


def with_integers(values: List[Any], bits: Any) -> List[Any]:
    """The list with an int in place of the float wherever the bit map has 1; changes it in place."""
    whole = unpack_validity(bits, len(values))
    if 2 * whole.count("1") > len(values):
        return [int(value) if is_whole == "1" else value for value, is_whole in zip(values, whole)]
    position = whole.find("1")
    while position >= 0:
        values[position] = int(values[position])
        position = whole.find("1", position + 1)
    return values


def numpy_if_there() -> Optional[Any]:
    """The module numpy if something has imported it or it can be imported."""
    module = sys.modules.get("numpy")
    if module is None:
        try:
            import numpy as module  # type: ignore
        except ImportError:
            return None
    return module
