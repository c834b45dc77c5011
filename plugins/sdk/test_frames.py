"""Column frames: what goes in comes out, and what makes no sense is refused with a reason."""

import datetime
import json
import random
import struct
import unittest

from thalweg_sdk import frames
from thalweg_sdk.frames import Const, FrameError
from thalweg_sdk.values import numpy_if_there, time_text, to_time

SEED = random.randrange(1 << 32)


def whole(op, cols, n, further="", groups=None, flags=0):
    return b"".join(frames.encode(op, 7, n, cols, further, flags, groups=groups))


def through(values, declared=None):
    """Values through a frame, and the errors on the way."""
    errors = []
    frame = frames.decode(whole(frames.ROWS, [frames.pack(values, errors, declared)], len(values)))
    return frame.cols[0].to_list(datetimes=True), errors, frame.cols[0].kind


def random_value(kind, rng):
    if kind == "i64":
        return rng.choice([0, -1, rng.randrange(-(1 << 63), 1 << 63), (1 << 63) - 1])
    if kind == "f64":
        return rng.choice([0.0, -0.0, rng.uniform(-1e9, 1e9), 5e-324, float("inf"), 1e308])
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "str":
        return "".join(rng.choice(["a", "ß", "\0", "漢", "🌊", '"', " "]) for _ in range(rng.randrange(6)))
    if kind == "bin":
        return bytes(rng.randrange(256) for _ in range(rng.randrange(6)))
    if kind == "ts":
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(
            milliseconds=rng.randrange(-(10**12), 10**13)
        )
    return rng.choice([{"a": [1, None, "ä"]}, [], [[]], "text", 7, True, {"": {}}])


