"""Which tokens of a row may see each other.

A row holds several examples, and an example may branch: its shared prompt (branch 0) is followed
by branches 1, 2, … (chosen and rejected; the candidates of one prompt) that each continue it and
do not see one another. Both numbers travel in one int32 a token,

    segment = example * BRANCHES + branch,      0 = padding, examples count from 1.

Token j is visible to token i when j is not later in the row, both are of the same example, and
j is in the shared prompt or in i's own branch. Positions restart accordingly: a branch continues
counting where the shared prompt ended.

The last prompt token is not shared: every branch begins with its own copy, so that "the token
after t" means the same everywhere and the first completion token is predicted inside its branch.
"""

BRANCHES = 256


def segment(example: int, branch: int = 0) -> int:
  """The segment id of a branch of the example-th example (from 1) of a row."""
  return example * BRANCHES + branch


def visible(query, key):
  """Whether `key` segments may be seen from `query` segments, causality aside; arrays broadcast."""
  same_example = query // BRANCHES == key // BRANCHES
  shared_or_own = (key % BRANCHES == 0) | (key == query)
  return same_example & shared_or_own
