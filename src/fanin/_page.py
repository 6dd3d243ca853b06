"""What all web pages share: templates that refuse unknown names, files beside them, data inside."""

from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["embedded", "environment", "read", "style_of"]


def environment(*packages: str) -> Environment:
    """Templates in the folder ``files`` of these packages, the first that has one."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "files") for package in packages]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def read(package: str, name: str) -> str:
    """The text of a file in the folder ``files`` of a package."""
    return files(package).joinpath("files", name).read_text(encoding="utf-8")


def style_of(*sheets: tuple[str, str]) -> Markup:
    """Style sheets, by package and name, one after the other."""
    return Markup("\n".join(read(*sheet) for sheet in sheets))  # noqa: S704 - our own files


def embedded(text: str) -> Markup:
    r"""JSON text in which no name can end the element that it is in.

    >>> print(embedded('["</script>"]'))
    ["\u003c/script\u003e"]
    """
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - escaped in the lines above
