"""Whole plugins in processes and threads of their own, against a stand-in for the engine: an old one and a new one."""

import json
import os
import socket
import sys
import tempfile
import textwrap
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "ekuiper_compat"))

from thalweg_sdk import frames, sp
from thalweg_sdk.context import Context
from thalweg_sdk.frames import Frame
from thalweg_sdk.outlet import Outlet
from thalweg_sdk.stub import ALL, Engine, PluginFailed

_numbers = iter(range(1 << 30))


def fresh_name():
    """A plugin's name that no other test process uses: names are paths below /tmp."""
    return "sdk%dn%d" % (os.getpid(), next(_numbers))


class Plugin:
    """A script in a folder of its own. NAME in it stands for the plugin's name."""

    def __init__(self, script, caps=()):
        self.name = fresh_name()
        self._folder = tempfile.TemporaryDirectory()
        self.folder = self._folder.name
        self.path = os.path.join(self.folder, self.name + ".py")
        with open(self.path, "w") as file:
            file.write(textwrap.dedent(script).replace("NAME", self.name))
        self.engine = Engine(self.name, caps)

    def __enter__(self):
        self.engine.launch_python(self.path)
        return self.engine

    def __exit__(self, *_):
        self.engine.close()
        self._folder.cleanup()


OLD_SCRIPT = """
    from ekuiper import Function, PluginConfig, Sink, Source, plugin

    class Twice(Function):
        def validate(self, args):
            return "" if len(args) == 1 else "one argument"
        def exec(self, args, ctx):
            return args[0] * 2
        def is_aggregate(self):
            return False

    class Count(Source):
        def configure(self, datasource, conf):
            self.n = conf["n"]
        def open(self, ctx):
            for i in range(self.n):
                ctx.emit({"i": i}, {"topic": "t"})
        def close(self, ctx):
            print("source closed")

    class Out(Sink):
        def configure(self, conf):
            self.bad = conf.get("bad", "").encode()
        def open(self, ctx):
            pass
        def collect(self, ctx, data):
            if data == b"raise":
                raise ValueError("told to")
            ctx.ack_error("refused") if data == self.bad else ctx.ack_ok()
        def close(self, ctx):
            print("sink closed")

    plugin.start(PluginConfig("NAME", {"NAMEsrc": Count}, {"NAMEout": Out}, {"NAMEf": Twice}))
"""


class OldPlugin(unittest.TestCase):
    def test_an_engine_that_knows_nothing_sees_the_old_calls_only(self):
        with Plugin(OLD_SCRIPT) as engine:
            self.assertTrue(engine.control.greeting.startswith(b'handshake {"thalweg":1,'))
            calls = engine.function(engine.name + "f")
            self.assertEqual((calls.is_aggregate(), calls.validate([{}]), calls.validate([])), (False, "", "one argument"))
            self.assertEqual((calls.exec(21), calls.exec("ab")), (42, "abab"))
            with self.assertRaisesRegex(PluginFailed, "Traceback"):
                calls.exec(None)
            source = engine.source(engine.name + "src", {"n": 3})
            self.assertEqual([source.message() for _ in range(3)], [{"message": {"i": i}, "meta": {"topic": "t"}} for i in range(3)])
            self.assertIsNone(source.message())
            sink = engine.sink(engine.name + "out", {"bad": "b"})
            for payload, ack in ((b"a", {}), (b"b", {"error": "refused"}), (b'{"batch":[],"seq":1}', {})):
                sink.send(payload)
                self.assertEqual(sink.ack(), ack)
            sink.send(b"raise")
            self.assertIsNone(sink.ack())
            with self.assertRaisesRegex(PluginFailed, "KeyError"):
                engine.function("nobody")
            self.assertEqual(engine.command("unknown", {}), "ok")
            self.assertEqual(engine.shutdown(), 0)
            self.assertIn("source closed", engine.output)

    def test_unmodified_it_is_called_in_batches_and_its_rows_and_messages_travel_together(self):
        with Plugin(OLD_SCRIPT, ALL) as engine:
            calls = engine.function(engine.name + "f")
            calls.bind()
            self.assertEqual(calls.batch([[1, "a", None]])["result"], [2, "aa", None])
            self.assertEqual(calls.frame([[1, 2, 3]], 3)["result"], [2, 4, 6])
            source = engine.source(engine.name + "src", {"n": 1000})
            self.assertEqual(source.take(1000), [{"i": i} for i in range(1000)])
            self.assertEqual(source.message(), {"eof": True})
            sink = engine.sink(engine.name + "out", {"bad": "b"})
            seq = sink.send_batch(["a", "b", "raise", "c"])
            ack = sink.ack()
            self.assertEqual((ack["seq"], ack["failed"], ack["error"]), (seq, [1, 2], "refused"))
            seq = sink.send_batch(["a", {"b64": "YQ=="}])
            self.assertEqual(sink.ack(), {"seq": seq})
            sink.stop()
            self.assertEqual(engine.shutdown(), 0)

    def test_every_capability_alone_is_negotiated_and_gives_the_same_results(self):
        for caps in ([], *[[cap] for cap in ALL]):
            with self.subTest(caps=caps), Plugin(OLD_SCRIPT, caps) as engine:
                calls = engine.function(engine.name + "f")
                self.assertLessEqual(set(calls.caps), set(caps))
                self.assertEqual(calls.exec(4), 8)
                further = {"credit": 100} if caps == ["credit"] else {}
                source = engine.source(engine.name + "src", {"n": 5}, **further)
                self.assertEqual(source.take(5), [{"i": i} for i in range(5)])
                self.assertEqual(engine.shutdown(), 0)


