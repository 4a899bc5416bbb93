#!/usr/bin/env python3
"""The README at the top shows the example as it is built, and names only files that exist (TAP)."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def findings(readme: str, example: str, exists) -> list[str]:
    """What is wrong with `readme`, one line each."""
    found = []
    blocks = re.findall(r"```cpp\n(.*?)```", readme, re.S)
    if blocks != [example]:
        found.append("README.md: its C++ block is not app/examples/echo.cc, letter for letter")
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        if "://" not in target and not exists(target):
            found.append(f"README.md: links to {target}, which does not exist")
    return found


def main() -> int:
    readme = (ROOT / "README.md").read_text()
    example = (ROOT / "app/examples/echo.cc").read_text()
    results = [
        ("the README shows the example and live links",
         findings(readme, example, lambda p: (ROOT / p).exists())),
        ("a changed example is noticed",
         [] if findings("```cpp\nx\n```", "y\n", lambda p: True) else ["not noticed"]),
        ("a dead link is noticed",
         [] if findings("```cpp\nx\n```\n[a](b)", "x\n", lambda p: False) else ["not noticed"]),
    ]
    print(f"1..{len(results)}")
    for number, (name, found) in enumerate(results, 1):
        print(f"{'not ok' if found else 'ok'} {number} - {name}")
        for line in found:
            print(f"# {line}")
    return 1 if any(found for _, found in results) else 0


if __name__ == "__main__":
    sys.exit(main())
