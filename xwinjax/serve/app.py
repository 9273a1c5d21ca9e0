"""A model behind the OpenAI API: /v1/chat/completions, /v1/completions, /v1/models.

A request is checked before anything is computed; what is wrong gets a 4xx with a message. Streams
are server-sent events. A client that goes away frees its slots.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from xwinjax.core import rng
from xwinjax.data.templates import Renderer
from xwinjax.sample.run import Completion
from xwinjax.serve.engine import Asked, Engine, Full, Scoring, Ticket
from xwinjax.serve.protocol import Question, Refused, parse
from xwinjax.serve.replies import Answer, Replies, cut, settled_text


@dataclasses.dataclass(frozen=True)
class Served:
  """What is served, and its limits."""

  name: str
  renderer: Renderer
  engine: Engine
  scoring: Scoring
  max_length: int
  vocab_size: int
  most_bytes: int = 2**20
  token: str = ""  # that requests must bear; empty: none
  hosts: tuple[str, ...] = ("127.0.0.1", "localhost")  # by which the server may be called


class Server:
  """The handlers of one model."""

  def __init__(self, served: Served):
    self.s, self.replies = served, Replies(served.name, served.renderer.tokenizer)

  def prompt_ids(self, question: Question, prompt: Any) -> list[int]:
    """A prompt's ids. Raises Refused for one that leaves no room."""
    s = self.s
    if question.chat:
      ids = s.renderer.encode_prompt(prompt)
    elif isinstance(prompt, str):
      ids = [*s.renderer.tokenizer.opening, *s.renderer.tokenizer.encode(prompt)]
    else:
      ids = list(prompt)
      if bad := [i for i in ids if not 0 <= i < s.vocab_size]:
        raise Refused(400, f"token {bad[0]} is not in the vocabulary of {s.vocab_size}", "prompt")
    room = s.max_length - len(ids)
    wanted = question.max_tokens if question.max_tokens is not None else 1
    field = "messages" if question.chat else "prompt"
    if not ids:
      raise Refused(400, "the prompt is empty", field)
    if room < wanted:
      raise Refused(
        400,
        f"the prompt has {len(ids)} tokens, which leaves {max(room, 0)} of the model's "
        f"{s.max_length}; {wanted} are asked for",
        field,
      )
    return ids

  def tickets(
    self, question: Question, prompts: Sequence[list[int]], tell: Callable[[int], Callable]
  ) -> list[Ticket]:
    """A ticket for each choice of each prompt."""
    tickets = []
    for prompt, n in itertools.product(prompts, range(question.choices)):
      given = question.seed
      seed = secrets.randbits(32) if given is None else (given + n) % 2**32
      most = question.max_tokens
      asked = Asked(
        # The same prompt, settings and seed are drawn with the same keys.
        id=f"{rng.prompt_number(str(prompt))}",
        prompt=prompt,
        samples=1,
        max_new=self.s.max_length - len(prompt) if most is None else most,
        temperature=question.temperature,
        top_p=question.top_p,
        seed=seed,
        stops=question.stops,
        decode=self.decoder(question.chat),
      )
      tickets.append(Ticket(asked, tell(len(tickets)), question.stream))
    return tickets

  async def complete(self, request: Request, chat: bool) -> Response:
    question = parse(await self.body(request), chat, self.s.name)
    prompts = [
      await run_in_threadpool(self.prompt_ids, question, prompt) for prompt in question.prompts
    ]
    loop, news = asyncio.get_running_loop(), asyncio.Queue()

    def tell(n: int) -> Callable:
      return lambda ids, end: loop.call_soon_threadsafe(news.put_nowait, (n, ids, end))

    tickets = self.tickets(question, prompts, tell) if question.max_tokens != 0 else []
    try:
      self.s.engine.submit(tickets)
    except Full:
      raise Refused(429, "too many requests are waiting; try again later") from None
    if question.stream:
      events = self.events(question, prompts, tickets, news)
      return StreamingResponse(events, media_type="text/event-stream")
    try:
      done = await self.all(request, tickets, news)
    finally:
      for ticket in tickets:
        ticket.cancelled = True
    if not tickets:  # max_tokens: 0, for the sake of the prompt
      done = {n: Completion([], [], "length") for n in range(len(prompts) * question.choices)}
    answers = [Answer(prompts[n // question.choices], done[n]) for n in sorted(done)]
    scored = None
    if question.logprobs is not None:
      texts = [a.prompt + a.completion.ids for a in answers]
      scored = await run_in_threadpool(self.s.scoring, texts)
    return JSONResponse(self.replies.whole(question, answers, scored))

  async def all(self, request: Request, tickets: Sequence[Ticket], news: asyncio.Queue) -> dict:
    """Every ticket's completion, unless the client goes away."""
    done: dict[int, Completion] = {}
    while len(done) < len(tickets):
      try:
        n, _, end = await asyncio.wait_for(news.get(), 1)
      except TimeoutError:
        if await request.is_disconnected():
          raise Refused(499, "the client has gone") from None
        continue
      if isinstance(end, Exception):
        raise Refused(500, f"the model failed: {' '.join(str(end).split())[:200]}")
      if end is not None:
        done[n] = end
    return done

  async def events(
    self,
    question: Question,
    prompts: Sequence[list[int]],
    tickets: Sequence[Ticket],
    news: asyncio.Queue,
  ) -> AsyncIterator[str]:
    """Server-sent events: what is new of each answer, its end, and [DONE]."""
    event = lambda body: f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
    stream, decode = self.replies.stream(question), self.decoder(question.chat)
    sent, left, written = [""] * len(tickets), len(tickets), 0
    try:
      for n in range(len(tickets)):
        if question.chat:
          yield event(stream.opening(n))
      while left:
        n, ids, end = await news.get()
        if isinstance(end, Exception):
          message = f"the model failed: {' '.join(str(end).split())[:200]}"
          yield event(Refused(500, message).body())
          break
        text = end.text if end else settled_text(cut(decode(ids), question.stops), question.stops)
        if len(text) > len(sent[n]) and text.startswith(sent[n]):
          yield event(stream.delta(n, text[len(sent[n]) :]))
          sent[n] = text
        if end is not None:
          left, written = left - 1, written + len(end.ids)
          yield event(stream.end(n, end.finish))
      if question.usage_in_stream:
        read = sum(map(len, prompts)) * question.choices
        yield event(stream.usage(read, written))
      yield "data: [DONE]\n\n"
    finally:
      for ticket in tickets:
        ticket.cancelled = True

  def decoder(self, chat: bool) -> Callable[[Sequence[int]], str]:
    """ids -> an answer without what the template puts around it, or plain text."""
    plain = lambda ids: self.s.renderer.tokenizer.decode(ids, False)
    return self.s.renderer.answer_text if chat else plain

  async def body(self, request: Request) -> bytes:
    """The body, of a bounded size whatever its headers say."""
    given = request.headers.get("content-length", "")
    most = self.s.most_bytes
    if given.isdigit() and int(given) > most:
      raise Refused(413, f"the body has {given[:20]} bytes; expected at most {most}")
    body = b""
    async for chunk in request.stream():
      body += chunk
      if len(body) > most:
        raise Refused(413, f"the body has more than {most} bytes")
    return body


class Bearer:
  """Lets in those who bear the token."""

  def __init__(self, app: Any, token: str):
    self.app, self.token = app, token

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and self.token:
      given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
      scheme, _, token = given.partition(" ")
      right = hmac.compare_digest(token.encode(), self.token.encode())
      if scheme.lower() != "bearer" or not right:
        refused = Refused(401, "a valid token is needed: Authorization: Bearer TOKEN")
        await JSONResponse(refused.body(), 401)(scope, receive, send)
        return
    await self.app(scope, receive, send)


def make_app(served: Served) -> Starlette:
  """The ASGI application."""
  server, began = Server(served), int(time.time())
  card = {"id": served.name, "object": "model", "created": began, "owned_by": "xwinjax"}

  async def chat(request: Request) -> Response:
    return await server.complete(request, True)

  async def text(request: Request) -> Response:
    return await server.complete(request, False)

  async def models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [card]})

  async def model(request: Request) -> Response:
    if request.path_params["name"] != served.name:
      raise Refused(404, f"there is one model, {served.name!r}")
    return JSONResponse(card)

  def refused(_: Request, e: Any) -> Response:
    return JSONResponse(e.body(), e.status)

  def http(_: Request, e: Any) -> Response:
    return JSONResponse(Refused(e.status_code, str(e.detail)).body(), e.status_code)

  return Starlette(
    routes=[
      Route("/v1/chat/completions", chat, methods=["POST"]),
      Route("/v1/completions", text, methods=["POST"]),
      Route("/v1/models", models),
      Route("/v1/models/{name:path}", model),
    ],
    middleware=[
      Middleware(TrustedHostMiddleware, allowed_hosts=list(served.hosts), www_redirect=False),
      Middleware(Bearer, token=served.token),
    ],
    exception_handlers={Refused: refused, HTTPException: http},
  )
