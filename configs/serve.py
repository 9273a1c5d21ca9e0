"""Serves a model behind the OpenAI API.

python -m experiments.serve --config.model.path=FOLDER
"""

from ml_collections import ConfigDict

from xwinjax.recipes.serve import ServeConfig
from xwinjax.stages.config import to_config_dict


def get_config() -> ConfigDict:
  return to_config_dict(ServeConfig())
