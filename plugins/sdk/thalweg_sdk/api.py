"""What a plugin's author uses: classes to derive from, and decorators for the short way."""

import datetime
import inspect
import json
from typing import Any, Callable, Dict, List, Optional

from . import arrow
from .context import Context
from .frames import Values
from .hints import Signature
from .values import numpy_if_there, to_bytes, to_time


class Function:
    """One instance serves all rules; calls come one at a time.

    `exec_batch(cols, ctx)`, if there is one, takes the rows of a message together: a list for each argument, or a
    numpy array if the class says `vector = "numpy"`; it returns a result for each row. `exec_groups(cols, offsets,
    ctx)` is the same for groups: group g has the values from offsets[g] to offsets[g + 1]. `save(ctx)` and
    `restore(ctx, saved)` make what the function remembers for a rule part of the rule's checkpoint.
    """

    vector: Optional[str] = None
    # Whether rows may be spread over several processes.
    parallel = False

    def validate(self, args: List[Any]) -> str:
        """Look at the arguments as written in the SQL; return an error text, or "" if they are fine."""
        return ""

    def exec(self, args: List[Any], ctx: Context) -> Any:
        """Compute. Of an aggregate, each argument is the list of the group's values."""
        raise NotImplementedError("exec")

    def is_aggregate(self) -> bool:
        """Whether the function is an aggregate."""
        return False


class Source:
    """One instance for each stream that uses the source. `save(ctx)` and `restore(ctx, saved)` may be added: where to
    go on after a restart is then part of the rule's checkpoint."""

    def configure(self, datasource: str, conf: dict):
        """Take the properties; raise to refuse them."""

    def open(self, ctx: Context):
        """Run, and hand over rows with ctx.emit, until close is called."""
        raise NotImplementedError("open")

    def close(self, ctx: Context):
        """Called from another thread: make open return."""


class Sink:
    """One instance for each action that uses the sink. With a method `collect_batch(ctx, rows)` it gets decoded rows,
    many at a time; raising there is a refusal of the whole batch."""

    def configure(self, conf: dict):
        """Take the action's properties; raise to refuse them."""

    def open(self, ctx: Context):
        """Connect. Called once, before the first collect."""

    def collect(self, ctx: Context, data: Any):
        """Take one encoded message (bytes)."""
        raise NotImplementedError("collect")

    def close(self, ctx: Context):
        """Disconnect."""


class Accumulator:
    """An aggregate that is computed value by value. `retract` lets sliding windows forget what leaves them, `merge`
    lets partial results be joined; without them the engine hands over whole groups."""

    def add(self, *args: Any) -> None:
        """Take the arguments of one row."""
        raise NotImplementedError("add")

    def finish(self) -> Any:
        """The result for what was added so far. More may be added after it."""
        raise NotImplementedError("finish")

    def save(self) -> Any:
        """What has to be remembered, as JSON holds it."""
        return dict(vars(self))

    def restore(self, saved: Any) -> None:
        """Takes up what save has returned."""
        vars(self).update(saved)


