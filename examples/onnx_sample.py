"""Write text with book.onnx, which `nextchar export runs/book book.onnx` made. Needs onnxruntime and numpy, no more.

python onnx_sample.py book.onnx "It was " 500 0.8
"""

import json
import sys

import numpy as np
import onnxruntime

path, prompt, length, temperature = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
vocabulary, in_bytes = json.loads(about["vocabulary"]), about["units"] == "bytes"
ids = [int(about["start"])]  # START: what follows is the beginning of a text
ids += [vocabulary.index(code) for code in (prompt.encode() if in_bytes else map(ord, prompt))]
state = {each.name: np.zeros((each.shape[0], 1, each.shape[2]), np.float32) for each in session.get_inputs()[1:]}
random = np.random.default_rng()
for _ in range(length):
    logits, *after = session.run(None, {"ids": np.array([ids]), **state})
    state = dict(zip(state, after, strict=True))
    p = np.exp((logits[0, -1] - logits[0, -1].max()).astype(np.float64) / temperature)
    ids = [random.choice(len(p), p=p / p.sum())]
    code = vocabulary[ids[0]]
    sys.stdout.buffer.write(bytes([code]) if in_bytes else chr(code).encode())
    sys.stdout.flush()
