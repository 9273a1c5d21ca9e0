"""An OpenAI-compatible server that drops, delays, garbles and lies, and answers now and then.

A judge's question that holds `<answer>\nN` is answered `Score: N mod 6`, so that a reply that went
to another question shows. `python tests/judge/faulty_server.py FAULTS` serves until it is killed,
and prints its port.
"""

from __future__ import annotations

import json
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("drop", "delay", "garble", "cut", "lie", "empty", "429", "500")


def score_of(text: str) -> int:
  found = re.search(r"<answer>\s*(\d+)", text)
  return int(found[1]) % 6 if found else 0


class Server(ThreadingHTTPServer):
  daemon_threads = True
  request_queue_size = 128

  def __init__(self, faults=FAULTS, share=0.5, delay=0.2, seed=0):
    super().__init__(("127.0.0.1", 0), Handler)
    self.faults, self.share, self.delay = faults, share, delay
    self.rng, self.lock = random.Random(seed), threading.Lock()
    self.answered: Counter[str] = Counter()  # by question
    self.seen: Counter[str] = Counter()  # by fault
    self.requests: list[dict] = []
    self.at_once = self.most_at_once = 0
    threading.Thread(target=self.serve_forever, daemon=True).start()

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_port}/v1"

  def handle_error(self, request, client_address):
    """A client that was killed is no news."""


class Handler(BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"

  def log_message(self, format, *args):
    pass

  def _send(self, body: bytes, status=200, length=None, **headers):
    self.send_response(status)
    self.send_header("Content-Type", "application/json")
    self.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), value)
    self.end_headers()
    self.wfile.write(body)
    self.wfile.flush()

  def do_POST(self):
    s: Server = self.server  # pyright: ignore[reportAssignmentType]
    request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    text = request["messages"][-1]["content"]
    with s.lock:
      s.at_once += 1
      s.most_at_once = max(s.most_at_once, s.at_once)
      s.requests.append(request | {"authorization": self.headers.get("Authorization")})
      fault = s.rng.choice(s.faults) if s.faults and s.rng.random() < s.share else ""
      s.seen[fault] += 1
    try:
      self._answer(s, fault, text)
    finally:
      with s.lock:
        s.at_once -= 1

  def _answer(self, s: Server, fault: str, text: str):
    reply = {
      "id": "x",
      "object": "chat.completion",
      "model": "judge",
      "choices": [
        {
          "index": 0,
          "message": {"role": "assistant", "content": f"Because.\nScore: {score_of(text)}"},
          "finish_reason": "stop",
        }
      ],
      "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
    body = json.dumps(reply).encode()
    match fault:
      case "drop":
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
      case "delay":
        time.sleep(s.delay)
        self._send(body)
      case "garble":
        self._send(body[: len(body) // 2])
      case "cut":
        self._send(body[:40], length=len(body))
        self.close_connection = True
      case "lie":
        self._send(json.dumps({"error": {"message": "busy"}}).encode())
      case "empty":
        self._send(json.dumps(reply | {"choices": []}).encode())
      case "429":
        self._send(b'{"error": {"message": "slow down"}}', 429, Retry_After="0.05")
      case "500":
        self._send(b'{"error": {"message": "oh"}}', 500, retry_after_ms="20")
      case _:
        if fault.isdigit():
          said = f"no, not with {self.headers.get('Authorization')}"
          self._send(json.dumps({"error": {"message": said}}).encode(), int(fault))
          return
        if fault == "repeat":
          self._send(body.replace(b"Because.", self.headers["Authorization"].encode()))
          return
        with s.lock:
          s.answered[text] += 1
        self._send(body)


if __name__ == "__main__":
  server = Server(tuple(filter(None, sys.argv[1].split(","))), float(sys.argv[2]))
  print(server.url, flush=True)
  threading.Event().wait()
