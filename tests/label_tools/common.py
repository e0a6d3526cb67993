"""What the scripts of this folder share: where fixtures lie, how a tool is installed, what people answer.

Standard library only; a script that needs the tool's own modules runs itself again with the Python it was installed into.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "label_tools"


def arguments(description):
    """The folder to install into, from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool-folder", type=pathlib.Path, required=True, help="virtual environment of the tool, made if missing")
    return parser.parse_args()


def install(folder, *packages):
    """The Python of a virtual environment with these packages."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python.absolute()


def run_inside(python):
    """Runs this script again with that Python, unless it is the one that runs it."""
    if pathlib.Path(sys.prefix).resolve() != python.parent.parent.resolve():
        os.execv(python, [python, *sys.argv])


def sent(kind, tool):
    """The files that tamis wrote, in order; not the labelling config."""
    return sorted((FIXTURES / "sent" / kind / tool).glob("r003-*.json*"))


def sent_rows(kind, tool):
    """Their tasks."""
    rows = []
    for path in sent(kind, tool):
        text = path.read_text(encoding="utf-8")
        rows += json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return rows


def returned(tool, name, content):
    """Writes what came back."""
    path = FIXTURES / "returned" / tool / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    print("wrote", path.relative_to(FIXTURES.parent))


def utf16(text):
    """Length in code units, as a browser counts."""
    return len(text.encode("utf-16-le")) // 2


def span(text, word, unit):
    """Where a word begins and ends; `unit` is `len` for code points or `utf16`."""
    start = text.index(word)
    return unit(text[:start]), unit(text[: start + len(word)])


# Words that are labelled, by the row of the batch; a row without any is one that has none. Others are not looked at.
WORDS = {
    0: [],
    1: [("annotation", "TOPIC")],
    2: [("firemen", "PERSON"), ("firetrucks", "THING")],
    3: [("<b>bold</b>", "THING"), ("line two", "TOPIC")],
}
