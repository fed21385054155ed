"""The website: README and chapters as they are stored, none executed. `make site` builds it in build/site."""

import pathlib
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]

project = "Autoencoders for image generation"
author = "the course's authors"
copyright = "prose and figures CC BY 4.0, code MIT"
language = "en"

extensions = ["myst_nb", "sphinx-mathjax-offline"]
root_doc = "index"
nb_execution_mode = "off"  # the stored outputs are the course's; tests keep them true
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["contrast.css"]
html_theme_options = {
    "repository_url": ADDRESS,
    "path_to_docs": "notebooks",
    "use_repository_button": True,
    "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com",
                       "notebook_interface": "jupyterlab"},
    "show_toc_level": 2,
    "home_page_in_toc": True,
}
