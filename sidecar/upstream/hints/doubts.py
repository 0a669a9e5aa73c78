"""Doubts: what is said about a hint that is not believed, and the bounded words that a hint may leave behind."""

from sidecar.core.advice import Advice

DOUBTS_MAX = 4  # Sentences about one answer. More: left out, the first ones say enough.
QUOTED_MAX = 40  # Characters of a vendor's value in a sentence.
WORD_MAX = 64  # Characters of a name that the vendor chose. Longer: cut off.


def doubt(advice: Advice, name: bytes, value: bytes, why: str) -> None:
    """Note that the field `name` is not believed."""
    if len(advice.doubts) < DOUBTS_MAX:
        advice.doubts.append(f"the vendor's {word(name)} says {quoted(value)}, {why}; it is ignored")


def doubt_body(advice: Advice, what: str, why: str) -> None:
    """Note that a part of the body is not believed; `why` holds nothing of the body but numbers."""
    if len(advice.doubts) < DOUBTS_MAX:
        advice.doubts.append(f"{what} in the vendor's answer: {why}; it is ignored")


def quoted(value: bytes) -> str:
    """Quote the beginning of a value for a line in the log."""
    text = value[:QUOTED_MAX].decode("latin-1")
    shown = "".join(letter if " " <= letter <= "~" and letter != '"' else "?" for letter in text)
    return f'"{shown}"' + (" ..." if len(value) > QUOTED_MAX else "")


def word(value: bytes) -> str:
    """Make a name for people out of what the vendor wrote: short, and visible ASCII."""
    text = value[:WORD_MAX].decode("latin-1")
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)
