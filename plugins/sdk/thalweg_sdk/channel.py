"""The function channel: what the engine says there and what is answered. Nothing that arrives ends the channel."""

import json
import os
import traceback
from typing import Any, Callable, Dict, List, Optional

from . import arrow, frames, sp
from .calls import Caller, CallError, Results, error_text
from .context import Context, Surroundings
from .frames import Values
from .hints import Signature
from .region import Region
from .values import numpy_if_there, plain, to_json

SDK = "thalweg-python/0.1.0"
PROTOCOL = 1
# Contexts of rules that are long gone are forgotten together when there are this many.
_MAX_CONTEXTS = 10_000
_META = ("ruleId", "opId", "instanceId", "funcId")


def capabilities() -> List[str]:
    """What this process can do."""
    caps = ["batch", "ping", "state", "acc"]
    if frames.USABLE:
        caps += ["cols", "shm"] if os.name == "posix" else ["cols"]
        caps += ["arrow"] if arrow.is_there() else []
    return caps


def greeting(further: Optional[Dict[str, Any]] = None) -> bytes:
    """The first request on a channel."""
    document = {"thalweg": PROTOCOL, "sdk": SDK, "pid": os.getpid(), "caps": capabilities(), **(further or {})}
    return b"handshake " + to_json(document).encode()


def traits(function: Any, name: str) -> Dict[str, Any]:
    """What is known about a function before it is called."""
    known: Dict[str, Any] = {"fn": name, "parallel": bool(getattr(function, "parallel", False))}
    try:
        known["agg"] = bool(function.is_aggregate())
    except Exception:
        # The engine asks again and gets the traceback.
        pass
    if getattr(function, "vector", None):
        known["vector"] = function.vector
    signature = getattr(function, "signature", None)
    if isinstance(signature, Signature):
        known["args"] = [signature.fewest, signature.most]
        arg_types = [parameter.hint.column_type for parameter in signature.parameters]
        known["types"] = {"args": arg_types, "result": signature.result.column_type}
        known["usage"] = signature.usage(name)
    if getattr(function, "incremental", False):
        target = function.target
        known["acc"] = [step for step in ("add", "retract", "merge") if hasattr(target, step)]
    return known


