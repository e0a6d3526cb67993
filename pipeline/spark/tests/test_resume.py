"""A driver that is killed, and the same command again."""

import json

import runs
from faults import DRIVER, STAGES, WRITERS, Kernels, Process, check_nothing_runs


def test_a_driver_killed_in_each_stage(corpus, tmp_path):
    kernels = Kernels(tmp_path)
    checkpoint = tmp_path / "checkpoint"
    arguments = ("--checkpoint", str(checkpoint))
    command = runs.command(corpus, "resumed", *arguments, near_duplicates=runs.SCORING, driver=DRIVER)
    before = set()
    for stage in STAGES:
        kernels.stop_in(stage)
        with Process(command, corpus, kernels.env) as driver:
            kernels.wait_for(stage, driver)
            driver.kill()
            driver.wait()
            check_nothing_runs(tmp_path)
        written = runs.files(corpus / "resumed")
        assert "manifest.json" not in written
        # The session sees that its driver is gone before it is killed itself, and may have taken back all by then.
        assert stage in WRITERS or not any(name.endswith(".parquet") for name in written)
        assert kernels.started() == {"session", *before, stage}, "what was done is not done again"
        before = {stage}
    with Process(command, corpus, kernels.env) as driver:
        assert driver.wait(300) == runs.REJECTED, driver.words()
        check_nothing_runs(tmp_path)
    assert kernels.started() == {"session", *WRITERS}
    runs.check_same(corpus, "resumed", "scored-local")
    # What tasks used before the driver was killed is accounted for, too.
    ledger = [json.loads(line) for line in (corpus / "resumed.footprint").read_text().splitlines()]
    assert {*runs.KERNELS, "engine", "overhead"} <= {row["stage"] for row in ledger}
    assert list(checkpoint.iterdir()) == []
