"""The whole Xwin chain: SFT, reward model, scored candidates, rejection sampling, DPO, report."""


from absl import flags

from xwinjax.stages import chain, cli

_config = cli.define_config("configs/xwin.py:sandbox", chain.XwinConfig)
_REDO = flags.DEFINE_bool("redo", False, "")

def main():
  config, workdir = _config()
  summary = chain.run(config, workdir, redo=_REDO.value)
  print(chain.table(summary))

if __name__ == "__main__":
  cli.run(main)
