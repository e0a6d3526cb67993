"""A kernel that does what FAKE says, for tests of the bridge. It writes the sums of column `n` of each batch."""

import json
import os
import sys
import time

import pyarrow as pa

OUTPUT = pa.schema([("n", pa.int64())])
END_MARKER_BYTES = 8


def say(**fields):
    """A line on stderr."""
    print(json.dumps(fields), file=sys.stderr, flush=True)


def sums():
    """Answers each batch, as a kernel does."""
    reader = pa.ipc.open_stream(sys.stdin.buffer)
    with pa.ipc.new_stream(sys.stdout.buffer, OUTPUT) as writer:
        for batch in reader:
            writer.write_batch(pa.record_batch([[sum(batch["n"].to_pylist())]], schema=OUTPUT))


def used():
    """Answers, and says at the end what it used."""
    sums()
    say(progress={"rows": 1, "bytes": 1})
    say(used={"stage": "scan", "cpu_ns": 12})


def whole(numbers):
    """The bytes of a whole stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, OUTPUT) as writer:
        writer.write_batch(pa.record_batch([numbers], schema=OUTPUT))
    return sink.getvalue().to_pybytes()


def slow():
    """Writes a large batch in pieces."""
    sys.stdin.buffer.read()
    data = whole(list(range(1_000_000)))
    for start in range(0, len(data), 100_000):
        os.write(1, data[start : start + 100_000])
        time.sleep(0.001)


def garbage():
    """Writes no stream, and more of it than a pipe holds: nobody reads it, so that it never ends."""
    os.write(1, b"\xff\xff\xff\xff\x08\x00\x00\x00" + b"no message" * 1_000_000)


def record():
    """Keeps the bytes of its input, then ends as a kernel does whose input is not whole."""
    data = sys.stdin.buffer.read()
    with open(os.environ["FAKE_RECORD"], "wb") as file:
        file.write(data)
    sys.exit(74)


def early():
    """Ends well, but has read nothing."""
    os.write(1, whole([1]))


def torn():
    """Ends well, but its output has no end marker."""
    sys.stdin.buffer.read()
    os.write(1, whole([1])[:-END_MARKER_BYTES])


def trailing():
    """Goes on after the end marker."""
    sys.stdin.buffer.read()
    os.write(1, whole([1]) + b"more")


def refuse():
    """Finds the input at fault."""
    say(level="INFO", message="started")
    say(message="the config is wrong", causes=["a", "b"], hint="change it", exit_code=2)
    sys.exit(2)


def unavailable():
    """Finds no store."""
    print("a line that is no JSON", file=sys.stderr)
    print('["nor is this an object"]', file=sys.stderr)
    say(message="the store does not answer", causes=["timeout"], hint="try again later")
    sys.exit(69)


def mute():
    """Fails without a word of JSON."""
    print("Segmentation something", file=sys.stderr)
    sys.exit(1)


def crash():
    """Is killed."""
    os.kill(os.getpid(), 9)


def hang():
    """Says that it lives, but not that it gets on."""
    while True:
        say(progress={"rows": 1, "bytes": 1})
        time.sleep(0.1)


def crawl():
    """Gets on for longer than the watchdog waits without a sign."""
    for n_rows in range(80):
        say(progress={"rows": n_rows, "bytes": 0})
        time.sleep(0.1)
    sums()


def wrong_columns():
    """Writes a column of another type."""
    sys.stdin.buffer.read()
    with pa.ipc.new_stream(sys.stdout.buffer, pa.schema([("n", pa.int32())])) as writer:
        writer.write_batch(pa.record_batch([pa.array([1], pa.int32())], names=["n"]))


def environment():
    """Says as an error what it was started with."""
    env = {name: os.environ.get(name) for name in ("TAMIS_PARENT", "TAMIS_ATTEMPT", "TAMIS_LOG_FORMAT")}
    schema = pa.ipc.open_stream(sys.stdin.buffer).schema
    metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    say(message=json.dumps({"argv": sys.argv[1:], "env": env, "metadata": metadata}))
    sys.exit(2)


if __name__ == "__main__":
    globals()[os.environ["FAKE"]]()
