"""Drawing answers: `Sampler(config, params, SamplingParams(…), stop_ids=…).sample(requests)`."""

from xwinjax.sample.logits import SamplingParams
from xwinjax.sample.scheduler import Completion, Request, Sampler, SamplerConfig

__all__ = ["Completion", "Request", "Sampler", "SamplerConfig", "SamplingParams"]
