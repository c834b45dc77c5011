"""Functions as the engine calls them: by rows, by groups, in all transports, with and without mistakes."""

import json
import os
import random
import sys
import tempfile
import unittest
from datetime import datetime
from typing import Any, Dict, List, Optional, Union

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "ekuiper_compat"))

import ekuiper
from thalweg_sdk import Accumulator, Context, Function, aggregate, arrow, frames, function
from thalweg_sdk.channel import FunctionChannel
from thalweg_sdk.frames import Const
from thalweg_sdk.stub import ALL, META, PluginFailed, read_answer
from thalweg_sdk.values import numpy_if_there

needs_numpy = unittest.skipIf(numpy_if_there() is None, "numpy is not installed")


class Local:
    """A function's channel without a socket, with the questions of stub.Calls."""

    def __init__(self, made: Any, name: str = "f", caps=ALL):
        self.channel = FunctionChannel(made, name)
        self.channel.caller.complain = lambda text: None
        self.ask("Hello", {"caps": [cap for cap in caps if cap != "shm"]})
        self.ask("Ctx", {"id": 1, "meta": META})

    def ask(self, func: str, arg: Any) -> Dict[str, Any]:
        answer = json.loads(self.channel.answer(json.dumps({"func": func, "arg": arg}).encode()))
        if not answer["state"]:
            raise PluginFailed(str(answer["result"]))
        return answer

    def frame(self, cols: List[Any], n: int, groups: Optional[List[int]] = None, further: str = "") -> Dict[str, Any]:
        packed = [col if isinstance(col, Const) else frames.pack(col, []) for col in cols]
        op = frames.ROWS if groups is None else frames.GROUPS
        parts = frames.encode(op, 3, n, packed, '"ctx":1,' + further, groups=groups)
        return self.raw(b"".join(parts))

    def raw(self, message: bytes, seq: int = 3) -> Dict[str, Any]:
        answer = self.channel.answer(message)
        return read_answer(answer if isinstance(answer, bytes) else b"".join(answer), seq)

    def rows(self, *rows: Any) -> List[Any]:
        """Results by call, batch and frame, which must agree; an error is its text."""
        cols = [list(col) for col in zip(*rows)]
        single = []
        for row in rows:
            try:
                single.append(self.ask("Exec", [*row, json.dumps(META)])["result"])
            except PluginFailed as error:
                single.append("error " + str(error).strip().splitlines()[-1])
        batch = self.ask("ExecBatch", {"seq": 1, "meta": META, "n": len(rows), "cols": cols})
        frame = self.frame(cols, len(rows))
        for answer in (batch, frame):
            got = answer["result"]
            for position, text in answer.get("errors", []):
                got[position] = "error " + text
            assert got == single, (single, got)
        return single

    def groups(self, *groups: Any) -> List[Any]:
        """The same for groups of one column."""
        single = []
        for group in groups:
            try:
                single.append(self.ask("Exec", [group, json.dumps(META)])["result"])
            except PluginFailed as error:
                single.append("error " + str(error).strip().splitlines()[-1])
        batch = self.ask("ExecGroups", {"seq": 1, "meta": META, "groups": [[group] for group in groups]})
        offsets = [0]
        for group in groups:
            offsets.append(offsets[-1] + len(group))
        frame = self.frame([[value for group in groups for value in group]], len(groups), offsets)
        for answer in (batch, frame):
            got = answer["result"]
            for position, text in answer.get("errors", []):
                got[position] = "error " + text
            assert got == single, (single, got)
        return single


class OldStyle(ekuiper.Function):
    def validate(self, args):
        return "" if len(args) == 1 else "one argument"

    def exec(self, args, ctx: ekuiper.Context):
        if args[0] == "exit":
            sys.exit(3)
        if args[0] == "stop":
            raise StopIteration
        return 10 // args[0]


class OldMean(ekuiper.Function):
    def exec(self, args, ctx):
        return sum(args[0]) / len(args[0])

    def is_aggregate(self):
        return True


