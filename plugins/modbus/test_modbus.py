"""python3 -m unittest, in this folder. Needs nothing but Python."""

import os
import socket
import struct
import sys
import tempfile
import threading
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "sdk"))

import modbus
import registers
from client import HOLDING, INPUT, Client, Refused, address_of
from simulator import Simulator, pump, words
from thalweg_sdk import Context
from thalweg_sdk.testing import ALL, Engine, PluginFailed

PUMP = os.path.join(HERE, "pump.csv")


def device(holding=(), inputs=()):
    memory = {(HOLDING, address): word for address, word in enumerate(holding)}
    memory.update({(INPUT, address): word for address, word in enumerate(inputs)})
    return lambda: memory


class Wire(unittest.TestCase):
    def setUp(self):
        self.simulator = Simulator(device(range(10), [7])).start()
        self.addCleanup(self.simulator.stop)
        self.client = Client("127.0.0.1", self.simulator.port, 5)
        self.addCleanup(self.client.close)

    def test_holding_and_input_registers_are_read(self):
        self.assertEqual(self.client.read(1, HOLDING, 3, 4), [3, 4, 5, 6])
        self.assertEqual(self.client.read(1, INPUT, 0, 1), [7])

    def test_the_devices_refusals_are_told_and_harm_no_connection(self):
        for address, count, code in ((9, 2, 2), (0, 126, 3)):
            with self.assertRaisesRegex(Refused, "exception code %d" % code):
                self.client.read(1, HOLDING, address, count)
        with self.assertRaisesRegex(Refused, "function code"):
            self.client.read(1, 1, 0, 1)
        self.assertEqual(self.client.read(1, HOLDING, 0, 1), [0])

    def test_a_lost_connection_is_an_error_and_the_next_read_connects_again(self):
        self.client.read(1, HOLDING, 0, 1)
        self.simulator.drop_connections()
        with self.assertRaises(OSError):
            self.client.read(1, HOLDING, 0, 1)
        self.assertEqual(self.client.read(1, HOLDING, 1, 1), [1])

    def test_a_unit_that_does_not_answer_is_a_time_out(self):
        quick = Client("127.0.0.1", self.simulator.port, 0.05)
        with self.assertRaises(socket.timeout):
            quick.read(2, HOLDING, 0, 1)
        quick.close()

    def test_an_answer_of_something_else_is_refused(self):
        for answer in (b"HTTP/1.1 400\r\n", struct.pack(">HHHBBBH", 1, 0, 5, 1, 3, 2, 0) * 2, struct.pack(">HHHBBB", 1, 0, 3, 1, 3, 0)):
            listener = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(listener.close)

            def serve(listener=listener, answer=answer):
                connection, _ = listener.accept()
                connection.recv(12)
                connection.sendall(answer)
                connection.close()

            threading.Thread(target=serve, daemon=True).start()
            client = Client("127.0.0.1", listener.getsockname()[1], 5)
            with self.assertRaises(ConnectionError):
                client.read(1, HOLDING, 0, 2)

    def test_addresses_come_in_three_forms(self):
        for text, expected in (
            ("plc", ("plc", 502)),
            ("plc:1502", ("plc", 1502)),
            ("tcp://10.0.0.5:502/", ("10.0.0.5", 502)),
            ("[::1]:502", ("::1", 502)),
            ("[::1]", ("::1", 502)),
        ):
            self.assertEqual(address_of(text), expected)
        for wrong in ("", "plc:x", "plc:0", ":502"):
            with self.assertRaisesRegex(ValueError, '"server" must be host:port'):
                address_of(wrong)


