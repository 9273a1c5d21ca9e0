"""What all tests share: eight simulated devices, a compilation cache, tiny models, real data."""

import os
import signal
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# With the concurrent scheduler, simulated devices may start collectives in different orders and
# wait for one another for ever.
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "")
  + " --xla_force_host_platform_device_count=8"
  + " --xla_cpu_enable_concurrency_optimized_scheduler=false"
)

import jax
import pytest

from xwinjax.core import host, machine

MEASURED = machine.rates_here
SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_configure(config):
  if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)
  host.prepare()
  # The same numbers on every machine; tests of the choice put others here.
  machine.rates_here = lambda: machine.Rates(float32=2e9, rounded=1e9)


def pytest_collection_modifyitems(items):
  """Files with slow tests come first, so that the last to end is not one that began last."""
  slow = {item.path for item in items if item.get_closest_marker("slow")}
  items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
  """Real checkpoints, data and goldens, which do not belong to the repository."""
  if not SHARED.exists():
    pytest.skip("needs ../shared/data: real checkpoints, data and goldens")
  return SHARED


@pytest.fixture
def rates_here(monkeypatch, tmp_path):
  """The function that measures, which all else does without, with a cache of its own."""
  monkeypatch.setenv("XWINJAX_CACHE", str(tmp_path))
  MEASURED.cache_clear()
  yield MEASURED
  MEASURED.cache_clear()


@pytest.fixture
def compiled_names():
  """Names of what XLA compiles (or takes from its cache on disk) while the test runs."""
  names = []

  def listen(event, _, **about):
    if event.endswith("backend_compile_duration"):
      names.append(about.get("fun_name"))

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield names
  jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
  """A model folder as Hugging Face's, tiny and random, with its tokenizer."""
  from xwinjax.testing.tiny import tiny_model

  return tiny_model(tmp_path_factory.mktemp("tiny") / "model")