class FunctionOf(Function):
    """A function made by a decorator. Called in Python it is the function that was decorated."""

    def __init__(self, target: Callable, is_aggregate: bool, name: str, vector: Optional[str], parallel: bool):
        if vector not in (None, "numpy", "groups", "arrow"):
            raise ValueError('vector must be "numpy", "groups" or "arrow", not %r' % (vector,))
        if vector == "groups" and not is_aggregate:
            raise ValueError('vector="groups" is for aggregates; a function of rows says vector="numpy"')
        self.target, self.name, self.vector, self.parallel = target, name, vector, parallel
        self._aggregate = is_aggregate
        self.incremental = isinstance(target, type)
        if self.incremental and not (hasattr(target, "add") and hasattr(target, "finish")):
            raise TypeError("class %s needs methods add and finish to be an aggregate" % name)
        made: Any = target
        takes = made.add if self.incremental else target
        self.signature = Signature(takes, is_aggregate and not self.incremental, _skipped(self.incremental, vector))
        if self.incremental:
            self.signature.result = Signature(made.finish, skip=1).result
        self.__doc__ = target.__doc__
        self.__name__ = name
        self.__module__ = target.__module__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(*args, **kwargs)

    def validate(self, args: List[Any]) -> str:
        """Checks what the annotations say."""
        return self.signature.check(self.name, args)

    def exec(self, args: List[Any], ctx: Context) -> Any:
        """One row or one group whose arguments came as JSON."""
        args = [self.converted(index, arg) for index, arg in enumerate(args)]
        further = self.further(ctx)
        if self.incremental:
            accumulator = self.target()
            for row in zip(*args):
                accumulator.add(*row)
            return accumulator.finish()
        if self.vector is None:
            return self.target(*args, **further)
        if self.vector == "arrow":
            arrow.needed(self.name)
            if self._aggregate:
                arrays = [arrow.lists_of(arrow.array_of(Values(arg)), [0, len(arg)]) for arg in args]
            else:
                arrays = [arrow.array_of(Values([arg])) for arg in args]
            return arrow.plain(self.target(*arrays, **further))[0]
        numpy = needed_numpy(self.name)
        if not self._aggregate:
            return numpy.asarray(self.target(*[numpy.asarray([arg]) for arg in args], **further)).tolist()[0]
        arrays = [numpy.asarray(arg) for arg in args]
        if self.vector == "numpy":
            return self.target(*arrays, **further)
        offsets = numpy.asarray([0, len(args[0]) if args else 0], dtype="i4")
        return numpy.asarray(self.target(*arrays, offsets, **further)).tolist()[0]

    def further(self, ctx: Context) -> Dict[str, Context]:
        """The context as the argument that asks for it."""
        name = self.signature.context_name
        return {} if name is None else {name: ctx}

    def converted(self, index: int, value: Any) -> Any:
        """An argument out of JSON as its annotation wants it: bytes and times are text there."""
        hint = self.signature.hint_of(index)
        for kind, convert in ((bytes, to_bytes), (_TIME, to_time)):
            if hint.wants(kind) and not hint.wants(str):
                return [convert(item) for item in value] if isinstance(value, list) else convert(value)
        if hint.wants(float) and not hint.wants(int):
            # JSON does not tell 2.0 from 2.
            if type(value) is list:
                return [float(item) if type(item) is int else item for item in value]
            return float(value) if type(value) is int else value
        return value

    def is_aggregate(self) -> bool:
        """As decorated."""
        return self._aggregate


_TIME = datetime.datetime


def _skipped(incremental: bool, vector: Optional[str]) -> int:
    if incremental:
        return 1
    return -1 if vector == "groups" else 0


def needed_numpy(name: str) -> Any:
    """The module numpy, without which the function cannot work."""
    numpy = numpy_if_there()
    if numpy is None:
        raise ImportError("%s takes numpy arrays, but numpy is not installed: pip install numpy" % name)
    return numpy


def function(
    target: Optional[Callable] = None,
    *,
    name: Optional[str] = None,
    vector: Optional[str] = None,
    parallel: bool = False,
) -> Any:
    """Makes a Python function one of SQL, called for each row. With vector="numpy" it gets whole columns as arrays and
    returns one, with vector="arrow" as those of pyarrow; parallel=True says that rows do not depend on each other and may be spread over processes."""
    if target is None:
        return lambda target: function(target, name=name, vector=vector, parallel=parallel)
    return FunctionOf(target, False, name or target.__name__, vector, parallel)


def aggregate(target: Optional[Callable] = None, *, name: Optional[str] = None, vector: Optional[str] = None) -> Any:
    """Makes a Python function an aggregate of SQL. It gets the list of a group's values for each argument; with
    vector="numpy" arrays; with vector="groups" the values of all groups and their offsets, and returns a result for
    each group; with vector="arrow" an array of pyarrow for each argument, whose items are lists, one for each group, and
    it returns an array. A class with add and finish is an aggregate that is computed value by value (see Accumulator)."""
    if target is None:
        return lambda target: aggregate(target, name=name, vector=vector)
    return FunctionOf(target, True, name or getattr(target, "name", None) or target.__name__, vector, False)


