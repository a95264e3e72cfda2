"""Settings of the site: ``sphinx-build -W --keep-going docs docs/_build/html``."""

project = "tokcom"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = project
html_show_copyright = False

myst_heading_anchors = 4  # named as GitHub names them, so that links work in both

nb_execution_in_temp = True
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_merge_streams = True

add_module_names = False
autodoc_default_options = {"members": True, "no-value": True}
autodoc_inherit_docstrings = False  # what a base class says stands there
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
python_maximum_signature_line_length = 88
