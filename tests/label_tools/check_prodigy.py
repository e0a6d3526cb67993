"""Checks the exports for Prodigy against its documented fields, answers them, and writes what `db-out` would.

    python3 tests/label_tools/check_prodigy.py --tool-folder FOLDER

Prodigy is not free and is not run. Installs `jsonschema` from PyPI into the virtual environment FOLDER if that is not there.
`prodigy_task.schema.json`, beside this script, is written by hand after the task formats in Prodigy's documentation and the
recipes in explosion/prodigy-recipes; a task is checked against it before and after it is answered, and answers add the fields that
the documentation names for `db-out`.

Writes tests/fixtures/label_tools/returned/prodigy/: `choices.jsonl`, `binary.jsonl` and `spans.jsonl`.
"""

import json
import pathlib
import zlib

from common import WORDS, arguments, install, returned, run_inside, sent_rows, span

SCHEMA = pathlib.Path(__file__).with_name("prodigy_task.schema.json")


def answered(row, session, answer, view, **more):
    """A task as `db-out` writes it."""
    number = zlib.crc32(row["tamis_id"].encode()) - 2**31
    given = {
        "_input_hash": number, "_task_hash": -number, "_view_id": view, "_timestamp": 1767225600,
        "_annotator_id": f"news-{session}", "_session_id": f"news-{session}", "answer": answer,
    }
    return {**row, **more, **given}


def checked(rows):
    import jsonschema

    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for row in rows:
        validator.validate(row)
    return rows


def export(name, rows):
    returned("prodigy", name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in checked(rows)))


def label_choices():
    rows = checked(sent_rows("choices", "prodigy"))
    sport, views, cafe = [option["id"] for option in rows[0]["options"]]
    assert all(set(row.get("accept", [])) <= {sport, views, cafe} for row in rows)
    style = {"config": {"choice_style": "multiple"}}
    export("choices.jsonl", [
        answered(rows[0], "ann", "accept", "choice", **style),
        answered(rows[1], "ann", "accept", "choice", **style),
        answered(rows[1], "bob", "accept", "choice", accept=[cafe], **style),
        answered(rows[2], "bob", "accept", "choice", accept=[cafe, sport], **style),
        answered(rows[3], "ann", "ignore", "choice", **style),
        answered(rows[4], "ann", "accept", "choice", accept=[], **style),
        answered(rows[5], "ann", "reject", "choice", **style),
    ])
    # As `textcat.manual` asks about one label.
    def binary(row, label, answer):
        plain = {key: value for key, value in row.items() if key not in ("options", "accept")}
        return answered({**plain, "label": label}, "ann", answer, "classification")

    export("binary.jsonl", [binary(rows[0], sport, "accept"), binary(rows[1], sport, "reject"), binary(rows[2], sport, "ignore")])


def tokens(text):
    """Words, as a tokenizer that splits at white space makes them."""
    found, at = [], 0
    for number, word in enumerate(text.split()):
        start = text.index(word, at)
        at = start + len(word)
        found.append({"text": word, "start": start, "end": at, "id": number, "ws": text[at : at + 1] == " "})
    return found


def label_spans():
    rows = checked(sent_rows("spans", "prodigy"))
    done = []
    for row, words in WORDS.items():
        spans = []
        for word, label in words:
            start, end = span(rows[row]["text"], word, len)
            spans.append({"start": start, "end": end, "label": label})
        done.append(answered(rows[row], "ann", "accept", "ner_manual", tokens=tokens(rows[row]["text"]), spans=spans))
    done.append(answered(rows[4], "ann", "reject", "ner_manual"))
    export("spans.jsonl", done)


def main():
    run_inside(install(arguments(__doc__).tool_folder, "jsonschema"))
    label_choices()
    label_spans()


if __name__ == "__main__":
    main()
