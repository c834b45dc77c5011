"""A test subject that does what a plugin should not: it dies, hangs, raises and talks nonsense on demand."""

import json
import os
import signal
import sys
import threading
import time

from ekuiper import Context, Function, PluginConfig, plugin

NAME = os.path.splitext(os.path.basename(os.path.abspath(sys.argv[0])))[0]


def garbage():
    """The next answer is no JSON."""
    real = json.dumps

    def once(*_args, **_kwargs):
        json.dumps = real
        return "this is no JSON"

    json.dumps = once


def leak():
    """Uses more and more memory, for ever."""
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)))


def fork(first=lambda: None):
    """A copy of this process that goes on without us; its id."""
    pid = os.fork()
    if pid == 0:
        first()
        threading.Event().wait()
    return pid


class Misbehave(Function):
    """misbehave(what, argument)"""

    def validate(self, args):
        what = args[0].get("Val") if args else None
        if what == "kill in validate":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "exit in validate":
            os._exit(3)
        elif what == "raise in validate":
            raise ValueError("told to")
        elif what == "set in validate":
            return {1, 2}
        elif what == "sleep in validate":
            time.sleep(3600)
        return ""

    def exec(self, args, ctx: Context):
        what, argument = args[0], args[1] if len(args) > 1 else None
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "exit":
            print("last words", file=sys.stderr, flush=True)
            os._exit(int(argument))
        elif what == "hang":
            # Until somebody removes the file.
            while os.path.exists(argument):
                time.sleep(0.005)
        elif what == "raise":
            raise ValueError(argument)
        elif what == "garbage":
            garbage()
        elif what == "nan":
            return [float("nan"), float("inf"), 1]
        elif what == "bytes":
            return b"not for JSON"
        elif what == "set":
            return {1, 2}
        elif what == "big":
            return "x" * int(argument)
        elif what == "sys.exit":
            sys.exit(argument)
        elif what == "fork":
            return fork()
        elif what == "daemon":
            return fork(os.setsid)
        elif what == "leak":
            leak()
        elif what == "burn":
            # So many milliseconds of the processor.
            start = time.process_time()
            while (time.process_time() - start) * 1000 < argument:
                pass
        elif what == "open":
            return len([open(os.devnull) for _ in range(int(argument))])
        elif what == "bomb":
            return [fork() for _ in range(int(argument))]
        elif what == "print bytes":
            chunk = b"\xff\x00\x1b" * 1000
            for _ in range(int(argument) // len(chunk) + 1):
                os.write(1, chunk)
            os.write(1, b"\n")
        elif what == "print lines":
            sys.stdout.write("".join("line %d\n" % i for i in range(int(argument))))
            sys.stdout.flush()
        elif what == "none":
            return None
        elif what == "pid":
            return os.getpid()
        elif what == "child":
            return os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
        return argument

    def is_aggregate(self):
        return False


if __name__ == "__main__":
    if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "hang")):
        # A process that never says hello.
        threading.Event().wait()
    plugin.start(PluginConfig(NAME, {}, {}, {NAME + "_do": Misbehave}))
