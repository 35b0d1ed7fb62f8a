"""Sphinx: Markdown by MyST, the theme furo, and the contracts straight from the docstrings."""

from importlib.metadata import version as version_of

project = "when_ml_pipeline_meets_hydra"
author = "the when_ml_pipeline_meets_hydra maintainers"
copyright = author
release = version = version_of(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples"]
nitpicky = False

html_theme = "furo"
html_title = project
html_show_copyright = False

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
