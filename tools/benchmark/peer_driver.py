"""Runs a peer's benchmark script again and again in the peer's own Python.

  PYTHON peer_driver.py SCRIPT

Standard library only. The script is imported once with what it imports, which takes longer than
many a measurement; each job then runs in a process forked from there, so that no setting of one
reaches the next. A job is a line of JSON on stdin, {"argv": […], "in_order": bool}; its answer is a
line on stdout, the script's own result with "losses", and the tokens and targets of all steps.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import traceback


def load(path):
  spec = importlib.util.spec_from_file_location("peer_script", path)
  assert spec is not None and spec.loader is not None  # noqa: PT018
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  for name in ("torch", "datasets", "transformers", "trl"):
    with contextlib.suppress(ImportError):
      importlib.import_module(name)
  return module


def watch(script, seen, in_order):
  """Lets the script's trainer tell its losses and counts; `in_order` keeps the rows' order."""
  metered = script.metered

  def watched(base, *rest):
    Metered, Stopwatch = metered(base, *rest)

    class Watched(Metered):
      def __init__(self, *words, **more):
        super().__init__(*words, **more)
        head = getattr(getattr(self, "model", None), "score", None)
        if in_order and head is not None:  # a reward head of zeros, as ours
          head.weight.data.zero_()

      def training_step(self, model, inputs, *words, **more):
        live, _, targets, _ = script.count_batch(inputs)
        loss = super().training_step(model, inputs, *words, **more)
        seen["losses"].append(float(loss))
        seen["tokens"] += live
        seen["targets"] += targets
        return loss

      if in_order:

        def _get_train_sampler(self, *words, **more):
          rows = range(len(self.train_dataset))
          return importlib.import_module("torch.utils.data").SequentialSampler(rows)

    return Watched, Stopwatch

  script.metered = watched
  if in_order:
    script.choose_rows = lambda rows, args, tokenizer: list(rows)[: args.rows]


def work(script, job):
  seen = {"losses": [], "tokens": 0, "targets": 0}
  watch(script, seen, job.get("in_order", False))
  args = script.parse_args(job["argv"])
  figures = script.generate(args) if args.stage == "generate" else script.train(args)
  return {**figures, "all_steps": seen}


def forked(script, job, out):
  child = os.fork()
  if child:
    _, status = os.waitpid(child, 0)
    if status:
      print(json.dumps({"error": f"the peer ended with status {status}"}), file=out, flush=True)
    return
  try:
    answer = work(script, job)
  except BaseException as e:
    traceback.print_exc()
    answer = {"error": f"{type(e).__name__}: {e}"}
  print(json.dumps(answer), file=out, flush=True)
  os._exit(0)


def main():
  os.environ.setdefault("HF_HUB_OFFLINE", "1")
  os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  out = os.fdopen(os.dup(1), "w")  # answers; whatever else is printed goes to stderr
  os.dup2(2, 1)
  script = load(sys.argv[1])
  print(json.dumps({"ready": True}), file=out, flush=True)
  for line in sys.stdin:
    forked(script, json.loads(line), out)


if __name__ == "__main__":
  main()
