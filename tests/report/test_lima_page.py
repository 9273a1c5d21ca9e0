"""What a run of LIMA's recipe says, from made-up files."""

import json

import pytest

from xwinjax import report
from xwinjax.core.errors import UserError
from xwinjax.report import lima, pages

ASKED = [{"role": "user", "content": "Why <b>plums</b>?"}]


def manifest(folder, config=None, **figures):
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "manifest.json").write_text(
    json.dumps(
      {
        "stage": folder.name,
        "figures": figures,
        "config": {"seed": 3, **(config or {})},
        "inputs": {},
        "outputs": {},
        "seconds": 2.0,
        "device": "1 x cpu (cpu)",
        "versions": {"xwinjax": "0.1.0"},
        "finished": "now",
      }
    )
  )


def write_run(folder, scores, nlls):
  """Epochs 2 and on are judged; the test prompts' answers have scores 1, 2, 3, 4."""
  (folder / "recipe.json").write_text('{"recipe": "lima"}')
  manifest(folder / "tokens", added={"<|eot|>": 40}, vocab_size=41)
  epochs = [
    {"epoch": i, "step": 10 * i, "kept": i > 1, "heldout_nll": n} for i, n in enumerate(nlls, 1)
  ]
  manifest(folder / "sft", items=16, epochs=epochs)
  steps = {str(10 * i): {"score": s, "mean_length": 9.0} for i, s in enumerate(scores, 2)}
  best = max(steps, key=lambda k: steps[k]["score"])
  manifest(folder / "choose", step=int(best), steps=steps)
  manifest(folder / "evaluate", samples=2, mean_length=9.0, ended_share=1.0, hallucination=0.25)
  manifest(folder / "judge", {"judge": {"by": "gold"}}, score="gold")
  rows = [
    {
      "id": str(i),
      "prompt": ASKED,
      "candidates": [
        {"text": f"So <i>{k}</i>.", "scores": {"gold": float(k)}} for k in (1 + i, 3 + i)
      ],
    }
    for i in range(2)
  ]
  (folder / "judge" / "candidates.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
  manifest(folder / "dialogues", dialogues=2, grades={"excellent": 3, "pass": 1, "fail": 0})
  said = [*ASKED, {"role": "assistant", "content": "So."}]
  (folder / "dialogues" / "dialogues.jsonl").write_text(
    json.dumps({"id": "d", "messages": said, "grades": ["pass"]}) + "\n"
  )
  return folder


def test_summary(tmp_path):
  s = lima.summary(lima.Run(write_run(tmp_path, [3.0, 3.5, 4.0], [2.0, 1.0, 1.1, 1.3])))
  assert s["score"] == 2.5
  assert s["epoch"] == 4
  assert s["dialogues"]["excellent"]["share"] == 0.75
  d = s["perplexity_against_judge"]
  assert d["lowest_perplexity_epoch"] == d["lowest_perplexity_kept"] == 2
  assert d["spearman"] == -1  # quality rises as perplexity does, as in the paper
  assert (d["score_there"], d["score_chosen"]) == (3.0, 4.0)
  assert "would be 3.000 in place of 4.000" in lima.text(s)


def test_twin_where_the_two_agree(tmp_path):
  s = lima.summary(lima.Run(write_run(tmp_path, [3.0, 3.5, 4.0], [2.0, 1.5, 1.2, 1.1])))
  assert s["perplexity_against_judge"]["spearman"] == 1
  assert "Perplexity would have chosen the same." in lima.text(s)


def test_the_page_escapes_what_models_wrote(tmp_path):
  write_run(tmp_path, [3.0, 3.5, 4.0], [2.0, 1.0, 1.1, 1.3])
  path = report.write(tmp_path)
  page = path.read_text()
  assert "Why &lt;b&gt;plums" in page
  assert "<i>1</i>" not in page
  assert "Perplexity and quality by epoch" in page
  assert "<b>plums" in pages.render(lima.page(lima.Run(tmp_path)), escape=False)  # the twin


def test_an_unfinished_run_has_a_page(tmp_path):
  manifest(tmp_path / "tokens", added={})
  (tmp_path / "recipe.json").write_text('{"recipe": "lima"}')
  assert "LIMA" in report.write(tmp_path).read_text()
  with pytest.raises(UserError, match="holds no run of experiments"):
    lima.Run(tmp_path / "tokens")
