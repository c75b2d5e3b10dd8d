"""Pages from templates: everything is escaped, and a name that is missing is an error."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.reports import words
from orchestrator.reports.symbols import symbol


def page_environment(package: str) -> Environment:
    """The `templates` of a package, with the filters that every page has."""
    made = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "money": words.money,
        "tokens": words.tokens,
        "duration": words.duration,
        "share": words.share,
        "spaced": words.spaced,
        "line": words.one_line,
        "foreign": lambda text: words.foreign_text(text, words.AGENT_TEXT_LIMIT),
        "symbol": symbol,
    }
    return made
