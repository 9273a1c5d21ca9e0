"""Runs the page on this machine, for this machine alone."""

from __future__ import annotations

import errno
import socket

import uvicorn

from xwinjax.annotate.app import make_app
from xwinjax.annotate.store import Store
from xwinjax.core.errors import UserError

HOST = "127.0.0.1"  # and nothing else: the page has no encryption


def listen(port: int) -> socket.socket:
  """A socket on 127.0.0.1; port 0 takes a free one. Raises UserError where it is taken."""
  sock = socket.socket()
  sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    sock.bind((HOST, port))
    sock.listen(128)
  except (OSError, OverflowError) as e:
    sock.close()
    taken = isinstance(e, OSError) and e.errno == errno.EADDRINUSE
    why = "is taken; name another, or 0 for any" if taken else f"cannot be used ({e})"
    raise UserError(f"--port={port}: {why}") from None
  return sock


def link(sock: socket.socket, token: str) -> str:
  """The annotator's link; what stands behind # stays in the browser, out of every log."""
  return f"http://{HOST}:{sock.getsockname()[1]}/#{token}"


def run(store: Store, sock: socket.socket) -> None:
  """Serves until SIGINT or SIGTERM, and lets what is being saved finish."""
  config = uvicorn.Config(
    make_app(store),
    access_log=False,
    log_level="warning",
    server_header=False,
    timeout_graceful_shutdown=5,
  )
  uvicorn.Server(config).run(sockets=[sock])
