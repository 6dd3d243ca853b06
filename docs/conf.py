"""Sphinx configuration: plain Markdown pages, one theme, nothing loaded from elsewhere."""

from fanin import __version__

project = "fanin"
author = "The fanin developers"
copyright = "2026, The fanin developers"  # noqa: A001 - Sphinx's name
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "fanin"
default_role = "code"
pygments_style = "friendly"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def escape_mathematics(_app, _what, _name, _obj, _options, lines):
    """|x| and [*kernel] are mathematics in our docstrings, not reStructuredText."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[number] = line.replace("|", r"\|").replace("[*", r"[\*").replace(", *", r", \*")


def setup(app):
    """Hook the escaping in before napoleon reads the docstrings."""
    app.connect("autodoc-process-docstring", escape_mathematics, priority=1)
