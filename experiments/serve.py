"""Puts a model behind the OpenAI API on this machine; Ctrl-C stops it.

  python -m experiments.serve --config.model.path=FOLDER
  python -m experiments.serve --config.model.path=FOLDER --config.port=0 --config.name=mine

  POST /v1/chat/completions   messages, by the model's template; stream, stop, seed, n, logprobs
  POST /v1/completions        texts or token ids; echo with logprobs scores what is given
  GET  /v1/models             the one model

The official client, alpaca_eval, lm-evaluation-harness and --config.by=openai:NAME can be pointed
at it. Answers are written side by side; a request joins at the next block of tokens. Beyond this
machine (--config.host) a token is needed, from the environment.
"""

import sys

from xwinjax.recipes import cli
from xwinjax.recipes.serve import ServeConfig, serve

command = cli.Command("serve", __doc__, "configs/serve.py", ServeConfig, serve, writes=False)

if __name__ == "__main__":
  sys.exit(command())
