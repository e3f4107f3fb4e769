"""What ``python -m edge doctor`` looks at. One function a question; each answers with findings and never mends itself.

Nothing heavy is imported at the top: the doctor must be able to say that numpy is broken.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    verdict: Verdict
    """ok; warn: works, but not as it should; fail: ``run`` will not do its job."""
    found: str
    mend: str = ""
    """The command that mends it; empty when ok."""


def examine(name: str, check: Iterable[Finding]) -> list[Finding]:
    """The check's findings; a check that breaks is itself a finding. check: a generator, so that it begins here."""
    try:
        return list(check)
    except Exception as error:  # whatever is broken on this machine, the other checks are still to be done
        text = " ".join(str(error).split()) or type(error).__name__
        return [
            Finding(name, "fail", f"could not be examined: {text}", "python -m pip install -r requirements-edge.txt")
        ]
