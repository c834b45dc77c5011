"""The plugins of docs/guide/python.md do what the page says."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
GUIDE = os.path.join(HERE, "..", "..", "docs", "guide", "python.md")

CASES = {
    "doubler": [],
    "stats": [
        {"function": "middle", "args": [[3, 1, None, 2]], "result": 2},
        {"function": "middle", "args": [[]], "result": None},
        {"function": "steady_mean", "args": [[1, 2]], "result": 1.5},
        {"function": "steady_mean", "literals": ["a"], "says": "must be a number"},
    ],
    "seen": [{"function": "times_seen", "literals": [1], "says": "must be a text"}],
    "ticker": [
        {"source": "ticker", "config": {"seconds": 0, "count": 3}, "rows": [{"n": 1}, {"n": 2}, {"n": 3}]},
        {"sink": "appended", "config": {"path": "FOLDER/rows"}, "rows": [{"a": 1}]},
        {"sink": "appended", "config": {}, "rows": [{"a": 1}], "error": "KeyError: 'path'"},
    ],
}
SYMBOLS = {"stats": {"functions": ["middle", "steady_mean"]}, "seen": {"functions": ["times_seen"]}}


def blocks(language):
    with open(GUIDE, encoding="utf-8") as file:
        return re.findall(r"```%s\n(.*?)```" % language, file.read(), re.S)


class Guide(unittest.TestCase):
    def test_each_plugin_of_the_guide_passes_its_trial(self):
        plugins = {}
        for block in blocks("python"):
            compile(block, GUIDE, "exec")
            found = re.match(r"# (\w+)\.py\n", block)
            if found:
                plugins[found.group(1)] = block
        self.assertEqual(set(plugins), set(CASES))
        documents = [json.loads(block) for block in blocks("json")]
        manifests = {document["name"]: document for document in documents if isinstance(document, dict)}
        CASES["doubler"] = next(document for document in documents if isinstance(document, list))
        for name, script in plugins.items():
            manifest = manifests.get(name) or {"language": "python", "executable": name + ".py", **SYMBOLS[name]}
            # Names are paths of sockets: other tests may run at the same time.
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                unique = "sdkg%d%s" % (os.getpid(), name)
                own = manifest.get("functions", []) + manifest.get("sources", []) + manifest.get("sinks", [])
                text = json.dumps({**manifest, "name": unique})
                cases = json.dumps(CASES[name]).replace("FOLDER", folder)
                script = script.replace('run("%s"' % name, 'run("%s"' % unique)
                for file, content in ((unique + ".json", text), ("cases.json", cases), (name + ".py", script)):
                    with open(os.path.join(folder, file), "w", encoding="utf-8") as out:
                        out.write(content)
                command = [sys.executable, "-m", "thalweg_sdk.testing", folder]
                environment = {**os.environ, "PYTHONPATH": HERE}
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                self.assertEqual(done.returncode, 0, done.stdout)
                self.assertEqual([symbol for symbol in own if symbol not in done.stdout], [])


if __name__ == "__main__":
    unittest.main()
