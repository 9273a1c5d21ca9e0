"""A hook of mkdocs: runs each notebook below docs/ anew and makes a page of it, NAME.md.

A cell that fails ends the build. The notebook itself lies beside its page, to be downloaded.
"""

from pathlib import PurePath

import nbformat
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor


def on_files(files, config):
  for notebook in [f for f in files if f.src_uri.endswith(".ipynb")]:
    cells = nbformat.reads(notebook.content_string, as_version=4)
    ExecutePreprocessor(timeout=600, kernel_name="python3").preprocess(cells, {})
    page = PurePath(notebook.src_uri)
    named = {"unique_key": page.stem, "output_files_dir": f"{page.stem}_files"}
    text, made = MarkdownExporter().from_notebook_node(cells, named)
    files.append(File.generated(config, str(page.with_suffix(".md")), content=text))
    for name, picture in made["outputs"].items():
      files.append(File.generated(config, str(page.parent / name), content=picture))
  return files
