"""What experiments.annotate does: opens or begins a study, hands out links, serves the page."""

from __future__ import annotations

import argparse
import socket

from xwinjax.annotate import export, study
from xwinjax.annotate.app import make_app
from xwinjax.annotate.store import Store
from xwinjax.core import web
from xwinjax.core.errors import UserError
from xwinjax.data.records import Counts

HOST = "127.0.0.1"  # and nothing else: the page has no encryption


def open_store(options: argparse.Namespace) -> Store:
  """The study of --db, begun with --prompts and --answers where these are given."""
  if not (options.prompts or options.answers):
    return Store(options.db)
  if not (options.prompts and options.answers):
    raise UserError("--prompts and --answers go together; without both, --db is gone on with")
  ask, counts = study.check_ask(options.ask.split(",")), Counts()
  items = study.make_items(
    options.prompts,
    options.answers,
    ask=ask,
    pairs=options.pairs,
    checks=options.checks,
    seed=options.seed,
    bad_rows=options.bad_rows,
    counts=counts,
  )
  store = Store.create(options.db, items, ask, options.seed)
  print(f"{options.db}: {', '.join(f'{n} {what}' for what, n in counts.items())}")
  return store


def hand_out(store: Store, options: argparse.Namespace) -> list[tuple[str, str]]:
  """(name, token) of new annotators and of new links. The first study has one annotator."""
  known = store.annotators()
  names = options.annotators or ([] if known else ["annotator_1"])
  tokens = [(name, store.add_annotator(name)) for name in dict.fromkeys(names) if name not in known]
  if options.new_link:
    tokens.append((options.new_link, store.renew_token(options.new_link)))
  return tokens


def link(sock: socket.socket, token: str) -> str:
  """The annotator's link; what stands behind # stays in the browser, out of every log."""
  return f"http://{HOST}:{sock.getsockname()[1]}/#{token}"


def run(options: argparse.Namespace) -> None:
  store = open_store(options)
  if options.export:
    print(f"wrote {export.write(store, options.export)}")
    return
  sock = web.listen(HOST, options.port, f"--port={options.port}")
  tokens = dict(hand_out(store, options))
  for name, number in store.annotators().items():
    done = store.progress(number)
    where = link(sock, tokens[name]) if name in tokens else "the link printed before"
    print(f"{name}: {done['done']} of {done['total']} judged; {where}")
  print("serving until Ctrl-C; each link is shown this once", flush=True)
  web.serve(make_app(store), sock, grace=5)
