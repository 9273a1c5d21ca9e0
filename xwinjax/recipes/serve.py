"""What experiments.serve does: opens a model and puts it behind the OpenAI API."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

from xwinjax.core import web
from xwinjax.core.bounds import Few, Positive, Tokens, Within
from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs
from xwinjax.sample import Sampler, SamplerConfig, SamplingParams
from xwinjax.sample.scheduler import streams
from xwinjax.stages import common
from xwinjax.stages.common import ModelConfig
from xwinjax.stages.config import group

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclasses.dataclass(frozen=True)
class ServeConfig:
  """A model behind the OpenAI API."""

  model: ModelConfig = group(ModelConfig)
  name: str = ""  # by which requests call the model; empty: its folder's name
  host: str = "127.0.0.1"  # beyond this machine (0.0.0.0, …) a token is needed
  port: Annotated[int, Within(0, 65535)] = 8500  # 0 takes a free one
  token: str = "XWINJAX_TOKEN"  # the environment variable that holds the token
  slots: Few = 32  # answers written side by side
  block: Few = 8  # tokens between two looks at what else is asked
  window: Tokens = 128  # own tokens the cache starts with; it doubles as answers grow
  prompt: Few = 128  # prompt tokens the cache starts with; it doubles where one is longer
  waiting: Positive = 1024  # answers that may wait for a slot; more are refused with 429
  most_bytes: Positive = 2**20  # of a request
  top_logprobs: Few = 5  # of each token, that a request can ask for


def serve(config: ServeConfig, workdir: Path, redo: bool) -> None:
  """Opens the model and serves until Ctrl-C. Raises UserError before anything is loaded."""
  with needs("serve"):
    from xwinjax.serve import app
    from xwinjax.serve.engine import Engine, Scoring
  token = os.environ.get(config.token, "")
  if config.host not in LOCAL and len(token) < 16:
    raise UserError(
      f"config.host={config.host} can be reached from other machines: put a token of at least 16 "
      f"characters into the environment as {config.token}; requests then bear it"
    )
  common.input_file(config.model.path, "model.path")
  sock = web.listen(
    config.host, config.port, f"config.host={config.host}, config.port={config.port}"
  )
  model = common.open_model(config.model, None, reward=False)
  settings = SamplerConfig(
    slots=config.slots, block=config.block, window=config.window, prompt_multiple=config.prompt
  )
  setup = Sampler(
    model.config, model.params, SamplingParams(), stop_ids=model.renderer.stop_ids(),
    settings=settings,
  ).setup  # fmt: skip
  name = config.name or Path(config.model.path).resolve().name
  served = app.Served(
    name,
    model.renderer,
    Engine(setup, streams(setup), config.waiting),
    Scoring(setup.config, model.params, config.top_logprobs),  # as it is sampled, unrounded
    model.config.max_length,
    model.config.vocab_size,
    config.most_bytes,
    token,
    ("127.0.0.1", "localhost", "[::1]") if config.host in LOCAL else ("*",),
  )
  port = sock.getsockname()[1]
  where = f"[{config.host}]" if ":" in config.host else config.host
  print(f"{name}: http://{where}:{port}/v1, until Ctrl-C", flush=True)
  try:
    web.serve(app.make_app(served), sock, grace=10)
  finally:
    served.engine.close()
