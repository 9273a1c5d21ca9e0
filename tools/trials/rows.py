"""Good rows of every format, for the readers that are fuzzed."""

from __future__ import annotations

TALK = [{"role": "user", "content": "Why salt?"}, {"role": "assistant", "content": "It is white."}]
ROWS = {
  "messages": [{"id": f"a{i}", "messages": TALK} for i in range(3)],
  "sharegpt": [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "So."}]}
  ]
  * 2,
  "alpaca": [{"instruction": "Add", "input": "1 2", "output": "3"}] * 2,
  "pairs": [{"prompt": TALK[:1], "chosen": "Yes.", "rejected": "No.", "margin": 1.5}] * 2,
  "hh": [
    {"chosen": "\n\nHuman: Hi\n\nAssistant: So.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."}
  ]
  * 2,
  "prompts": [{"id": "p", "prompt": "Why?", "meta": {"kind": 1}}] * 2,
  "candidates": [
    {
      "id": "p",
      "prompt": TALK[:1],
      "candidates": [
        {"text": "a", "logp": -1.5, "tokens": 3, "finish": "stop", "scores": {"rm": 0.5}},
        {"text": "b", "logp": -2.5, "tokens": 4, "finish": "length", "scores": {"rm": 1.5}},
      ],
    }
  ],
  "votes": [
    {"prompt": "Why?", "a": "x", "b": "y", "annotator": n, "label": "A", "seconds": 3}
    for n in ("one", "two")
  ],
  "logps": [
    {"key": "k"},
    {"id": "a", "chosen": -1.0, "rejected": -2.5},
    {"id": "b", "chosen": -3.0, "rejected": -4.0},
  ],
}