NEW_SCRIPT = """
    import os, sys
    from thalweg_sdk import Context, Sink, Source, aggregate, function, run, sink, source

    @function(name="NAMEinc")
    def inc(x: int) -> int:
        return x + 1

    @function(name="NAMEdie")
    def die(code):
        os._exit(code)

    @aggregate(name="NAMEmean")
    def mean(xs):
        return sum(xs) / len(xs)

    @source(name="NAMEticks")
    def ticks(ctx, config):
        start = ctx.state.get("at", 0)
        for i in range(start, config.get("n", 10)):
            ctx.state["at"] = i + 1
            yield {"i": i}, {"meta": i} if config.get("metas") else None
        if config.get("fails"):
            raise ValueError("told to")
        while not ctx.stopping.wait(0.01) and config.get("stays"):
            pass

    @source(name="NAMEcolumns")
    def columns(ctx):
        ctx.emit_columns({"a": [1, 2, None], "b": ["x", "y", "z"]}, {"from": "columns"})
        yield {"a": 3, "b": "w"}

    @sink(name="NAMErows")
    def rows(row, ctx, config):
        if row.get("bad"):
            raise ValueError("bad row")
        ctx.log.info("row %s", row)

    class Many(Sink):
        name = "NAMEmany"
        def collect_batch(self, ctx, rows):
            ctx.metrics.count("rows", len(rows))
            failed = [i for i, row in enumerate(rows) if row.get("bad")]
            if failed:
                error = ValueError("some are bad")
                error.failed = failed
                raise error

    class Own(Source):
        name = "NAMEown"
        def configure(self, datasource, conf):
            self.at = 0
        def open(self, ctx):
            ctx.emit({"at": self.at})
            ctx.stopped = True
        def save(self, ctx):
            return self.at
        def restore(self, ctx, saved):
            self.at = saved

    run("NAME", inc, die, mean, ticks, columns, rows, Many, Own)
"""


