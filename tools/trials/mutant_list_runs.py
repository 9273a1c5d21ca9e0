"""Deliberate bugs in what a run believes, in data and in figures; see `mutant_list`."""

from __future__ import annotations

from trials.mutant_list import mutant

_HEADLINE = "stages/test_headline_figures.py"
_STORE, _LOOP = "checkpoint/test_store.py", "train/test_loop.py"

RUNS = (
  # resume and what is believed
  mutant(
    "a resumed run replays its first batches",
    "train/loop.py",
    "stream = batches(start) if",
    "stream = batches(0) if",
    _LOOP,
  ),
  mutant(
    "metrics beyond the checkpoint stay",
    "train/loop.py",
    "isinstance(at, int) and at <= step",
    "isinstance(at, int)",
    _LOOP,
  ),
  mutant(
    "changed metrics are taken",
    "train/loop.py",
    "if sha256 and hashlib.sha256(text).hexdigest() != sha256:",
    "if False:",
    _LOOP,
  ),
  mutant(
    "too many skips do not stop the run",
    "train/loop.py",
    "if skipped >= self.config.stop_after_skips:",
    "if False:",
    _LOOP,
  ),
  mutant(
    "a signal loses the step", "train/loop.py", "if stop or (at + 1) %", "if (at + 1) %", _LOOP
  ),
  mutant(
    "a step exists before its files do",
    "checkpoint/store.py",
    "      self._checkpointer.wait_until_finished()\n",
    "      pass\n",
    _STORE,
  ),
  mutant(
    "checkpoint files are not hashed",
    "checkpoint/store.py",
    'elif seal.sha256_file(path) != stated["sha256"]:',
    "elif False:",
    _STORE,
  ),
  mutant(
    "another run's checkpoint is taken",
    "checkpoint/store.py",
    "    if identity == self.identity:\n",
    "    if True:\n",
    _STORE,
  ),
  mutant(
    "checkpoints' manifests are not sealed",
    "checkpoint/store.py",
    "if whole and not seal.broken(manifest, _BEFORE):",
    "if whole:",
    _STORE,
  ),
  mutant(
    "the oldest steps stay and the newest go",
    "checkpoint/store.py",
    "self.steps()[: -self.keep]",
    "self.steps()[self.keep :]",
    _STORE,
  ),
  mutant(
    "left-over steps stay",
    "checkpoint/store.py",
    "        shutil.rmtree(path, ignore_errors=True)\n\n  def notes",
    "        pass\n\n  def notes",
    _STORE,
  ),
  mutant(
    "a changed figure is believed",
    "data/seal.py",
    'return record["sha256"] != digest(record)',
    "return False",
    "stages/test_damage.py",
  ),
  mutant(
    "a changed part is believed",
    "data/seal.py",
    "return beside(path).read_bytes().strip() == _content(path).encode()",
    "return True",
    "stages/test_damage.py",
  ),
  mutant(
    "changed outputs are believed",
    "stages/manifest.py",
    "if path.exists() and fingerprint(path) == stated:",
    "if path.exists():",
    "stages/test_manifest.py",
  ),
  mutant(
    "a changed input is believed",
    "stages/manifest.py",
    "      _check_input(path)\n",
    "      pass\n",
    "stages/test_chain_of_digests.py",
  ),
  mutant(
    "other settings are believed",
    "stages/manifest.py",
    "  if changed and not redo:\n",
    "  if False:\n",
    "stages/test_manifest.py",
  ),
  mutant(
    "log-probs of another model are taken",
    "stages/reference.py",
    'if rows[0].get("key") != wanted_key:',
    "if False:",
    "stages/test_damage.py",
    "experiments/test_wrong_inputs.py::test_reference_of_another_model",
  ),
  # data
  mutant(
    "EOS not supervised",
    "data/items.py",
    "mask += [0] + [1] * len(answer)",
    "mask += [0] + [1] * (len(answer) - 1) + [0]",
    "data/test_items.py::test_a_pair_shares_its_prompt",
  ),
  mutant(
    "positions do not go on in a branch",
    "data/items.py",
    "positions += range(shared, shared + 1 + len(answer))",
    "positions += range(1 + len(answer))",
    "data/test_items.py::test_a_pair_shares_its_prompt",
  ),
  mutant(
    "every epoch in the same order",
    "data/batching.py",
    "rng = np.random.default_rng([seed, epoch])",
    "rng = np.random.default_rng([seed, 0])",
    "data/test_batching.py",
  ),
  # figures
  mutant(
    "win rate's sides exchanged",
    "stages/evaluate.py",
    "winrate.head_to_head(ours, theirs,",
    "winrate.head_to_head(theirs, ours,",
    _HEADLINE,
  ),
  mutant(
    "gain's sides exchanged",
    "stages/evaluate.py",
    "statistics.paired_difference(ours.mean(1), theirs.mean(1),",
    "statistics.paired_difference(theirs.mean(1), ours.mean(1),",
    _HEADLINE,
  ),
  mutant(
    "KL's sign in the evaluation",
    "stages/evaluate.py",
    'c.logp - c.scores["reference"]',
    'c.scores["reference"] - c.logp',
    _HEADLINE,
  ),
  mutant(
    "KL's sign in the report",
    "report/chain_files.py",
    'c["logp"] - c["scores"]["reference"]',
    'c["scores"]["reference"] - c["logp"]',
    _HEADLINE,
  ),
  mutant(
    "ties count as wins",
    "eval/winrate.py",
    "rate = win + (1 - win - lose) / 2",
    "rate = 1 - lose",
    _HEADLINE,
  ),
  mutant(
    "unweighted calibration error",
    "eval/reward_metrics.py",
    "ece = sum(abs(a - b) * n for a, b, n in rows) / max(len(gaps), 1)",
    "ece = sum(abs(a - b) for a, b, n in rows) / max(len(rows), 1)",
    _HEADLINE,
  ),
  mutant(
    "best of k is worst of k",
    "eval/heldout.py",
    "order = np.argsort(-by, axis=1",
    "order = np.argsort(by, axis=1",
    "eval/test_heldout.py",
  ),
  mutant(
    "the interval of one prompt only",
    "eval/winrate.py",
    "statistics.bootstrap(rate, seed=seed)",
    "statistics.bootstrap(win, seed=seed)",
    "eval/test_statistics.py",
    _HEADLINE,
  ),
  mutant(
    "rank counted from the last",
    "stages/select.py",
    "answer = ordered[config.rank - 1]",
    "answer = ordered[-config.rank]",
    "stages/test_select.py",
  ),
  mutant(
    "worst candidate first",
    "stages/select.py",
    "key=lambda c: -c.scores[config.by])",
    "key=lambda c: c.scores[config.by])",
    "stages/test_select.py",
  ),
  mutant(
    "two orders that disagree are no tie",
    "judge/pairwise.py",
    "values[0] if len(set(values)) == 1 else 0.0",
    "values[0]",
    "judge/test_pairwise.py",
  ),
  mutant(
    "the order shown second is not turned back",
    "judge/pairwise.py",
    "verdict if a < b else -verdict)",
    "verdict)",
    "judge/test_pairwise.py",
  ),
  mutant(
    "a score beyond the scale counts",
    "judge/parse.py",
    "if not low <= given.score <= high or any",
    "if any",
    "judge/test_parse.py",
  ),
)
