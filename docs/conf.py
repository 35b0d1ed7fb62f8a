"""How Sphinx builds these pages: Markdown by MyST, the theme furo, the public API from its docstrings."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "when_ml_pipeline_meets_hydra"
author = "the when_ml_pipeline_meets_hydra maintainers"
release = version = version_of(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "config_groups"]
exclude_patterns = ["_build", "_extensions", "examples"]
nitpicky = False  # pydantic's and Hydra's types have no pages here
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
