#!/usr/bin/env python3
"""Writes embeddings.json: the vectors sentence-transformers gives for sentences.json, which the tests compare with.

Made once, with sentence-transformers 6.2.0 and torch 2.15.0 on the processor:
    python -m venv venv && venv/bin/pip install sentence-transformers
    venv/bin/python make_embeddings.py ~/.cache/aerostack/models/all-minilm-l6-v2
"""

import json
import pathlib
import sys

from sentence_transformers import SentenceTransformer

here = pathlib.Path(__file__).parent
# The tests replace the mark in the same way.
sentences = [text.replace("REPEAT", "Over and over again. " * 120) for text in json.loads((here / "sentences.json").read_text())]
model = SentenceTransformer(sys.argv[1], device="cpu")
vectors = model.encode(sentences, batch_size=1, convert_to_numpy=True)
tokens = [len(model.tokenizer(text, truncation=True, max_length=model.max_seq_length)["input_ids"]) for text in sentences]
rows = ",\n".join(json.dumps([round(float(value), 7) for value in vector], separators=(",", ":")) for vector in vectors)
(here / "embeddings.json").write_text(f'{{"tokens": {json.dumps(tokens)}, "vectors": [\n{rows}\n]}}\n')
