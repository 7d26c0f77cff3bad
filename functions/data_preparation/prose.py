"""Whether the texts of a column are read, as reviews and remarks are, or name things, as names and codes do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SEEN_TEXTS, SEEN_CHARACTERS = 1000, 300
"""So many texts are looked at, and so much of each."""
LEAST_TEXTS = 100
"""Of fewer texts nothing is learnt."""
FEW_WORDS, MANY_WORDS = 4, 8
"""So many words a text has on average, if enough of them begin with a small letter, and if not: names and most
addresses have fewer."""
SMALL = 1 / 3
"""The share of words that begin with a small letter: of a name, a title or an address few do."""
_MARKS = ".,;:!?\"'()*\u00ab\u00bb\u201c\u201d\u201e\u2018\u2019\u2026\u2013\u2014\u00bf\u00a1"
"""What stands around words."""
_OF_PROGRAMS = ("{", "[", "<")
"""What JSON, lists and HTML begin with."""
_NOT_IN_WORDS = re.compile(r"[\d_@#/\\=:.|&%+~^]")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""Letters of Thai, Lao, Khmer, Japanese and Chinese, which have no spaces between words."""
_LETTERS_PER_WORD = 2


@dataclass(frozen=True)
class Words:
    """How many words the texts of a column have, on average, and which share of them begin with a small letter."""

    mean: float
    small: float

    @property
    def are_read(self) -> bool:
        """Whether the texts seem to be written to be read."""
        return self.mean >= MANY_WORDS or (self.mean >= FEW_WORDS and self.small >= SMALL)


def words_of(texts: Sequence[str]) -> Words:
    """Return what is to be known of the words of some texts.

    A word is of letters alone, but for marks around it: no number, code, address of a page or path is one.
    """
    words = small = 0
    for text in texts:
        if text.startswith(_OF_PROGRAMS):
            continue
        for word in _words(text):
            words += 1
            small += word[0].islower()
        words += len(_UNSPACED.findall(text)) // _LETTERS_PER_WORD
    return Words(words / max(1, len(texts)), small / max(1, words))


def _words(text: str) -> Iterable[str]:
    for piece in text.split():
        word = piece.strip(_MARKS)
        if word and word[0].isalpha() and not _NOT_IN_WORDS.search(word) and not _UNSPACED.match(word):
            yield word
