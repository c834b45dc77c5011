"""What installed distributions offer: entry points, the namespace package, conflicts, and what is broken among them."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

from thalweg_sdk.project import _texts, read
from thalweg_sdk.stub import ALL, Engine, PluginFailed
from thalweg_sdk.testing import failures

HERE = os.path.dirname(os.path.abspath(__file__))


class Site:
    """A folder as pip leaves it behind."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.folder = self._folder.name

    def install(self, name, version, files, entry_points=""):
        info = "%s-%s.dist-info" % (name.replace("-", "_"), version)
        whole = {path: textwrap.dedent(text) for path, text in files.items()}
        whole[info + "/METADATA"] = "Metadata-Version: 2.1\nName: %s\nVersion: %s\nSummary: About %s\n" % (name, version, name)
        whole[info + "/entry_points.txt"] = textwrap.dedent(entry_points)
        whole[info + "/RECORD"] = "".join("%s,,\n" % path for path in whole) + info + "/RECORD,,\n"
        for path, text in whole.items():
            path = os.path.join(self.folder, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)

    @property
    def environment(self):
        return {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, self.folder])}

    def describe(self, *options):
        command = [sys.executable, "-m", "thalweg_sdk.host", "--env", "default", "--describe", *options]
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()


def fill(site):
    site.install(
        "acme-math",
        "1.2.0",
        {
            "acme_math.py": '''
                from thalweg_sdk import Function, aggregate, function, sink, source

                print("garbage on stdout while it is imported")

                class Scale(Function):
                    """x times a factor."""
                    def factor(self):
                        return 10
                    def exec(self, args, ctx):
                        return args[0] * self.factor()

                @aggregate
                def pyavg(xs: list) -> float:
                    """The mean."""
                    return sum(xs) / len(xs)

                @source
                def ticks(ctx):
                    yield {"a": 1}

                @sink
                def out(row):
                    pass

                def plain(x):
                    return x

                def metadata():
                    return {"about": {"trial": False}}
            ''',
            "acme_exits.py": "import sys\nsys.exit(3)\n",
        },
        """
            [thalweg.functions]
            scale = acme_math:Scale
            pyavg = acme_math:pyavg
            plain = acme_math:plain
            nothing = acme_math:nothing
            noModule = acme_none:f
            exits = acme_exits:f
            wrong = acme_math:out
            [thalweg.sources]
            ticks = acme_math:ticks
            [thalweg.sinks]
            out = acme_math:out
            [thalweg.metadata]
            acme = acme_math:metadata
            [console_scripts]
            acme = acme_math:main
        """,
    )
    site.install(
        "bolt",
        "0.1",
        {
            # Overrides a part of another plugin's class; needs no registration but its being there.
            "thalweg/extensions/bolt.py": '''
                from acme_math import Scale
                from thalweg_sdk import Accumulator, aggregate

                __all__ = ["BoltScale", "Total", "pyavg", "number"]
                number = 7

                class BoltScale(Scale):
                    def factor(self):
                        return 100

                class Total(Accumulator):
                    name = "bolt_total"
                    def __init__(self):
                        self.sum = 0
                    def add(self, x: int):
                        self.sum += x
                    def finish(self) -> int:
                        return self.sum

                @aggregate
                def pyavg(xs):
                    return -1
            ''',
            "thalweg/extensions/torn.py": "raise RuntimeError('torn apart')\n",
        },
    )
    site.install(
        "zinc", "3.0", {"zinc.py": "from thalweg_sdk import function\n\n@function\ndef scale(x):\n    return 0\n"},
        """
            [thalweg.functions]
            scale = zinc:scale
        """,
    )


