"""CPU seconds of datatrove's MinhashDedupSignature, its first stage: defaults (5-grams, 14 x 8 hashes, English word tokenizer).

usage: peer_datatrove.py SAMPLE.jsonl      (datatrove, spacy, nltk, regex and xxhash on the module path)

The default tokenizer is spaCy's blank English pipeline, which needs no download. Imports, reading the file and making the tokenizer
are not counted. Prints JSON: {seconds, documents}.
"""

import json
import sys
import tempfile
import time

from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupSignature


def main(path):
    with open(path, encoding="utf8") as lines:
        rows = [json.loads(line) for line in lines]
    documents = [Document(text=row["text"], id=str(row["id"])) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        stage = MinhashDedupSignature(folder)
        stage.get_shingles("a text that makes the tokenizer")
        start = time.process_time()
        stage.run(documents)
        seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "documents": len(documents)}))


main(sys.argv[1])
