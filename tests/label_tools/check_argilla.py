"""Loads the exports for Argilla into the client's own classes, answers there, and writes what they export.

    python3 tests/label_tools/check_argilla.py --tool-folder FOLDER

Installs `argilla` (the client, 2.x) from PyPI into the virtual environment FOLDER if that is not there. The server needs
Elasticsearch and is not started: records are read by the code behind `dataset.records.from_json`, checked by
`Record.api_model`, the message that the client would send, answered with `Response`, and exported with the code behind `dataset.records.to_list`.

Writes tests/fixtures/label_tools/returned/argilla/: `choices` and `spans`, nested and `_flat.json`.
"""

import json
import uuid

from common import WORDS, arguments, install, returned, run_inside, sent, sent_rows, span

ANN, BOB = (uuid.uuid5(uuid.NAMESPACE_DNS, name) for name in ("ann.example.com", "bob.example.com"))


def load(kind):
    from argilla.records._io import JsonIO

    rows = sent_rows(kind, "argilla")
    records = [record for path in sent(kind, "argilla") for record in JsonIO._records_from_json(path)]
    for row, record in zip(rows, records):
        model = record.api_model()
        assert model.external_id == row["id"] == row["metadata"]["tamis_id"], (model, row)
        assert record.fields.to_dict() == row["fields"] and record.metadata.to_dict() == row["metadata"], row
        assert dict(record.suggestions.to_dict()) == row["suggestions"], row
        assert model.model_dump_json()
    return records


def answer(record, user, value, status="submitted"):
    """The record with one more answer, as the server would send it."""
    import argilla as rg

    given = list(record.responses) + [rg.Response("label", value, user, status=status)]
    return rg.Record(
        id=record.id, fields=dict(record.fields), metadata=dict(record.metadata), suggestions=list(record.suggestions),
        responses=given, _server_id=record._server_id or uuid.uuid5(uuid.NAMESPACE_OID, record.id),
    )


def export(kind, records):
    from argilla.records._io import GenericIO

    for name, flatten in ((f"{kind}.json", False), (f"{kind}_flat.json", True)):
        rows = GenericIO.to_list(records, flatten=flatten)
        returned("argilla", name, json.dumps(rows, ensure_ascii=False, indent=1, default=str) + "\n")


def label_choices():
    records = load("choices")
    sport, views, cafe = [record.suggestions["label"].value for record in records[:3]]
    records[0] = answer(records[0], ANN, sport)
    records[1] = answer(answer(records[1], ANN, views), BOB, cafe)
    records[2] = answer(records[2], BOB, [cafe, sport])
    records[3] = answer(records[3], ANN, None, "discarded")
    records[5] = answer(records[5], ANN, views, "draft")
    export("choices", records)


def label_spans():
    records = load("spans")
    for row, words in WORDS.items():
        value = []
        for word, label in words:
            start, end = span(records[row].fields["text"], word, len)
            value.append({"start": start, "end": end, "label": label})
        records[row] = answer(records[row], ANN, value)
    export("spans", records)


def main():
    python = install(arguments(__doc__).tool_folder, "argilla==2.8.0", "requests")
    run_inside(python)
    label_choices()
    label_spans()


if __name__ == "__main__":
    main()
