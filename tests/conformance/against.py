#!/usr/bin/env python3
"""Start a broker and an engine of our own on free ports and drive them with run.py.

  against.py [--binary target/release/thalweg] [arguments of run.py …]

`cargo xtask conformance` calls this with the environment that holds paho-mqtt. Exit status: that of run.py.
"""
import argparse
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait(ready, what):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.05)
    sys.exit(f"against.py: {what} does not come up")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1) as reply:
            return reply.status == 200
    except OSError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=str(HERE.parents[1] / "target" / "release" / "thalweg"))
    args, rest = parser.parse_known_args()
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not mosquitto:
        sys.exit("against.py: needs mosquitto: cargo xtask setup")
    mqtt, rest_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as home:
        conf = pathlib.Path(home) / "mosquitto.conf"
        conf.write_text(f"listener {mqtt} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        etc = pathlib.Path(home) / "etc"
        etc.mkdir()
        (etc / "mqtt_source.yaml").write_text(f"default:\n  qos: 1\n  server: tcp://127.0.0.1:{mqtt}\n")
        log = open(pathlib.Path(home) / "engine.log", "wb")
        broker = subprocess.Popen([mosquitto, "-c", str(conf)], stderr=subprocess.DEVNULL)
        engine = subprocess.Popen(
            [args.binary, "serve", "--home", home, "--port", str(rest_port), "--data-port", "0"],
            stdout=log, stderr=log, env={
                **os.environ,
                "TZ": "UTC",
                "KUIPER__BASIC__TIMEZONE": "UTC",
                "MQTT_SOURCE__DEFAULT__SERVER": f"tcp://127.0.0.1:{mqtt}",
            },
        )
        try:
            wait(lambda: listens(mqtt), "mosquitto")
            wait(lambda: answers(rest_port), "the engine")
            command = [sys.executable, str(HERE / "run.py"), "--base", f"http://127.0.0.1:{rest_port}"]
            return subprocess.call(command + ["--broker", f"127.0.0.1:{mqtt}"] + rest)
        finally:
            engine.terminate()
            broker.terminate()
            engine.wait(20)
            broker.wait(20)


if __name__ == "__main__":
    sys.exit(main())
