"""``python -m edge doctor``: what is wrong on this machine, and the command that mends it."""

import argparse
import json
from collections import Counter
from pathlib import Path

from edge.checkup import Finding, devices, examine, software, surroundings
from edge.config import load_settings
from edge.errors import EXIT_FAILURE, EXIT_OK, ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration that run will use")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")


def run(args: argparse.Namespace) -> int:
    """0 where nothing fails, 1 where something does; warnings do not count."""
    findings = []
    try:
        settings = load_settings(args.config)
        findings.append(Finding("configuration", "ok", str(args.config or "the defaults")))
    except ConfigError as error:
        # A finding, not the end: the rest is looked at with the defaults.
        findings.append(Finding("configuration", "fail", str(error), f"edit {args.config}"))
        settings = load_settings(None)
    for area in (software, devices, surroundings):
        for name, check in area.checks(settings):
            findings += examine(name, check)
    if args.json:
        rows = [{"name": f.name, "verdict": f.verdict, "found": f.found, "mend": f.mend} for f in findings]
        print(json.dumps({"schema": "emotion-edge/doctor/1", "findings": rows}, indent=2))
    else:
        print(report(findings))
    return EXIT_FAILURE if any(finding.verdict == "fail" for finding in findings) else EXIT_OK


def report(findings: list[Finding]) -> str:
    """For a person."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:<5} {finding.name:<14} {finding.found}")
        if finding.mend:
            lines.append(f"{'':<20} mend: {finding.mend}")
    counts = Counter(finding.verdict for finding in findings)
    lines.append(f"\n{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures")
    return "\n".join(lines)
