"""Progress bars on standard error, where a person looks at it."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def watched(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The same items, with a bar that goes away at the end; silent where standard error is no terminal."""
    console = Console(stderr=True)
    yield from track(items, what, console=console, transient=True, disable=not console.is_terminal)
