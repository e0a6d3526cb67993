"""Loads the exports for Label Studio into Label Studio, labels there through its API, and writes what it exports.

    python3 tests/label_tools/check_label_studio.py --tool-folder FOLDER

Installs `label-studio` from PyPI into the virtual environment FOLDER if that is not there, starts it with SQLite in a
temporary folder on a free port of the loopback interface, and ends it. Two people label: ann and bob.

Writes tests/fixtures/label_tools/returned/label-studio/: `choices` and `spans`, each as `.json`, `_min.json` and `.csv`.
"""

import contextlib
import http.cookiejar
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from common import FIXTURES, WORDS, arguments, install, returned, sent, sent_rows, span, utf16

PASSWORD = "only-for-this-test"
ANN, BOB = "ann@example.com", "bob@example.com"
SPANS_CONFIG = """<View>
  <Labels name="label" toName="text"><Label value="PERSON"/><Label value="THING"/><Label value="TOPIC"/></Labels>
  <Text name="text" value="$text"/>
</View>"""


class Session:
    """What one person does."""

    def __init__(self, base):
        self.base = base
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def token(self):
        return next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")

    def enter(self, path, email):
        """Logs in or signs up."""
        self.opener.open(self.base + path).read()
        form = {"email": email, "password": PASSWORD, "csrfmiddlewaretoken": self.token(), "allow_newsletters": "false"}
        request = urllib.request.Request(self.base + path, urllib.parse.urlencode(form).encode(), {"Referer": self.base + path})
        self.opener.open(request).read()
        assert self.call("GET", "/api/current-user/whoami")["email"] == email
        return self

    def bytes(self, method, path, body=None):
        headers = {"Content-Type": "application/json", "X-CSRFToken": self.token(), "Referer": self.base}
        request = urllib.request.Request(self.base + path, body, headers, method=method)
        try:
            return self.opener.open(request).read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()[:2000]}") from error

    def call(self, method, path, value=None):
        return json.loads(self.bytes(method, path, None if value is None else json.dumps(value).encode()))


@contextlib.contextmanager
def server(python):
    """The tool, as ann, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {
            "LABEL_STUDIO_USERNAME": ANN,
            "LABEL_STUDIO_PASSWORD": PASSWORD,
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "false",
            "COLLECT_ANALYTICS": "false",
        }
        command = [python.parent / "label-studio", "start", "--no-browser", "--data-dir", data, "--port", str(port), "--internal-host", "127.0.0.1"]
        with open(os.path.join(data, "log"), "w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            base = f"http://127.0.0.1:{port}"
            try:
                for _ in range(900):
                    with contextlib.suppress(OSError):
                        urllib.request.urlopen(base + "/health", timeout=5).read()
                        break
                    assert process.poll() is None, open(log.name).read()[-3000:]
                    time.sleep(1)
                yield base
            finally:
                process.terminate()
                process.wait(60)


def load(session, kind, config):
    """A project with the tasks of the files; its id, and the tasks' ids in the order of the batch."""
    project = session.call("POST", "/api/projects", {"title": kind, "label_config": config})["id"]
    rows = sent_rows(kind, "label-studio")
    for path in sent(kind, "label-studio"):
        loaded = session.call("POST", f"/api/projects/{project}/import", json.loads(path.read_text(encoding="utf-8")))
        assert loaded["task_count"] == len(rows), loaded
        assert loaded["prediction_count"] == sum(len(row["predictions"]) for row in rows), loaded
    tasks = session.call("GET", f"/api/tasks?project={project}&page_size=100&fields=all")["tasks"]
    by_id = {task["data"]["tamis_id"]: task for task in tasks}
    for row in rows:
        task = by_id[row["data"]["tamis_id"]]
        assert task["data"] == row["data"], (task["data"], row["data"])
        scores = [prediction.get("score") for prediction in row["predictions"]]
        assert [prediction["score"] for prediction in task["predictions"]] == scores, task["predictions"]
    return project, [by_id[row["data"]["tamis_id"]]["id"] for row in rows]


def choice(*labels):
    return [{"id": "c", "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": labels}}]


def annotate(session, task, result, **more):
    path = f"/api/tasks/{task}/annotations/"
    return session.call("POST", path, {"result": result, "lead_time": 2.5, **more})


def export(session, project, kind):
    for export_type, name in (("JSON", f"{kind}.json"), ("JSON_MIN", f"{kind}_min.json"), ("CSV", f"{kind}.csv")):
        path = f"/api/projects/{project}/export?exportType={export_type}&download_all_tasks=true"
        returned("label-studio", name, session.bytes("GET", path))


def label_choices(ann, bob, config):
    project, tasks = load(ann, "choices", config)
    options = [row["data"].get("tamis_label") for row in sent_rows("choices", "label-studio")]
    sport, views, cafe = options[0], options[1], options[2]
    annotate(ann, tasks[0], choice(sport))
    annotate(ann, tasks[1], choice(views))
    annotate(bob, tasks[1], choice(cafe))
    first = annotate(bob, tasks[2], choice(cafe))
    # bob thinks again.
    bob.call("PATCH", f"/api/annotations/{first['id']}/", {"result": choice(cafe, sport)})
    annotate(ann, tasks[3], [], was_cancelled=True)
    annotate(ann, tasks[4], [])
    ann.call("POST", f"/api/tasks/{tasks[5]}/drafts", {"result": choice(views), "lead_time": 1.5})
    export(ann, project, "choices")


def label_spans(ann):
    project, tasks = load(ann, "spans", SPANS_CONFIG)
    texts = [row["data"]["text"] for row in sent_rows("spans", "label-studio")]
    for row, words in WORDS.items():
        result = []
        for word, label in words:
            start, end = span(texts[row], word, utf16)
            value = {"start": start, "end": end, "text": word, "labels": [label]}
            result.append({"id": f"s{start}", "from_name": "label", "to_name": "text", "type": "labels", "value": value})
        annotate(ann, tasks[row], result)
    export(ann, project, "spans")


def main():
    python = install(arguments(__doc__).tool_folder, "label-studio==1.23.2")
    config = (FIXTURES / "sent" / "choices" / "label-studio" / "r003-label-config.xml").read_text(encoding="utf-8")
    with server(python) as base:
        ann = Session(base).enter("/user/login/", ANN)
        bob = Session(base).enter("/user/signup/", BOB)
        label_choices(ann, bob, config)
        label_spans(ann)


if __name__ == "__main__":
    main()
