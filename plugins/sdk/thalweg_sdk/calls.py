"""Calls of one function: rows, groups and accumulators, by whatever way the function offers.

An exception in one row or group is the error of that row; the others have their results. What runs a loop over values
runs it in C wherever the function's kind allows, and nothing but the user's code happens per value.
"""

import datetime
import time
import traceback
from typing import Any, Dict, Iterator, List, Optional, Sequence

from . import arrow
from .api import Accumulator, FunctionOf, needed_numpy
from .context import Context
from .log import Seldom

_TIME = datetime.datetime


class CallError(Exception):
    """Why a whole message cannot be answered."""


class Results:
    """A value for each row or group, or an array of them; errors as [position, text]."""

    __slots__ = ("values", "errors", "micros")

    def __init__(self) -> None:
        self.values: Any = []
        self.errors: List[List[Any]] = []
        self.micros = 0


def error_text(error: BaseException) -> str:
    """One line about an exception."""
    text = "%s: %s" % (type(error).__name__, error) if str(error) else type(error).__name__
    if isinstance(error, SystemExit):
        text = "SystemExit: the function called exit(%s)" % (error.code if error.code is not None else "")
    return " ".join(text.split())[:2000]


class Caller:
    """Runs one function."""

    def __init__(self, function: Any, name: str):
        self.function, self.name = function, name
        self.decorated: Optional[FunctionOf] = function if isinstance(function, FunctionOf) else None
        self._complaints = Seldom()
        # By context: accumulators that outlive a message.
        self._accumulators: Dict[Context, Dict[str, Any]] = {}
        if self.decorated is not None and self.decorated.vector:
            (arrow.needed if self.decorated.vector == "arrow" else needed_numpy)(name)

    @property
    def is_stateful(self) -> bool:
        """Whether a checkpoint has something to ask."""
        if self.decorated is not None:
            return self.decorated.incremental or self.decorated.signature.context_name is not None
        return hasattr(self.function, "save")

    def rows(self, cols: Sequence[Any], n: int, ctx: Context) -> Results:
        """Calls for n rows."""
        if self.function.is_aggregate():
            # Outside of a window each row is a group.
            return self.groups(cols, list(range(n + 1)), ctx)
        results = Results()
        start = time.perf_counter_ns()
        decorated = self.decorated
        if decorated is not None and decorated.vector:
            self._vector_rows(results, cols, n, ctx)
        elif decorated is not None:
            self._each_row(results, self._values(cols), n, decorated.target, decorated.further(ctx))
        elif hasattr(self.function, "exec_batch"):
            self._own_batch(results, cols, n, ctx)
        else:
            self._exec_rows(results, self._values(cols), n, ctx)
        results.micros = (time.perf_counter_ns() - start) // 1000
        return results

    def groups(self, cols: Sequence[Any], offsets: List[int], ctx: Context, plan: Optional[dict] = None) -> Results:
        """Calls for the groups between the offsets."""
        if not self.function.is_aggregate():
            raise CallError("%s is no aggregate; it takes rows" % self.name)
        results = Results()
        start = time.perf_counter_ns()
        decorated = self.decorated
        if plan is not None:
            self._accumulate(results, cols, offsets, ctx, plan)
        elif decorated is None and hasattr(self.function, "exec_groups"):
            self._own_groups(results, cols, offsets, ctx)
        elif decorated is None:
            self._exec_groups(results, self._groups(cols, offsets), len(offsets) - 1, ctx)
        elif decorated.incremental:
            self._whole_accumulators(results, self._lists(cols), offsets)
        elif decorated.vector == "groups":
            self._vector_groups(results, cols, offsets, ctx)
        elif decorated.vector == "arrow":
            self._arrow_groups(results, cols, offsets, ctx)
        else:
            groups = self._array_groups(cols, offsets) if decorated.vector else self._groups(cols, offsets)
            target, further = decorated.target, decorated.further(ctx)
            if further:
                plain = target
                target = lambda *args: plain(*args, **further)  # noqa: E731
            calls = map(target, *groups) if groups else map(lambda _: target(), offsets[1:])
            self._drain(results, calls, len(offsets) - 1)
        results.micros = (time.perf_counter_ns() - start) // 1000
        return results

    def _lists(self, cols: Sequence[Any]) -> List[List[Any]]:
        """Columns as lists. To functions of the old kind bytes and times look as they do in JSON."""
        decorated = self.decorated
        if decorated is None:
            return [col.to_list(text_bytes=True) for col in cols]
        lists = []
        for index, col in enumerate(cols):
            hint = decorated.signature.hint_of(index)
            is_json = col.kind in ("list", "const", "str", "json")
            values = col.to_list(datetimes=hint.wants(_TIME))
            if is_json and (hint.wants(_TIME) or hint.wants(bytes)):
                values = [decorated.converted(index, value) for value in values]
            lists.append(values)
        return lists

    def _values(self, cols: Sequence[Any]) -> List[Iterator[Any]]:
        """The same as iterators, for calls that take one row after the other."""
        decorated = self.decorated
        if decorated is None:
            return [col.each(text_bytes=True) for col in cols]
        hints = [decorated.signature.hint_of(index) for index in range(len(cols))]
        if any(hint.wants(_TIME) or hint.wants(bytes) for hint in hints):
            return [iter(values) for values in self._lists(cols)]
        return [col.each() for col in cols]

    def _groups(self, cols: Sequence[Any], offsets: List[int]) -> List[Iterator[List[Any]]]:
        """For each column, the list of one group after the other."""
        decorated = self.decorated
        if decorated is None:
            return [col.group_lists(offsets, text_bytes=True) for col in cols]
        groups = []
        for index, col in enumerate(cols):
            hint = decorated.signature.hint_of(index)
            lists = col.group_lists(offsets, datetimes=hint.wants(_TIME))
            if hint.wants(_TIME) or hint.wants(bytes):
                # Bytes and times may have come as text.
                lists = iter([decorated.converted(index, values) for values in lists])
            groups.append(lists)
        return groups

    def _array_groups(self, cols: Sequence[Any], offsets: List[int]) -> List[Iterator[Any]]:
        pairs = list(zip(offsets, offsets[1:]))
        return [iter([column[start:end] for start, end in pairs]) for column in self._arrays(cols)]

    def _arrays(self, cols: Sequence[Any]) -> List[Any]:
        if getattr(self.decorated, "vector", None) == "arrow":
            return [arrow.array_of(col) for col in cols]
        numpy = needed_numpy(self.name)
        return [col.to_numpy(numpy) for col in cols]

    def _drain(self, results: Results, calls: Iterator[Any], n: int) -> None:
        """Takes n results from an iterator that makes the calls and can go on after an exception, as map can."""
        values = results.values
        while len(values) < n:
            try:
                # What came before an exception stays in the list.
                values.extend(calls)
                if len(values) < n:
                    # The iterator was stopped by the function itself.
                    self._failed(results, len(values), StopIteration())
                    values.append(None)
            except BaseException as error:
                self._failed(results, len(values), error)
                values.append(None)

    def _failed(self, results: Results, position: int, error: BaseException) -> None:
        results.errors.append([position, error_text(error)])
        held_back = self._complaints.passes()
        if held_back is not None:
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
            more = " (and %d more not shown)" % held_back if held_back else ""
            self.complain("%s failed%s: %s" % (self.name, more, trace))

    def complain(self, text: str) -> None:
        """Says what went wrong; the symbol puts the log in here."""

    def _each_row(self, results: Results, cols: List[Iterator[Any]], n: int, target: Any, further: dict) -> None:
        if further:
            plain = target
            target = lambda *args: plain(*args, **further)  # noqa: E731
        calls = map(target, *cols) if cols else map(lambda _: target(), range(n))
        self._drain(results, calls, n)

    def _exec_rows(self, results: Results, cols: List[Iterator[Any]], n: int, ctx: Context) -> None:
        # `values.append` is looked up each time: Python 3.11 and later make one step of the whole.
        call, values = self.function.exec, results.values
        if len(cols) == 1:
            rows = cols[0]
            while len(values) < n:
                try:
                    for x in rows:
                        values.append(call([x], ctx))
                except BaseException as error:
                    self._failed(results, len(values), error)
                    values.append(None)
            return
        rows = map(list, zip(*cols)) if cols else iter([[] for _ in range(n)])
        while len(values) < n:
            try:
                for row in rows:
                    values.append(call(row, ctx))
            except BaseException as error:
                self._failed(results, len(values), error)
                values.append(None)

    def _exec_groups(self, results: Results, lists: List[Iterator[List[Any]]], n: int, ctx: Context) -> None:
        call, values = self.function.exec, results.values
        append = values.append
        groups = lists[0] if len(lists) == 1 else map(list, zip(*lists)) if lists else iter([[] for _ in range(n)])
        while len(values) < n:
            try:
                if len(lists) == 1:
                    for group in groups:
                        append(call([group], ctx))
                else:
                    for group in groups:
                        append(call(group, ctx))
            except BaseException as error:
                self._failed(results, len(values), error)
                append(None)

    def _whole_accumulators(self, results: Results, lists: List[List[Any]], offsets: List[int]) -> None:
        make = self.decorated.target  # type: ignore[union-attr]

        def whole(start: int, end: int) -> Any:
            accumulator = make()
            add = accumulator.add
            for row in zip(*[column[start:end] for column in lists]):
                add(*row)
            return accumulator.finish()

        self._drain(results, map(whole, offsets, offsets[1:]), len(offsets) - 1)

    def _vector_rows(self, results: Results, cols: Sequence[Any], n: int, ctx: Context) -> None:
        self._together(results, self._arrays(cols), n, ctx)

    def _arrow_groups(self, results: Results, cols: Sequence[Any], offsets: List[int], ctx: Context) -> None:
        lists = [arrow.lists_of(array, offsets) for array in self._arrays(cols)]
        self._together(results, lists, len(offsets) - 1, ctx)

    def _together(self, results: Results, arrays: List[Any], n: int, ctx: Context) -> None:
        decorated = self.decorated
        assert decorated is not None
        further = decorated.further(ctx)
        try:
            results.values = self._checked(decorated.target(*arrays, **further), n)
        except BaseException:
            # Which rows are to blame shows when each goes alone.
            def alone(at: int) -> Any:
                values = self._checked(decorated.target(*[array[at : at + 1] for array in arrays], **further), 1)
                return arrow.plain(values)[0] if arrow.is_array(values) else values[0]

            self._drain(results, map(alone, range(n)), n)

    def _vector_groups(self, results: Results, cols: Sequence[Any], offsets: List[int], ctx: Context) -> None:
        decorated, numpy, n = self.decorated, needed_numpy(self.name), len(offsets) - 1
        assert decorated is not None
        further, arrays = decorated.further(ctx), self._arrays(cols)
        try:
            bounds = numpy.array(offsets, dtype="i4")
            first = offsets[0]
            if first:
                arrays, bounds = [array[first:] for array in arrays], bounds - first
            results.values = self._checked(decorated.target(*arrays, bounds, **further), n)
        except BaseException:

            def alone(start: int, end: int) -> Any:
                bounds = numpy.array([0, end - start], dtype="i4")
                return self._checked(decorated.target(*[array[start:end] for array in arrays], bounds, **further), 1)[0]

            results.values = []
            self._drain(results, map(alone, offsets, offsets[1:]), n)

    def _checked(self, values: Any, n: int) -> Any:
        try:
            n_values = len(values)
        except TypeError:
            raise TypeError("%s must return %d results together, not %s" % (self.name, n, type(values).__name__))
        if n_values != n:
            raise ValueError("%s returned %d results for %d" % (self.name, n_values, n))
        # Not only arrays: a list or a Series is as good.
        if arrow.is_array(values):
            return values
        return values if hasattr(values, "dtype") and type(values).__module__.startswith("numpy") else list(values)

    def _columns_for_own(self, cols: Sequence[Any]) -> List[Any]:
        return self._arrays(cols) if getattr(self.function, "vector", None) == "numpy" else self._lists(cols)

    def _own_batch(self, results: Results, cols: Sequence[Any], n: int, ctx: Context) -> None:
        columns, call = self._columns_for_own(cols), self.function.exec_batch
        try:
            results.values = self._checked(call(columns, ctx), n)
        except BaseException:

            def alone(at: int) -> Any:
                return self._checked(call([column[at : at + 1] for column in columns], ctx), 1)[0]

            results.values = []
            self._drain(results, map(alone, range(n)), n)

    def _own_groups(self, results: Results, cols: Sequence[Any], offsets: List[int], ctx: Context) -> None:
        columns, call, n = self._columns_for_own(cols), self.function.exec_groups, len(offsets) - 1
        try:
            results.values = self._checked(call(columns, offsets, ctx), n)
        except BaseException:

            def alone(start: int, end: int) -> Any:
                group = [column[start:end] for column in columns]
                return self._checked(call(group, [0, end - start], ctx), 1)[0]

            results.values = []
            self._drain(results, map(alone, offsets, offsets[1:]), n)

    # Accumulators that outlive a message (portable-plugins.md 12.8).

    def _accumulate(
        self, results: Results, cols: Sequence[Any], offsets: List[int], ctx: Context, plan: Dict[str, Any]
    ) -> None:
        decorated = self.decorated
        if decorated is None or not decorated.incremental:
            raise CallError("%s has no accumulators; it takes whole groups" % self.name)
        ids, do = plan.get("ids"), plan.get("do", "add")
        if not isinstance(ids, list) or len(ids) != len(offsets) - 1:
            raise CallError("acc.ids must name an accumulator for each of %d groups" % (len(offsets) - 1))
        if do not in ("add", "retract", "merge") or not hasattr(decorated.target, do if do != "add" else "add"):
            raise CallError("%s cannot %s" % (self.name, do))
        kept = self._accumulators.setdefault(ctx, {})
        lists, finish, keep = self._lists(cols), bool(plan.get("finish")), bool(plan.get("keep"))

        def step(name: Any, start: int, end: int) -> Any:
            accumulator = kept.get(str(name))
            if accumulator is None:
                accumulator = kept[str(name)] = decorated.target()
            if do == "merge":
                for other in plan.get("from", {}).get(str(name), []):
                    if keep and str(other) not in kept:
                        raise LookupError("accumulator %s is not there any more" % other)
                    if str(other) in kept:
                        accumulator.merge(kept[str(other)] if keep else kept.pop(str(other)))
            else:
                take = getattr(accumulator, do)
                for row in zip(*[column[start:end] for column in lists]):
                    take(*row)
            return accumulator.finish() if finish else None

        self._drain(results, map(step, ids, offsets, offsets[1:]), len(ids))
        for name in plan.get("drop", []):
            kept.pop(str(name), None)

    def save(self, ctx: Context) -> Any:
        """What the function remembers for a context, as JSON holds it; None for nothing."""
        saved: Dict[str, Any] = {}
        if ctx.state:
            saved["state"] = ctx.state
        kept = self._accumulators.get(ctx)
        if kept:
            keep = getattr(self.decorated.target, "save", Accumulator.save)  # type: ignore[union-attr]
            saved["acc"] = {name: keep(accumulator) for name, accumulator in kept.items()}
        if hasattr(self.function, "save"):
            own = self.function.save(ctx)
            if own is not None:
                saved["own"] = own
        return saved or None

    def restore(self, ctx: Context, saved: Any) -> None:
        """Takes up what save has returned, in place of what is there."""
        saved = saved or {}
        ctx.state = dict(saved.get("state", {}))
        self._accumulators.pop(ctx, None)
        if "acc" in saved:
            decorated = self.decorated
            if decorated is None or not decorated.incremental:
                raise CallError("%s has no accumulators any more" % self.name)
            load = getattr(decorated.target, "restore", Accumulator.restore)
            kept = self._accumulators[ctx] = {}
            for name, state in saved["acc"].items():
                kept[name] = decorated.target()
                load(kept[name], state)
        if "own" in saved:
            self.function.restore(ctx, saved["own"])

    def forget(self, ctx: Context) -> None:
        """The rule is gone."""
        self._accumulators.pop(ctx, None)