class Rows(unittest.TestCase):
    def test_an_exception_is_the_error_of_its_row_and_the_others_have_results(self):
        for made in (OldStyle(), function(lambda x: OldStyle().exec([x], None), name="f")):
            got = Local(made).rows([1], [0], [5], ["exit"], [None], ["stop"], [10])
            self.assertEqual([got[0], got[2], got[6]], [10, 2, 1])
            self.assertIn("ZeroDivisionError", got[1])
            self.assertIn("the function called exit(3)", got[3])
            self.assertIn("TypeError", got[4])
            self.assertIn("Stop", got[5])

    def test_a_row_is_executed_once_even_when_another_one_fails(self):
        seen = []

        @function
        def note(x):
            seen.append(x)
            if x % 3 == 0:
                raise ValueError(x)
            return x

        answer = Local(note).frame([list(range(10))], 10)
        self.assertEqual(seen, list(range(10)))
        self.assertEqual([position for position, _ in answer["errors"]], [0, 3, 6, 9])

    def test_every_number_of_arguments(self):
        class Count(Function):
            def exec(self, args, ctx):
                return len(args)

        self.assertEqual(Local(function(lambda a, b=2, *c: [a, b, *c])).rows([1], [3])[0], [1, 2])
        self.assertEqual(Local(function(lambda a, b: a - b)).rows([5, 1], [1, 1]), [4, 0])
        self.assertEqual(Local(Count()).rows([5, 1, 0], [1, 1, 0]), [3, 3])
        for made in (Count(), function(lambda: 0)):
            local = Local(made)
            self.assertEqual(local.ask("ExecBatch", {"meta": META, "n": 2, "cols": []})["result"], [0, 0])
            self.assertEqual(local.frame([], 2)["result"], [0, 0])

    def test_literals_reach_every_row(self):
        answer = Local(function(lambda a, b: a * b)).frame([[1, 2, 3], Const(2, 3)], 3)
        self.assertEqual(answer["result"], [2, 4, 6])

    def test_results_that_have_no_place_are_errors_of_their_rows(self):
        kinds = {"set": {1}, "bytes": b"x", "nan": float("nan"), "none": None, "object": {"a": [1]}, "text": "ü"}
        local = Local(function(kinds.get, name="f"))
        cols = [["set", "none", "object", "text"]]
        for answer in (local.ask("ExecBatch", {"meta": META, "n": 4, "cols": cols}), local.frame(cols, 4)):
            self.assertEqual(answer["result"], [None, None, {"a": [1]}, "ü"])
            self.assertEqual([position for position, _ in answer["errors"]], [0])
            self.assertIn("set is not JSON serializable", answer["errors"][0][1])
        self.assertEqual(local.frame([["bytes"]], 1)["result"], [b"x"])
        self.assertNotEqual(*[local.frame([["nan"]], 1)["result"][0]] * 2)
        with self.assertRaisesRegex(PluginFailed, "bytes is not JSON serializable"):
            local.ask("Exec", ["bytes", json.dumps(META)])

    def test_a_class_with_exec_batch_gets_columns_and_isolates_the_row_that_fails(self):
        class Add(Function):
            calls = 0

            def exec_batch(self, cols, ctx):
                self.calls += 1
                return [a + b for a, b in zip(*cols)]

        made = Add()
        local = Local(made)
        self.assertEqual(local.frame([[1, 2], [3, 4]], 2)["result"], [4, 6])
        self.assertEqual(made.calls, 1)
        answer = local.frame([[1, "a", 2], [3, 4, 4]], 3)
        self.assertEqual((answer["result"], len(answer["errors"])), ([4, None, 6], 1))

    def test_bytes_and_times_as_the_annotation_wants_them_and_as_ever_for_old_plugins(self):
        @function
        def kinds(a: bytes, b: datetime):
            return [type(a).__name__, type(b).__name__]

        @function
        def plain(a, b):
            return [type(a).__name__, b]

        class Old(Function):
            def exec(self, args, ctx):
                return args

        time = frames.Packed("ts", (3120).to_bytes(8, "little"))
        data = frames.Packed("bin", b"\xff", off=b"\0\0\0\0\1\0\0\0")
        message = b"".join(frames.encode(1, 3, 1, [data, time], '"ctx":1,'))
        self.assertEqual(Local(kinds).raw(message)["result"], [["bytes", "datetime"]])
        self.assertEqual(Local(kinds).rows(["/w==", "1970-01-01T00:00:03.12Z"]), [["bytes", "datetime"]])
        # What is no time or no base64 is the function's own business, and no other row's.
        self.assertEqual(Local(kinds).rows(["ü", "soon"], ["/w==", "1970-01-01"]), [["str", "str"], ["bytes", "datetime"]])
        self.assertEqual(Local(plain).raw(message)["result"], [["bytes", "1970-01-01T00:00:03.12Z"]])
        self.assertEqual(Local(Old()).raw(message)["result"], [["/w==", "1970-01-01T00:00:03.12Z"]])

    @needs_numpy
    def test_vectors_of_numpy(self):
        local = Local(function(lambda x: x + 1, name="inc", vector="numpy"))
        self.assertEqual(local.rows([1], [2]), [2, 3])
        self.assertEqual(local.frame([[1, None]], 2)["result"][0], 2.0)
        picky = Local(function(lambda x: [[1, 2, 3][v] for v in x], name="picky", vector="numpy"))
        answer = picky.frame([[0, 7, 2]], 3)
        self.assertEqual((answer["result"], [at for at, _ in answer["errors"]]), ([1, None, 3], [1]))
        short = Local(function(lambda x: x[:-1], name="short", vector="numpy"))
        self.assertIn("returned 0 results for 1", short.frame([[1, 2]], 2)["errors"][0][1])


