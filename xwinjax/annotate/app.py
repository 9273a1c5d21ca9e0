"""The page's server: one page, and three addresses that give and take JSON.

  GET  /                  the page; its script reads the token behind the # of the link, which a
                          browser never sends, and gives it as `Authorization: Bearer TOKEN`
  GET  /api/progress      {"annotator", "done", "total", "next"}
  GET  /api/items/N       the N-th item of this annotator: texts and questions, no names of systems
  POST /api/votes         {"position", "revision", "choices", "seconds"} -> 200 once it is on disk;
                          409 where another window was first

Nothing that could run comes from data: texts travel as JSON, the script sets them as text, and the
Content-Security-Policy allows the page's own two files only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import exc
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xwinjax.annotate import study
from xwinjax.annotate.store import Conflict, Place, Store
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import messages_json

HOSTS = ["127.0.0.1", "localhost"]  # another name for this machine is a rebinding attack
MAX_BODY = 64 * 1024
HEADERS = {
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
  "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
  "frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
}
FILES = {
  "/": ("page.html", "text/html"),
  "/page.css": ("page.css", "text/css"),
  "/page.js": ("page.js", "text/javascript"),
  "/page.svg": ("page.svg", "image/svg+xml"),
}


class SecureHeaders:
  """Puts HEADERS on every response, errors too."""

  def __init__(self, app: Any):
    self.app = app

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    async def secured(message: Any) -> None:
      if message["type"] == "http.response.start":
        extra = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
        message = {**message, "headers": [*message.get("headers", []), *extra]}
      await send(message)

    await self.app(scope, receive, secured)


def make_app(store: Store) -> Starlette:
  """The ASGI application that serves a study."""

  def who(request: Request) -> tuple[int, str]:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    person = store.find(token) if scheme.lower() == "bearer" and token else None
    if person is None:
      raise HTTPException(401, "this link is not, or no longer, valid; ask for a new one")
    return person

  # Functions that are not async run in threads, so that waiting for the disk holds nobody up.

  def progress(request: Request) -> Response:
    annotator, name = who(request)
    return JSONResponse({"annotator": name, **store.progress(annotator)})

  def item(request: Request) -> Response:
    annotator, _ = who(request)
    place = store.place(annotator, request.path_params["position"])
    if place is None:
      raise HTTPException(404, "no such item")
    return JSONResponse(place_json(place, store.ask))

  def save(token_of: Request, vote: dict[str, Any]) -> Response:
    annotator, _ = who(token_of)
    try:
      revision = store.save(annotator, **vote)
    except ValueError as e:
      raise HTTPException(400, str(e)) from None
    except Conflict as e:
      raise HTTPException(409, str(e)) from None
    return JSONResponse({"revision": revision, **store.progress(annotator)})

  async def votes(request: Request) -> Response:
    vote = parse_vote(await body_of(request))
    return await run_in_threadpool(save, request, vote)

  def file(request: Request) -> Response:
    content, kind = files[request.url.path]
    return Response(content, media_type=kind)

  here = Path(__file__).parent
  files = {path: ((here / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
  return Starlette(
    routes=[
      *(Route(path, file) for path in files),
      Route("/api/progress", progress),
      Route("/api/items/{position:int}", item),
      Route("/api/votes", votes, methods=["POST"]),
    ],
    middleware=[
      Middleware(SecureHeaders),
      Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
    ],
    exception_handlers={HTTPException: _said, exc.OperationalError: _disk},
  )


def _said(_: Request, error: Any) -> Response:
  return JSONResponse({"error": error.detail}, error.status_code)


def _disk(_: Request, error: Any) -> Response:
  """A full disk or a lock that nobody gives back: the vote is not saved, and the page says so."""
  return JSONResponse({"error": f"not saved: {error.orig}"}, 503)


async def body_of(request: Request) -> bytes:
  length = request.headers.get("content-length", "")
  if not length.isascii() or not length.isdigit():
    raise HTTPException(411, "a Content-Length is needed")
  if int(length) > MAX_BODY:
    raise HTTPException(413, f"more than {MAX_BODY} bytes")
  return await request.body()


def parse_vote(body: bytes) -> dict[str, Any]:
  """The arguments of Store.save. Raises HTTPException 400 for anything else."""
  try:
    vote = jsonl.decode(body.decode("utf-8"), "the vote")
  except (UserError, UnicodeDecodeError) as e:
    raise HTTPException(400, str(e)) from None
  wanted = {"position": int, "revision": int, "choices": dict, "seconds": (int, float)}
  if not isinstance(vote, dict) or vote.keys() != wanted.keys():
    raise HTTPException(400, f"the vote: expected {', '.join(wanted)}")
  for name, kind in wanted.items():
    if not isinstance(vote[name], kind) or isinstance(vote[name], bool):
      raise HTTPException(400, f"the vote: {name} is of a wrong kind")
  if not all(isinstance(value, str) for value in vote["choices"].values()):
    raise HTTPException(400, "the vote: choices are text")
  if not (1 <= vote["position"] < 2**31 and 1 <= vote["revision"] < 2**31):
    raise HTTPException(400, "the vote: position and revision count from 1")
  if not 0 <= vote["seconds"] <= 1e9:
    raise HTTPException(400, "the vote: seconds are not negative")
  return vote


def place_json(place: Place, ask: tuple[str, ...]) -> dict[str, Any]:
  """What the page shows of an item: nothing that tells the systems or the checks apart."""
  return {
    "position": place.position,
    "prompt": messages_json(place.item.prompt),
    "answers": [messages_json(a.messages) for a in place.item.answers],
    "questions": [
      {
        "name": q.name,
        "text": q.text,
        "answer": q.answer,
        "turn": q.turn,
        "choices": [{"value": v, "label": label, "key": key} for v, label, key in q.choices],
      }
      for q in study.questions(place.item, ask)
    ],
    "revision": place.revision,
    "choices": place.choices,
  }
