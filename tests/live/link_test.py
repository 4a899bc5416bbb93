#!/usr/bin/env python3
"""A link that loses, reorders, repeats and spoils packets, and a long one: every byte still comes,
in order and once, both ways."""

import os
from concurrent.futures import ThreadPoolExecutor

from lab import Lab, case, check, equal, main, need, pattern_sha256, random_file, sha256_of

LENGTH = 1 << 20
# With a fifth lost each way, timeouts back off again and again: minutes are no hang. tools/check
# sends a quarter there; USHER_WHOLE=1 sends all.
SHORT = LENGTH if os.environ.get('USHER_WHOLE') else LENGTH // 4
PATIENCE_S = 800
LINKS = {
    '0.1% lost': {'loss': 0.001},
    '5% lost': {'loss': 0.05},
    '20% lost': {'loss': 0.2},
    'reordering': {'delay_ms': 1, 'reorder': 0.1, 'late_ms': 4},
    'duplication': {'duplicate': 0.2},
    'corruption': {'corrupt': 0.02},
    '100 ms': {'delay_ms': 100},
    'a short queue': {'rate_mbit': 40, 'queue': 20, 'delay_ms': 5},
    'all at once': {'loss': 0.02, 'reorder': 0.05, 'late_ms': 8, 'duplicate': 0.05,
                    'corrupt': 0.01, 'delay_ms': 10},
}
# What the link must have done for the test to have tested it.
FAULTS = {'loss': 'lost', 'reorder': 'reordered', 'duplicate': 'duplicated', 'corrupt': 'corrupted'}


def down(lab, version, length):
    got = lab.directory / f'down{version}'
    lab.run('curl', '-sS', '--fail', '-o', got, lab.url(f'/bytes/{length}', version),
            patience_s=PATIENCE_S)
    equal(sha256_of(got), pattern_sha256(length), 'SHA-256 of what came down')


def up_and_back(lab, version, length):
    up, back = lab.directory / f'up{version}', lab.directory / f'back{version}'
    wanted = random_file(up, length)
    lab.run('curl', '-sS', '--fail', '-H', 'Expect:', '-T', up, '-X', 'POST', '-o', back,
            lab.url('/echo', version), patience_s=PATIENCE_S)
    equal(sha256_of(back), wanted, 'SHA-256 of what went up and came back')


def test():
    need('curl', 'ethtool')
    with Lab('tap', link={}) as lab:
        before = lab.baseline()
        for number, (name, settings) in enumerate(LINKS.items()):
            with case(name):
                lab.set_link({**settings, 'seed': number})
                length = SHORT if settings.get('loss', 0) >= 0.2 else LENGTH
                with ThreadPoolExecutor() as pool:  # timeouts are waited for side by side
                    for done in [pool.submit(step, lab, version, length) for version in (4, 6)
                                 for step in (down, up_and_back)]:
                        done.result()
                did = lab.set_link({})
                print(f'  {did}')
                for key in settings.keys() & FAULTS.keys():
                    if settings[key] > 0.001:
                        check(did['up'][FAULTS[key]] + did['down'][FAULTS[key]] > 0,
                              f'nothing was {FAULTS[key]}')
        with case('everything is given back'):
            lab.back_to(before)


main(test)
