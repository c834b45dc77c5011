"""A distribution in the making: a folder with pyproject.toml, tried out without being installed.

What pip would write is written into a folder of its own, so that discovery finds the entry points and a module of the
namespace as if they were installed.
"""

import os
import re
from typing import Any, Dict, List, Tuple


class NoProject(ValueError):
    """The folder cannot be tried out; the text says why."""


def stage(folder: str, into: str) -> Tuple[str, List[str]]:
    """Writes the metadata of the project in `folder`; its name, and what goes onto the path of modules."""
    document = read(os.path.join(folder, "pyproject.toml"))
    project = document.get("project") or {}
    name = project.get("name")
    if not isinstance(name, str) or not name:
        raise NoProject("pyproject.toml has no name in its table [project]")
    version = project.get("version")
    version = version if isinstance(version, str) else "0"
    source = os.path.join(folder, "src")
    path = os.path.abspath(source if os.path.isdir(source) else folder)
    offers = {group: names for group, names in (project.get("entry-points") or {}).items() if group.startswith("thalweg.")}
    modules = os.path.join(path, "thalweg", "extensions")
    if not offers and not os.path.isdir(modules):
        raise NoProject(
            'pyproject.toml offers nothing: it needs [project.entry-points."thalweg.functions"], sources or sinks, '
            "or modules in thalweg/extensions"
        )
    info = os.path.join(into, "%s-%s.dist-info" % (re.sub(r"[-_.]+", "_", name).lower(), version))
    os.makedirs(info)
    _write(info, "METADATA", "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version))
    lines: List[str] = []
    for group, names in offers.items():
        lines.append("[%s]" % group)
        lines.extend("%s = %s" % item for item in names.items())
    _write(info, "entry_points.txt", "\n".join(lines) + "\n")
    files = sorted(os.listdir(modules)) if os.path.isdir(modules) else []
    _write(info, "RECORD", "".join("thalweg/extensions/%s,,\n" % file for file in files))
    return name, [path, into]


def _write(folder: str, file: str, text: str) -> None:
    with open(os.path.join(folder, file), "w", encoding="utf-8") as out:
        out.write(text)


def read(path: str) -> Dict[str, Any]:
    """A pyproject.toml."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise NoProject(str(error))
    try:
        import tomllib
    except ImportError:
        # Python below 3.11 has no reader; texts in tables are all that is looked for.
        return _texts(text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NoProject("%s: %s" % (path, error))


def _texts(text: str) -> Dict[str, Any]:
    document: Dict[str, Any] = {}
    table = document
    for line in text.splitlines():
        heading = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
        item = re.match(r"\s*(\"[^\"]+\"|'[^']+'|[\w.-]+)\s*=\s*(\"[^\"]*\"|'[^']*')\s*(#.*)?$", line)
        if heading:
            table = document
            for part in re.findall(r"\"[^\"]+\"|'[^']+'|[\w-]+", heading.group(1)):
                table = table.setdefault(part.strip("\"'"), {})
        elif item:
            table[item.group(1).strip("\"'")] = item.group(2)[1:-1]
    return document
