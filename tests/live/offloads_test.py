#!/usr/bin/env python3
"""A TAP whose driver computes checksums in software: all that curl asks for comes, whoever computes
those of received and of sent packets. (tests/nic does the same with emulated cards, and with TSO.)"""

import itertools

from lab import Lab, case, check, equal, main, need, pattern_sha256, random_file, sha256_of

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
                up, back = lab.directory / 'up', lab.directory / 'back'
                lab.run('curl', '-sS', '--fail', '-o', back, lab.url(f'/bytes/{LENGTH}', version))
                equal(sha256_of(back), pattern_sha256(LENGTH), 'SHA-256 of what came down')
                wanted = random_file(up, LENGTH)
                lab.run('curl', '-sS', '--fail', '-H', 'Expect:', '-T', up, '-X', 'POST', '-o', back,
                        lab.url('/echo', version))
                equal(sha256_of(back), wanted, 'SHA-256 of what went up and came back')
            lab.back_to(before)


main(test)
