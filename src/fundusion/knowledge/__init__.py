"""What findings are called and what they look like, in several languages: names, definitions, codes, sets of labels."""

from .findings import Finding, LabelSet
from .store import Knowledge
from .text import MAX_TEXT, checked_text

__all__ = ["MAX_TEXT", "Finding", "Knowledge", "LabelSet", "checked_text"]