class Fields(unittest.TestCase):
    def value(self, words, **conf):
        return registers.Field({"name": "x", "address": 0, **conf}).value(words)

    def test_every_type_is_read_in_both_orders_of_words(self):
        for kind, form, value in (
            ("int16", "h", -5),
            ("uint16", "H", 65000),
            ("int32", "i", -70000),
            ("uint32", "I", 4_000_000_000),
            ("float32", "f", 1.5),
            ("int64", "q", -(2**40)),
            ("uint64", "Q", 2**63),
            ("float64", "d", 0.1),
        ):
            self.assertEqual(self.value(words(form, value), type=kind), value)
            self.assertEqual(self.value(words(form, value)[::-1], type=kind, wordOrder="little"), value)

    def test_scale_bits_texts_and_what_is_no_number(self):
        self.assertEqual(self.value([2175], scale=0.1), 217.5)
        self.assertEqual(self.value(words("f", 2.6), type="float32"), 2.6)
        self.assertEqual(self.value([100], scale=0.5, offset=-40), 10.0)
        self.assertEqual([self.value([4], type="bool", bit=bit) for bit in (1, 2)], [False, True])
        self.assertEqual(self.value([0x4142, 0x4300, 0x4400], type="string", length=3), "ABC")
        self.assertIsNone(self.value(words("f", float("nan")), type="float32"))

    def test_registers_are_counted_as_in_manuals(self):
        for register, place in ((40001, (3, 0)), (30010, (4, 9)), (400001, (3, 0)), (465536, (3, 65535)), (365536, (4, 65535))):
            field = registers.Field({"name": "x", "register": register})
            self.assertEqual((field.function, field.address), place)

    def test_neighbours_share_a_request(self):
        def blocks(*places, gap=0):
            fields = [registers.Field({"name": str(i), "address": a, "type": t}) for i, (a, t) in enumerate(places)]
            return [tuple(block) for block in registers.blocks_of(fields, gap)]

        self.assertEqual(blocks((2, "float32"), (0, "int32"), (4, "int16")), [(3, 0, 5)])
        self.assertEqual(blocks((0, "int16"), (2, "int16")), [(3, 0, 1), (3, 2, 1)])
        self.assertEqual(blocks((0, "int16"), (2, "int16"), gap=1), [(3, 0, 3)])
        self.assertEqual(blocks(*[(a, "int16") for a in range(130)]), [(3, 0, 125), (3, 125, 5)])

    def test_each_mistake_names_its_register(self):
        for conf, text in (
            ({}, "a register needs a name"),
            ({"name": "x"}, "register x: say either"),
            ({"name": "x", "register": 50001}, "register x: register must be from 30001"),
            ({"name": "x", "address": -1}, "register x: address must be a whole number"),
            ({"name": "x", "address": 65535, "type": "int32"}, "register x: it reaches beyond"),
            ({"name": "x", "address": 0, "type": "int8"}, "register x: type must be bool"),
            ({"name": "x", "address": 0, "type": "bool"}, "register x: bit must be"),
            ({"name": "x", "address": 0, "sacle": 2}, "register x: there is no property sacle"),
            ({"name": "x", "address": 0, "scale": "2"}, "register x: scale must be a number"),
            ({"name": "x", "address": 0, "function": "coil"}, "register x: function must be"),
            ({"name": "x", "address": 0, "wordOrder": "x"}, "register x: wordOrder must be"),
        ):
            with self.assertRaisesRegex(ValueError, text):
                registers.Field(conf)
        with self.assertRaisesRegex(ValueError, "two registers are called x"):
            registers.read_fields([{"name": "x", "address": 0}] * 2)
        for wrong in (None, [], [1], {}):
            with self.assertRaisesRegex(ValueError, '"registers" must be a list'):
                registers.read_fields(wrong)

    def test_files_hold_the_same_as_properties(self):
        fields = registers.read_fields(PUMP)
        self.assertEqual([field.name for field in fields], "temperature pressure cycles running alarm speed".split())
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "r.json")
            with open(path, "w", encoding="utf-8") as file:
                file.write('[{"name": "a", "register": 40001}]')
            self.assertEqual(registers.read_fields(path)[0].name, "a")


