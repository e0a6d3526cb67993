"""Reads Delta Lake tables with two independent readers, and prints what both see as one JSON object per table.

Arguments: URLs or folders of tables. Credentials of S3 come from the AWS_* variables.
"""

import json
import os
import sys

import polars
from deltalake import DeltaTable

# A reader of its own would ask for a lock table; nothing is written here.
options = {"AWS_S3_ALLOW_UNSAFE_RENAME": "true"} | {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
for url in sys.argv[1:]:
    table = DeltaTable(url, storage_options=options)
    rows = table.to_pyarrow_table()
    seen = polars.scan_delta(url, storage_options=options).collect()
    assert seen.height == rows.num_rows, f"{url}: polars sees {seen.height} rows, deltalake {rows.num_rows}"
    assert seen.columns == rows.column_names, f"{url}: {seen.columns} and {rows.column_names}"
    key = next((name for name in ("tamis_id", "dropped_id", "source") if name in rows.column_names), None)
    ids = sorted(rows.column(key).to_pylist()) if key else []
    assert not key or ids == sorted(seen[key].to_list()), f"{url}: the two see different rows"
    protocol = table.protocol()
    print(
        json.dumps(
            {
                "version": table.version(),
                "rows": rows.num_rows,
                "ids": ids,
                "columns": {field.name: str(field.type) for field in rows.schema},
                "nulls": {name: rows.column(name).null_count for name in rows.column_names},
                "protocol": [protocol.min_reader_version, protocol.min_writer_version],
                "files": len(table.file_uris()),
            }
        )
    )