class FunctionChannel:
    """Answers the engine's requests for one function."""

    def __init__(self, function: Any, name: str, surroundings: Optional[Surroundings] = None):
        self.function, self.name = function, name
        self.caller = Caller(function, name)
        self._surroundings = surroundings or Surroundings()
        self._contexts: Dict[str, Context] = {}
        self._numbered: Dict[int, Context] = {}
        self._region: Optional[Region] = None
        # What the last answer was made of.
        self._spent: Any = None
        self._log = Context({}, symbol=name).log
        self.caller.complain = lambda text: self._log.error("%s", text)  # type: ignore[method-assign]
        signature = getattr(function, "signature", None)
        self._result_type = signature.result.column_type if isinstance(signature, Signature) else None
        self._commands: Dict[str, Callable[[Any], Dict[str, Any]]] = {
            "Hello": self._hello,
            "Ping": lambda _: self._metrics_of_all(),
            "Ctx": self._bind,
            "Save": lambda arg: {"result": self.caller.save(self._context_of(arg))},
            "Restore": self._restore,
            "Forget": self._forget,
            "ExecBatch": self._exec_batch,
            "ExecGroups": self._exec_groups,
        }

    def greeting(self) -> bytes:
        """The first request on this channel."""
        return greeting({**traits(self.function, self.name), "stateful": self.caller.is_stateful})

    def close(self) -> None:
        """Lets go of the shared memory."""
        if self._region is not None:
            self._region.close()
            self._region = None

    def sent(self) -> None:
        """The answer has left: now there is time to throw away what it was made of."""
        self._spent = None

    def answer(self, request: sp.Message) -> sp.Answer:
        """The answer to one request, whatever that is."""
        is_frame = request[:1] == b"C"
        answer = self._answer_frame(request) if is_frame else self._answer_document(request)
        n_bytes = len(answer) if isinstance(answer, bytes) else sum(map(len, answer))
        most = self._surroundings.max_message
        if n_bytes <= most:
            return answer
        seq = frames.HEAD.unpack_from(request)[5] if is_frame else None
        text = "the answer has %d bytes, the engine takes at most %d" % (n_bytes, most)
        return self._refusal({"arg": {} if seq is None else {"seq": seq}}, text)

    def _answer_document(self, request: sp.Message) -> bytes:
        call: Any = None
        try:
            call = json.loads(request)
            command = self._commands.get(call["func"])
            if command is None:
                state, result = self._call(call["func"], call["arg"])
                return json.dumps({"state": state, "result": result}, default=plain).encode()
            return to_json({"state": True, **command(call.get("arg"))}).encode()
        except (CallError, frames.FrameError) as error:
            return self._refusal(call, str(error))
        except BaseException as error:
            if isinstance(error, SystemExit):
                return self._refusal(call, error_text(error))
            return self._refusal(call, traceback.format_exc())

    @staticmethod
    def _refusal(call: Any, text: str) -> bytes:
        refusal: Dict[str, Any] = {"state": False, "result": text}
        arg = call.get("arg") if isinstance(call, dict) else None
        if isinstance(arg, dict) and "seq" in arg:
            refusal["seq"] = arg["seq"]
        return json.dumps(refusal).encode()

    # The calls of the old protocol.

    def _call(self, name: str, arg: Any) -> Any:
        if name == "Exec":
            if not isinstance(arg, list) or not arg:
                return False, "invalid arg"
            return True, self.function.exec(arg[:-1], self._context(arg[-1]))
        if name == "Validate":
            error = self.function.validate(arg)
            return error == "", error
        if name == "IsAggregate":
            return True, self.function.is_aggregate()
        return False, "invalid func %s" % name

    def _context(self, text: str) -> Context:
        context = self._contexts.get(text)
        return self._context_for(json.loads(text), text) if context is None else context

    def _context_for(self, meta: Any, text: Optional[str] = None) -> Context:
        if not isinstance(meta, dict):
            raise CallError("a context is an object with %s" % ", ".join(_META))
        missing = [key for key in _META if key not in meta]
        if missing:
            raise ValueError("the call's context lacks " + ", ".join(missing))
        key = json.dumps([meta[key] for key in _META])
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= _MAX_CONTEXTS:
                # What holds state is kept: a checkpoint may yet ask for it.
                self._contexts = {key: kept for key, kept in self._contexts.items() if kept.state}
            context = Context(meta, symbol=self.name, surroundings=self._surroundings)
            self._contexts[key] = context
        if text is not None:
            self._contexts[text] = context
        return context

    # Thalweg's commands (portable-plugins.md 12).

    def _context_of(self, arg: Any) -> Context:
        """The context that a command names by number or in full."""
        if isinstance(arg, dict) and "meta" in arg:
            return self._context_for(arg["meta"])
        number = arg.get("ctx") if isinstance(arg, dict) else None
        context = self._numbered.get(number) if isinstance(number, int) else None
        if context is None:
            raise CallError("unknown context %s; send Ctx first" % to_json(number))
        return context

    def _hello(self, arg: Any) -> Dict[str, Any]:
        offered = arg.get("caps", []) if isinstance(arg, dict) else []
        self._surroundings.take_in(arg if isinstance(arg, dict) else {})
        caps = [cap for cap in capabilities() if cap in offered]
        self.close()
        if "shm" in caps:
            try:
                self._region = Region(arg.get("shm") or {})
            except (OSError, ValueError) as error:
                caps.remove("shm")
                self._log.warning("no shared memory, columns travel whole: %s", error)
        return {"result": {"caps": caps}}

    def _bind(self, arg: Any) -> Dict[str, Any]:
        number = arg.get("id") if isinstance(arg, dict) else None
        if not isinstance(number, int):
            raise CallError("a context needs a whole number as id")
        self._numbered[number] = self._context_for(arg.get("meta"))
        return {"result": None}

    def _restore(self, arg: Any) -> Dict[str, Any]:
        self.caller.restore(self._context_of(arg), arg.get("saved"))
        return {"result": None}

    def _forget(self, arg: Any) -> Dict[str, Any]:
        context = self._context_of(arg)
        self.caller.forget(context)
        self._contexts = {key: kept for key, kept in self._contexts.items() if kept is not context}
        self._numbered = {key: kept for key, kept in self._numbered.items() if kept is not context}
        return {"result": None}

    def _exec_batch(self, arg: Any) -> Dict[str, Any]:
        cols, n = arg.get("cols"), arg.get("n")
        if not isinstance(n, int) or not 0 <= n <= frames.MAX_ROWS or not _are_lists(cols):
            raise CallError("ExecBatch needs n, and cols as a list of lists")
        if any(len(col) != n for col in cols):
            raise CallError("a column of ExecBatch has not %d values" % n)
        context = self._context_of(arg)
        return self._as_json(arg, context, self.caller.rows([Values(col) for col in cols], n, context))

    def _exec_groups(self, arg: Any) -> Dict[str, Any]:
        groups = arg.get("groups")
        if not _are_lists(groups) or not all(_are_lists(group) for group in groups):
            raise CallError("ExecGroups needs groups as a list of lists of columns")
        n_args = len(groups[0]) if groups else 0
        offsets, cols = [0], [[] for _ in range(n_args)]  # type: List[int], List[List[Any]]
        for group in groups:
            lengths = set(map(len, group))
            if len(group) != n_args or len(lengths) > 1:
                raise CallError("the groups of ExecGroups have columns of different number or length")
            offsets.append(offsets[-1] + (lengths.pop() if lengths else 0))
            for col, values in zip(cols, group):
                col.extend(values)
        context = self._context_of(arg)
        results = self.caller.groups([Values(col) for col in cols], offsets, context, arg.get("acc"))
        return self._as_json(arg, context, results)

    def _as_json(self, arg: Any, context: Context, results: Results) -> Dict[str, Any]:
        values = results.values.tolist() if hasattr(results.values, "tolist") else results.values
        try:
            to_json(values)
        except Exception:
            for position, value in enumerate(values):
                try:
                    to_json(value)
                except Exception as error:
                    values[position] = None
                    results.errors.append([position, error_text(error)])
        document: Dict[str, Any] = {"result": values, "us": results.micros}
        if "seq" in arg:
            document["seq"] = arg["seq"]
        if results.errors:
            document["errors"] = sorted(results.errors)
        if context.metrics.is_changed:
            document["metrics"] = context.metrics.take_changed()
        return document

    def _answer_frame(self, request: sp.Message) -> sp.Answer:
        seq: Optional[int] = None
        try:
            frame = frames.decode(request, self._region.memory if self._region else None)
            seq = frame.seq
            return self._run_frame(frame)
        except BaseException as error:
            seq = getattr(error, "seq", None) if seq is None else seq
            is_ours = isinstance(error, (frames.FrameError, CallError))
            text = str(error) if is_ours else traceback.format_exc()
            refusal = {"state": False, "result": text}
            return json.dumps(refusal if seq is None else {**refusal, "seq": seq}).encode()

    def _run_frame(self, frame: frames.Frame) -> sp.Answer:
        if frame.op not in (frames.ROWS, frames.GROUPS):
            raise CallError("a function channel takes frames of rows (1) or groups (2), not %d" % frame.op)
        cols, offsets = frame.cols, frame.offsets
        if frame.flags & frames.ARROW:
            if not arrow.is_there():
                raise CallError("pyarrow is not installed here")
            arguments = arrow.Arguments(frame.body, frame.n, frame.op == frames.GROUPS)
            cols, offsets = arguments.cols, arguments.offsets
        header = frame.header
        context = self._context_of(header)
        if offsets is None:
            results = self.caller.rows(cols, frame.n, context)
        else:
            results = self.caller.groups(cols, offsets, context, header.get("acc"))
        self._spent = results.values
        return self._as_frame(frame, context, results)

    def _as_frame(self, frame: frames.Frame, context: Context, results: Results) -> sp.Answer:
        errors, values, flags = results.errors, results.values, 0
        packed, body = [], b""
        if frame.flags & frames.ARROW:
            body, flags = arrow.encode(values, errors), frames.ARROW
        elif arrow.is_array(values):
            packed.append(frames.pack(values.to_pylist(), errors, self._result_type))
        elif hasattr(values, "dtype"):
            packed.append(frames.pack_array(values, numpy_if_there(), errors))
        else:
            packed.append(frames.pack(values, errors, self._result_type))
        further = '"us":%d,' % results.micros
        if errors:
            flags |= frames.HAS_ERRORS
            further += '"errors":%s,' % to_json(sorted(errors))
        if context.metrics.is_changed:
            further += '"metrics":%s,' % to_json(context.metrics.take_changed())
        op, place = frame.op | frames.ANSWER, self._place(frame)
        parts = frames.encode(op, frame.seq, frame.n, packed, further, flags, place)
        return parts + [body] if body else parts

    def _place(self, frame: frames.Frame) -> Any:
        """Where in shared memory the request allows its answer."""
        place = frame.header.get("answer")
        if place is None or self._region is None:
            return None
        memory = self._region.memory
        if not isinstance(place, list) or [type(part) for part in place] != [int, int]:
            raise CallError("answer must be [offset, bytes]")
        start, size = place
        if start < 0 or size < 0 or start + size > len(memory):
            raise CallError("answer [%d,%d] does not lie within %d bytes" % (start, size, len(memory)))
        return memory[start : start + size], start

    def _metrics_of_all(self) -> Dict[str, Any]:
        changed = []
        for context in {id(context): context for context in self._contexts.values()}.values():
            if context.metrics.is_changed:
                meta = {"ruleId": context.get_rule_id(), "opId": context.get_op_id()}
                changed.append({**meta, "symbol": self.name, **context.metrics.take_changed()})
        return {"result": {"metrics": changed} if changed else None}


def _are_lists(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, list) for part in value)