class Groups(unittest.TestCase):
    def test_lists_by_groups_with_a_mistake_among_them(self):
        for made in (OldMean(), aggregate(lambda xs: sum(xs) / len(xs), name="mean")):
            got = Local(made).groups([1, 2, 3], [], [4.5], ["x"], [7])
            self.assertEqual([got[0], got[2], got[4]], [2, 4.5, 7])
            self.assertIn("ZeroDivisionError", got[1])
            self.assertIn("TypeError", got[3])

    def test_groups_of_every_type_with_nulls(self):
        local = Local(aggregate(lambda xs: xs, name="all"))
        for group in ([1, None], [1.5, None], ["a", None], [True, False], [{"a": 1}, None], [None]):
            self.assertEqual(local.groups(group, group[:1]), [group, group[:1]])

    def test_literals_are_repeated_and_arguments_stay_together(self):
        @aggregate
        def weighted(xs, ws, ctx: Context):
            return [xs, ws, ctx.rule_id]

        answer = Local(weighted).frame([[1, 2, 3], Const(0.5, 3)], 2, [0, 2, 3])
        self.assertEqual(answer["result"], [[[1, 2], [0.5, 0.5], "rule1"], [[3], [0.5], "rule1"]])

    def test_rows_outside_of_a_window_are_groups_of_one(self):
        self.assertEqual(Local(OldMean()).frame([[1, 5]], 2)["result"], [1, 5])
        with self.assertRaisesRegex(PluginFailed, "is no aggregate"):
            Local(OldStyle()).frame([[1, 5]], 1, [0, 2])

    def test_exec_groups_gets_all_groups_and_isolates_the_one_that_fails(self):
        class Sums(Function):
            def is_aggregate(self):
                return True

            def exec_groups(self, cols, offsets, ctx):
                return [sum(cols[0][a:b]) for a, b in zip(offsets, offsets[1:])]

        answer = Local(Sums()).frame([[1, 2, "x", 4]], 3, [0, 2, 3, 4])
        self.assertEqual((answer["result"], [at for at, _ in answer["errors"]]), ([3, None, 4], [1]))

    @needs_numpy
    def test_arrays_per_group_and_all_groups_at_once(self):
        numpy = numpy_if_there()
        mean = Local(aggregate(lambda xs: xs.mean(), name="mean", vector="numpy"))
        self.assertEqual(mean.groups([1.0, 2.0], [3.0]), [1.5, 3.0])

        @aggregate(vector="groups")
        def sums(values, offsets):
            return numpy.add.reduceat(values, offsets[:-1])

        self.assertEqual(sums.signature.most, 1)
        self.assertEqual(Local(sums).groups([1, 2], [3]), [3, 3])
        self.assertEqual(Local(sums).frame([[9, 9, 1, 2, 3]], 2, [2, 4, 5])["result"], [3, 3])

    def test_without_numpy_a_function_of_arrays_says_what_to_install(self):
        if numpy_if_there() is None:
            with self.assertRaisesRegex(ImportError, "pip install numpy"):
                FunctionChannel(function(lambda x: x, name="f", vector="numpy"), "f")


