#!/usr/bin/env python3
"""A TAP whose driver computes checksums in software: all that curl asks for comes, whoever computes
those of received and of sent packets. (tests/nic does the same with emulated cards, and with TSO.)"""

import itertools

from lab import Lab, case, check, main, need

LENGTH = 4 << 20


def test():
    need('curl')
    for rx, tx in itertools.product(('stack', 'port'), repeat=2):
        with case(f'received sums by the {rx}, sent ones by the {tx}'), \
                Lab('tap', interface={'rx_checksum': rx, 'tx_checksum': tx}) as lab:
            by = {'stack': 'stack', 'port': 'port (IP, TCP)'}
            check(f'received checksums by the {by[rx]}, sent ones by the {by[tx]};'
                  in lab.server.output(), lab.server.output())
            before = lab.baseline()
            for version in (4, 6):
                lab.down(version, LENGTH)
                lab.up_and_back(version, LENGTH)
            lab.back_to(before)


main(test)
