#!/usr/bin/env python3
"""Writes generation.json: what llama.cpp makes of some prompts, which the tests compare with.

For each prompt the tokens of the whole prompt with the chat template applied, and the tokens that come next when the likeliest is
taken always. Made once, with xllamacpp 2026.10.11549 (llama.cpp in a Python package) on the processor:
    python -m venv venv && venv/bin/pip install xllamacpp
    venv/bin/python make_generation.py ~/.cache/aerostack/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf
"""

import json
import pathlib
import sys
import urllib.request

import xllamacpp

PROMPTS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "You answer in one short sentence."}, {"role": "user", "content": "Why is the sky blue?"}],
    [{"role": "user", "content": "Write a haiku about 2024, naïve café owners & 図書館 🙂.\n\n  Thanks!"}],
    [
        {"role": "user", "content": "Count: 1, 2, 3"},
        {"role": "assistant", "content": "4, 5, 6"},
        {"role": "user", "content": "Go on, please."},
    ],
]

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 2048
params.n_parallel = 1
params.warmup = False
params.cpuparams.n_threads = 2
server = xllamacpp.Server(params)


def ask(path, request):
    data = json.dumps(request).encode()
    with urllib.request.urlopen(urllib.request.Request(server.listening_address + path, data)) as answer:
        return json.load(answer)


cases = []
for messages in PROMPTS:
    prompt = ask("/apply-template", {"messages": messages})["prompt"]
    tokens = ask("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"]
    request = {"prompt": prompt, "n_predict": 32, "temperature": 0.0, "return_tokens": True, "cache_prompt": False, "n_probs": 2}
    answer = ask("/completion", request)
    cases.append({"messages": messages, "prompt": prompt, "prompt_tokens": tokens, "answer_tokens": answer["tokens"], "answer": answer["content"]})
    for step in answer.get("completion_probabilities", []):
        best, second = step["top_logprobs"][:2]
        print(step["id"], best["logprob"] - second["logprob"], second["id"], file=sys.stderr)
target = pathlib.Path(__file__).parent / "generation.json"
target.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
