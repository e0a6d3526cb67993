#!/usr/bin/env python3
"""Cuts the documents of a corpus into their lines of eight words and more, each a document of its own.

usage: short_documents.py CORPUS.jsonl OUT.jsonl    (Python standard library only)

The id of a line is that of its document, `#`, and its place in it. Words are what lies between white space.
"""

import json
import sys

MIN_WORDS = 8


def main():
    corpus, out = sys.argv[1:]
    n_lines = n_bytes = 0
    with open(corpus, encoding="utf8") as rows, open(out, "w", encoding="utf8") as sink:
        for row in map(json.loads, rows):
            for place, line in enumerate(row["text"].split("\n")):
                if len(line.split()) < MIN_WORDS:
                    continue
                document = {"id": f"{row['id']}#{place}", "text": line}
                sink.write(json.dumps(document, ensure_ascii=False) + "\n")
                n_lines += 1
                n_bytes += len(line.encode("utf8"))
    print(f"{n_lines} documents, {n_bytes / 1e6:.1f} MB of text")


main()