@aggregate
class Mean(Accumulator):
    """The mean, forgetting what leaves the window."""

    def __init__(self):
        self.n, self.sum = 0, 0.0

    def add(self, x: float):
        self.n, self.sum = self.n + 1, self.sum + x

    def retract(self, x: float):
        self.n, self.sum = self.n - 1, self.sum - x

    def merge(self, other: "Mean"):
        self.n, self.sum = self.n + other.n, self.sum + other.sum

    def finish(self) -> Optional[float]:
        return self.sum / self.n if self.n else None


class Incremental(unittest.TestCase):
    def test_without_the_extension_it_is_an_aggregate_like_others(self):
        local = Local(Mean)
        self.assertEqual(local.groups([1, 2, 3], [], [5]), [2.0, None, 5.0])
        self.assertEqual(Mean.validate([{}]), "")
        self.assertIn("use it as Mean(x: a number)", Mean.validate([{}, {}]))

    def test_accumulators_outlive_messages(self):
        local = Local(Mean)
        plan = '"acc":%s,'
        add = {"ids": [1, 2], "do": "add", "finish": True}
        self.assertEqual(local.frame([[1, 3, 10]], 2, [0, 2, 3], plan % json.dumps(add))["result"], [2.0, 10.0])
        retract = {"ids": [1], "do": "retract", "finish": True}
        self.assertEqual(local.frame([[1]], 1, [0, 1], plan % json.dumps(retract))["result"], [3.0])
        merge = {"ids": [1], "do": "merge", "from": {"1": [2]}, "finish": True}
        self.assertEqual(local.frame([[]], 1, [0, 0], plan % json.dumps(merge))["result"], [6.5])
        kept = {"ids": [3], "do": "merge", "from": {"3": [1]}, "keep": True, "finish": True, "drop": [3]}
        self.assertEqual(local.frame([[]], 1, [0, 0], plan % json.dumps(kept))["result"], [6.5])
        lost = local.frame([[]], 1, [0, 0], plan % json.dumps({**kept, "from": {"3": [2]}}))
        self.assertEqual(lost["errors"], [[0, "LookupError: accumulator 2 is not there any more"]])
        more = {"ids": [1], "do": "add", "finish": True, "drop": [1]}
        answer = local.ask("ExecGroups", {"meta": META, "groups": [[[100]]], "acc": more})
        self.assertEqual(answer["result"], [113 / 3])
        self.assertIsNone(local.ask("Save", {"ctx": 1})["result"])

    def test_what_is_saved_goes_on_in_another_process(self):
        first = Local(Mean)
        add = {"ids": ["a"], "do": "add"}
        first.ask("ExecGroups", {"meta": META, "groups": [[[1, 3]]], "acc": add})
        saved = json.loads(json.dumps(first.ask("Save", {"ctx": 1})["result"]))
        second = Local(Mean)
        second.ask("Restore", {"meta": META, "saved": saved})
        answer = second.ask("ExecGroups", {"meta": META, "groups": [[[5]]], "acc": {**add, "finish": True}})
        self.assertEqual(answer["result"], [3.0])

    def test_wrong_plans_are_refused(self):
        local = Local(Mean)
        for plan, text in [({"ids": []}, "for each of 1"), ({"ids": [1], "do": "drop"}, "cannot drop")]:
            with self.assertRaisesRegex(PluginFailed, text):
                local.ask("ExecGroups", {"meta": META, "groups": [[[1]]], "acc": plan})
        with self.assertRaisesRegex(PluginFailed, "takes whole groups"):
            Local(OldMean()).ask("ExecGroups", {"meta": META, "groups": [[[1]]], "acc": {"ids": [1]}})