class Discovery(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        fill(cls.site)

    @classmethod
    def tearDownClass(cls):
        cls.site.__exit__()

    def distribution(self, manifest, name):
        return next(found for found in manifest["distributions"] if found["name"] == name)

    def test_without_loading_entry_points_are_listed_and_not_imported(self):
        manifest = self.site.describe()
        acme = self.distribution(manifest, "acme-math")
        self.assertEqual((acme["version"], acme["summary"]), ("1.2.0", "About acme-math"))
        names = [function["name"] for function in acme["functions"]]
        self.assertEqual(names, ["exits", "noModule", "nothing", "plain", "pyavg", "scale", "wrong"])
        self.assertNotIn("error", str(acme["functions"]))

    def test_loading_brings_signature_documentation_and_errors_each_with_its_symbol(self):
        manifest = self.site.describe("--load")
        acme = self.distribution(manifest, "acme-math")
        functions = {function["name"]: function for function in acme["functions"]}
        mean = functions["pyavg"]
        self.assertEqual((mean["agg"], mean["args"], mean["doc"]), (True, [1, 1], "The mean."))
        self.assertEqual(mean["types"], {"args": [None], "result": "f64"})
        self.assertEqual(functions["scale"]["doc"], "x times a factor.")
        for name, text in [
            ("nothing", "has no attribute 'nothing'"),
            ("noModule", "No module named 'acme_none'"),
            ("exits", "SystemExit: 3"),
            ("wrong", "is a sink, but is offered as a function"),
        ]:
            self.assertIn(text, functions[name]["error"])
        self.assertNotIn("error", functions["plain"])
        self.assertEqual([found["name"] for found in acme["sources"] + acme["sinks"]], ["ticks", "out"])
        self.assertEqual(manifest["metadata"], {"acme": {"about": {"trial": False}}})

    def test_a_class_that_overrides_a_part_of_another_plugins_is_found_by_its_install_alone(self):
        bolt = self.distribution(self.site.describe("--load"), "bolt")
        functions = {function["name"]: function for function in bolt["functions"]}
        self.assertEqual(bolt["version"], "0.1")
        self.assertEqual(set(functions), {"bolt.BoltScale", "boltScale", "bolt_total", "pyavg"})
        self.assertEqual(functions["boltScale"]["aliasOf"], "bolt.BoltScale")
        self.assertEqual(functions["bolt.BoltScale"]["extends"][0], "acme_math:Scale")
        self.assertEqual(functions["bolt_total"]["args"], [1, 1])
        self.assertEqual([True for error in bolt["errors"] if "extensions.torn: RuntimeError: torn apart" in error], [True])

    def test_conflicts_are_listed_and_a_preference_decides(self):
        def winners(manifest):
            return {conflict["name"]: conflict["winner"]["distribution"] for conflict in manifest["conflicts"]}

        plain = self.site.describe()
        self.assertEqual(winners(plain), {"pyavg": "acme-math", "scale": "acme-math"})
        scale = next(conflict for conflict in plain["conflicts"] if conflict["name"] == "scale")
        self.assertEqual(scale["losers"], [{"distribution": "zinc", "object": "zinc:scale"}])
        preferred = self.site.describe("--prefer", '{"scale": "zinc", "pyavg": "bolt"}')
        self.assertEqual(winners(preferred), {"pyavg": "bolt", "scale": "zinc"})

    def test_one_host_serves_all_and_says_what_cannot_be_loaded(self):
        environment = "sdkhost%d" % os.getpid()
        with Engine(environment + "-host", ALL) as engine:
            command = [sys.executable, "-u", "-m", "thalweg_sdk.host", "--env", environment]
            engine.launch(*command, env={"PYTHONPATH": self.site.folder})
            self.assertIn("boltScale", engine.plugin["symbols"]["functions"])
            for function, args, result in [("scale", [2], 20), ("boltScale", [2], 200), ("pyavg", [[1, 3]], 2), ("plain", [5], 5)]:
                self.assertEqual(engine.function(function).exec(*args), result)
            total = engine.function("bolt_total")
            total.bind()
            self.assertEqual(total.frame([[1, 2, 3]], 2, [0, 2, 3])["result"], [3, 3])
            for function in ("noModule", "exits", "wrong"):
                with self.assertRaisesRegex(PluginFailed, "ImportError: function %s of acme-math: " % function):
                    engine.function(function)
            self.assertEqual(engine.source("ticks").take(1), [{"a": 1}])
            self.assertEqual(engine.shutdown(), 0)

    def test_a_trial_of_the_environment_finds_what_is_broken(self):
        command = [sys.executable, "-m", "thalweg_sdk.testing", "--env", "sdktrial%d" % os.getpid()]
        done = subprocess.run(command, env=self.site.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("ok    scale of acme-math 1.2.0", done.stdout)
        self.assertIn("torn apart", done.stdout)


class Trial(unittest.TestCase):
    SCRIPT = """
        from thalweg_sdk import aggregate, function, run, sink, source

        @function(name="NAMEinc")
        def inc(x: int): return x + 1

        @aggregate(name="NAMEsum")
        def total(xs): return sum(xs)

        @source(name="NAMEsrc")
        def ticks(config):
            for i in range(config["n"]):
                yield {"i": i}

        @sink(name="NAMEout")
        def out(row):
            if "bad" in row: raise ValueError("bad")

        run("NAME", inc, total, ticks, out)
    """

    def trial(self, cases, script=SCRIPT, manifest=None):
        name = "sdktest%d" % os.getpid()
        with tempfile.TemporaryDirectory() as folder:
            symbols = {"functions": [name + "inc", name + "sum"], "sources": [name + "src"], "sinks": [name + "out"]}
            manifest = manifest or {"version": "v1", "language": "python", "executable": "p.py", **symbols}
            text = json.dumps(cases).replace("NAME", name)
            for file, content in [(name + ".json", json.dumps(manifest)), ("cases.json", text)]:
                with open(os.path.join(folder, file), "w") as out:
                    out.write(content)
            with open(os.path.join(folder, "p.py"), "w") as out:
                out.write(textwrap.dedent(script).replace("NAME", name))
            command = [sys.executable, "-m", "thalweg_sdk.testing", folder]
            environment = {**os.environ, "PYTHONPATH": HERE}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            return done.returncode, done.stdout

    def test_cases_that_hold_are_ok_in_every_way_they_can_be_called(self):
        code, out = self.trial(
            [
                {"function": "NAMEinc", "args": [2], "result": 3},
                {"function": "NAMEinc", "args": ["a"], "error": "TypeError"},
                {"function": "NAMEinc", "literals": [1, 2], "says": "takes 1 argument, not 2"},
                {"function": "NAMEsum", "args": [[1, 2.5]], "result": 3.5},
                {"source": "NAMEsrc", "config": {"n": 2}, "rows": [{"i": 0}, {"i": 1}]},
                {"sink": "NAMEout", "rows": [{"a": 1}]},
                {"sink": "NAMEout", "rows": [{"bad": 1}], "error": "ValueError: bad"},
            ]
        )
        self.assertEqual((code, "FAIL" in out), (0, False), out)
        self.assertIn("call and batch and frame", out)

    def test_what_does_not_hold_is_said_with_what_came_instead(self):
        code, out = self.trial(
            [{"function": "NAMEinc", "args": [2], "result": 4}, {"source": "NAMEsrc", "config": {"n": 1}, "rows": [{"i": 7}]}]
        )
        self.assertEqual(code, 1)
        self.assertIn("by call: 3, not 4", out)
        self.assertIn("[{'i': 0}], not [{'i': 7}]", out)

    def test_a_plugin_that_does_not_start_is_said_with_what_it_printed(self):
        code, out = self.trial([], "raise SystemExit('no license')")
        self.assertEqual(code, 1)
        self.assertIn("FAIL  handshake", out)
        self.assertIn("no license", out)
        self.assertIn("q.py is not there", self.trial([], manifest={"executable": "q.py"})[1])


PROJECT = """[build-system]
requires = ["setuptools>=64"]

[project]
name = "acme-trial"  # a remark
version = "1.2.0"

[project.entry-points."thalweg.functions"]
%(name)s = "acme_trial:twice"

[tool.other]
'quoted' = 'x'
"""


class Projects(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.name = "twice%d" % os.getpid()

    def write(self, path, text):
        path = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def test_a_distribution_is_tried_out_without_an_installation(self):
        self.write("pyproject.toml", PROJECT % {"name": self.name})
        self.write("src/acme_trial/__init__.py", "from thalweg_sdk import function\n\n@function\ndef twice(x):\n    return 2 * x\n")
        self.write("cases.json", json.dumps([{"function": self.name, "args": [4], "result": 8}]))
        self.assertEqual(failures(self.folder), "")
        self.write("cases.json", json.dumps([{"function": self.name, "args": [4], "result": 9}]))
        self.assertIn("by call: 8, not 9", failures(self.folder))
        self.write("src/acme_trial/__init__.py", "raise RuntimeError('torn')")
        self.assertIn("torn", failures(self.folder))

    def test_a_module_of_the_namespace_is_found_in_its_project(self):
        self.write("pyproject.toml", '[project]\nname = "acme-space"\n')
        code = "from thalweg_sdk import function\n__all__ = ['f']\n@function(name='%s')\ndef f(x):\n    return x\n"
        self.write("src/thalweg/extensions/acmespace%d.py" % os.getpid(), code % self.name)
        self.write("cases.json", json.dumps([{"function": self.name, "args": [4], "result": 4}]))
        self.assertEqual(failures(self.folder), "")

    def test_what_offers_nothing_or_has_no_name_is_told(self):
        for text, part in (
            ('[project]\nname = "x"\n', "pyproject.toml offers nothing"),
            ("[project]\n", "has no name"),
        ):
            self.write("pyproject.toml", text)
            self.assertIn(part, failures(self.folder))

    def test_old_pythons_read_the_same_as_new_ones(self):
        text = PROJECT % {"name": "f"}
        project = {"name": "acme-trial", "version": "1.2.0", "entry-points": {"thalweg.functions": {"f": "acme_trial:twice"}}}
        self.assertEqual(_texts(text)["project"], project)
        self.write("pyproject.toml", text)
        self.assertEqual(read(os.path.join(self.folder, "pyproject.toml"))["project"], project)


if __name__ == "__main__":
    unittest.main()
