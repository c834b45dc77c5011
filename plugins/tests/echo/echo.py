"""A test subject with one symbol of every kind. All names begin with the file's name, so that tests that copy it
under other names can run side by side."""

import os
import sys
import threading

from ekuiper import Context, Function, PluginConfig, Sink, Source, plugin

NAME = os.path.splitext(os.path.basename(os.path.abspath(sys.argv[0])))[0]


class Echo(Function):
    """Returns its only argument, or the list of its arguments."""

    def validate(self, args):
        return "" if len(args) > 0 else "echo needs an argument"

    def exec(self, args, ctx: Context):
        return args[0] if len(args) == 1 else args

    def is_aggregate(self):
        return False


class Who(Function):
    """Says who calls and how its arguments look in Python."""

    def validate(self, args):
        return ""

    def exec(self, args, ctx: Context):
        caller = [ctx.get_rule_id(), ctx.get_op_id(), ctx.get_instance_id()]
        return {"caller": caller, "args": [repr(arg) for arg in args], "pid": os.getpid()}

    def is_aggregate(self):
        return False


class Mean(Function):
    """The mean of the numbers in the first list, times the first of the second list."""

    def validate(self, args):
        return "" if len(args) in (1, 2) else "mean needs one or two arguments"

    def exec(self, args, ctx: Context):
        numbers = [x for x in args[0] if x is not None]
        factor = args[1][0] if len(args) > 1 else 1
        return factor * sum(numbers) / len(numbers) if numbers else None

    def is_aggregate(self):
        return True


class Count(Source):
    """Emits `count` rows, then waits until it is closed. `count` below 0: without end. `fail`: refuses."""

    def configure(self, datasource, conf):
        if conf.get("fail"):
            raise ValueError("told to fail")
        self.datasource = datasource
        self.conf = conf
        self.closed = threading.Event()

    def open(self, ctx: Context):
        i, count = 0, self.conf.get("count", 10)
        while i != count and not self.closed.is_set():
            ctx.emit({"i": i, "datasource": self.datasource, "pid": os.getpid()}, {"topic": "t%d" % i})
            i += 1
        ctx.emit_error("no more rows")
        if self.conf.get("ends"):
            return
        self.closed.wait()

    def close(self, ctx: Context):
        self.closed.set()


class Lines(Sink):
    """Appends messages to the file `path`. `acks`: acknowledges each; `refuse`: refuses the first one with this text;
    `die`: raises at the first message that is this text."""

    def configure(self, conf):
        self.conf = conf
        self.refuse = conf.get("refuse")

    def open(self, ctx: Context):
        self.file = open(self.conf["path"], "ab")

    def collect(self, ctx: Context, data):
        if data == self.conf.get("die", "").encode() and not os.path.exists(self.conf["path"] + ".died"):
            open(self.conf["path"] + ".died", "w").close()
            raise RuntimeError("told to die")
        if self.refuse:
            text, self.refuse = self.refuse, None
            ctx.ack_error(text)
            return
        self.file.write(data + b"\n")
        self.file.flush()
        if self.conf.get("acks"):
            ctx.ack_ok()

    def close(self, ctx: Context):
        self.file.close()


if __name__ == "__main__":
    plugin.start(
        PluginConfig(
            NAME,
            {NAME + "_count": Count},
            {NAME + "_lines": Lines},
            {NAME + "_echo": Echo, NAME + "_who": Who, NAME + "_mean": Mean},
        )
    )
