#!/usr/bin/env python3
"""wrk and ab: 64 connections at once, kept and closed; every request answered, no error."""

import re

from lab import Lab, case, check, equal, main, need

CONNECTIONS = 64


def wrk(lab, version, *arguments):
    said = lab.run('wrk', '-t1', f'-c{CONNECTIONS}', '-d3', '--timeout', '60', *arguments,
                   lab.url('/bytes/128', version)).stdout
    check('Socket errors' not in said and 'Non-2xx' not in said, f'wrk says:\n{said}')
    done = re.search(r'(\d+) requests in', said)
    check(done and int(done[1]) >= CONNECTIONS, f'wrk says:\n{said}')
    rate = re.search(r'Requests/sec:\s+(\S+)', said)
    print(f'  {done[1]} requests, {rate[1]}/s')


def ab(lab, version, *arguments):
    count = 4000
    said = lab.run('ab', '-q', '-n', count, '-c', CONNECTIONS, '-s', 300, *arguments,
                   lab.url('/bytes/128', version)).stdout
    equal(re.findall(r'(Complete|Failed) requests:\s+(\d+)', said),
          [('Complete', str(count)), ('Failed', '0')], f'ab says:\n{said}')
    check('Non-2xx' not in said, f'ab says:\n{said}')


def test():
    need('wrk', 'ab')
    with Lab('tap') as lab:
        before = lab.baseline()
        for version in (4, 6):
            with case(f'wrk, IPv{version}, connections kept'):
                wrk(lab, version)
            with case(f'wrk, IPv{version}, connections closed'):
                wrk(lab, version, '-H', 'Connection: close')
            with case(f'ab, IPv{version}, connections kept'):
                ab(lab, version, '-k')
            with case(f'ab, IPv{version}, connections closed'):
                ab(lab, version)
        with case('everything is given back'):
            lab.back_to(before)


main(test)
