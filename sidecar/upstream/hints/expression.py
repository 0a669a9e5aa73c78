"""Expression: a JMESPath query into the body of an answer."""

from typing import Any

EXPRESSION_MAX = 1000  # Characters. Longer: refused when the config is read.
# What jmespath raises for a document that its functions do not take, beside its own errors, which are ValueErrors.
_MISFITS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class Expression:
    """A compiled query. Raises ValueError with the reason when it is none."""

    __slots__ = ("_parsed", "text")

    def __init__(self, text: str) -> None:
        # Imported where it is opened: most services have no query, and need not pay for the library.
        import jmespath  # type: ignore[import-untyped] # noqa: PLC0415

        if len(text) > EXPRESSION_MAX:
            raise ValueError(f"the query has over {EXPRESSION_MAX} characters")
        self.text = text
        try:
            self._parsed: Any = jmespath.compile(text)
        except (ValueError, RecursionError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            reason = said.removesuffix(", for expression:").removesuffix(":")
            cure = "; a number stands in backticks, such as `400`" if "(NUMBER)" in reason else ""
            raise ValueError(f"this is no JMESPath query: {reason}{cure}") from None

    def search(self, document: object) -> object:
        """Give what the query finds. Raises ValueError when it does not fit the document."""
        try:
            return self._parsed.search(document)
        except _MISFITS as error:
            raise ValueError(f"the query {self.text[:40]!r} does not fit the answer: {type(error).__name__}") from None


def is_true(found: object) -> bool:
    """Tell what JMESPath takes for true: everything but null, false, and empty text, lists and objects."""
    return found is not None and found is not False and found not in ("", [], {})
