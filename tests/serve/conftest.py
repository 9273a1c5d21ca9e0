import pytest

pytest.importorskip("starlette", reason="needs the extra [serve]")

from starlette.testclient import TestClient

from xwinjax.sample import Sampler, SamplerConfig, SamplingParams
from xwinjax.serve import app
from xwinjax.serve.engine import Engine, Scoring
from xwinjax.stages import common
from xwinjax.stages.common import ModelConfig


@pytest.fixture(scope="session")
def model(tiny_folder):
  return common.open_model(ModelConfig(path=str(tiny_folder)), None)


@pytest.fixture(scope="session")
def engine(model):
  settings = SamplerConfig(slots=4, block=8, window=32, prompt_multiple=16)
  stop_ids = model.renderer.stop_ids()
  setup = Sampler(
    model.config, model.params, SamplingParams(), stop_ids=stop_ids, settings=settings
  ).setup
  engine = Engine(setup, 1, 64)
  yield engine
  engine.close()


@pytest.fixture(scope="session")
def served(model, engine):
  scoring = Scoring(model.config, model.params, 3)
  c = model.config
  return app.Served("tiny", model.renderer, engine, scoring, c.max_length, c.vocab_size)


@pytest.fixture(scope="session")
def client(served):
  with TestClient(app.make_app(served), base_url="http://127.0.0.1") as c:
    yield c
