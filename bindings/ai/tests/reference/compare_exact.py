#!/usr/bin/env python3
"""Says where llama.cpp's choices in generation.json differ from what the same weights give in 32-bit floats, and by how much.

A step is printed where the likeliest token is another one, or where it is the likeliest by more than 0.15 more or less. Needs
transformers, torch, gguf and accelerate:
    venv/bin/python compare_exact.py ~/.cache/aerostack/models/smollm2-135m-instruct
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], gguf_file=NAME, dtype=torch.float32)
for case in json.loads((pathlib.Path(__file__).parent / "generation.json").read_text()):
    prompt, answer = case["prompt_tokens"], case["answer_tokens"]
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([prompt + answer])).logits[0], -1)
    print(case["messages"][-1]["content"][:60])
    for step, token in enumerate(answer):
        best = scores[len(prompt) + step - 1].topk(2)
        margin = float(best.values[0] - best.values[1])
        same = int(best.indices[0]) == token
        if not same or abs(margin - case["margins"][step]) > 0.15:
            verdict = "the same" if same else f"token {int(best.indices[0])}"
            print(f"  {step} {case['pieces'][step]!r} by {case['margins'][step]:.3f}; in 32 bits {verdict} by {margin:.3f}")
