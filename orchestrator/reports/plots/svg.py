"""Writing SVG: every text and attribute is escaped here, and every picture has a name and a description."""

from collections.abc import Callable

from markupsafe import Markup, escape

# Drawn twice, for a screen and for a phone, where the same text would be too small to read.
WIDE, NARROW = 1060.0, 340.0


def number(value: float) -> str:
    """A length in pixels to a tenth, without a needless fraction."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def tag(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element. `_` in names of attributes is `-`, at their end it is dropped; an attribute of None is left out."""
    said = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(map(escape, children))
    return Markup(f"<{name}{''.join(said)}>{inside}</{name}>" if inside else f"<{name}{''.join(said)}/>")  # noqa: S704


def titled(element: str, title: str, **attributes: str | float | None) -> Markup:
    """An element that says what it is when it is pointed at."""
    return tag(element, tag("title", title), **attributes)


def text(content: str, x: float, y: float, **attributes: str | float | None) -> Markup:
    """Text with its baseline at `y`."""
    return tag("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def joined(*parts: str) -> Markup:
    """Several elements, one after the other."""
    return Markup("").join(parts)


def picture(key: str, title: str, description: str, width: float, height: float, body: str, kind: str) -> Markup:
    """A whole picture. `key` is unique in the page; `kind` is `wide` or `narrow`."""
    name, described = f"{key}-{kind}", f"{key}-{kind}-text"
    return tag(
        "svg",
        tag("title", title, id=name),
        tag("desc", description, id=described),
        body,
        class_=kind,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_labelledby=f"{name} {described}",
    )


def both(key: str, title: str, description: str, draw: Callable[[float], tuple[float, Markup]]) -> Markup:
    """The picture for screens and for phones. `draw` takes a width and returns the height and what is in it."""
    made = []
    for kind, width in (("wide", WIDE), ("narrow", NARROW)):
        height, body = draw(width)
        made.append(picture(key, title, description, width, height, body, kind))
    return tag("figure", *made)


def hatches(key: str) -> Markup:
    """Fills that tell ends apart without colour; they are used as `url(#KEY-bad)`."""
    return tag("defs", *(_hatch(f"{key}-{tone}", tone, path) for tone, path in _HATCHES.items()))


_HATCHES = {"bad": "M-1,1 l2,-2 M0,6 l6,-6 M5,7 l2,-2", "warn": "M0,3 h6", "wait": "M1,0 v6 M4,0 v6"}


def _hatch(key: str, tone: str, path: str) -> Markup:
    return tag(
        "pattern",
        tag("rect", width=6, height=6, class_=f"f-{tone}"),
        tag("path", d=path, class_="hatch"),
        id=key,
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    )
