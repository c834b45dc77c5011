"""python3 -m unittest, in this folder. Needs nothing but Python."""

import contextlib
import hmac
import http.server
import json
import os
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "sdk"))

import webhook
from settings import Settings, retry_after
from signature import is_signed
from thalweg_sdk import Context
from thalweg_sdk.testing import ALL, Engine, PluginFailed


class Receiver:
    """A server that answers with the given statuses in turn, then with 200, and keeps what it was sent."""

    def __init__(self, *statuses, headers=None):
        self.requests = []
        turns = list(statuses)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers), body))
                status = turns.pop(0) if turns else 200
                if status == "hang up":
                    self.close_connection = True
                    return
                text = b"" if status == 200 else b"go away"
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_PUT = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = "http://127.0.0.1:%d/hook?a=1" % self.server.server_address[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def bodies(self):
        return [json.loads(body) for _, body in self.requests]


@contextlib.contextmanager
def opened(url, secrets=None, **conf):
    sink = webhook.Webhook()
    sink.configure({"url": url, "backoff": 0.001, **conf})
    ctx = Context({"ruleId": "r", "opId": "o", "instanceId": 0})
    ctx._surroundings.secrets.update(secrets or {})
    sink.open(ctx)
    try:
        yield sink, ctx
    finally:
        sink.close(ctx)


class Delivery(unittest.TestCase):
    def test_rows_travel_in_batches_over_one_connection(self):
        with Receiver() as receiver, opened(receiver.url, batchSize=2) as (sink, ctx):
            sink.collect_batch(ctx, [{"n": n} for n in range(5)])
            self.assertEqual(receiver.bodies(), [[{"n": 0}, {"n": 1}], [{"n": 2}, {"n": 3}], [{"n": 4}]])
            counters = ctx.metrics.take_changed()["counters"]
            self.assertEqual(counters, {"requests": 3, "rows": 5})

    def test_single_rows_are_objects(self):
        with Receiver() as receiver, opened(receiver.url, batchSize=1) as (sink, ctx):
            sink.collect_batch(ctx, [{"n": "ä"}, {"n": 2}])
            self.assertEqual(receiver.bodies(), [{"n": "ä"}, {"n": 2}])

    def test_what_may_pass_is_tried_again_with_the_same_key(self):
        with Receiver(503, 429, "hang up") as receiver, opened(receiver.url) as (sink, ctx):
            with self.assertLogs("plugin", "WARNING"):
                sink.collect_batch(ctx, [{"n": 1}])
            self.assertEqual(len(receiver.requests), 4)
            self.assertEqual(len({headers["Idempotency-Key"] for headers, _ in receiver.requests}), 1)

    def test_what_will_not_pass_is_refused_at_once_with_the_servers_words(self):
        for status in (400, 401, 404, 301):
            with Receiver(status) as receiver, opened(receiver.url) as (sink, ctx):
                with self.assertRaisesRegex(webhook.Refused, "status %d: go away .try 1 of 5" % status):
                    sink.collect_batch(ctx, [{"n": 1}])
                self.assertEqual(len(receiver.requests), 1)

    def test_after_the_last_try_the_rows_are_refused(self):
        with Receiver(*[500] * 9) as receiver, opened(receiver.url, retries=2) as (sink, ctx):
            with self.assertLogs("plugin", "WARNING"), self.assertRaisesRegex(webhook.Refused, "try 3 of 3"):
                sink.collect_batch(ctx, [{"n": 1}])
            self.assertEqual(len(receiver.requests), 3)
            self.assertEqual(ctx.metrics.take_changed()["counters"]["refused"], 1)

    def test_nobody_there_is_a_refusal_too(self):
        with Receiver() as receiver:
            url = receiver.url
        with opened(url, retries=1) as (sink, ctx), self.assertLogs("plugin", "WARNING"):
            with self.assertRaisesRegex(webhook.Refused, "ConnectionRefusedError"):
                sink.collect_batch(ctx, [{}])

    def test_closing_ends_the_wait_for_the_next_try(self):
        with Receiver(500) as receiver, opened(receiver.url, backoff=1000) as (sink, ctx):
            threading.Timer(0.05, sink.close, [ctx]).start()
            with self.assertLogs("plugin", "WARNING"), self.assertRaisesRegex(webhook.Refused, "the rule stops"):
                sink.collect_batch(ctx, [{}])

    def test_a_connection_that_the_server_closed_meanwhile_is_no_failure(self):
        with Receiver(200, "hang up") as receiver, opened(receiver.url, retries=0) as (sink, ctx):
            for n in range(2):
                sink.collect_batch(ctx, [{"n": n}])
            self.assertEqual(len(receiver.requests), 3)


class Signature(unittest.TestCase):
    def test_the_signature_covers_time_and_body_and_headers_are_sent(self):
        own = {"Authorization": "Bearer x", "X-N": 5}
        with Receiver() as receiver:
            with opened(receiver.url, {"hook": "k"}, secret="hook", headers=own, method="put") as (sink, ctx):
                sink.collect_batch(ctx, [{"n": 1}])
            headers, body = receiver.requests[0]
        expected = hmac.new(b"k", headers["X-Timestamp"].encode() + b"." + body, "sha256").hexdigest()
        self.assertEqual(headers["X-Signature-256"], "sha256=" + expected)
        self.assertTrue(is_signed(b"k", headers["X-Timestamp"], body, headers["X-Signature-256"]))
        self.assertFalse(is_signed(b"k", headers["X-Timestamp"], body + b" ", headers["X-Signature-256"]))
        self.assertEqual((headers["Authorization"], headers["X-N"]), ("Bearer x", "5"))

    def test_a_secret_that_is_not_there_is_told(self):
        with self.assertRaisesRegex(KeyError, "no secret gone"), opened("http://x/", secret="gone"):
            pass


class Properties(unittest.TestCase):
    def test_each_mistake_names_its_property(self):
        for conf, text in (
            ({}, '"url" must be an address'),
            ({"url": "ftp://x"}, '"url" must be an address'),
            ({"url": 5}, '"url" must be a text'),
            ({"url": "http://x", "method": "GET"}, '"method" must be POST, PUT or PATCH'),
            ({"url": "http://x", "batchSize": 0}, '"batchSize" must be a whole number from 1'),
            ({"url": "http://x", "retries": -1}, '"retries" must be a whole number from 0'),
            ({"url": "http://x", "timeout": "5"}, '"timeout" must be seconds'),
            ({"url": "http://x", "headers": []}, None),
            ({"url": "http://x", "headers": ["a"]}, '"headers" must be an object'),
            ({"url": "http://x", "headers": {"a": "b\nc"}}, 'header "a" must be a text of one line'),
        ):
            if text is None:
                Settings(conf)
                continue
            with self.assertRaisesRegex(ValueError, text):
                Settings(conf)

    def test_servers_ask_for_seconds(self):
        self.assertEqual([retry_after(text, 30) for text in (None, "3", "99", "soon", "-1")], [0, 3, 30, 0, 0])


class Plugin(unittest.TestCase):
    def test_both_protocols_deliver_and_refuse(self):
        for caps in ((), ALL):
            name = "webhook-test%d" % os.getpid()
            with Receiver(200, 400) as receiver, Engine(name, caps, is_trial=True) as engine:
                engine.launch_python(os.path.join(HERE, "webhook.py"), HERE)
                sink = engine.sink("webhook", {"url": receiver.url})
                for error in ("", "status 400: go away"):
                    if caps:
                        sink.send_batch([{"n": 1}])
                    else:
                        sink.send(b'{"n":1}')
                    self.assertIn(error, sink.ack().get("error", ""))
                self.assertEqual(receiver.bodies(), [[{"n": 1}]] * 2)
                with self.assertRaisesRegex(PluginFailed, '"url" must be an address'):
                    engine.sink("webhook", {"url": "nowhere"})
                sink.stop()
                engine.shutdown()


if __name__ == "__main__":
    unittest.main()
