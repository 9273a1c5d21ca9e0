import pytest

from xwinjax.data.records import Example, Message
from xwinjax.judge.prompts import JudgePrompt
from xwinjax.stages import common
from xwinjax.stages.common import ModelConfig


@pytest.fixture(scope="session")
def model(tiny_folder):
  return common.open_model(ModelConfig(path=str(tiny_folder)), None)


@pytest.fixture(scope="session")
def prompt():
  """Short, for a model of 128 places."""
  return JudgePrompt("short", "Ask: {prompt} Say: {answer} Rate.")


@pytest.fixture(scope="session")
def asked():
  """Two prompts, one of them with an earlier exchange, and their candidates."""
  first = Example("a", (Message("user", "What colour is it?"),))
  second = Example(
    "b", (Message("user", "Hi."), Message("assistant", "Hello."), Message("user", "Where is it?"))
  )
  return [first, second], [["It is red.", "It is blue.", "Red."], ["In the cave."]]
