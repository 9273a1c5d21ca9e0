"""A page or an API on this machine: its socket, and the server that waits on it."""

from __future__ import annotations

import errno
import socket
from typing import Any

from xwinjax.core.errors import UserError


def listen(host: str, port: int, flag: str) -> socket.socket:
  """A socket; port 0 takes a free one. Raises UserError where it cannot be had; `flag` opens it."""
  sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
  sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    sock.bind((host, port))
    sock.listen(256)
  except OSError as e:
    sock.close()
    taken = e.errno == errno.EADDRINUSE
    why = "is taken; name another, or 0 for any" if taken else f"cannot be used ({e.strerror or e})"
    raise UserError(f"{flag}: {why}") from None
  return sock


def serve(app: Any, sock: socket.socket, grace: int) -> None:
  """Serves an ASGI application until SIGINT or SIGTERM; what is under way has `grace` seconds."""
  import uvicorn  # of the extras that serve

  config = uvicorn.Config(
    app,
    access_log=False,
    log_level="warning",
    server_header=False,
    timeout_graceful_shutdown=grace,
    h11_max_incomplete_event_size=64 * 1024,
  )
  uvicorn.Server(config).run(sockets=[sock])