class NewPlugin(unittest.TestCase):
    def test_on_an_old_engine_everything_works_with_old_calls(self):
        with Plugin(NEW_SCRIPT) as engine:
            name = engine.name
            inc = engine.function(name + "inc")
            self.assertEqual((inc.exec(1), inc.is_aggregate()), (2, False))
            self.assertIn("must be a whole number, not the text 'a'; write for example", inc.validate([{"Val": "a"}]))
            self.assertEqual(engine.function(name + "mean").exec([1, 2, 3]), 2)
            source = engine.source(name + "ticks", {"n": 3})
            self.assertEqual(source.take(3), [{"i": 0}, {"i": 1}, {"i": 2}])
            self.assertEqual(engine.source(name + "columns").take(4)[2:], [{"a": None, "b": "z"}, {"a": 3, "b": "w"}])
            sink = engine.sink(name + "rows")
            for payload, ack in ((b'[{"a":1}]', {}), (b'{"bad":1}', {"error": "ValueError: bad row"}), (b"x", None)):
                sink.send(payload)
                got = sink.ack()
                self.assertTrue(got == ack if ack is not None else "JSONDecodeError" in got["error"], got)
            many = engine.sink(name + "many")
            many.send(b'[{"a":1}]')
            self.assertEqual(many.ack(), {})
            self.assertEqual(engine.shutdown(), 0)
            lines = [json.loads(line) for line in engine.output if line.startswith("{")]
            said = next(line for line in lines if line["message"] == "row {'a': 1}")
            self.assertEqual((said["level"], said["rule"], said["symbol"]), ("info", name, name + "rows"))

    def test_a_source_batches_keeps_order_and_says_when_it_ends(self):
        with Plugin(NEW_SCRIPT, ALL) as engine:
            source = engine.source(engine.name + "ticks", {"n": 2000, "metas": True})
            rows, n_messages = [], 0
            while True:
                message = source.message()
                if "eof" in message:
                    break
                n_messages += 1
                rows.extend(message["messages"])
                metas = message.get("metas") or [message["meta"]]
                self.assertEqual([meta["meta"] for meta in metas], [row["i"] for row in message["messages"]])
            self.assertEqual(rows, [{"i": i} for i in range(2000)])
            self.assertLess(n_messages, 2000)
            failing = engine.source(engine.name + "ticks", {"n": 1, "fails": True})
            self.assertEqual([failing.message(), failing.message()], [{"messages": [{"i": 0}]}, {"error": "ValueError: told to"}])
            self.assertIsNone(failing.message())

    def test_columns_travel_as_a_frame(self):
        with Plugin(NEW_SCRIPT, ALL) as engine:
            source = engine.source(engine.name + "columns")
            frame = source.message()
            self.assertIsInstance(frame, Frame)
            self.assertEqual((frame.op, frame.n, frame.header["meta"]), (3, 3, {"from": "columns"}))
            self.assertEqual([(col.name, col.to_list()) for col in frame.cols], [("a", [1, 2, None]), ("b", ["x", "y", "z"])])

    def test_a_source_waits_for_credit_and_stops_while_it_waits(self):
        with Plugin(NEW_SCRIPT, ALL) as engine:
            source = engine.source(engine.name + "ticks", {"n": 1000, "stays": True}, credit=2)
            self.assertEqual(source.take(2), [{"i": 0}, {"i": 1}])
            # All that was granted has come: the save's answer is the next message.
            source.save(1)
            self.assertEqual(source.message()["epoch"], 1)
            source.credit(1)
            self.assertEqual(source.take(1), [{"i": 2}])
            source.stop()
            self.assertEqual(engine.shutdown(), 0)

    def test_the_state_of_a_source_comes_behind_its_rows_and_goes_on_from_there(self):
        with Plugin(NEW_SCRIPT, ALL) as engine:
            source = engine.source(engine.name + "ticks", {"n": 5, "stays": True})
            source.take(5)
            source.save(42)
            saved = source.message()
            self.assertEqual(saved, {"epoch": 42, "saved": {"state": {"at": 5}}})
            source.stop()
            again = engine.source(engine.name + "ticks", {"n": 7, "stays": True}, saved=saved["saved"])
            self.assertEqual(again.take(2), [{"i": 5}, {"i": 6}])
            again.stop()
            own = engine.source(engine.name + "own", saved={"own": 99})
            self.assertEqual(own.take(1), [{"at": 99}])

    def test_sinks_take_rows_payloads_and_frames_and_name_what_failed(self):
        with Plugin(NEW_SCRIPT, ALL) as engine:
            self.assertEqual(engine.plugin["symbols"]["sinks"][engine.name + "many"], {"rows": True})
            many = engine.sink(engine.name + "many")
            for batch in ([{"a": 1}, {"a": 2}], ['{"a":1}', '[{"a":1},{"a":2}]'], [{"b64": "e30="}], []):
                seq = many.send_batch(batch)
                self.assertEqual(many.ack(), {"seq": seq})
            seq = many.send_columns({"a": [1, 2], "bad": [False, True]})
            self.assertEqual(many.ack(), {"seq": seq, "error": "ValueError: some are bad", "failed": [1]})
            answer = engine.command("ping", {})
            self.assertEqual(json.loads(answer[3:])["metrics"][0]["counters"], {"rows": 8})
            self.assertEqual(engine.command("ping", {}), "ok")
            for wrong in (b"x", b"C", b"[]", b'{"seq":8}'):
                many.send(wrong)
                self.assertIn("error", many.ack())

    def test_a_process_that_exits_within_a_call_is_seen_at_once(self):
        with Plugin(NEW_SCRIPT, ALL) as engine:
            calls = engine.function(engine.name + "die")
            with self.assertRaisesRegex(PluginFailed, "no answer"):
                calls.exec(3)
            self.assertEqual(engine.process.wait(10), 3)

    def test_the_plugin_ends_when_the_engine_is_gone(self):
        with Plugin(NEW_SCRIPT, ALL) as engine:
            engine.control.close()
            self.assertEqual(engine.process.wait(10), 1)


