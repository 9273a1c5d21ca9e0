"""An extension of griffe: docstrings and dataclasses as pages show them.

The comment behind a field is what its page says of it, and an example behind >>> is code.
"""

import re

import griffe

COMMENT = re.compile(r"  # ([^\n]+)$")
EXAMPLE = re.compile(r"^>>> .+(?:\n.+)*", re.MULTILINE)


class Docstrings(griffe.Extension):
  def on_object(self, *, obj, **_):
    if obj.docstring is not None:
      obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)

  def on_class(self, *, cls, **_):
    if "dataclass" not in cls.labels or cls.docstring is None:
      return
    rows = []
    for field in cls.attributes.values():
      said = COMMENT.search(cls.lines_collection[cls.filepath][field.endlineno - 1])
      if said or "Config" in str(field.annotation):
        rows.append(f"  {field.name}: {said[1] if said else 'a group of fields'}")
    if rows:
      cls.docstring.value += "\n\nAttributes:\n" + "\n".join(rows)
