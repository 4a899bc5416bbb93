#!/usr/bin/env python3
"""Which lines and branches of the core the tests run.

    tests/coverage/coverage.py [--build build-coverage] [--seeds 300] [--uncovered] [--keep]

Builds the core's tests with GCC's --coverage, runs them (unit tests with the matrix, scripts, SEEDS
seeds of the simulator), and prints a table per folder and of the worst files. Exit code 1: a folder
is below 95% of its lines or 90% of its branches. --uncovered lists every line and branch that never
ran; --keep adds to the counts of the last run instead of starting anew; --only PROGRAM... runs
these alone (with --keep, after a new test).

Not counted: branches of exceptions, and of assertions (stack/base/check.h), which must not be taken.
"""
import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDERS = ['stack/tcp', 'stack/listen', 'stack/ip', 'stack/wire']
LEAST_LINES, LEAST_BRANCHES = 95.0, 90.0
UNITS = ['base', 'wire', 'packet', 'port', 'ip', 'tcp', 'listen', 'shard', 'api']
PROGRAMS = [f'tests/unit/test-{unit}' for unit in UNITS] + [
    'tests/sim/bottleneck-test', 'tests/sim/sim-test', 'tests/script/script-runner']
ASSERTION = r'.*\bUSHER_D?CHECK\(.*'

Share = collections.namedtuple('Share', 'lines lines_run branches branches_run')


def build(folder, jobs):
    """The programs, the tests optimized as the library is, so that all agree about a header's branches.
    Without early inlining a branch is counted where it stands and once; with it, again in every
    function that takes it in, on lines where no branch is to be seen."""
    if not (folder / 'build.ninja').exists():
        subprocess.run(['meson', 'setup', folder, '-Db_coverage=true', '--buildtype=debug',
                        '-Dcpp_args=-O1 -fno-early-inlining', '-Ddpdk=disabled'],
                       cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(['ninja', '-C', folder, f'-j{jobs}', *PROGRAMS], check=True)
    for notes in folder.rglob('*.gcno'):  # of files that are no more
        if not notes.with_suffix('.o').exists():
            notes.unlink()


def run(folder, programs, seeds):
    """Runs the programs; the names of those that failed."""
    failed = []
    scripts = sorted(p for p in (ROOT / 'tests/script').iterdir() if p.is_dir())
    environment = {**os.environ, 'USHER_SIM_SEEDS': str(seeds)}
    for program in programs:
        arguments = scripts if program.endswith('script-runner') else ['--gtest_brief=1']
        with tempfile.TemporaryDirectory(prefix='usher-coverage-') as scratch:
            done = subprocess.run([folder / program, *arguments], cwd=scratch, env=environment,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
        print(f'{"FAILED" if done.returncode else "passed":8} {program}', flush=True)
        if done.returncode:
            failed.append(program)
            print((done.stdout + done.stderr)[-4000:])
    return failed


def measure(folder, jobs):
    """gcovr's account of every file of the folders."""
    with tempfile.TemporaryDirectory(prefix='usher-coverage-') as scratch:
        out = pathlib.Path(scratch) / 'coverage.json'
        subprocess.run(['gcovr', '--root', ROOT, *(f'--filter={ROOT}/{f}/' for f in FOLDERS),
                        '--exclude-throw-branches', '--exclude-unreachable-branches',
                        '--exclude-branches-by-pattern', ASSERTION, '-j', str(jobs),
                        # Counts that threads raced for may come out as negative.
                        '--gcov-ignore-parse-errors',
                        '--json', out, folder], cwd=ROOT, check=True)
        return json.loads(out.read_text())['files']


def share(files):
    lines = [line for f in files for line in f['lines'] if not line['gcovr/noncode']]
    branches = [b for line in lines for b in line['branches']]
    return Share(len(lines), sum(line['count'] > 0 for line in lines),
                 len(branches), sum(b['count'] > 0 for b in branches))


def percent(part, whole):
    return 100 * part / whole if whole else 100.0


def row(name, s):
    return (f'{name:44} {s.lines_run:5} of {s.lines:5} {percent(s.lines_run, s.lines):6.1f}%'
            f' {s.branches_run:7} of {s.branches:5} {percent(s.branches_run, s.branches):6.1f}%')


def missed(f):
    """Every line and branch of a file that never ran."""
    text = (ROOT / f['file']).read_text().splitlines()
    for line in f['lines']:
        number, branches = line['line_number'], line['branches']
        if line['gcovr/noncode']:
            continue
        if line['count'] == 0:
            yield f'{f["file"]}:{number}: never: {text[number - 1].strip()}'
        elif any(b['count'] == 0 for b in branches):
            taken = ' '.join('-' if b['count'] == 0 else '+' for b in branches)
            yield f'{f["file"]}:{number}: [{taken}] {text[number - 1].strip()}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build-coverage')
    parser.add_argument('--seeds', type=int, default=300)
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument('--uncovered', action='store_true')
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('--only', nargs='*', choices=PROGRAMS, default=PROGRAMS)
    options = parser.parse_args()
    folder = options.build.resolve()
    build(folder, options.jobs)
    if not options.keep:
        for counts in folder.rglob('*.gcda'):
            counts.unlink()
    failed = run(folder, options.only, options.seeds)
    files = [f for f in measure(folder, options.jobs) if share([f]).lines]

    short = []
    print(f'\n{"":44} {"lines":>22} {"branches":>25}')
    for name in FOLDERS:
        total = share([f for f in files if re.match(name + '/', f['file'])])
        print(row(name, total))
        if (percent(total.lines_run, total.lines) < LEAST_LINES or
                percent(total.branches_run, total.branches) < LEAST_BRANCHES):
            short.append(name)
    print('\nMost branches never taken:')
    worst = sorted(files, key=lambda f: share([f]).branches_run - share([f]).branches)
    for f in worst[:15]:
        print(row(f['file'], share([f])))
    if options.uncovered:
        print()
        for f in files:
            print(*missed(f), sep='\n', end='\n' if any(missed(f)) else '')
    print(f'\n{len(failed)} programs failed; below {LEAST_LINES:.0f}% of lines or '
          f'{LEAST_BRANCHES:.0f}% of branches: {", ".join(short) or "none"}')
    return 1 if failed or short else 0


if __name__ == '__main__':
    sys.exit(main())
