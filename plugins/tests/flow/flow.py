"""A test subject on our own SDK: a source that remembers, sinks that acknowledge. All names begin with the file's
name, so that tests that copy it under other names can run side by side."""

import json
import os
import signal
import sys

from thalweg_sdk import Source, function, run, sink, source, symbol

NAME = os.path.splitext(os.path.basename(os.path.abspath(sys.argv[0])))[0]


@function(name=NAME + "_known")
def known(what: str, ctx) -> str:
    """What the engine's configuration says."""
    secret = ctx.secret("token")
    return "%s %s %s" % (ctx.config.get(what), secret, len(secret))


@source(name=NAME + "_walk")
def walk(ctx, config):
    """Counts on from what it remembers. `count`: so many rows; `fail_at`: raises there once in a process;
    `many`: so many at a time."""
    i, many = ctx.state.get("next", 0), config.get("many", 1)
    ctx.metrics.gauge("began", i)
    while i != config.get("count", -1):
        if i == config.get("fail_at") and not os.path.exists(config["failed"]):
            open(config["failed"], "w").close()
            raise ValueError("told to fail at %d" % i)
        rows = [{"i": i + k, "pid": os.getpid()} for k in range(many)]
        i += many
        ctx.state["next"] = i
        ctx.metrics.count("walked", many)
        yield rows
    if config.get("waits"):
        ctx.stopping.wait()


class Columns(Source):
    """Emits columns, `batches` times, and says with them what it remembers."""

    def configure(self, datasource, conf):
        self.conf = conf

    def open(self, ctx):
        for at in range(ctx.state.get("at", 0), self.conf.get("batches", 1)):
            ctx.state["at"] = at + 1
            columns = {"i": [2 * at, 2 * at + 1], "x": [0.5, None], "s": ["a", "ü"], "mixed": [1, {"k": [True]}]}
            ctx.emit_columns(columns, {"at": at})

    def close(self, ctx):
        pass


Columns.name = NAME + "_columns"


def note_frames():
    """Leaves a file `framed` beside the script when rows come as a frame."""
    real = symbol._rows_of_frame

    def noted(frame):
        open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "framed"), "w").close()
        return real(frame)

    symbol._rows_of_frame = noted


def _append(path, rows):
    # Behind a line that a kill has torn begins a new one.
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" + "".join("%s\n" % json.dumps(row, sort_keys=True) for row in rows))


@sink(name=NAME + "_keep", batch=True)
def keep(rows, config, ctx):
    """Appends rows to the file `path`. `refuse`: refuses batches that hold a row with this `i`, once."""
    if any(row.get("i") == config.get("refuse", -1) for row in rows) and not os.path.exists(config["path"] + ".no"):
        open(config["path"] + ".no", "w").close()
        raise ValueError("told to refuse %s" % config["refuse"])
    ctx.metrics.count("kept", len(rows))
    _append(config["path"], rows)


if __name__ == "__main__":
    if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "deaf")):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note_frames()
    run(NAME, known, walk, Columns, keep)
    print("good bye")
