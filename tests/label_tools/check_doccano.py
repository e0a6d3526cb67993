"""Loads the exports for doccano into doccano, labels there through its API, and writes what it exports.

    python3 tests/label_tools/check_doccano.py --tool-folder FOLDER

Installs `doccano` from PyPI into the virtual environment FOLDER if that is not there. Its server runs inside this process, with
SQLite in a temporary folder: requests go through its URLs, views, permissions and background tasks, not over a
socket. Two people label: ann, who uploads, and bob.

Writes tests/fixtures/label_tools/returned/doccano/: `choices.zip` (a file for each annotator, approved only),
`choices_unapproved.zip`, `choices_all.zip` (of a project that is labelled together), `choices_csv.zip` and `spans.zip`.
"""

import io
import json
import os
import pathlib
import sys
import tempfile
import zipfile

from common import WORDS, arguments, install, returned, run_inside, sent, sent_rows, span, utf16

PASSWORD = "only-for-this-test"


def start(folder):
    """Sets up doccano with its data in a folder."""
    import backend

    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "config.settings.production",
        "DOCCANO_HOME": str(folder),
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "MEDIA_ROOT": str(folder / "media"),
        "STANDALONE": "True",
        "DEBUG": "True",
    }
    sys.path.insert(0, str(pathlib.Path(backend.__file__).parent))
    import django
    from django.conf import settings

    django.setup()
    settings.DJANGO_DRF_FILEPOND_UPLOAD_TMP = str(folder / "uploads")
    from config.celery import app
    from django.core.management import call_command

    # Background tasks run at once, and their results are kept as those of a worker are.
    app.conf.update(task_always_eager=True, task_store_eager_result=True, task_eager_propagates=True)
    call_command("migrate", verbosity=0)
    call_command("create_roles")
    from django.contrib.auth import get_user_model

    for name in ("ann", "bob"):
        get_user_model().objects.create_superuser(name, f"{name}@example.com", PASSWORD)


class Session:
    """What one person does."""

    def __init__(self, name):
        from rest_framework.test import APIClient

        self.client = APIClient(HTTP_HOST="localhost")
        assert self.client.login(username=name, password=PASSWORD)

    def call(self, method, path, value=None, **more):
        response = getattr(self.client, method)(f"/v1{path}", value, **({"format": "json"} | more))
        assert response.status_code < 300, (method, path, response.status_code, response.content[:2000])
        return response

    def json(self, method, path, value=None):
        return self.call(method, path, value).json()


def project(ann, bob, kind, project_type, together):
    """A project of both, with the files loaded; its path, and the examples' ids in the order of the batch."""
    made = {
        "name": f"{kind} {together}", "description": "-", "guideline": "-", "project_type": project_type,
        "resourcetype": {"DocumentClassification": "TextClassificationProject", "SequenceLabeling": "SequenceLabelingProject"}[project_type],
        "collaborative_annotation": together, "random_order": False, "single_class_classification": False,
        "allow_member_to_create_label_type": True, "tags": [],
    }
    path = f"/projects/{ann.json('post', '/projects', made)['id']}"
    roles = ann.json("get", "/roles")
    role = next(role["id"] for role in roles if role["name"] == "project_admin")
    users = ann.json("get", "/users")
    users = users["results"] if isinstance(users, dict) else users
    user = next(user["id"] for user in users if user["username"] == "bob")
    ann.json("post", path + "/members", {"user": user, "role": role})
    for file in sent(kind, "doccano"):
        with open(file, "rb") as opened:
            upload = ann.call("post", "/fp/process/", {"filepond": opened}, format="multipart").content.decode()
        asked = {
            "format": "JSONL", "task": project_type, "uploadIds": [upload],
            "column_data": "text", "column_label": "label", "encoding": "utf_8",
        }
        task = ann.json("post", path + "/upload", asked)["task_id"]
        status = ann.json("get", f"/tasks/status/{task}")
        assert status["ready"] and not status.get("error"), status
    examples = ann.json("get", path + "/examples?limit=100")["results"]
    by_id = {example["meta"]["tamis_id"]: example for example in examples}
    rows = sent_rows(kind, "doccano")
    assert len(examples) == len(rows), (len(examples), len(rows))
    for row in rows:
        example = by_id[row["tamis_id"]]
        assert example["text"] == row["text"], (example, row)
        assert example["meta"] == {key: value for key, value in row.items() if key not in ("text", "label")}, example
    return path, [by_id[row["tamis_id"]]["id"] for row in rows]


def export(ann, path, name, approved, file_format="JSONL"):
    task = ann.json("post", path + "/download", {"format": file_format, "exportApproved": approved})["task_id"]
    answer = ann.call("get", f"{path}/download?taskId={task}")
    returned("doccano", name, b"".join(answer.streaming_content))


def label_choices(ann, bob, together):
    path, examples = project(ann, bob, "choices", "DocumentClassification", together)
    types = {label["text"]: label["id"] for label in ann.json("get", path + "/category-types")}
    sport, views, cafe = [row["label"][0] for row in sent_rows("choices", "doccano")[:3]]

    def categories(example):
        return f"{path}/examples/{example}/categories"

    def replace(person, example, *labels):
        for given in person.json("get", categories(example)):
            person.call("delete", f"{categories(example)}/{given['id']}")
        for label in labels:
            person.json("post", categories(example), {"label": types[label]})

    def approve(person, example):
        person.call("post", f"{path}/examples/{example}/states", {})

    approve(ann, examples[0])
    approve(ann, examples[1])
    if not together:
        replace(bob, examples[1], cafe)
        approve(bob, examples[1])
    replace(bob, examples[2], cafe, sport)
    approve(bob, examples[2])
    replace(ann, examples[4])
    approve(ann, examples[4])
    # Changed, but not approved.
    replace(ann, examples[5], sport)
    assert [sport, views] == [row["label"][0] for row in sent_rows("choices", "doccano")[4:6]]
    if together:
        export(ann, path, "choices_all.zip", True)
    else:
        export(ann, path, "choices.zip", True)
        export(ann, path, "choices_unapproved.zip", False)
        export(ann, path, "choices_csv.zip", True, "CSV")


def label_spans(ann, bob):
    path, examples = project(ann, bob, "spans", "SequenceLabeling", False)
    types = {}
    for label in ("PERSON", "THING", "TOPIC"):
        made = {"text": label, "prefix_key": None, "suffix_key": None, "background_color": "#209cee", "text_color": "#ffffff"}
        types[label] = ann.json("post", path + "/span-types", made)["id"]
    texts = [row["text"] for row in sent_rows("spans", "doccano")]
    for row, words in WORDS.items():
        for word, label in words:
            start, end = span(texts[row], word, utf16)
            made = {"label": types[label], "start_offset": start, "end_offset": end}
            ann.json("post", f"{path}/examples/{examples[row]}/spans", made)
        ann.call("post", f"{path}/examples/{examples[row]}/states", {})
    export(ann, path, "spans.zip", True)


def main():
    # What it asks for has no upper bound, and the next major versions of these do without what it uses.
    python = install(arguments(__doc__).tool_folder, "doccano==1.8.4", "marshmallow<4", "setuptools<81", "numpy<2")
    run_inside(python)
    with tempfile.TemporaryDirectory() as folder:
        start(pathlib.Path(folder))
        ann, bob = Session("ann"), Session("bob")
        for together in (False, True):
            label_choices(ann, bob, together)
        label_spans(ann, bob)


if __name__ == "__main__":
    main()
