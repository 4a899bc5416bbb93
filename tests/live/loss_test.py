#!/usr/bin/env python3
"""A router on the way drops 1% and 10% of the packets, at random and both ways: every byte still
comes, in order and once."""

import json

from lab import Lab, case, equal, main, need, tool

LENGTH = {1: 8 << 20, 10: 512 << 10}

RULES = '''
flush ruleset
table inet loss {
  counter lost {}
  chain forward {
    type filter hook forward priority 0;
    meta nfproto { ipv4, ipv6 } numgen random mod 1000 < %d counter name lost drop
  }
}
'''


def lose(percent):
    tool('nft', RULES % (10 * percent))


def lost():
    said = json.loads(tool('nft', '-j', 'list', 'counter', 'inet', 'loss', 'lost'))
    return next(row['counter']['packets'] for row in said['nftables'] if 'counter' in row)


def short(lab, version, _):
    """Handshakes and closes meet loss too."""
    for n in range(30):
        equal(len(lab.run('curl', '-sS', '--fail', '--connect-timeout', 200,
                          lab.url(f'/bytes/{100 * n}', version), text=False,
                          stderr=-3).stdout), 100 * n, 'bytes')


def test():
    need('nft', 'curl', 'socat')
    for kind in ('tap', 'af_packet'):
        with Lab(kind, routed=True) as lab:
            before = lab.baseline()
            for percent in (1, 10):
                for version in (4, 6):
                    for step in (Lab.down, Lab.up_and_back, Lab.echo, short):
                        with case(f'{kind}, IPv{version}, {percent}% lost: '
                                  f'{step.__name__.replace("_", " ")}'):
                            lose(percent)
                            step(lab, version, LENGTH[percent])
                            print(f'  {lost()} packets lost')
            tool('nft', 'flush ruleset')
            with case(f'{kind}: everything is given back'):
                lab.back_to(before)


main(test)
