"""The one exception for mistakes a user can mend: its text is the line they see."""


class UserError(ValueError):
  """A wrong file, flag, config or checkpoint.

  The message is one line with what was found, what was expected and what to do. The
  command-line tools print it without a traceback and exit with status 2.
  """