class StateAndMetrics(unittest.TestCase):
    def test_state_belongs_to_a_rule_and_is_saved_and_restored(self):
        @function
        def counter(x, ctx: Context):
            ctx.state["n"] = ctx.state.get("n", 0) + 1
            ctx.metrics.count("calls")
            ctx.metrics.gauge("last", x)
            return ctx.state["n"]

        first = Local(counter)
        answer = first.frame([[5, 6]], 2)
        self.assertEqual(answer["result"], [1, 2])
        self.assertEqual(answer["metrics"], {"counters": {"calls": 2}, "gauges": {"last": 6}})
        other = {**META, "ruleId": "rule2"}
        self.assertEqual(first.ask("ExecBatch", {"meta": other, "n": 1, "cols": [[1]]})["result"], [1])
        saved = first.ask("Save", {"meta": META})["result"]
        second = Local(counter)
        second.ask("Restore", {"meta": META, "saved": saved})
        self.assertEqual(second.frame([[7]], 1)["result"], [3])
        second.ask("Forget", {"meta": META})
        second.ask("Ctx", {"id": 1, "meta": META})
        self.assertEqual(second.frame([[7]], 1)["result"], [1])

    def test_a_class_saves_by_its_own_hooks(self):
        class Own(Function):
            def __init__(self):
                self.seen = {}

            def exec(self, args, ctx):
                self.seen[ctx.rule_id] = args[0]
                return None

            def save(self, ctx):
                return self.seen.get(ctx.rule_id)

            def restore(self, ctx, saved):
                self.seen[ctx.rule_id] = saved

        first, again = Local(Own()), Own()
        first.frame([[41]], 1)
        saved = first.ask("Save", {"ctx": 1})["result"]
        Local(again).ask("Restore", {"meta": META, "saved": saved})
        self.assertEqual(again.seen, {"rule1": 41})

    def test_a_ping_brings_what_has_changed_once(self):
        local = Local(function(lambda x, ctx: ctx.metrics.count("n"), name="f"))
        local.ask("Exec", [1, json.dumps(META)])
        metrics = local.ask("Ping", None)["result"]["metrics"]
        self.assertEqual(metrics, [{"ruleId": "rule1", "opId": "2_project", "symbol": "f", "counters": {"n": 1}}])
        self.assertIsNone(local.ask("Ping", None)["result"])

    def test_secrets_come_from_the_engine_a_file_or_the_environment_and_do_not_show(self):
        local = Local(function(lambda name, ctx: [repr(ctx.secret(name)), len(ctx.secret(name))], name="f"))
        local.ask("Hello", {"caps": [], "secrets": {"a": "12345"}, "config": {"x": 1}})
        self.assertEqual(local.ask("Exec", ["a", json.dumps(META)])["result"], ["'***'", 5])
        with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "b"), "w") as file:
            file.write("678\n")
            file.flush()
            os.environ["THALWEG_SECRETS_DIR"] = folder
            os.environ["THALWEG_SECRET_MY_KEY"] = "90"
            self.assertEqual(local.ask("Exec", ["b", json.dumps(META)])["result"][1], 3)
            self.assertEqual(local.ask("Exec", ["my-key", json.dumps(META)])["result"][1], 2)
        with self.assertRaisesRegex(PluginFailed, "no secret c: set it"):
            local.ask("Exec", ["c", json.dumps(META)])


