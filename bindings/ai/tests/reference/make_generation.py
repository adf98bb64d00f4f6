#!/usr/bin/env python3
"""Writes generation.json: what llama.cpp makes of some prompts, which the tests compare with.

For each prompt the tokens of the whole prompt with the chat template applied, the tokens that come next when the likeliest is
taken always, and by how much each was the likeliest. Made once, with xllamacpp 2026.10.11549 (llama.cpp in a Python package) on the processor:
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
    [{"role": "user", "content": "Write the alphabet."}],
    [{"role": "user", "content": "Write a Python function that adds two numbers."}],
    [{"role": "user", "content": "List the days of the week."}],
    [{"role": "user", "content": "Say hello to the world in HTML."}],
    [{"role": "user", "content": "What are the planets of the solar system?"}],
    [{"role": "user", "content": "Summarise: " + "The quick brown fox jumps over the lazy dog. " * 40}],
]

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 2048
params.n_parallel = 1
params.warmup = False
params.cpuparams.n_threads = 1
# Keys and values are kept as they are computed, as our driver does; by default llama.cpp rounds them to 16 bits.
params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
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
    steps = answer["completion_probabilities"]
    # How much likelier each token was than the second best: below a tenth, rounding decides.
    margins = [step["top_logprobs"][0]["logprob"] - step["top_logprobs"][1]["logprob"] for step in steps]
    cases.append({
        "messages": messages,
        "prompt": prompt,
        "prompt_tokens": tokens,
        "answer_tokens": answer["tokens"],
        "pieces": [step["token"] for step in steps],
        "margins": [round(margin, 4) for margin in margins],
    })
target = pathlib.Path(__file__).parent / "generation.json"
target.write_text(json.dumps(cases, indent=None, ensure_ascii=False) + "\n")
