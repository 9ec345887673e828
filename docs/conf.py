"""Sphinx: python -m sphinx -W docs docs/_build (pip install '.[docs]')."""

project = "cmdfusion_ros"
author = "cmdfusion_ros contributors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "results"]
myst_heading_anchors = 3
html_theme = "furo"
