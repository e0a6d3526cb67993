"""Embeds texts with another encoder and prints the CPU seconds of that, imports and the opening of the model aside.

usage: peer_encoders.py torch|onnx MODEL_DIR POOL.jsonl [MODEL.onnx]

torch: sentence-transformers on one thread, which sorts by length and computes 32 texts at once. onnx: ONNX Runtime on one thread,
in the same order, 32 at once, tokens by the same tokenizer; means and lengths in numpy.
"""

import json
import sys
import time

import numpy as np


def torch_encoder(model_dir):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model = SentenceTransformer(model_dir, device="cpu")
    return lambda texts: model.encode(texts, batch_size=32, normalize_embeddings=True)


def onnx_encoder(model_dir, onnx):
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    names = [put.name for put in session.get_inputs()]
    tokenizer = Tokenizer.from_file(f"{model_dir}/tokenizer.json")
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def embed(texts):
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), 32):
            rows = order[start:start + 32]
            tokens = tokenizer.encode_batch([texts[row] for row in rows])
            mask = np.array([one.attention_mask for one in tokens], dtype=np.int64)
            ids = np.array([one.ids for one in tokens], dtype=np.int64)
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden = session.run(None, {name: given[name] for name in names})[0]
            sums = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            vectors[rows] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors

    return embed


def main(kind, model_dir, pool, *onnx):
    with open(pool, encoding="utf8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    embed = torch_encoder(model_dir) if kind == "torch" else onnx_encoder(model_dir, *onnx)
    embed(texts[:64])
    start = time.process_time()
    embed(texts)
    print(time.process_time() - start)


main(*sys.argv[1:])
