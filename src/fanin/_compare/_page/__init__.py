"""The comparison as one web page that needs nothing beside it."""

from fanin._compare._page.page import page_html

__all__ = ["page_html"]
