"""Listening, and serving until told to stop."""

from __future__ import annotations

import socket

import uvicorn

from xwinjax.core.errors import UserError
from xwinjax.serve.app import Served, make_app

LOCAL = ("127.0.0.1", "localhost", "::1")


def listen(host: str, port: int) -> socket.socket:
  """A socket; port 0 takes a free one. Raises UserError where it cannot be had."""
  family = socket.AF_INET6 if ":" in host else socket.AF_INET
  sock = socket.socket(family)
  sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    sock.bind((host, port))
    sock.listen(256)
  except OSError as e:
    sock.close()
    raise UserError(
      f"config.host={host}, config.port={port}: {e.strerror or e}; name another port, or 0 for any"
    ) from None
  return sock


def run(served: Served, sock: socket.socket) -> None:
  """Serves until SIGINT or SIGTERM; answers under way have ten seconds to end."""
  config = uvicorn.Config(
    make_app(served),
    access_log=False,
    log_level="warning",
    server_header=False,
    timeout_graceful_shutdown=10,
    h11_max_incomplete_event_size=64 * 1024,
  )
  try:
    uvicorn.Server(config).run(sockets=[sock])
  finally:
    served.engine.close()
