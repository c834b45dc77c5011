#!/bin/sh
# Run once by the engine, in the plugin's folder: an environment with the scikit-learn that trained the model.
set -e
python3 -m venv env
version=$(python3 -c 'import json; print(json.load(open("model.json"))["scikit_learn"])')
env/bin/python -m pip install --quiet --disable-pip-version-check "scikit-learn==$version"
