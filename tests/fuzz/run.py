#!/usr/bin/env python3
"""Runs a fuzz target for a bounded time, from what earlier runs found worth keeping on.

usage: run.py TARGET [SECONDS]

A failure prints the command that repeats it. The corpus and the failing inputs are kept beside the
target, in TARGET.corpus and TARGET.failed.
"""

import subprocess
import sys
from pathlib import Path

SECONDS = 12  # of five targets: 60 s in all


def main():
    target = Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    corpus, failed = Path(f'{target}.corpus'), Path(f'{target}.failed')
    for folder in (corpus, failed):
        folder.mkdir(exist_ok=True)
    run = subprocess.run([target, corpus, f'-max_total_time={seconds}', '-max_len=4096',
                          '-len_control=0', '-seed=1', '-print_final_stats=1', f'-artifact_prefix={failed}/',
                          '-rss_limit_mb=4096', '-timeout=600'],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors='replace')
    lines = run.stdout.splitlines()
    if run.returncode == 0:
        print('\n'.join(line for line in lines if line.startswith('stat::')))
        return 0
    print('\n'.join(lines[-120:]))
    for line in lines:
        if 'Test unit written to ' in line:
            print(f'again: {target} {line.rpartition("Test unit written to ")[2]}')
    return 1


if __name__ == '__main__':
    sys.exit(main())
