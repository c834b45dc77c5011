"""Arrow IPC as the body of a frame (portable-plugins.md 12.5). Only where pyarrow can be imported."""

import importlib.util
import json
from typing import Any, Iterator, List, Optional

from .frames import FrameError


def is_there() -> bool:
    """Whether pyarrow is installed; it is imported only when it is needed."""
    try:
        return importlib.util.find_spec("pyarrow") is not None
    except (ImportError, ValueError):
        return False


def needed(name: str) -> Any:
    """The module pyarrow, without which a function of Arrow arrays cannot work."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("%s takes Arrow arrays, but pyarrow is not there (%s): pip install pyarrow" % (name, error))
    return pyarrow


def is_array(values: Any) -> bool:
    """Whether these are an array of pyarrow, in one piece or more."""
    return type(values).__module__.startswith("pyarrow") and hasattr(values, "to_pylist")


def plain(values: Any) -> List[Any]:
    """Results as plain Python values."""
    return values.to_pylist() if is_array(values) else list(values)


def array_of(column: Any) -> Any:
    """Any column as an array. Values that Arrow has no common type for are texts: those that are none, as JSON."""
    if isinstance(column, ArrowColumn) and column.kind != "json":
        return column.array
    import pyarrow

    values = column.to_list(datetimes=True)
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, TypeError, OverflowError):
        from .values import to_json

        texts = [value if value is None or isinstance(value, str) else to_json(value) for value in values]
        return pyarrow.array(texts, pyarrow.string())


def lists_of(array: Any, offsets: List[int]) -> Any:
    """An array of the lists between the offsets."""
    import pyarrow

    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets, pyarrow.int32()), array)


class ArrowColumn:
    """One column of an Arrow batch."""

    null = None

    def __init__(self, array: Any, name: str = "", kind: str = "arrow"):
        self.array, self.n, self.name, self.kind = array, len(array), name, kind

    def to_list(self, text_bytes: bool = False, datetimes: bool = False) -> List[Any]:
        """Plain Python values."""
        import pyarrow

        from .values import millis_of, time_text, to_base64

        values = self.array.to_pylist()
        if self.kind == "json":
            return [None if value is None else json.loads(value) for value in values]
        if pyarrow.types.is_timestamp(self.array.type) and not datetimes:
            return [None if value is None else time_text(millis_of(value)) for value in values]
        if text_bytes and (pyarrow.types.is_binary(self.array.type) or pyarrow.types.is_large_binary(self.array.type)):
            return [None if value is None else to_base64(value) for value in values]
        return values

    def each(self, text_bytes: bool = False, datetimes: bool = False) -> Iterator[Any]:
        """The same one by one."""
        return iter(self.to_list(text_bytes, datetimes))

    def group_lists(self, offsets: List[int], text_bytes: bool = False, datetimes: bool = False) -> Iterator[List[Any]]:
        """The list of each group."""
        values = self.to_list(text_bytes, datetimes)
        return (values[start:end] for start, end in zip(offsets, offsets[1:]))

    def to_numpy(self, numpy: Any) -> Any:
        """An array; without a copy where Arrow can."""
        return self.array.to_numpy(zero_copy_only=False)


class Arguments:
    """The columns of a frame's body, and for groups where each begins."""

    def __init__(self, body: Any, n: int, wants_groups: bool):
        import pyarrow

        try:
            with pyarrow.ipc.open_stream(pyarrow.py_buffer(body)) as reader:
                table = reader.read_all().combine_chunks()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise FrameError("the body is no Arrow stream: %s" % error)
        if table.num_rows != n and table.num_columns:
            raise FrameError("the Arrow batch has %d rows, not %d" % (table.num_rows, n))
        self.cols: List[Any] = []
        self.offsets: Optional[List[int]] = None
        for field, chunked in zip(table.schema, table.columns):
            name = field.name
            array = chunked.combine_chunks()
            array = array.chunk(0) if isinstance(array, pyarrow.ChunkedArray) and array.num_chunks else array
            if not wants_groups:
                self.cols.append(ArrowColumn(array, name, _kind(field)))
                continue
            if not pyarrow.types.is_list(array.type) and not pyarrow.types.is_large_list(array.type):
                raise FrameError("column %s of groups must be a list, not %s" % (name, array.type))
            offsets = array.offsets.to_pylist()
            if self.offsets is not None and self.offsets != offsets:
                raise FrameError("the columns of the groups have different lengths")
            self.offsets = offsets
            self.cols.append(ArrowColumn(array.values, name, _kind(array.type.value_field)))
        if wants_groups and self.offsets is None:
            self.offsets = [0] * (n + 1)


def _kind(field: Any) -> str:
    return "json" if (field.metadata or {}).get(b"thalweg") == b"json" else "arrow"


def encode(values: Any, errors: List[List[Any]]) -> bytes:
    """A stream with the one column `result`, of a type that the engine has. What has no such type is JSON text; a value
    that has no place there either becomes null and an error."""
    import pyarrow

    if isinstance(values, pyarrow.ChunkedArray):
        values = pyarrow.concat_arrays(values.chunks) if values.num_chunks else pyarrow.array([], values.type)
    try:
        array = values if isinstance(values, pyarrow.Array) else pyarrow.array(values)
        target = _engine_type(pyarrow, array.type)
        if target is not None:
            # Times lose what is finer than a millisecond.
            array = array if array.type == target else array.cast(target, safe=not pyarrow.types.is_timestamp(target))
            return _stream(pyarrow, array, None)
    except (pyarrow.ArrowException, TypeError, OverflowError):
        pass
    from .values import to_json

    texts: List[Any] = []
    for position, value in enumerate(values.to_pylist() if isinstance(values, pyarrow.Array) else values):
        try:
            texts.append(None if value is None else to_json(value))
        except TypeError as error:
            texts.append(None)
            errors.append([position, "TypeError: %s" % error])
    return _stream(pyarrow, pyarrow.array(texts, pyarrow.string()), {"thalweg": "json"})


def _engine_type(pyarrow: Any, given: Any) -> Any:
    """The type of the engine that holds this one, if there is one."""
    is_a = pyarrow.types
    if is_a.is_dictionary(given):
        given = given.value_type
    for check, target in (
        (is_a.is_null, pyarrow.null()),
        (is_a.is_boolean, pyarrow.bool_()),
        (is_a.is_integer, pyarrow.int64()),
        (is_a.is_floating, pyarrow.float64()),
        (is_a.is_string, pyarrow.string()),
        (is_a.is_large_string, pyarrow.string()),
        (is_a.is_binary, pyarrow.binary()),
        (is_a.is_large_binary, pyarrow.binary()),
        (is_a.is_fixed_size_binary, pyarrow.binary()),
    ):
        if check(given):
            return target
    if is_a.is_timestamp(given) or is_a.is_date(given):
        return pyarrow.timestamp("ms", getattr(given, "tz", None))
    return None


def _stream(pyarrow: Any, array: Any, metadata: Any) -> bytes:
    schema = pyarrow.schema([pyarrow.field("result", array.type, metadata=metadata)])
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pyarrow.record_batch([array], schema=schema))
    return sink.getvalue().to_pybytes()