class Emitting(unittest.TestCase):
    """A source's outlet with somebody who only keeps what is sent."""

    def outlet(self, caps, most=sp.MAX_MESSAGE):
        sent = []

        class Keeps:
            def send(self, message):
                sent.append(json.loads(message))

        return Outlet(Keeps(), caps, lambda: None, 0, most), sent

    def test_a_row_that_is_too_long_is_refused_and_long_rows_go_in_smaller_parties(self):
        outlet, sent = self.outlet(["batch"], 1000)
        with self.assertRaisesRegex(ValueError, "the row has 2008 bytes, the engine takes at most 1000"):
            outlet.send("emit", [{"a": "x" * 2000}], None)
        outlet.send("emit", [{"a": "x" * 200}] * 9, None)
        outlet.close()
        self.assertEqual(sum(len(message["messages"]) for message in sent), 9)
        self.assertTrue(all(len(json.dumps(message)) <= 1000 for message in sent))

    def test_what_json_cannot_hold_is_the_callers_error_and_nothing_is_sent(self):
        for caps in (["batch"], []):
            outlet, sent = self.outlet(caps)
            with self.assertRaisesRegex(TypeError, "set is not JSON serializable"):
                outlet.send("emit", [{"a": {1}}], None)
            with self.assertRaisesRegex(ValueError, "1 rows but 2 metas"):
                outlet.send("emit", [{}], [{}, {}])
            outlet.close()
            self.assertEqual(sent, [])

    def remembering(self):
        sent = []

        class Keeps:
            def send(self, message):
                whole = message if isinstance(message, bytes) else b"".join(bytes(part) for part in message)
                sent.append(json.loads(whole) if whole[:1] == b"{" else frames.decode(whole))

        outlet = Outlet(Keeps(), ["batch", "cols", "state"], lambda: None, saves=True)
        outlet.context = Context({})
        return outlet, sent

    def test_what_a_source_remembers_goes_with_the_rows_that_it_covers(self):
        outlet, sent = self.remembering()
        outlet.context.state["at"] = 1
        outlet.send("emit", [{"a": 1}], None)
        outlet.send("emit", [{"a": 2}], None)
        outlet.close()
        first, second = {"messages": [{"a": 1}], "saved": {"state": {"at": 1}}}, {"messages": [{"a": 2}]}
        self.assertEqual(sent, [first, second])

    def test_rows_of_one_call_are_covered_behind_the_last_of_them(self):
        outlet, sent = self.remembering()
        outlet.context.state["at"] = 5000
        outlet.send("emit", [{"a": 1}] * 5000, None)
        outlet.close()
        self.assertEqual([len(message["messages"]) for message in sent], [4096, 904])
        self.assertEqual([message.get("saved") for message in sent], [None, {"state": {"at": 5000}}])

    @unittest.skipUnless(frames.USABLE, "the byte order of this machine is not that of frames")
    def test_long_columns_are_cut_and_covered_behind_the_last_part(self):
        outlet, sent = self.remembering()
        outlet.context.state["at"] = 1
        outlet.send("columns", {"a": list(range(5000))}, {"m": 1})
        outlet.send("columns", {}, None)
        self.assertEqual([frame.n for frame in sent], [4096, 904, 0])
        saved = [frame.header.get("saved") for frame in sent]
        self.assertEqual(saved, [None, {"state": {"at": 1}}, None])

    def test_the_first_row_after_a_quiet_moment_does_not_wait(self):
        outlet, sent = self.outlet(["batch"])
        outlet.send("emit", [{"a": 1}], None)
        self.assertEqual(sent, [{"messages": [{"a": 1}]}])

    def test_an_error_comes_behind_the_rows_before_it(self):
        outlet, sent = self.outlet(["batch"])
        outlet.send("emit", [{"a": 1}], None)
        outlet.send("emit", [{"a": 2}], {"m": 1})
        outlet.send("error", "broken")
        outlet.end()
        rows = [row for message in sent for row in message.get("messages", [])]
        self.assertEqual((rows, sent[-2:]), ([{"a": 1}, {"a": 2}], [{"error": "broken"}, {"eof": True}]))


