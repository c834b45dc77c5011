"""python3 -m unittest, in this folder. Without scikit-learn a stand-in takes the place of its models."""

import json
import os
import pickle
import shutil
import sys
import tempfile
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "sdk"))

import serving
import train
from thalweg_sdk.testing import failures

try:
    import sklearn
except ImportError:
    sklearn = None

# What a model of scikit-learn answers to, in plain Python.
STANDIN = '''
class Threshold:
    classes_ = ["low", "high"]

    def predict(self, rows):
        return ["high" if sum(row) > 10 else "low" for row in rows]

    def predict_proba(self, rows):
        return [[1 - min(1, sum(row) / 20), min(1, sum(row) / 20)] for row in rows]
'''
PLUGIN = ("sklearn_model.json", "sklearn_model.py", "serving.py")


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def copy_plugin(self, cases):
        for file in PLUGIN:
            shutil.copy(os.path.join(HERE, file), self.folder)
        self.write("cases.json", json.dumps(cases))


class StandIn(Folder):
    def setUp(self):
        super().setUp()
        self.write("standin.py", STANDIN)
        self.write("model.json", json.dumps({"features": ["a", "b"]}))
        sys.path.insert(0, self.folder)
        self.addCleanup(sys.path.remove, self.folder)
        self.addCleanup(sys.modules.pop, "standin", None)
        import standin

        with open(os.path.join(self.folder, "model.pkl"), "wb") as file:
            pickle.dump(standin.Threshold(), file)

    def served(self):
        return serving.Served(self.folder)

    def test_rows_with_gaps_have_no_answer_and_the_others_theirs(self):
        columns = [[9, None, 1, float("nan")], [9, 9, 1, 2]]
        expected = ["high", None, "low", None]
        self.assertEqual(self.served().predict(columns), expected)
        with mock.patch.object(serving, "numpy", None):
            self.assertEqual(self.served().predict(columns), expected)
        self.assertEqual(self.served().predict([[None], [1]]), [None])

    def test_of_two_classes_the_second_ones_probability_counts(self):
        self.assertEqual(self.served().probability([[5, 40], [5, 0]]), [0.5, 1.0])

    def test_texts_are_errors_and_wrong_counts_are_told_with_the_features(self):
        for numpy in {serving.numpy, None}:
            with mock.patch.object(serving, "numpy", numpy), self.assertRaisesRegex(TypeError, "a feature must be a number"):
                self.served().predict([["x"], [1]])
        self.assertEqual(self.served().check("f", 2), "")
        self.assertEqual(self.served().check("f", 1), "f takes the 2 features of the model, not 1; use it as f(a, b)")

    def test_the_plugin_serves_it_by_call_batch_and_frame(self):
        self.copy_plugin(
            [
                {"function": "model_predict", "calls": [[9, 9], [None, 9], [1, 1]], "results": ["high", None, "low"]},
                {"function": "model_predict", "args": ["x", 1], "error": "a feature must be a number"},
                {"function": "model_predict", "literals": [1], "says": "use it as model_predict(a, b)"},
                {"function": "model_probability", "args": [5, 5], "result": 0.5},
            ]
        )
        self.assertEqual(failures(self.folder), "")

    def test_without_a_model_rules_are_refused_with_the_reason(self):
        os.unlink(os.path.join(self.folder, "model.json"))
        self.copy_plugin([{"function": "model_predict", "literals": [1], "says": "model_predict: no model: [Errno 2]"}])
        said = failures(self.folder)
        self.assertNotIn('FAIL  model_predict(1)', said)
        self.assertIn("no number of arguments from 0 to 6 is accepted: model_predict: no model", said)


class Version(unittest.TestCase):
    def test_a_model_of_another_version_is_refused(self):
        serving._check_version(None)
        other = mock.Mock(__version__="1.5.2")
        with mock.patch.dict(sys.modules, {"sklearn": other}):
            serving._check_version("1.5.0")
            with self.assertRaisesRegex(ImportError, "trained with scikit-learn 1.4.0, but 1.5.2 is installed"):
                serving._check_version("1.4.0")
        with mock.patch.dict(sys.modules, {"sklearn": None}):
            with self.assertRaisesRegex(ImportError, "pip install scikit-learn==1.4.0"):
                serving._check_version("1.4.0")


@unittest.skipIf(sklearn is None, "scikit-learn is not installed: the real model is not tested, its stand-in is")
class Trained(Folder):
    def test_a_trained_model_knows_new_readings_and_is_served(self):
        self.assertGreater(train.train(self.folder), 0.95)
        self.copy_plugin(
            [
                {
                    "function": "model_predict",
                    "calls": [[60, 1, 8], [68, 3.2, 8.6], [None, 1, 8], [76, 1.6, 4]],
                    "results": ["normal", "worn bearing", None, "dry"],
                },
                {"function": "model_predict", "literals": [1, 2], "says": "model_predict(temperature, vibration, current)"},
            ]
        )
        self.assertEqual(failures(self.folder), "")
        sure = serving.Served(self.folder).probability([[60], [1], [8]])[0]
        self.assertGreater(sure, 0.9)


if __name__ == "__main__":
    unittest.main()
