"""A page that plays a model: one HTML file with its weights and a forward pass in plain JavaScript."""

from arjax.page.page import Page, make_page

__all__ = ["Page", "make_page"]