class Wire(unittest.TestCase):
    def pair(self, role, peer_role):
        ours, theirs = socket.socketpair()
        made = []
        thread = threading.Thread(target=lambda: made.append(sp.Connection(theirs, peer_role)))
        thread.start()
        first = sp.Connection(ours, role)
        thread.join()
        self.addCleanup(first.close)
        self.addCleanup(made[0].close)
        return first, made[0]

    def test_messages_of_every_size_arrive_in_order(self):
        push, pull = self.pair(sp.PUSH, sp.PULL)
        sizes = [0, 1, 100, 65526, 65527, 65536, 70000, 3, 1 << 20, 7]

        def send():
            for size in sizes:
                push.send_parts([bytes([size % 251]) * (size // 2), bytes([size % 251]) * (size - size // 2)])

        thread = threading.Thread(target=send)
        thread.start()
        for size in sizes:
            self.assertEqual(pull.recv(), bytes([size % 251]) * size)
        thread.join()

    def test_a_wrong_peer_type_or_length_ends_the_connection_with_a_reason(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        theirs.sendall(b"\0SP\0\0\x50\0\0")
        with self.assertRaisesRegex(ConnectionError, "another role"):
            sp.Connection(ours, sp.PUSH)
        ours.close()
        for head, text in [(b"\2" + bytes(8), "type 2"), (b"\1\xff" + bytes(7), "bytes; at most"), (b"", "hung up")]:
            ours, theirs = socket.socketpair()
            theirs.sendall(b"\0SP\0\0\x50\0\0" + head)
            theirs.shutdown(socket.SHUT_WR)
            connection = sp.Connection(ours, sp.PULL)
            with self.assertRaisesRegex(ConnectionError, text):
                connection.recv()
            connection.close()
            theirs.close()

    def test_a_request_without_id_is_refused_and_ids_of_many_words_are_read(self):
        rep, req = self.pair(sp.REP, sp.REQ)
        req.send(b"\0\0\0\1\x80\0\0\2body")
        self.assertEqual(rep.recv_request(), (b"\0\0\0\1\x80\0\0\2", b"body"))
        req.send(b"\0\0")
        with self.assertRaisesRegex(ConnectionError, "without id"):
            rep.recv_request()

    def test_a_path_in_use_is_not_stolen_and_a_stale_one_is_taken(self):
        path = "/tmp/%s.ipc" % fresh_name()
        first = sp.Listener(path, sp.PULL)
        with self.assertRaisesRegex(OSError, "another process listens on " + path):
            sp.Listener(path, sp.PULL)
        first.close()
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stale.bind(path)
        stale.close()
        sp.Listener(path, sp.PULL).close()
        self.assertFalse(os.path.exists(path))

    def test_answers_to_requests_that_are_no_more_are_dropped(self):
        name = fresh_name()
        listener = sp.Listener("/tmp/%s.ipc" % name, sp.REP)
        self.addCleanup(listener.close)
        answered = []

        def engine():
            connection = listener.accept()
            words, _ = connection.recv_request()
            connection.send(b"\x80\0\0\0stale")
            connection.send(words + b"command")
            answered.append(connection.recv_request()[1])
            connection.close()

        thread = threading.Thread(target=engine)
        thread.start()
        req = sp.Req("/tmp/%s.ipc" % name)
        self.addCleanup(req.close)
        with self.assertRaises(ConnectionError):
            req.serve(lambda request: b"done " + bytes(request))
        thread.join()
        self.assertEqual(answered, [b"done command"])


if __name__ == "__main__":
    unittest.main()
