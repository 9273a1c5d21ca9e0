"""Questions to a model behind an OpenAI-compatible API, through the official client.

Every reply is kept, raw, in one file, a line each, keyed by its request: what was answered is not
asked again, whatever ended the run. Requests are sent by a bounded number of threads. The client
retries 408, 409, 429, 5xx, lost connections and time-outs, with backoff and jitter and as
Retry-After says; replies that are none are asked for again by tenacity, in the same way.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Annotated, Any

from xwinjax.core.bounds import Amount, Within
from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs
from xwinjax.data import jsonl
from xwinjax.data.records import Counts

Request = dict[str, Any]  # of /v1/chat/completions
SECRET = 12  # characters; a shorter key is a stand-in such as "none", and may stand in any text
LOCAL = ("http://127.0.0.1", "http://localhost", "http://[::1]")


@dataclasses.dataclass(frozen=True)
class RemoteConfig:
  """How a model behind an OpenAI-compatible API is asked; for by=openai:MODEL."""

  url: str = ""  # such as http://127.0.0.1:8500/v1; empty: OPENAI_BASE_URL, or the official one
  key: str = "OPENAI_API_KEY"  # the environment variable that holds the key
  concurrency: Annotated[int, Within(1, 256)] = 8  # requests under way at once
  retries: Annotated[int, Within(0, 100)] = 8  # of one request, before the run ends
  timeout: Annotated[float, Within(0.1, 3600)] = 120.0  # seconds for one reply
  price_in: Amount = 0.0  # of a million prompt tokens, in the currency of max_cost
  price_out: Amount = 0.0  # of a million tokens written
  max_cost: Amount = 0.0  # the run ends before it costs more; 0: no limit

  def __post_init__(self):
    if not self.key.isidentifier():  # a config is kept and shown: never a key itself
      raise ValueError("remote.key: expected the name of an environment variable, not a key")


@dataclasses.dataclass(frozen=True)
class Reply:
  """What came back: the text, why it ended, and the tokens it cost; or a refusal."""

  text: str
  finish: str = "stop"
  refused: str = ""  # the server's words, where it will not answer this request
  prompt_tokens: int = 0
  completion_tokens: int = 0


class NoReply(Exception):
  """What a server sent with status 200 is no reply."""


def read_reply(raw: str) -> Reply:
  """The reply in a response's body. Raises NoReply for what is cut, garbled or another thing."""
  try:
    body = json.loads(raw)
    (choice, *_) = body["choices"]
    text, usage = choice["message"]["content"], body.get("usage") or {}
    tokens = [usage.get(k) or 0 for k in ("prompt_tokens", "completion_tokens")]
  except (ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
    raise NoReply(f"{e!r:.60} in {raw!r:.80}") from None
  if not isinstance(text, str) or any(type(n) is not int or n < 0 for n in tokens):
    raise NoReply(f"no text, or no counts of tokens, in {raw!r:.80}")
  return Reply(text, str(choice.get("finish_reason") or "stop"), "", tokens[0], tokens[1])


def request_key(request: Request, number: int = 0) -> str:
  """sha256 of a request, and of which of several alike it is."""
  text = json.dumps([request, number], sort_keys=True, ensure_ascii=False)
  return hashlib.sha256(text.encode()).hexdigest()


class Replies:
  """The file of raw replies: a line each, appended as a whole; a cut last line is dropped."""

  def __init__(self, path: Path):
    self.path, self.lock = path, threading.Lock()
    self.known: dict[str, Reply] = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
      whole = path.read_bytes()
      end = whole.rfind(b"\n") + 1
      if end < len(whole):
        os.truncate(path, end)
      if end:
        for line, row in jsonl.read_rows(path):
          try:
            self.known.setdefault(row["key"], self._of(row))
          except (KeyError, TypeError, NoReply) as e:
            raise UserError(f"{path}:{line}: no reply ({e}); delete this line") from None
    self.file = path.open("ab", buffering=0)

  def _of(self, row: dict[str, Any]) -> Reply:
    return Reply("", "refused", row["refused"]) if "refused" in row else read_reply(row["reply"])

  def add(self, key: str, request: Request, **answer: str) -> Reply:
    row = {"key": key, **answer, "request": request}
    reply = self._of(row)
    with self.lock:
      if key not in self.known:
        self.file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self.known[key] = reply
      return self.known[key]


class Remote:
  """A model that is asked over HTTP; its replies are kept in `path`."""

  def __init__(self, model: str, config: RemoteConfig, path: Path):
    """Raises: UserError where there is no key, or a limit of cost without prices."""
    with needs("judge"):
      import openai
      import tenacity
    self.openai, self.tenacity, self.model, self.config = openai, tenacity, model, config
    if config.max_cost and not (config.price_in or config.price_out):
      raise UserError(
        "remote.max_cost needs remote.price_in and remote.price_out: what tokens cost"
      )
    key = os.environ.get(config.key, "")
    if not key and not config.url.startswith(LOCAL):
      raise UserError(f"the environment has no {config.key}, which {self._where} needs")
    self.key = key if len(key) >= SECRET else ""
    self.client = openai.OpenAI(
      api_key=key or "none",
      base_url=config.url or None,
      max_retries=config.retries,
      timeout=config.timeout,
    )
    self.replies = Replies(path)
    self.counts = Counts()  # replies that were at hand, asked for, and asked for again
    self.spent = self.dearest = 0.0
    self.under_way = 0
    self.lock = threading.Lock()
    for reply in self.replies.known.values():
      self._pay(reply)

  @property
  def _where(self) -> str:
    return f"openai:{self.model}" + (f" at {self.config.url}" if self.config.url else "")

  def _without_key(self, text: str) -> str:
    """What a server said, which may repeat the key it was sent."""
    return text.replace(self.key, "[key]") if self.key else text

  def _said(self, error: Exception, most: int) -> str:
    return self._without_key(" ".join(str(error).split()))[:most]

  def _pay(self, reply: Reply) -> None:
    c = self.config
    cost = reply.prompt_tokens * c.price_in + reply.completion_tokens * c.price_out
    self.spent += cost / 1e6
    self.dearest = max(self.dearest, cost / 1e6)

  def _begin(self) -> None:
    """Counts a request in. Raises UserError where it could cost more than is allowed."""
    with self.lock:
      most = self.config.max_cost
      if most and self.spent + (self.under_way + 1) * self.dearest > most:
        raise UserError(
          f"{self._where}: {self.spent:.4g} spent, remote.max_cost is {most:g}; replies so far are "
          "kept: the same command with a higher one continues"
        )
      self.under_way += 1

  def _ask(self, request: Request, key: str) -> Reply:
    self._begin()
    try:
      reply = self._received(request, key)
    finally:
      with self.lock:
        self.under_way -= 1
    with self.lock:
      self._pay(reply)
      self.counts["refused" if reply.refused else "asked"] += 1
    return reply

  def _received(self, request: Request, key: str) -> Reply:
    api, again = self.openai, self.tenacity

    def once() -> Reply:
      raw = self.client.chat.completions.with_raw_response.create(model=self.model, **request)
      return self.replies.add(key, request, reply=self._without_key(raw.text))

    def note(_: Any) -> None:
      self.counts["no reply, asked again"] += 1

    retry = again.Retrying(
      retry=again.retry_if_exception_type(NoReply),
      wait=again.wait_random_exponential(multiplier=0.5, max=30),
      stop=again.stop_after_attempt(self.config.retries + 1),
      before_sleep=note,
      reraise=True,
    )
    try:
      return retry(once)
    except (api.BadRequestError, api.UnprocessableEntityError) as e:
      return self.replies.add(key, request, refused=self._said(e, 300))
    except api.APIStatusError as e:
      raise UserError(f"{self._where}: status {e.status_code}: {self._said(e, 200)}") from None
    except (api.APIConnectionError, NoReply) as e:
      raise UserError(
        f"{self._where}: {self._said(e, 200)}, {self.config.retries + 1} times; the same command "
        "continues"
      ) from None

  def __call__(
    self, requests: Sequence[Request], on_reply: Callable[[], None] | None = None
  ) -> list[Reply]:
    """A reply for each request, in their order. The n-th of equal requests is one of its own.

    Raises: UserError for a key that is refused, a server that is gone, or the limit of cost.
    """
    met, keys = Counts(), []
    for request in requests:
      plain = request_key(request)
      keys.append(request_key({"model": self.model, **request}, met[plain]))
      met[plain] += 1
    open_ = [i for i, key in enumerate(keys) if key not in self.replies.known]
    self.counts["at hand"] += len(keys) - len(open_)
    tell = on_reply or (lambda: None)
    for _ in range(len(keys) - len(open_)):
      tell()
    with ThreadPoolExecutor(self.config.concurrency, "judge") as pool:
      jobs = [pool.submit(self._ask, requests[i], keys[i]) for i in open_]
      for job in jobs:
        job.add_done_callback(lambda job: None if job.cancelled() or job.exception() else tell())
      try:
        wait(jobs, return_when=FIRST_EXCEPTION)
      finally:
        for job in jobs:
          job.cancel()
    for job in jobs:
      if not job.cancelled() and (error := job.exception()):
        raise error
    return [self.replies.known[key] for key in keys]

  def figures(self) -> dict[str, Any]:
    """What was asked, and what it cost."""
    known = self.replies.known.values()
    tokens = {
      "prompt": sum(r.prompt_tokens for r in known),
      "completion": sum(r.completion_tokens for r in known),
    }
    cost = {"cost": round(self.spent, 6)} if self.config.price_in or self.config.price_out else {}
    return {"model": self.model, "requests": dict(self.counts), "tokens": tokens, **cost}
