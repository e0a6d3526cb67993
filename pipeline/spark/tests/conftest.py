"""What tests share."""

import sys
from pathlib import Path

import pytest
import runs

TESTS = Path(__file__).parent


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Makes the fake kernel the binary, and chooses what it does."""
    binary = tmp_path / "tamis"
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{TESTS / "fake_kernel.py"}" "$@"\n')
    binary.chmod(0o755)
    monkeypatch.setenv("TAMIS_BIN", str(binary))

    def choose(what):
        monkeypatch.setenv("FAKE", what)

    return choose


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with an input, and what a run on one machine makes of it."""
    folder = tmp_path_factory.mktemp("corpus")
    runs.make_corpus(folder)
    return folder