class RoundTrip(unittest.TestCase):
    def test_random_columns_of_every_type_with_nulls_come_out_as_they_went_in(self):
        rng = random.Random(SEED)
        for kind in ("i64", "f64", "bool", "str", "bin", "ts", "json"):
            for n in (0, 1, 7, 8, 9, 63, 64, 65, 300):
                for nulls in (0.0, 0.3, 1.0):
                    values = [None if rng.random() < nulls else random_value(kind, rng) for _ in range(n)]
                    with self.subTest(kind=kind, n=n, nulls=nulls, seed=SEED):
                        out, errors, _ = through(values)
                        self.assertEqual((out, errors), (values, []))
                        self.assertEqual(list(map(type, out)), list(map(type, values)))

    def test_the_type_of_a_column_is_that_of_its_values(self):
        for values, kind in [
            ([1, 2], "i64"),
            ([1.5], "f64"),
            ([True], "bool"),
            (["a"], "str"),
            ([b"a"], "bin"),
            ([1, True], "json"),
            ([1, "a"], "json"),
            ([1 << 63], "json"),
            ([{"a": 1}], "json"),
            ([None], "f64"),
            ([1, 2.5], "f64"),
            ([(1 << 53) + 1, 2.5], "json"),
        ]:
            self.assertEqual(through(values)[2], kind, values)

    def test_a_declared_type_is_kept_where_the_values_allow_it(self):
        self.assertEqual(through([1, 2], "f64"), ([1.0, 2.0], [], "f64"))
        self.assertEqual(through([1.5, None], "i64"), ([1.5, None], [], "f64"))

    def test_nan_stays_in_a_float_column_and_keeps_its_name_within_documents(self):
        nan = float("nan")
        self.assertNotEqual(through([nan, 1.0])[0][0], through([nan, 1.0])[0][0])
        # Inside of JSON, it keeps its name, so that the engine can count it.
        self.assertEqual(repr(through([[nan, 1], {"a": nan}])[0]), "[[nan, 1], {'a': nan}]")

    def test_floats_that_json_would_call_integers_are_integers_where_the_bit_map_says_so(self):
        for n in (1, 7, 8, 9, 100):
            for share in (1, 2, 5):
                bits = [position % share == 0 for position in range(n)]
                values = [float(position) if is_whole else position + 0.5 for position, is_whole in enumerate(bits)]
                whole_bits = bytes(
                    sum(is_whole << at for at, is_whole in enumerate(bits[start : start + 8])) for start in range(0, n, 8)
                )
                data = memoryview(struct.pack("%dd" % n, *values))
                column = frames.Column("f64", n, data, whole=memoryview(whole_bits))
                expected = [int(value) if is_whole else value for value, is_whole in zip(values, bits)]
                for out in (column.to_list(), sum(column.group_lists([0, n // 2, n]), [])):
                    self.assertEqual(list(map(repr, out)), list(map(repr, expected)))

    def test_a_value_that_fits_nowhere_is_the_error_of_its_row(self):
        out, errors, _ = through([1, {1, 2}, "x", b"b", "\ud800", object()])
        self.assertEqual(out, [1, None, "x", None, None, None])
        self.assertEqual([position for position, _ in errors], [1, 3, 4, 5])
        self.assertIn("set is not JSON serializable", errors[0][1])

    def test_constants_and_groups(self):
        cols = [frames.pack([1.0, 2.0, 3.0], []), Const("x", 3), Const(None, 3)]
        frame = frames.decode(whole(frames.GROUPS, cols, 2, '"ctx":3,', [0, 2, 3]))
        self.assertEqual((frame.offsets, frame.n, frame.header["ctx"], frame.seq), ([0, 2, 3], 2, 3, 7))
        self.assertEqual([col.to_list() for col in frame.cols], [[1.0, 2.0, 3.0], ["x"] * 3, [None] * 3])

    def test_buffers_lie_on_multiples_of_64(self):
        cols = [frames.pack(["a", None, "ü"], [], name="ß" * 50), frames.pack([1, 2, None], [])]
        message = whole(frames.SOURCE, cols, 3)
        header = frames.decode(message).header
        for col in header["cols"]:
            for place in (col["null"], col["off"], col["data"]):
                self.assertTrue(place is None or place[0] % 64 == 0, col)

    def test_times_look_as_in_the_engines_json(self):
        for millis, text in [(0, "1970-01-01T00:00:00Z"), (3120, "1970-01-01T00:00:03.12Z"), (-1, "1969-12-31T23:59:59.999Z")]:
            self.assertEqual(time_text(millis), text)
            self.assertEqual(time_text(frames.millis_of(to_time(text))), text)
        packed = frames.Packed("ts", struct.pack("2q", 1000, 1 << 60))
        self.assertEqual(frames.decode(whole(1, [packed], 2)).cols[0].to_list(), ["1970-01-01T00:00:01Z", None])

    def test_buffers_in_shared_memory(self):
        memory = memoryview(bytearray(4096))
        parts = frames.encode(1, 9, 2, [frames.pack(["a", "b"], [])], region=(memory[1024:2048], 1024))
        self.assertEqual(len(parts), 1)
        frame = frames.decode(parts[0], memory)
        self.assertTrue(frame.flags & frames.IN_REGION)
        self.assertEqual(frame.cols[0].to_list(), ["a", "b"])
        # What does not fit travels whole.
        parts = frames.encode(1, 9, 1, [frames.pack(["a" * 2000], [])], region=(memory[1024:2048], 1024))
        self.assertEqual(frames.decode(b"".join(parts)).cols[0].to_list(), ["a" * 2000])


class Hostile(unittest.TestCase):
    GOOD = {"n": 2, "cols": [{"t": "i64", "null": None, "off": None, "data": [0, 16]}]}

    def frame(self, header, op=1, flags=0, body=bytes(64), length=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        text = text.ljust(-(-(16 + len(text)) // 64) * 64 - 16)
        return frames.HEAD.pack(0x43, 1, op, flags, len(text) if length is None else length, 5) + text + body

    def refused(self, message, text, region=None):
        with self.assertRaises(FrameError) as caught:
            frame = frames.decode(message, region)
            for col in frame.cols:
                col.to_list()
        self.assertIn(text, str(caught.exception))
        return caught.exception

    def test_wrong_frames_are_refused_with_a_reason_and_their_number(self):
        self.refused(b"C", "at least 16 bytes")
        self.refused(b"C\2" + bytes(30), "version 2")
        self.assertEqual(self.refused(self.frame(self.GOOD, length=1 << 31), "header would have").seq, 5)
        for header, text in [
            (b"\xff", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b"[1]", "no object"),
            ({}, "n must be a whole number"),
            ({"n": -1}, "n must be"),
            ({"n": True}, "n must be"),
            ({"n": 1 << 40}, "n must be"),
            ({"n": 1, "cols": {}}, "list of objects"),
            ({"n": 1, "cols": [1]}, "list of objects"),
        ]:
            self.refused(self.frame(header), text)

    def test_wrong_columns_are_refused(self):
        for change, text in [
            ({"t": "i32"}, "unknown type"),
            ({"t": None}, "unknown type"),
            ({"t": ["i64"]}, "unknown type"),
            ({"data": None}, "does not lie within"),
            ({"data": [0]}, "does not lie within"),
            ({"data": [-8, 16]}, "does not lie within"),
            ({"data": [0, -16]}, "does not lie within"),
            ({"data": [0, 1 << 62]}, "does not lie within"),
            ({"data": [0.0, 16]}, "does not lie within"),
            ({"data": [0, 15]}, "too few"),
            ({"len": 1}, "2 are needed"),
            ({"len": 1 << 50}, "len must be"),
            ({"null": [0, 0]}, "null bits are too few"),
            ({"t": "str"}, "off null does not lie"),
            ({"t": "str", "off": [0, 8]}, "need 12"),
        ]:
            header = {"n": 2, "cols": [{**self.GOOD["cols"][0], **change}]}
            self.refused(self.frame(header), text)

    def test_offsets_must_ascend_within_the_data(self):
        for offsets, text in [((0, 5, 2), "ascend"), ((-1, 0, 2), "ascend"), ((0, 1, 99), "ascend")]:
            start = 192
            header = {"n": 2, "cols": [{"t": "str", "null": None, "off": [start, 12], "data": [start + 16, 8]}]}
            body = struct.pack("<3i", *offsets).ljust(16) + b"abcdefgh" + bytes(64)
            message = self.frame(header, body=b"")
            message += bytes(start - len(message)) + body
            self.refused(message, text)
        self.refused(self.frame({"n": 1, "cols": []}, op=2), "needs the key groups")
        self.refused(self.frame({"n": 5, "groups": [0, 4], "cols": []}, op=2), "6 offsets need 24")

    def test_text_that_is_no_utf8_and_values_that_are_no_json_are_refused(self):
        for kind, data, text in [("str", b"\xff\xfe", "no UTF-8"), ("json", b"{]", "no JSON")]:
            packed = frames.Packed(kind, data, off=struct.pack("<2i", 0, 2))
            self.refused(whole(1, [packed], 1), text)

    def test_shared_memory_that_was_not_agreed_upon_is_not_looked_at(self):
        self.refused(self.frame(self.GOOD, flags=frames.IN_REGION), "none was agreed upon")
        small = memoryview(bytearray(8))
        self.refused(self.frame(self.GOOD, flags=frames.IN_REGION), "within 8 bytes", small)

    def test_random_damage_is_a_frame_error_or_harmless(self):
        rng = random.Random(SEED)
        cols = [frames.pack([1, None, 3], []), frames.pack(["a", "bc", None], []), frames.pack([[1], {}, "x"], [])]
        good = whole(frames.GROUPS, cols, 2, groups=[0, 1, 3])
        for _ in range(3000):
            bad = bytearray(good)
            for _ in range(rng.randrange(1, 4)):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            if rng.random() < 0.3:
                del bad[rng.randrange(len(bad)) :]
            try:
                for col in frames.decode(bad).cols:
                    col.to_list()
            except FrameError:
                pass
            except Exception as error:
                self.fail("seed %d: %r on %s" % (SEED, error, bytes(bad)))


@unittest.skipIf(numpy_if_there() is None, "numpy is not installed")
class Numpy(unittest.TestCase):
    def setUp(self):
        self.numpy = numpy_if_there()

    def test_arrays_look_at_the_frame_itself_and_cannot_change_it(self):
        column = frames.decode(whole(1, [frames.pack([1.0, 2.0], [])], 2)).cols[0]
        found = column.to_numpy(self.numpy)
        self.assertEqual(found.tolist(), [1.0, 2.0])
        self.assertFalse(found.flags.writeable or found.flags.owndata)

    def test_nulls_are_nan_nat_or_none(self):
        for values, kind in [([1, None], "f"), ([1.5, None], "f"), ([True, None], "O"), (["a", None], "O")]:
            found = frames.decode(whole(1, [frames.pack(values, [])], 2)).cols[0].to_numpy(self.numpy)
            self.assertEqual((found.dtype.kind, found[0]), (kind, values[0]))
            self.assertTrue(found[1] is None or found[1] != found[1])

    def test_results_of_every_type_come_back(self):
        numpy = self.numpy
        for result, kind, wanted in [
            (numpy.array([1, 2], dtype="i2"), "i64", [1, 2]),
            (numpy.array([1.5, 2], dtype="f4"), "f64", [1.5, 2.0]),
            (numpy.array([True, False]), "bool", [True, False]),
            (numpy.array([1 << 63, 1], dtype="u8"), "json", [1 << 63, 1]),
            (numpy.array(["a", "ü"]), "str", ["a", "ü"]),
            (numpy.arange(6)[::3], "i64", [0, 3]),
            (numpy.ma.array([1, 2], mask=[0, 1]), "i64", [1, None]),
            (numpy.array([[1, 2], [3, 4]]), "json", [[1, 2], [3, 4]]),
        ]:
            packed = frames.pack_array(result, numpy, [])
            self.assertEqual(packed.kind, kind, result)
            self.assertEqual(frames.decode(whole(1, [packed], 2)).cols[0].to_list(), wanted)
        self.assertEqual(through([numpy.int64(3), numpy.float32(0.5)])[0], [3, 0.5])


if __name__ == "__main__":
    unittest.main()