class Mistakes(unittest.TestCase):
    def test_malformed_requests_are_answered_and_the_channel_goes_on(self):
        local = Local(OldStyle())
        for request, text in [
            (b"", "JSONDecodeError"),
            (b"{", "JSONDecodeError"),
            (b"[1]", "TypeError"),
            (b'{"func":["a"],"arg":1}', "TypeError"),
            (b'{"func":"Nope","arg":1}', "invalid func Nope"),
            (b'{"func":"Exec","arg":[]}', "invalid arg"),
            (b'{"func":"Exec","arg":[1,"{}"]}', "lacks ruleId, opId, instanceId, funcId"),
            (b'{"func":"ExecBatch","arg":{"seq":9,"n":-1,"cols":[]}}', "needs n"),
            (b'{"func":"ExecBatch","arg":{"seq":9,"n":2,"cols":[[1]]}}', "has not 2 values"),
            (b'{"func":"ExecBatch","arg":{"seq":9,"n":1,"cols":[[1]],"ctx":77}}', "unknown context 77"),
            (b'{"func":"ExecGroups","arg":{"seq":9,"groups":[[1]]}}', "list of lists"),
            (b'{"func":"Ctx","arg":{}}', "whole number"),
            (b'{"func":"Save","arg":null}', "unknown context"),
            (b"[" * 100_000, "RecursionError"),
        ]:
            answer = json.loads(local.channel.answer(request))
            self.assertEqual((answer["state"], text in answer["result"]), (False, True), (request[:40], answer))
            self.assertEqual(answer.get("seq"), 9 if b'"seq":9' in request else None)
        self.assertEqual(local.rows([5]), [2])

    def test_an_answer_beyond_the_engines_limit_is_an_error_and_not_sent(self):
        local = Local(function(lambda n: "x" * n, name="f"))
        local.ask("Hello", {"caps": [], "maxMessage": 1000})
        self.assertEqual(local.rows([10]), ["x" * 10])
        with self.assertRaisesRegex(PluginFailed, "bytes, the engine takes at most 1000"):
            local.frame([[5000]], 1)
        with self.assertRaisesRegex(PluginFailed, "bytes, the engine takes at most 1000"):
            local.ask("Exec", [5000, json.dumps(META)])

    def test_malformed_frames_are_answered_with_their_number(self):
        local = Local(OldStyle())
        good = b"".join(frames.encode(1, 11, 1, [frames.pack([5], [])], '"ctx":1,'))
        other = b"".join(frames.encode(frames.SOURCE, 11, 1, [frames.pack([5], [])], '"ctx":1,'))
        unknown = b"".join(frames.encode(1, 11, 1, [frames.pack([5], [])], '"ctx":2,'))
        for message, text in [(good[:-4], "does not lie"), (other, "takes frames of rows"), (unknown, "unknown context 2")]:
            answer = json.loads(local.channel.answer(message))
            self.assertEqual((answer["state"], answer["seq"]), (False, 11))
            self.assertIn(text, answer["result"])
        rng = random.Random(5)
        for _ in range(300):
            bad = bytearray(good)
            bad[rng.randrange(1, len(bad))] = rng.randrange(256)
            answer = local.channel.answer(bytes(bad))
            self.assertIsInstance(answer, (bytes, list))
        self.assertEqual(local.raw(good, 11)["result"], [2])


class SharedMemory(unittest.TestCase):
    def test_columns_and_answers_lie_in_the_file_that_hello_names(self):
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(1 << 16)
            local = Local(OldStyle())
            offer = {"caps": ["cols", "shm"], "shm": {"path": file.name, "size": 1 << 16}}
            self.assertEqual(local.ask("Hello", offer)["result"]["caps"], ["cols", "shm"])
            mapped = local.channel._region.memory
            parts = frames.encode(
                1, 3, 2, [frames.pack([5, 2], [])], '"ctx":1,"answer":[32768,32768],', region=(mapped[:32768], 0)
            )
            self.assertEqual(len(parts), 1)
            answer = local.channel.answer(parts[0])
            frame = frames.decode(b"".join(answer), mapped)
            self.assertTrue(frame.flags & frames.IN_REGION)
            self.assertGreaterEqual(frame.header["cols"][0]["data"][0], 32768)
            self.assertEqual(frame.cols[0].to_list(), [2, 5])
            del frame, mapped
            local.channel.close()

    def test_a_file_that_is_too_small_or_missing_is_no_shared_memory(self):
        with tempfile.NamedTemporaryFile() as file:
            local = Local(OldStyle())
            for shm in ({"path": file.name, "size": 4096}, {"path": file.name + "x", "size": 1}, {}, {"path": 1, "size": 1}):
                with self.assertLogs("plugin", "WARNING"):
                    result = local.ask("Hello", {"caps": ["cols", "shm"], "shm": shm})
                self.assertEqual(result["result"]["caps"], ["cols"])


