"""Tries a plugin out without an engine: `python -m thalweg_sdk.testing FOLDER`, or `--env ID` for installed plugins.

The folder holds a package (`<name>.json` and what it names) or a distribution in the making (pyproject.toml).

The plugin runs in a process of its own against a stand-in for the engine (stub.py). What is tried: handshake, every
symbol's start, how many arguments functions accept, calls with values of every kind, and the cases of the file
`cases.json` in the folder, each as a call of the old protocol, as a batch and as a column frame, which must agree:

    [{"function": "double", "args": [2], "result": 4},
     {"function": "mean", "args": [[1, 2, 3]], "result": 2},
     {"function": "double", "args": ["x"], "error": "TypeError"},
     {"function": "double", "literals": [], "says": "1 argument"},
     {"function": "running_sum", "calls": [[1], [2]], "results": [1, 3]},
     {"source": "ticks", "config": {"count": 2}, "rows": [{"i": 0}, {"i": 1}]},
     {"sink": "lines", "config": {"path": "/dev/null"}, "rows": [{"a": 1}]}]

`calls` are made one after the other for a rule of their own, so that what the function remembers begins anew. In a test
of your own: `self.assertEqual(failures(FOLDER), "")`.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from .project import stage
from .stub import ALL, Calls, Engine, Outbox, PluginFailed, Rep, Rows

__all__ = [
    "ALL",
    "Calls",
    "Engine",
    "Outbox",
    "PluginFailed",
    "Rep",
    "Report",
    "Rows",
    "failures",
    "main",
    "try_plugin",
]

_SAMPLES = (0, 7, -1, 1.5, 1e300, "text", "", None, True, [1, 2], {"a": 1})
_MOST_ARGS = 6


class Report:
    """Checks, one line each."""

    def __init__(self, write: Callable[[str], None] = print):
        self._write = write
        self.n_checks = self.n_failed = 0

    def check(self, what: str, run: Callable[[], Optional[str]]) -> bool:
        """Runs a check; an exception is a failure. What it returns is said behind it."""
        self.n_checks += 1
        try:
            said = run()
        except Exception as error:
            self.n_failed += 1
            lines = str(error).strip().splitlines() or [type(error).__name__]
            # Of a traceback the last line says what is wrong; the others follow for whoever looks.
            self._write("  FAIL  %s: %s" % (what, lines[-1]))
            for line in lines[:-1]:
                self._write("          " + line)
            return False
        self._write("  ok    %s%s" % (what, ": " + said if said else ""))
        return True

    def note(self, text: str) -> None:
        """Says something that is neither right nor wrong."""
        self._write(text)

    def close(self) -> int:
        """The sum, and the exit code."""
        self._write("%d checks, %d failed" % (self.n_checks, self.n_failed))
        return 1 if self.n_failed else 0


def try_plugin(
    command: Sequence[str],
    name: str,
    symbols: Dict[str, List[str]],
    cases: List[dict],
    report: Report,
    cwd: Optional[str] = None,
    is_trial: bool = False,
) -> None:
    """Tries everything that a plugin declares, first as the old protocol has it and then with all extensions. With
    is_trial the sockets have names of their own, which plugins on this SDK understand."""
    if is_trial:
        name = "%s-trial%d" % (name, os.getpid())
    for caps, words in (((), "an engine of the old protocol"), (ALL, "an engine with batches")):
        report.note("with %s" % words)
        with Engine(name, caps, is_trial=is_trial) as engine:
            trial = _Trial(engine, report)
            start = time.monotonic()
            if not report.check("handshake", lambda: _launch(engine, command, cwd, start)):
                report.note("\n".join("          " + line for line in engine.output[-20:]))
                return
            for function in symbols.get("functions", []):
                trial.function(function, [case for case in cases if case.get("function") == function])
            for source in symbols.get("sources", []):
                trial.flows(source, [case for case in cases if case.get("source") == source], trial.source)
            for sink in symbols.get("sinks", []):
                trial.flows(sink, [case for case in cases if case.get("sink") == sink], trial.sink)
            report.check("shutdown", lambda: "exit code %s" % engine.shutdown())


def _launch(engine: Engine, command: Sequence[str], cwd: Optional[str], start: float) -> str:
    engine.launch(*command, cwd=cwd)
    took = "%d ms" % (1000 * (time.monotonic() - start))
    return "%s, %s" % (took, engine.plugin.get("sdk", "the old protocol"))


class _Trial:
    """One run of the plugin."""

    def __init__(self, engine: Engine, report: Report):
        self.engine, self.report = engine, report
        self._n_sequences = 0

    def function(self, name: str, cases: List[dict]) -> None:
        """Everything about one function."""
        started: List[Calls] = []
        if not self.report.check("function %s" % name, lambda: self._start(name, started)):
            return
        calls = started[0]
        is_aggregate = calls.is_aggregate()
        self.report.check("%s says how it is used" % name, lambda: self._usage(calls))
        self.report.check("%s lives with any value" % name, lambda: self._samples(calls, is_aggregate))
        for case in cases:
            words = case.get("args", case.get("literals", case.get("calls", [])))
            shown = "%s(%s)" % (name, ", ".join(json.dumps(word) for word in words))
            self.report.check(shown, lambda case=case: self._case(calls, is_aggregate, case))

    def _start(self, name: str, started: List[Calls]) -> str:
        calls = self.engine.function(name)
        started.append(calls)
        if calls.caps:
            calls.bind()
        kind = "aggregate" if calls.is_aggregate() else "function of rows"
        return kind + (" with " + ", ".join(calls.caps) if calls.caps else "")

    @staticmethod
    def _usage(calls: Calls) -> str:
        said = [calls.validate([{}] * n) for n in range(_MOST_ARGS + 1)]
        accepted = [str(n) for n, text in enumerate(said) if not text]
        if not accepted:
            raise PluginFailed("no number of arguments from 0 to %d is accepted: %s" % (_MOST_ARGS, said[1]))
        refusal = next((text for text in said if text), "")
        return "%s argument(s)%s" % (", ".join(accepted), "; else: " + refusal if refusal else "")

    @staticmethod
    def _samples(calls: Calls, is_aggregate: bool) -> str:
        n_args = next((n for n in range(_MOST_ARGS + 1) if not calls.validate([{}] * n)), 1)
        n_errors = 0
        for sample in _SAMPLES:
            try:
                calls.exec(*([[sample, sample] if is_aggregate else sample] * n_args))
            except PluginFailed as error:
                if str(error).startswith("no answer"):
                    raise PluginFailed("%s for the value %s" % (error, json.dumps(sample)))
                n_errors += 1
        return "%d results, %d errors" % (len(_SAMPLES) - n_errors, n_errors)

    def _case(self, calls: Calls, is_aggregate: bool, case: dict) -> Optional[str]:
        if "literals" in case:
            said = calls.validate([{"Val": value} for value in case["literals"]])
            if case.get("says", "") not in said or bool(said) != bool(case.get("says")):
                raise PluginFailed("validate says %r, not %r" % (said, case.get("says", "")))
            return None
        if "calls" in case:
            return self._sequence(calls, is_aggregate, case)
        if "args" not in case:
            raise PluginFailed("the case needs one of the keys args, literals and calls")
        args = case["args"]
        ways = [("call", lambda: calls.exec(*args))]
        if "batch" in calls.caps:
            cols = args if is_aggregate else [[arg] for arg in args]
            n = 1 if is_aggregate else max(map(len, cols), default=1)
            if is_aggregate:
                ways.append(("batch", lambda: _only(calls.groups([args]))))
            else:
                ways.append(("batch", lambda: _only(calls.batch(cols, n))))
            if "cols" in calls.caps:
                groups = [0, len(args[0]) if args else 0] if is_aggregate else None
                ways.append(("frame", lambda: _only(calls.frame(cols, n, groups))))
        for way, run in ways:
            self._one_way(way, run, case)
        return " and ".join(way for way, _ in ways)

    def _sequence(self, calls: Calls, is_aggregate: bool, case: dict) -> str:
        """Calls that follow each other, of which each may depend on those before."""
        rows = case["calls"]
        if is_aggregate:
            ways = [("call", lambda: [calls.exec(*group) for group in rows])]
            if "batch" in calls.caps:
                ways.append(("batch", lambda: _all(calls.groups(rows))))
        else:
            cols = list(map(list, zip(*rows)))
            ways = [("call", lambda: [calls.exec(*row) for row in rows])]
            if "batch" in calls.caps:
                ways.append(("batch", lambda: _all(calls.batch(cols, len(rows)))))
                if "cols" in calls.caps:
                    ways.append(("frame", lambda: _all(calls.frame(cols, len(rows)))))
        for way, run in ways:
            self._n_sequences += 1
            calls.speak_for("sequence%d" % self._n_sequences)
            self._one_way(way, run, {"result": case["results"]})
        return " and ".join(way for way, _ in ways)

    @staticmethod
    def _one_way(way: str, run: Callable[[], Any], case: dict) -> None:
        try:
            result = run()
        except PluginFailed as error:
            if "error" in case and case["error"] in str(error):
                return
            raise PluginFailed("%s\nby %s: %s" % (error, way, str(error).strip().splitlines()[-1]))
        if "error" in case:
            raise PluginFailed("by %s: %r where the error %s was awaited" % (way, result, case["error"]))
        if "result" in case and not _agrees(result, case["result"]):
            raise PluginFailed("by %s: %r, not %r" % (way, result, case["result"]))

    def flows(self, name: str, cases: List[dict], run: Callable[[str, dict], Optional[str]]) -> None:
        """The cases of a source or sink; what has none is not tried, because its properties are not known."""
        if not cases:
            self.report.note("  -     %s: no case in cases.json" % name)
        for case in cases:
            shown = "%s with %s" % (name, json.dumps(case.get("config", {})))
            self.report.check(shown, lambda case=case: run(name, case))

    def source(self, name: str, case: dict) -> Optional[str]:
        """One case of a source."""
        source = self.engine.source(name, case.get("config"))
        try:
            wanted = case.get("rows")
            rows = source.take(case.get("count", 1) if wanted is None else len(wanted))
            if wanted is not None and not _agrees(rows, wanted):
                raise PluginFailed("%r, not %r" % (rows, wanted))
            return "%d rows, the first is %s" % (len(rows), json.dumps(rows[0])) if rows else None
        finally:
            source.stop()

    def sink(self, name: str, case: dict) -> Optional[str]:
        """One case of a sink."""
        sink = self.engine.sink(name, case.get("config"))
        try:
            rows = case.get("rows", [{}])
            if self.engine.has("batch"):
                sink.send_batch([json.dumps(row) for row in rows])
                return _acknowledged([sink.ack()], case)
            for row in rows:
                sink.send(json.dumps(row).encode())
            return _acknowledged([sink.ack() for _ in rows], case) if case.get("acks", True) else None
        finally:
            sink.stop()


def _acknowledged(acks: List[Any], case: dict) -> Optional[str]:
    for ack in acks:
        if ack is None:
            raise PluginFailed("the sink has ended")
        error = ack.get("error", "")
        if case.get("error", "") not in error or bool(error) != bool(case.get("error")):
            raise PluginFailed("acknowledged with the error %r, not %r" % (error, case.get("error", "")))
    return "acknowledged"


def _all(answer: Dict[str, Any]) -> List[Any]:
    for _, text in answer.get("errors") or []:
        raise PluginFailed(text)
    return answer["result"]


def _only(answer: Dict[str, Any]) -> Any:
    return _all(answer)[0]


def _agrees(result: Any, wanted: Any) -> bool:
    """Equal, numbers nearly."""
    if isinstance(wanted, bool) or isinstance(result, bool):
        return result is wanted
    if isinstance(wanted, (int, float)) and isinstance(result, (int, float)):
        return math.isclose(result, wanted, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(wanted, list) and isinstance(result, list):
        return len(result) == len(wanted) and all(map(_agrees, result, wanted))
    if isinstance(wanted, dict) and isinstance(result, dict):
        return set(result) == set(wanted) and all(_agrees(result[key], wanted[key]) for key in wanted)
    return result == wanted


def _package(folder: str) -> Any:
    """The manifest and the name of the package in a folder."""
    named = os.path.basename(os.path.abspath(folder)) + ".json"
    found = sorted(file for file in os.listdir(folder) if file.endswith(".json") and file != "cases.json")
    for file in sorted(found, key=lambda file: file != named):
        with open(os.path.join(folder, file), encoding="utf-8") as text:
            manifest = json.load(text)
        if isinstance(manifest, dict) and "executable" in manifest:
            return manifest.get("name") or file[: -len(".json")], manifest
    raise PluginFailed("%s has no <name>.json with the key executable" % folder)


def main(args: Optional[List[str]] = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m thalweg_sdk.testing", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="a folder with <name>.json, or with pyproject.toml")
    parser.add_argument("--env", help="instead: all plugins that are installed for this interpreter")
    parser.add_argument("--cases", help="the file with cases (default: cases.json in the folder)")
    options = parser.parse_args(args)
    if (options.folder is None) == (options.env is None):
        parser.error("name a folder, or an environment with --env")
    return _run(options.folder, options.env, options.cases, Report())


def failures(folder: str) -> str:
    """Tries out the plugin in a folder; nothing if all is well, else the checks that failed, with their details."""
    lines: List[str] = []
    if _run(folder, None, None, Report(lines.append)) == 0:
        return ""
    return "\n".join(line for line in lines if line.startswith(("  FAIL", "       ")))


def _run(folder: Optional[str], environment: Optional[str], path: Optional[str], report: Report) -> int:
    try:
        cases = _cases(path or os.path.join(folder or ".", "cases.json"), path is not None)
        if environment is not None:
            _try_environment(environment, cases, report)
        elif os.path.exists(os.path.join(folder or ".", "pyproject.toml")):
            _try_project(folder or ".", cases, report)
        else:
            _try_folder(folder or ".", cases, report)
    except (PluginFailed, OSError, ValueError) as error:
        problem = error
        report.check("plugin", lambda: _raise(problem))
    return report.close()


def _raise(error: Exception) -> None:
    raise error


def _cases(path: str, is_needed: bool) -> List[dict]:
    if not is_needed and not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as text:
        cases = json.load(text)
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise PluginFailed("%s must hold a list of objects" % path)
    return cases


def _try_folder(folder: str, cases: List[dict], report: Report) -> None:
    name, manifest = _package(folder)
    report.note("plugin %s %s" % (name, manifest.get("version", "")))
    script = os.path.join(os.path.abspath(folder), manifest["executable"])
    if not os.path.isfile(script):
        raise PluginFailed("executable %s is not there" % script)
    is_python = manifest.get("language") != "go"
    command = [sys.executable, "-u", script] if is_python else [script]
    # Whoever speaks for itself listens only where the protocol says.
    own = manifest.get("useBundledSdk") is False or os.path.isdir(os.path.join(os.path.dirname(script), "ekuiper"))
    try_plugin(command, name, manifest, cases, report, os.path.dirname(script), is_python and not own)


def _try_project(folder: str, cases: List[dict], report: Report) -> None:
    before, variable = list(sys.path), os.environ.get("PYTHONPATH", "")
    with tempfile.TemporaryDirectory() as into:
        name, paths = stage(folder, into)
        report.note("distribution %s" % name)
        try:
            sys.path[:0] = paths
            os.environ["PYTHONPATH"] = os.pathsep.join(paths + [path for path in [variable] if path])
            _try_environment("project", cases, report, name)
        finally:
            sys.path[:], os.environ["PYTHONPATH"] = before, variable


def _try_environment(environment: str, cases: List[dict], report: Report, only: Optional[str] = None) -> None:
    from .discover import discover

    found = discover(True)
    symbols: Dict[str, List[str]] = {"functions": [], "sources": [], "sinks": []}
    for (kind, name), offer in sorted(found.winners().items()):
        if offer.alias_of is None and only in (None, offer.distribution):
            where = "%s of %s %s" % (name, offer.distribution, offer.version)
            report.check(where, lambda offer=offer: offer.maker() and None)
            symbols[kind + "s"].append(name)
    for error in found.errors:
        if only not in (None, error["distribution"]):
            continue
        report.check(error["distribution"], lambda error=error: _raise(PluginFailed(error["error"])))
    command = [sys.executable, "-u", "-m", "thalweg_sdk.host", "--env", environment]
    try_plugin(command, environment + "-host", symbols, cases, report, is_trial=True)


if __name__ == "__main__":
    sys.exit(main())
