#!/usr/bin/env python3
"""A link that loses, reorders, repeats and spoils packets, and a long one: every byte still comes,
in order and once, both ways."""

from concurrent.futures import ThreadPoolExecutor

from lab import Lab, case, check, main, need

LENGTH = 1 << 20
# With a fifth lost each way, a third of all round trips fail: timeouts back off again and again, up
# to minutes in both stacks. This bounds them.
RTO_MAX = {'net.ipv4.tcp_rto_max_ms': 1000}
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


def test():
    need('curl', 'ethtool')
    with Lab('tap', settings=RTO_MAX, link={}) as lab:
        for name, value in RTO_MAX.items():
            lab.run('sysctl', '-q', '-e', '-w', f'{name}={value}')  # kernels before 6.15 have none
        before = lab.baseline()
        for number, (name, settings) in enumerate(LINKS.items()):
            with case(name):
                lab.set_link({**settings, 'seed': number})
                with ThreadPoolExecutor() as pool:  # timeouts are waited for side by side
                    for done in [pool.submit(step, lab, version, LENGTH) for version in (4, 6)
                                 for step in (Lab.down, Lab.up_and_back)]:
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