@unittest.skipUnless(arrow.is_there(), "pyarrow is not installed")
class Arrow(unittest.TestCase):
    def test_rows_and_groups_as_an_arrow_stream(self):
        import pyarrow

        def message(op, n, columns):
            batch = pyarrow.record_batch(columns)
            sink = pyarrow.BufferOutputStream()
            with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            parts = frames.encode(op, 3, n, [], '"ctx":1,', frames.ARROW)
            return b"".join(parts) + sink.getvalue().to_pybytes()

        rows = Local(OldStyle()).raw(message(1, 3, {"x": pyarrow.array([5, 0, 1])}))
        self.assertEqual((rows["result"], len(rows["errors"])), ([2, None, 10], 1))
        groups = message(2, 2, {"x": pyarrow.array([[1, 2], [3]], pyarrow.list_(pyarrow.int64()))})
        self.assertEqual(Local(OldMean()).raw(groups)["result"], [1.5, 3.0])
        with self.assertRaisesRegex(PluginFailed, "no Arrow stream"):
            Local(OldMean()).raw(message(2, 2, {"x": pyarrow.array([1])})[:140])

    def test_functions_of_arrays_by_every_transport(self):
        import pyarrow.compute

        double = Local(function(lambda x: pyarrow.compute.multiply(x, 2), name="double", vector="arrow"))
        self.assertEqual(double.rows([1], [None], [2]), [2, None, 4])
        picky = Local(function(lambda x: pyarrow.array([[1, 2, 3][v] for v in x.to_pylist()]), vector="arrow", name="p"))
        answer = picky.frame([[0, 7, 2]], 3)
        self.assertEqual((answer["result"], [at for at, _ in answer["errors"]]), ([1, None, 3], [1]))
        kinds = Local(function(lambda x: ["%s %s" % (x.type, v.as_py()) for v in x], name="kinds", vector="arrow"))
        mixed = kinds.frame([["a", None, 1, [2]]], 4)["result"]
        self.assertEqual(mixed, ["string a", "string None", "string 1", "string [2]"])
        lengths = Local(aggregate(lambda xs: pyarrow.compute.list_value_length(xs), name="lengths", vector="arrow"))
        self.assertEqual(lengths.groups([1, 2], [], [3.5, None]), [2, 0, 2])
        self.assertEqual(lengths.groups([1, "a"], [{"b": 1}]), [2, 1])
        self.assertEqual(lengths.frame([[9, 9, 1, 2, 3]], 2, [2, 4, 5])["result"], [2, 1])

    def test_answers_have_the_types_of_the_engine(self):
        import datetime
        import decimal

        import pyarrow

        def answered(values):
            errors = []
            column = arrow.Arguments(arrow.encode(values, errors), len(values), False).cols[0]
            return column.kind, str(column.array.type), column.to_list(), errors

        day = datetime.date(1970, 1, 2)
        for values, kind, expected in (
            (pyarrow.array([1, None], pyarrow.int8()), "int64", [1, None]),
            (pyarrow.array([0.5], pyarrow.float32()), "double", [0.5]),
            (pyarrow.array(["a", None]).dictionary_encode(), "string", ["a", None]),
            (pyarrow.array(["a"], pyarrow.large_string()), "string", ["a"]),
            (pyarrow.chunked_array([], pyarrow.int64()), "int64", []),
            (pyarrow.chunked_array([[1], [2]]), "int64", [1, 2]),
            (pyarrow.array([day]), "timestamp[ms]", ["1970-01-02T00:00:00Z"]),
            (pyarrow.array([1_999], pyarrow.timestamp("us", "UTC")), "timestamp[ms, tz=UTC]", ["1970-01-01T00:00:00.001Z"]),
            (pyarrow.array([None]), "null", [None]),
        ):
            self.assertEqual(answered(values), ("arrow", kind, expected, []))
        for values, expected in (
            (pyarrow.array([{"a": 1}, None]), [{"a": 1}, None]),
            (pyarrow.array([2**64 - 1], pyarrow.uint64()), [2**64 - 1]),
            ([1, "a"], [1, "a"]),
        ):
            self.assertEqual(answered(values), ("json", "string", expected, []))
        lost = answered(pyarrow.array([decimal.Decimal("1.5")]))
        self.assertTrue(lost[2] == [1.5] or lost[3], lost)

    def test_without_pyarrow_a_function_of_arrays_says_what_to_install(self):
        from unittest import mock

        with mock.patch.dict(sys.modules, {"pyarrow": None}), self.assertRaisesRegex(ImportError, "pip install pyarrow"):
            FunctionChannel(function(lambda x: x, name="f", vector="arrow"), "f")


