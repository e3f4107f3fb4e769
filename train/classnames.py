"""The names of emotions: FER-2013's are canonical, other data sets' spellings are synonyms of them."""

import difflib
from collections.abc import Iterable, Sequence

from edge.errors import DataError

FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER-2013's label order, 0..6."""

CK_CLASSES = (*FER_CLASSES, "contempt")
"""ckextended.csv's label order, 0..7: FER-2013's, and contempt."""

SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "contemptuous": "contempt",
}


def canonical(name: str) -> str:
    """``Happiness`` -> ``happy``; a name that is no known emotion is only stripped and lowered."""
    lowered = name.strip().lower()
    return SYNONYMS.get(lowered, lowered)


def in_usual_order(names: Iterable[str]) -> tuple[str, ...]:
    """Canonical names once each: the known ones in FER-2013's order, then the others alphabetically."""
    unique = {canonical(name) for name in names}
    return (*(name for name in CK_CLASSES if name in unique), *sorted(unique.difference(CK_CLASSES)))


def choose(wanted: Sequence[str], known: Sequence[str], source: str) -> tuple[str, ...]:
    """Canonical names of the ``wanted`` classes, in the order wanted.

    Raises DataError for a name that ``source`` does not have (the nearest is named), a repeated one, or fewer than two.
    """
    chosen: list[str] = []
    for name in wanted:
        found = canonical(name)
        if found not in known:
            spellings = [*known, *(synonym for synonym, name in SYNONYMS.items() if name in known)]
            nearest = difflib.get_close_matches(found, spellings, n=1, cutoff=0.5)
            hint = f"did you mean {canonical(nearest[0])!r}? " if nearest else ""
            raise DataError(f"unknown class {name!r}: {hint}{source} has {', '.join(known)}")
        if found in chosen:
            raise DataError(f"class {name!r} is wanted twice; name each class once")
        chosen.append(found)
    if len(chosen) < 2:
        raise DataError(
            f"expected two classes or more, got {', '.join(chosen) or 'none'}; {source} has {', '.join(known)}"
        )
    return tuple(chosen)
