"""Scans the units of a config under Ray Data and by one kernel alone, and holds the rows against each other.

If the config scores, and drops nothing, so is `score`.

usage: TAMIS_BIN=tamis PYTHONPATH=pipeline/spark/src python benches/ray_stages.py CONFIG [GPUS]      (needs ray[data] and pyarrow)

GPUS is what each task of `score` asks Ray for.
"""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import ray
from tamis_spark.ray import scan, score
from tamis_spark.session import Session, place
from tamis_spark.tables import FINGERPRINTS, RECORDS, SCORER, to_metadata


def alone(name, table, job):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata(to_metadata(job))) as writer:
        writer.write_table(table.replace_schema_metadata(to_metadata(job)))
    command = [os.environ["TAMIS_BIN"], "kernel", name]
    ended = subprocess.run(command, input=sink.getvalue().to_pybytes(), stdout=subprocess.PIPE, check=True)
    return pa.ipc.open_stream(ended.stdout).read_all()


def gather(dataset):
    found = pa.concat_tables(ray.get(dataset.to_arrow_refs()), promote_options="permissive")
    assert found["error"].null_count == len(found), found["error"].drop_null()[0]
    return found


def compare(name, found, expected, schema):
    found, expected = (sorted(map(repr, table.select(schema.names).to_pylist())) for table in (found, expected))
    assert found == expected, f"{name}: other rows"
    print(f"{name}: {len(found)} rows: the same")


def undropped(units):
    """Units, none of whose rows are dropped."""
    for name in ("dropped", "rules"):
        units = units.append_column(name, pa.array([[]] * len(units), pa.list_(pa.int64())))
    return units


def learn(units, job):
    records = alone("texts", units, job).sort_by([(name, "ascending") for name in ("kind", "a", "b")])
    learned = alone("learn", records, job)
    return learned.filter(pc.equal(learned["kind"], SCORER))["payload"][0].as_py()


def main(config, num_gpus=None):
    with Session(config) as session:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        assert num_gpus is None or ray.cluster_resources().get("GPU"), "Ray finds no GPU here, and would wait for one"
        print(f"{session.units.num_rows} units")
        found = gather(scan(session.units, session.job))
        compare("scan", found, alone("scan", session.units, session.job), FINGERPRINTS)
        if "score" in session.stages and "assign" not in session.stages:
            summaries = found.filter(pc.is_valid(found["summary"])).select(["unit", "summary"]).sort_by("unit")
            units = undropped(place(session.units, session.places(summaries)))
            scorer = learn(units, session.job) if "learn" in session.stages else None
            units = units.append_column("scorer", pa.array([scorer] * len(units), pa.binary()))
            found = gather(score(units, session.job, num_gpus=num_gpus and float(num_gpus)))
            compare("score", found, alone("score", units, session.job), RECORDS)
        session.cancel()


if __name__ == "__main__":
    main(*sys.argv[1:])