class Annotations(unittest.TestCase):
    def test_arguments_are_checked_by_the_annotations(self):
        @function
        def clamp(x: float, low: float, high: Optional[float] = None, *, ctx: Context) -> float:
            return x

        @function
        def mixed(a: Union[int, str], b: List[int], c: Dict[str, Any], d=1, *rest: bool):
            return a

        for made, args, text in [
            (clamp, [{}], "clamp takes 2 to 3 arguments, not 1; use it as clamp(x: a number, low: a number, [high: a number])"),
            (clamp, [{}] * 4, "takes 2 to 3 arguments, not 4"),
            (clamp, [{}, {"Val": "a"}], "argument 2 (low) of clamp must be a number, not the text 'a'; write for example clamp(x, 1.5)"),
            (clamp, [{}, {"Val": True}], "must be a number, not true"),
            (clamp, [{}, {"Val": None}], "must be a number, not null"),
            (clamp, [{}, {"Val": 1}, {"Val": None}], ""),
            (mixed, [{}, {}], "mixed takes at least 3 arguments"),
            (mixed, [{"Val": 1.5}, {}, {}], "must be a text or a whole number, not 1.5"),
            (mixed, [{"Val": "a"}, {}, {}], ""),
            (mixed, [{}, {}, {}, {"Val": "any"}, {"Val": 1}], "argument 5 (rest) of mixed must be true or false, not 1"),
        ]:
            got = made.validate(args)
            self.assertTrue(text in got if text else not got, (args, got))
        self.assertEqual(clamp.signature.result.column_type, "f64")

    def test_the_context_may_have_a_default(self):
        @function
        def with_default(x: float, ctx: Context = None):
            return x

        @function
        def optional(x: float, who: Optional[Context] = None):
            return x

        for made, name in ((with_default, "ctx"), (optional, "who")):
            self.assertEqual((made.signature.context_name, made.signature.most), (name, 1))

    def test_what_is_known_goes_into_the_greeting(self):
        @function(parallel=True)
        def inc(x: int, by: int = 1) -> int:
            return x + by

        words, document = FunctionChannel(inc, "inc").greeting().split(b" ", 1)
        known = json.loads(document)
        self.assertEqual(words, b"handshake")
        self.assertEqual((known["fn"], known["agg"], known["parallel"], known["args"]), ("inc", False, True, [1, 2]))
        self.assertEqual(known["types"], {"args": ["i64", "i64"], "result": "i64"})
        self.assertEqual(json.loads(FunctionChannel(Mean, "m").greeting()[10:])["acc"], ["add", "retract", "merge"])

    def test_wrong_decorations_fail_when_they_are_made(self):
        for make, text in [
            (lambda: function(lambda x: x, vector="pandas"), "vector must be"),
            (lambda: function(lambda x: x, vector="groups"), "is for aggregates"),
            (lambda: aggregate(type("NoAdd", (), {})), "needs methods add and finish"),
            (lambda: function(lambda *, key: key), "only be given by name"),
        ]:
            with self.assertRaisesRegex((ValueError, TypeError), text):
                make()


if __name__ == "__main__":
    unittest.main()