class SourceOf(Source):
    """A source made from a generator function."""

    def __init__(self, target: Callable):
        self._target = target
        self._wanted = set(inspect.signature(target).parameters)

    def configure(self, datasource: str, conf: dict):
        """Keeps the properties for the generator."""
        self._datasource, self._conf = datasource, conf

    def open(self, ctx: Context):
        """Emits what the generator yields: a row, (row, meta), or a list of rows."""
        offered = {"ctx": ctx, "config": self._conf, "conf": self._conf, "datasource": self._datasource}
        rows = self._target(**{key: value for key, value in offered.items() if key in self._wanted})
        try:
            for row in rows:
                if ctx.stopping.is_set():
                    return
                if isinstance(row, tuple):
                    ctx.emit(*row)
                elif isinstance(row, list):
                    ctx.emit_many(row)
                else:
                    ctx.emit(row)
        finally:
            if hasattr(rows, "close"):
                rows.close()

    def close(self, ctx: Context):
        """The generator ends at its next row; one that waits should wait on ctx.stopping."""
        ctx.stopping.set()


class SinkOf(Sink):
    """A sink made from a function of a row, or of a list of rows."""

    def __init__(self, target: Callable, takes_many: bool):
        self._target, self._takes_many = target, takes_many
        self._wanted = set(list(inspect.signature(target).parameters)[1:])

    def configure(self, conf: dict):
        """Keeps the properties for the function."""
        self._conf = conf

    def collect(self, ctx: Context, data: Any):
        """Rows encoded as JSON; each message is acknowledged, or refused with the exception's text."""
        try:
            rows = json.loads(data)
            self.collect_batch(ctx, rows if isinstance(rows, list) else [rows])
        except Exception as error:
            ctx.log.error("a message was refused", exc_info=True)
            ctx.ack_error("%s: %s" % (type(error).__name__, error))
        else:
            ctx.ack_ok()

    def collect_batch(self, ctx: Context, rows: List[dict]):
        """Hands rows to the function."""
        offered = {"ctx": ctx, "config": self._conf, "conf": self._conf}
        further = {key: value for key, value in offered.items() if key in self._wanted}
        if self._takes_many:
            self._target(rows, **further)
            return
        for row in rows:
            self._target(row, **further)


class Maker:
    """What @source and @sink leave behind: makes an object for each use; called it is the function itself."""

    def __init__(self, kind: str, target: Callable, name: str, make: Callable[[], Any]):
        self.kind, self.target, self.name, self.make = kind, target, name, make
        self.__doc__ = target.__doc__
        self.__name__ = name
        self.__module__ = target.__module__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(*args, **kwargs)


def source(target: Optional[Callable] = None, *, name: Optional[str] = None) -> Any:
    """Makes a generator function a source. It may take ctx, config and datasource, by these names."""
    if target is None:
        return lambda target: source(target, name=name)
    return Maker("source", target, name or target.__name__, lambda: SourceOf(target))


def sink(target: Optional[Callable] = None, *, name: Optional[str] = None, batch: bool = False) -> Any:
    """Makes a function a sink. Its first argument is a row, or with batch=True a list of rows; it may take ctx and
    config as well. What it returns from without raising is acknowledged."""
    if target is None:
        return lambda target: sink(target, name=name, batch=batch)
    return Maker("sink", target, name or target.__name__, lambda: SinkOf(target, batch))


def make(maker: Any, name: str = "") -> Any:
    """The object behind whatever a plugin names for a symbol: a class, an instance, something decorated, a factory."""
    if isinstance(maker, Maker):
        return maker.make()
    if isinstance(maker, type):
        if issubclass(maker, Accumulator):
            return aggregate(maker, name=name or None)
        return maker()
    if isinstance(maker, (Function, Source, Sink)) or not callable(maker):
        return maker
    return maker()
