"""CTranslate2's side of a sampling row; runs in the Python of --engine, knows nothing of ours.

Reads jobs as JSON lines, {"model", "prompts", "samples", "new", "temperature", "top_p", "repeats"}
with prompts as lists of pieces, and answers each with {setting: tokens a second}. The model is
converted once; a setting is a precision and how threads are shared out.
"""

import json
import os
import sys
import tempfile
import time

import ctranslate2  # pyright: ignore[reportMissingImports]

PRECISIONS = ("float32", "bfloat16")


def opened(model, folder):
  """The converted model's folder."""
  place = os.path.join(folder, "converted")
  if not os.path.exists(place):
    ctranslate2.converters.TransformersConverter(model).convert(place)
  return place


def settings(cores):
  """(name, precision, models side by side, threads each)."""
  there = ctranslate2.get_supported_compute_types("cpu")
  for precision in filter(there.__contains__, PRECISIONS):
    for models in sorted({1, cores}):
      yield f"{precision}, {models} × {cores // models} threads", precision, models, cores // models


def draw(generator, job):
  """Tokens of one pass over the prompts: all samples of a prompt at once, as the engine has it."""
  done = generator.generate_batch(
    [prompt for prompt in job["prompts"] for _ in range(job["samples"])],
    max_batch_size=job["samples"],
    sampling_topk=0,
    sampling_topp=job["top_p"],
    sampling_temperature=job["temperature"],
    min_length=job["new"],
    max_length=job["new"],
    end_token=[],
    include_prompt_in_result=False,
  )
  return sum(len(ids) for answer in done for ids in answer.sequences_ids)


def one_by_one(generator, job):
  return sum(draw(generator, {**job, "prompts": [prompt]}) for prompt in job["prompts"])


def speeds(job, folder):
  place, found = opened(job["model"], folder), {}
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  for name, precision, models, threads in settings(cores):
    generator = ctranslate2.Generator(
      place, compute_type=precision, inter_threads=models, intra_threads=threads
    )
    run = one_by_one if job["samples"] == 1 else draw
    run(generator, job)
    start = time.perf_counter()
    tokens = sum(run(generator, job) for _ in range(job["repeats"]))
    found[name] = tokens / (time.perf_counter() - start)
  return found


def main():
  with tempfile.TemporaryDirectory() as folder:
    print(json.dumps({"engine": f"CTranslate2 {ctranslate2.__version__}"}), flush=True)
    for line in sys.stdin:
      try:
        reply = {"speeds": speeds(json.loads(line), folder)}
      except Exception as e:  # whatever it is, the bench says it
        reply = {"error": f"{type(e).__name__}: {e}"}
      print(json.dumps(reply), flush=True)


if __name__ == "__main__":
  main()
