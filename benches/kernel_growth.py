"""How `tamis kernel bucket`, `prune` and `assign` grow with the number of rows: synthetic fingerprints, no texts, no cluster.

usage: kernel_growth.py TAMIS [ROWS...]      (needs pyarrow and numpy; prints a line for each number of rows)

One row in ten is in a family of three, whose sketches differ in a slot each, so that every pair of them is clear, and that share 29 of 32
bands. All other rows share no key with another, so that they are in no bucket: of them only positions are made.
Prints CPU seconds and peak memory of each kernel, the bytes that go in, and what comes out, which is checked.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute  # noqa: F401

N_BANDS, SLOT_NUMBERS, FAMILY, SHARE = 32, 64, 3, 10
SHARED_BANDS = 29
LIMIT = "1GiB"
RECORDS = ("kind", "a", "b")


def session_job(tamis, folder):
    """The job of a session with a config of 32 bands of 8."""
    with open(f"{folder}/in.jsonl", "w") as file:
        file.write('{"text": "one"}\n')
    with open(f"{folder}/c.toml", "w") as file:
        file.write('[input]\npaths = ["in.jsonl"]\n[output]\npath = "out"\n[deduplicate]\n')
    child = subprocess.run([tamis, "kernel", "session", "c.toml"], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, check=False)
    return pa.ipc.open_stream(child.stdout).schema.metadata[b"tamis.job"].decode()


def meetings(n_rows, band, wave=200_000):
    """Batches of `key`, `row`, `sketch` of one band, sorted by key: families in order, and keys that grow with them."""
    n_families = n_rows // SHARE // FAMILY
    for first in range(0, n_families, wave):
        families = np.arange(first, min(first + wave, n_families), dtype=np.int64)
        # Keys of a band lie together, and their lower halves, by which pairs are told, are like those of no other band.
        keys = np.repeat((np.int64(band) << 40) | (families << 6) | band, FAMILY)
        members = np.arange(len(families) * FAMILY, dtype=np.int64)
        rows = np.repeat(families * SHARE * FAMILY, FAMILY) + members % FAMILY * SHARE
        glance = np.zeros((len(members), SLOT_NUMBERS + 1 + N_BANDS), dtype=np.uint32)
        glance[:, :SLOT_NUMBERS] = np.repeat(families, FAMILY)[:, None]
        # Each member has a slot of its own, and bands of its own where the family shares none.
        glance[np.arange(len(members)), members % FAMILY] ^= 0x80
        for other in range(N_BANDS):
            tag = (np.repeat(families, FAMILY) << 6) | other
            glance[:, SLOT_NUMBERS + 1 + other] = tag if other < SHARED_BANDS else tag ^ ((1 + members % FAMILY) << 28)
        width = glance.shape[1] * 4
        sketches = pa.Array.from_buffers(pa.binary(width), len(members), [None, pa.py_buffer(glance.tobytes())])
        yield pa.record_batch([pa.array(keys), pa.array(rows), sketches.cast(pa.binary())], ["key", "row", "sketch"])


def kernel(tamis, name, job, batches, schema):
    """Runs a kernel; gives its output, CPU seconds, peak memory in MiB, bytes in."""
    schema = schema.with_metadata({"tamis.protocol": "1", "tamis.job": job})
    child = subprocess.Popen([tamis, "kernel", name, "--threads", "1", "--memory-limit", LIMIT], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=1 << 20)
    n_bytes = [0]

    def feed():
        writer = pa.ipc.new_stream(child.stdin, schema)
        for batch in batches:
            n_bytes[0] += batch.nbytes
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        writer.close()
        child.stdin.close()

    peak = [0]

    def watch():
        # What wait4 says of a child includes this process, as it was when the child began.
        while True:
            try:
                with open(f"/proc/{child.pid}/status") as file:
                    lines = [line for line in file if line.startswith("VmHWM")]
            except OSError:
                return
            if not lines:
                return
            peak[0] = int(lines[0].split()[1])
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for work in (feed, watch)]
    for thread in threads:
        thread.start()
    table = pa.ipc.open_stream(child.stdout).read_all()
    threads[0].join()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, f"{name} ended with {status}"
    threads[1].join()
    return table, usage.ru_utime + usage.ru_stime, peak[0] / 1024, n_bytes[0]


def main(tamis, sizes):
    tamis = os.path.abspath(tamis)
    print("rows        kernel  CPU s  peak MiB  GB in  records out")
    with tempfile.TemporaryDirectory() as folder:
        job = session_job(tamis, folder)
        for n_rows in sizes:
            schema = pa.schema([("key", pa.int64()), ("row", pa.int64()), ("sketch", pa.binary())])
            batches = (batch for band in range(SHARED_BANDS) for batch in meetings(n_rows, band))
            found = None
            for name in ("bucket", "prune", "assign"):
                table, seconds, memory, n_bytes = kernel(tamis, name, job, batches, schema)
                print(f"{n_rows:<11} {name:<7} {seconds:5.1f}  {memory:8.0f}  {n_bytes / 1e9:5.2f}  {len(table)}", flush=True)
                table = table.sort_by([(column, "ascending") for column in RECORDS])
                batches, schema, found = iter(table.to_batches()), table.schema, table
            drops = found.filter(pa.compute.equal(found["kind"], 7))
            assert len(drops) == n_rows // SHARE // FAMILY * (FAMILY - 1), f"{len(drops)} rows are dropped"
            counts = json.loads(found.filter(pa.compute.equal(found["kind"], 9))["payload"][0].as_py())
            assert counts["n_candidate_pairs"] == n_rows // SHARE // FAMILY * FAMILY, counts


if __name__ == "__main__":
    main(sys.argv[1], [int(size) for size in sys.argv[2:]] or [10**6, 10**7])
