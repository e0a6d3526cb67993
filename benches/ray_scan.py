"""Scans the units of a config under Ray Data and by one kernel alone, and holds the rows against each other.

usage: TAMIS_BIN=tamis PYTHONPATH=pipeline/spark/src python benches/ray_scan.py CONFIG      (needs ray[data] and pyarrow)
"""

import os
import subprocess
import sys

import pyarrow as pa
import ray
from tamis_spark.ray import scan
from tamis_spark.session import Session
from tamis_spark.tables import FINGERPRINTS, to_metadata


def alone(units, job):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, units.schema.with_metadata(to_metadata(job))) as writer:
        writer.write_table(units.replace_schema_metadata(to_metadata(job)))
    command = [os.environ["TAMIS_BIN"], "kernel", "scan"]
    ended = subprocess.run(command, input=sink.getvalue().to_pybytes(), stdout=subprocess.PIPE, check=True)
    return pa.ipc.open_stream(ended.stdout).read_all()


def rows(table):
    return sorted(repr(row) for row in table.select(FINGERPRINTS.names).to_pylist())


def main(config):
    with Session(config) as session:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        found = pa.concat_tables(ray.get(scan(session.units, session.job).to_arrow_refs()), promote_options="permissive")
        assert found["error"].null_count == len(found), found["error"].drop_null()[0]
        expected = alone(session.units, session.job)
        assert rows(found) == rows(expected), "other rows"
        print(f"{session.units.num_rows} units, {len(found)} rows: the same")
        session.cancel()


if __name__ == "__main__":
    main(sys.argv[1])
