#!/usr/bin/env python3
"""stack/tcp/REQUIREMENTS.md names only tests that exist, and misses no requirement (TAP)."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = 'stack/tcp/REQUIREMENTS.md'
NUMBERS = {'MUST': 69, 'SHLD': 31}  # RFC 9293, appendix B


def declared(source: str) -> set[str]:
    """The tests that a C++ file defines, as Suite.Name."""
    return {f'{suite}.{name}' for suite, name in
            re.findall(r'^TEST(?:_P|_F)?\(\s*(\w+),\s*(\w+)\s*\)', source, re.M)}


def findings(text: str, tests: set[str]) -> list[str]:
    """What is wrong with the table, one line each."""
    found = []
    rows = [line for line in text.splitlines()
            if line.startswith('|') and not re.match(r'\|(-|\s*(number|section)\s*\|)', line)]
    for row in rows:
        cells = [cell.strip() for cell in row.strip('|').split('|')]
        named = re.findall(r'`(\w+\.\w+)`', cells[-1])
        named = [name for name in named if not name.startswith('net.')]
        found += [f'{cells[0]}: no test is called {name}' for name in named if name not in tests]
        if len(cells) != 3 or not (named or '**Deviation**' in cells[-1]):
            found.append(f'{cells[0]}: names neither a test nor a deviation')
    first = [row.strip('|').split('|')[0].strip() for row in rows]
    for kind, count in NUMBERS.items():
        for number in range(1, count + 1):
            if first.count(f'{kind}-{number}') != 1:
                found.append(f'{kind}-{number}: has {first.count(f"{kind}-{number}")} rows')
    return found


def self_test() -> list[str]:
    """Whether each fault is noticed."""
    rows = [f'| {kind}-{n} | what | `A.B` |' for kind, count in NUMBERS.items()
            for n in range(1, count + 1)]
    good = '\n'.join(['| number | what | shown by |', '|---|---|---|'] + rows)
    wrong = []
    if declared('TEST_P(A,\n       B) {\nTEST(C, D) {\n// TEST(E, F)') != {'A.B', 'C.D'}:
        wrong.append('tests are not read rightly')
    if findings(good, {'A.B'}):
        wrong.append('a good table is refused')
    for what, text in (('a missing row', good.replace(rows[3], '')),
                       ('a test that does not exist', good.replace('A.B', 'A.C', 1)),
                       ('a row that shows nothing', good.replace('`A.B`', 'somehow', 1)),
                       ('a number twice', good + '\n' + rows[0])):
        if len(findings(text, {'A.B'})) != 1:
            wrong.append(f'{what} is not noticed')
    return wrong


def main() -> int:
    tests = set()
    for path in (ROOT / 'tests').rglob('*_test.cc'):
        tests |= declared(path.read_text())
    results = [('the requirements have rows, the rows have tests, the tests exist',
                findings((ROOT / TABLE).read_text(), tests)),
               ('each fault of the table is noticed', self_test())]
    print(f'1..{len(results)}')
    for number, (name, found) in enumerate(results, 1):
        print(f"{'not ok' if found else 'ok'} {number} - {name}")
        for line in found:
            print(f'# {line}')
    return 1 if any(found for _, found in results) else 0


if __name__ == '__main__':
    sys.exit(main())
