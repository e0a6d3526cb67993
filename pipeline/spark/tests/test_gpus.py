"""GPUs that Spark gives to tasks, on a cluster of processes of this machine that says it has two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_local_cluster import spark_home

from tamis_spark import gpus

TESTS = Path(__file__).parent
DISCOVERY = """#!/bin/sh
echo '{"name": "gpu", "addresses": ["4", "7"]}'
"""
SCORING = '["texts", "learn", "score"]'


@pytest.fixture
def drive(tmp_path):
    """Runs the driver with the small tamis; gives how it ended, and which GPUs kernels of each stage were to see."""
    script = tmp_path / "discovery"
    script.write_text(DISCOVERY)
    script.chmod(0o755)
    binary = tmp_path / "tamis"
    log = tmp_path / "log"
    log.touch()
    home = spark_home(tmp_path)
    settings = {
        "spark.ui.enabled": "false",
        "spark.worker.resource.gpu.amount": "2",
        "spark.worker.resource.gpu.discoveryScript": script,
    }

    def run(*arguments, stages=SCORING, master="local-cluster[1,2,1024]", n_gpus=2):
        exports = {"FAKE_LOG": log, "FAKE_STAGES": stages, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        exports = "".join(f"export {name}='{value}'\n" for name, value in exports.items())
        binary.write_text(f'#!/bin/sh\n{exports}exec "{sys.executable}" "{TESTS / "fake_tamis.py"}" "$@"\n')
        binary.chmod(0o755)
        conf = settings | ({"spark.executor.resource.gpu.amount": n_gpus} if n_gpus else {})
        line = [sys.executable, "-m", "tamis_spark", "tamis.toml", "--master", master, "--parallelism", "2", *arguments]
        line += [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
        env = {**os.environ, "TAMIS_BIN": str(binary), "SPARK_HOME": home, "SPARK_LOCAL_DIRS": str(tmp_path)}
        env.pop("CUDA_VISIBLE_DEVICES", None)
        ended = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300)
        seen = {}
        for entry in map(json.loads, log.read_text().splitlines()):
            seen.setdefault(entry["stage"], []).append(entry["gpus"])
        return ended, seen

    return run


def test_tasks_that_score_have_gpus_of_their_own(drive):
    ended, seen = drive("--score-gpus", "1")
    assert ended.returncode == 0, ended.stderr
    assert len(seen["learn"]) == 1
    assert len(seen["score"]) == 3
    assert {*seen["learn"], *seen["score"]} <= {"4", "7"}, "not both, and not none"
    others = {gpus for stage, of_stage in seen.items() if stage not in ("learn", "score") for gpus in of_stage}
    assert others == {None}, "other tasks leave them free"


def test_tasks_ask_for_as_many_as_they_are_told(drive):
    ended, seen = drive("--score-gpus", "2", stages='["score"]')
    assert ended.returncode == 0, ended.stderr
    assert seen["score"] == ["4,7"] * 3


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"stages": "[]"}, "--score-gpus 1: this config has no [semantic], [quality]", "leave the option out"),
        ({"master": "local[2]"}, "--score-gpus 1 does not work with a local master", "leave the option out"),
        ({"n_gpus": 0}, "--score-gpus 1: Spark cannot give tasks GPUs here", "spark.executor.resource.gpu.amount"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_is_done(drive, given, message, hint):
    ended, seen = drive("--score-gpus", "1", **given)
    assert ended.returncode == 2, ended.stderr
    assert f"error: {message}" in ended.stderr
    assert hint in ended.stderr.partition("hint: ")[2]
    assert "scan" not in seen


@pytest.mark.parametrize(("text", "number"), [("1", 1.0), ("0.25", 0.25), ("3", 3.0)])
def test_amounts(text, number):
    assert gpus.amount(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "inf", "all"])
def test_amounts_that_no_task_can_have(text):
    with pytest.raises(ValueError, match=r"must be a share|could not convert"):
        gpus.amount(text)
