#!/usr/bin/env python3
"""What cannot be served is refused in one line that says what to do; exit code 2 names file, line,
key, what is wrong and what would be right."""

import re
import tempfile
from pathlib import Path

from lab import (HTTP_LISTENER, ROOT, USHERD, Lab, Process, case, check, config_text, equal, main,
                 need)

GOOD = '''[eal]
args = ["--no-huge", "-m", "256", "--no-pci", "--file-prefix=usher-bad", "--vdev=net_null0"]
[[interface]]
port = 0
addresses = ["198.18.0.2/15", "2001:2::2/48"]
[stack]
max_connections = 1024
[sysctl]
"net.core.somaxconn" = 4096
[[listener]]
port = 7
backlog = 128
service = "echo"
'''

# What is replaced, by what, the line, the key, what the message must say beside it.
WRONG = [
    ('"net.core.somaxconn" = 4096', '"net.core.somaxcon" = 4096', 9, 'net.core.somaxcon',
     'net.core.somaxconn'),
    ('= 4096', '= -1', 9, 'net.core.somaxconn', '-1|to'),
    ('= 4096', '= "many"', 9, 'net.core.somaxconn', 'many|number'),
    ('service = "echo"', 'service = "ecko"', 13, 'service', 'echo'),
    ('service = "echo"', 'servce = "echo"', None, 'serv', 'service'),
    ('port = 7', 'port = 70000', 11, 'port', '65535'),
    ('port = 7', 'port = "seven"', 11, 'port', 'number'),
    ('backlog = 128', 'backlog = 1.5', 12, 'backlog', 'number'),
    ('max_connections = 1024', 'max_connections = 0', 7, 'max_connections', 'from'),
    ('198.18.0.2/15', '198.18.0.2', 5, 'addresses', '/15'),
    ('198.18.0.2/15', '198.18.0.2/33', 5, 'addresses', '/15'),
    ('198.18.0.2/15', '198.18.0.0/15', 5, 'addresses', '198.18.0.0'),
    ('198.18.0.2/15', '224.0.0.1/15', 5, 'addresses', '224.0.0.1'),
    ('port = 0', 'port = 0\ngateway = "192.0.2.1"', 5, 'gateway', '192.0.2.1'),
    ('port = 0', 'port = 0\ngateway = "nonsense"', 5, 'gateway', 'nonsense'),
    ('port = 0', 'port = 0\nmtu = 100000', 5, 'mtu', 'from'),
    ('port = 0', 'port = 0\nvlan = 5000', 5, 'vlan', '4094'),
    ('port = 7', 'address = "198.18.0.9"\nport = 7', 11, 'address', '198.18.0.2'),
    ('port = 7', 'listen_model = "linus"\nport = 7', 11, 'listen_model', 'linux-classic'),
    ('service = "echo"', 'service = "http"\nroot = "/no/such/folder"', 14, 'root', 'folder'),
    ('service = "echo"', 'service = "echo"\n[[listener]]\nport = 7\nservice = "echo"', 15, 'port',
     'taken'),
    ('[stack]', '[stak]', 6, 'stak', 'stack'),
    ('port = 7', 'port = ', 11, '', ''),
]


def usherd(lab_directory, text, *arguments, prefix=(), ok=2, env=None):
    """Starts usherd, which must end by itself with `ok`; its one line."""
    config = Path(lab_directory) / 'bad.toml'
    config.write_text(text)
    process = Process([*prefix, USHERD, '--config', config, *arguments],
                      Path(lab_directory) / 'bad.log', cwd=ROOT, env=env)
    code = process.wait()
    lines = process.output().strip().splitlines()
    equal(code, ok, f'exit code; it says {lines}')
    equal(len(lines), 1, f'lines of the message {lines}')
    check(lines[0].startswith('usherd: '), f'message {lines[0]}')
    return lines[0].removeprefix('usherd: ')


def bad_files(directory):
    for old, new, line, key, hint in WRONG:
        check(old in GOOD, f'{old!r} is not in the good configuration')
        with case(f'{new.splitlines()[-1] if line != 14 else new!r}'):
            said = usherd(directory, GOOD.replace(old, new, 1))
            print(f'  {said}')
            place = re.match(r'(.*?bad\.toml):(\d+)', said)
            check(place, f'no file and line in: {said}')
            if line is not None:
                equal(int(place[2]), line, f'the line in: {said}')
            check(key in said, f'no key {key} in: {said}')
            check(re.search(hint, said.split(key, 1)[1] if key else said),
                  f'nothing about {hint} in: {said}')


def bad_command_lines(directory):
    for arguments, key, hint in ((['--set', 'net.core.somaxcon=1'], 'net.core.somaxcon',
                                  'net.core.somaxconn'),
                                 (['--set', 'listener.0.backlog=many'], 'listener.0.backlog', 'number'),
                                 (['--set', 'nonsense'], 'nonsense', '=')):
        with case(' '.join(arguments)):
            said = usherd(directory, GOOD, *arguments)
            print(f'  {said}')
            check(key in said and hint in said, said)
    with case('no such file'):
        log = Path(directory) / 'none.log'
        process = Process([USHERD, '--config', '/no/such/file.toml'], log)
        equal(process.wait(), 2, 'exit code')
        check('/no/such/file.toml' in process.output(), process.output())


def refused(directory, name, text, hint, ok=1, **options):
    """`ok` is 2 where another configuration would be right, 1 where the machine lacks something."""
    with case(name):
        said = usherd(directory, text, ok=ok, **options)
        print(f'  {said}')
        check(re.search(hint, said), f'nothing about {hint} in: {said}')


def machine_says_no(directory):
    def eal(*more, huge=False):
        return config_text([*([] if huge else ['--no-huge', '-m', '256']), '--no-pci',
                            '--file-prefix=usher-bad', *more], [{'port': 7, 'service': 'echo'}])

    free = Path('/proc/sys/vm/nr_hugepages')
    if free.exists() and free.read_text().strip() == '0':
        refused(directory, 'no hugepages though asked', eal('--vdev=net_null0', huge=True),
                'hugepages.*--no-huge')
    refused(directory, 'no TAP permission', eal('--vdev=net_tap0,iface=usher1'), 'root|CAP_NET_ADMIN',
            prefix=['setpriv', '--bounding-set', '-net_admin', '--inh-caps', '-net_admin'])
    refused(directory, 'no such driver', eal('--vdev=net_nonsense0'), 'net_nonsense0', ok=2)
    refused(directory, 'no device', eal(), 'port 0.*--vdev', ok=2)
    refused(directory, 'no such interface', eal('--vdev=net_af_packet0,iface=nonsense0'),
            'nonsense0', ok=2)
    refused(directory, 'more memory than there is',
            eal('--vdev=net_null0').replace('[stack]', '[stack]\nmax_connections = 16777216'),
            r'\d+ (MiB|MB|GiB|bytes)|-m')


def second_server(directory):
    with Lab('tap', listeners=[HTTP_LISTENER]) as lab:
        first = lab.config()
        refused(directory, 'a second server of the same name', first, 'file-prefix|usher0')
        refused(directory, 'a second server on the same device',
                first.replace(lab.instance, lab.instance + 'b'), 'usher0.*in use')
        with case('the first server is unharmed'):
            lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/'))
    with Lab('af_packet', listeners=[HTTP_LISTENER]) as lab:
        with case('the first server on af_packet serves'):
            lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/'))


def test():
    need('setpriv')
    with tempfile.TemporaryDirectory(prefix='usher-live-') as directory:
        bad_files(directory)
        bad_command_lines(directory)
        machine_says_no(directory)
        second_server(directory)


main(test)