class Collected(Context):
    """A context that keeps what is emitted, and ends the source when it has enough."""

    def __init__(self, n_rows):
        super().__init__({"ruleId": "r", "opId": "o", "instanceId": 0})
        self.rows, self.errors, self._n_rows = [], [], n_rows

    def emit(self, message, meta=None):
        self.rows.append(message)
        if len(self.rows) == self._n_rows:
            self.stopping.set()

    def emit_error(self, error):
        self.errors.append(error)


class Polling(unittest.TestCase):
    def source(self, simulator, fields, **conf):
        source = modbus.ModbusTcp()
        source.configure("127.0.0.1:%d" % simulator.port, {"registers": fields, "interval": 1, **conf})
        return source

    def test_registers_that_the_device_does_not_have_are_null_and_said_once(self):
        simulator = Simulator(device([1])).start()
        self.addCleanup(simulator.stop)
        ctx = Collected(3)
        self.source(simulator, [{"name": "a", "address": 0}, {"name": "b", "address": 50}]).open(ctx)
        self.assertEqual(ctx.rows, [{"a": 1, "b": None}] * 3)
        self.assertEqual(len(ctx.errors), 1)
        self.assertRegex(ctx.errors[0], "addresses 50 to 50: the device does not have all of these registers")

    def test_a_device_that_was_away_is_found_again(self):
        memory = {(HOLDING, 0): 1}
        simulator = Simulator(lambda: memory).start()
        self.addCleanup(simulator.stop)
        ctx = Collected(2)

        def emit(message, meta=None, emit=ctx.emit):
            emit(message)
            simulator.go_away()

        def emit_error(text, emit_error=ctx.emit_error):
            # It is back, with another value, once its absence was noticed.
            emit_error(text)
            memory[HOLDING, 0] = 2
            simulator.is_away = False

        ctx.emit, ctx.emit_error = emit, emit_error
        with mock.patch.object(modbus, "FIRST_WAIT_S", 0.01):
            self.source(simulator, [{"name": "a", "address": 0}]).open(ctx)
        self.assertEqual(ctx.rows, [{"a": 1}, {"a": 2}])
        self.assertRegex(ctx.errors[0], r"modbus 127.0.0.1:\d+: .*; next try in 0.01 s")

    def test_wrong_properties_are_refused(self):
        for conf, text in (
            ({}, '"registers" must be a list'),
            ({"registers": PUMP, "unit": 300}, '"unit" must be a whole number from 0 to 255'),
            ({"registers": PUMP, "interval": 0}, '"interval" must be a whole number from 1'),
            ({"registers": PUMP, "server": "x:y"}, '"server" must be host:port'),
        ):
            with self.assertRaisesRegex(ValueError, text):
                modbus.ModbusTcp().configure("plc", conf)


class Plugin(unittest.TestCase):
    def test_rows_of_the_pump_arrive_by_both_protocols(self):
        simulator = Simulator(pump).start()
        self.addCleanup(simulator.stop)
        conf = {"datasource": "127.0.0.1:%d" % simulator.port, "registers": PUMP, "interval": 5}
        for caps in ((), ALL):
            with Engine("modbus-test%d" % os.getpid(), caps, is_trial=True) as engine:
                engine.launch_python(os.path.join(HERE, "modbus.py"), HERE)
                source = engine.source("modbus_tcp", conf, datasource=conf["datasource"])
                for row in source.take(3):
                    self.assertTrue(55 <= row["temperature"] <= 65 and 2.2 < row["pressure"] < 2.8, row)
                    self.assertEqual((row["speed"], row["running"]), (1450, True))
                source.stop()
                with self.assertRaisesRegex(PluginFailed, '"registers" must be a list'):
                    engine.source("modbus_tcp", {"datasource": "plc"})
                engine.shutdown()


if __name__ == "__main__":
    unittest.main()
