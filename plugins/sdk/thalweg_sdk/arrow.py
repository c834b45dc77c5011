"""Arrow IPC as the body of a frame (portable-plugins.md 12.5). Only where pyarrow can be imported."""

import importlib.util
from typing import Any, Iterator, List, Optional

from .frames import FrameError


def is_there() -> bool:
    """Whether pyarrow is installed; it is imported only when it is needed."""
    try:
        return importlib.util.find_spec("pyarrow") is not None
    except (ImportError, ValueError):
        return False


class ArrowColumn:
    """One column of an Arrow batch."""

    kind = "arrow"
    null = None

    def __init__(self, array: Any, name: str = ""):
        self.array, self.n, self.name = array, len(array), name

    def to_list(self, text_bytes: bool = False, datetimes: bool = False) -> List[Any]:
        """Plain Python values."""
        import pyarrow

        from .values import millis_of, time_text, to_base64

        values = self.array.to_pylist()
        if pyarrow.types.is_timestamp(self.array.type) and not datetimes:
            return [None if value is None else time_text(millis_of(value)) for value in values]
        if text_bytes and (pyarrow.types.is_binary(self.array.type) or pyarrow.types.is_large_binary(self.array.type)):
            return [to_base64(value) for value in values]
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
        for name, chunked in zip(table.column_names, table.columns):
            array = chunked.combine_chunks()
            array = array.chunk(0) if isinstance(array, pyarrow.ChunkedArray) and array.num_chunks else array
            if not wants_groups:
                self.cols.append(ArrowColumn(array, name))
                continue
            if not pyarrow.types.is_list(array.type) and not pyarrow.types.is_large_list(array.type):
                raise FrameError("column %s of groups must be a list, not %s" % (name, array.type))
            offsets = array.offsets.to_pylist()
            if self.offsets is not None and self.offsets != offsets:
                raise FrameError("the columns of the groups have different lengths")
            self.offsets = offsets
            self.cols.append(ArrowColumn(array.values, name))
        if wants_groups and self.offsets is None:
            self.offsets = [0] * (n + 1)


def encode(values: Any, errors: List[List[Any]]) -> bytes:
    """A stream with the one column `result`. A value that has no place among the others becomes null and an error."""
    import pyarrow

    try:
        array = pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError, OverflowError):
        from .values import to_json

        texts: List[Any] = []
        for position, value in enumerate(values):
            try:
                texts.append(None if value is None else to_json(value))
            except TypeError as error:
                texts.append(None)
                errors.append([position, "TypeError: %s" % error])
        array = pyarrow.array(texts, pyarrow.string())
        return _stream(pyarrow, array, {"thalweg": "json"})
    return _stream(pyarrow, array, None)


def _stream(pyarrow: Any, array: Any, metadata: Any) -> bytes:
    schema = pyarrow.schema([pyarrow.field("result", array.type, metadata=metadata)])
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pyarrow.record_batch([array], schema=schema))
    return sink.getvalue().to_pybytes()
