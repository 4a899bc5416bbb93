#!/usr/bin/env python3
"""Counts the instructions of the hot paths and compares them with tests/bench/instructions.json.

usage: instructions.py PROGRAM [--update]

PROGRAM is build/tests/bench/usher-instructions, run here under valgrind. A path that has become
longer by more than the tolerance fails the test, so that it is looked at; one that has become
shorter fails too, so that the gain is kept: --update writes the new figures. Figures are of one
compiler and its options: with another the test is skipped (exit code 77).
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIGURES = Path(__file__).resolve().with_name('instructions.json')
TOLERANCE = 0.03


def count(program):
    """The program's build, and its instructions per item by name."""
    with tempfile.TemporaryDirectory(prefix='usher-instructions-') as directory:
        out = Path(directory, 'callgrind')
        done = subprocess.run(
            ['valgrind', '--tool=callgrind', '--collect-atstart=no', f'--callgrind-out-file={out}', program],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f'valgrind ended with {done.returncode}:\n{done.stderr[-3000:]}')
        items = dict(line.rsplit(' ', 1) for line in done.stdout.splitlines() if not line.startswith('build '))
        build = re.search(r'^build (.*)$', done.stdout, re.MULTILINE)[1]
        figures = {}
        for dump in Path(directory).iterdir():
            text = dump.read_text()
            name = re.search(r'^desc: Trigger: Client Request: (\w+)$', text, re.MULTILINE)
            total = re.search(r'^(?:totals|summary): (\d+)', text, re.MULTILINE)
            if name and total:
                figures[name[1]] = round(int(total[1]) / int(items[name[1]]), 1)
        return build, {name: figures[name] for name in items}


def compare(now, kept):
    """What is out of the tolerance, one line each."""
    wrong = []
    for name in sorted(now.keys() | kept.keys()):
        if name not in now or name not in kept:
            wrong.append(f'{name}: in {"figures" if name in kept else "program"} only')
        elif abs(now[name] - kept[name]) > TOLERANCE * kept[name]:
            wrong.append(f'{name}: {now[name]:.1f} instructions, kept {kept[name]:.1f} '
                         f'({now[name] / kept[name] - 1:+.1%})')
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('program')
    parser.add_argument('--update', action='store_true', help='keep what is counted now')
    arguments = parser.parse_args()
    if shutil.which('valgrind') is None:
        print('valgrind is not installed (sudo tools/deps installs it)')
        return 77
    build, now = count(arguments.program)
    if arguments.update:
        FIGURES.write_text(json.dumps({'build': build, 'instructions': now}, indent=2) + '\n')
    kept = json.loads(FIGURES.read_text())
    for name, figure in now.items():
        print(f'{name:14} {figure:8.1f}')
    if build != kept['build']:
        print(f'the figures are of {kept["build"]}, this is {build}')
        return 77
    wrong = compare(now, kept['instructions'])
    if wrong:
        print('\n'.join(wrong))
        print(f'If that is meant: {sys.argv[0]} {arguments.program} --update')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
