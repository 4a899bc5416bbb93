#!/usr/bin/env python3
"""curl against the http service: keep-alive, pipelining, large bodies both ways, refusals."""

import socket

from lab import HTTP, ROOT, SERVER4, SERVER6, Lab, case, check, equal, main, need, pattern

BODY = 100 << 20


def fetch(lab, *arguments):
    return lab.run('curl', '-sS', *arguments).stdout


def page_is_whole(lab, version):
    got = lab.directory / 'page'
    fetch(lab, '-o', got, lab.url('/', version))
    equal(got.read_bytes(), (ROOT / 'config/www/index.html').read_bytes(), 'the front page')


def connection_is_kept(lab, version):
    """Ten requests, one connection."""
    urls = [lab.url(f'/bytes/{n}', version) for n in range(10)]
    outputs = [word for _ in urls for word in ('-o', '/dev/null')]
    said = fetch(lab, '-w', '%{num_connects} %{http_code} %{size_download}\n', *outputs, *urls)
    rows = [line.split() for line in said.splitlines()]
    equal(rows, [['1' if n == 0 else '0', '200', str(n)] for n in range(10)],
          'new connections, code, size')
    said = fetch(lab, '-w', '%{num_connects}\n', '-H', 'Connection: close',
                 '-o', '/dev/null', lab.url('/bytes/1', version),
                 '-o', '/dev/null', lab.url('/bytes/1', version))
    equal(said.split(), ['1', '1'], 'connections made where each is closed')


def large_bodies(lab, version):
    lab.down(version, BODY)
    lab.up_and_back(version, BODY)


def refusals(lab, version):
    said = lab.run('curl', '-sS', '-I', '-w', '%{size_download}', lab.url('/bytes/1000', version))
    check(' 200 ' in said.stdout and 'ontent-' in said.stdout, f'HEAD: {said.stdout}')
    check(said.stdout.lower().count('content-length: 1000') == 1, f'HEAD: {said.stdout}')
    for path, method, code in (('/no/such/page', 'GET', '404'), ('/', 'DELETE', '405'),
                               ('/', 'BREW', '501')):
        equal(fetch(lab, '-o', '/dev/null', '-w', '%{http_code}', '-X', method,
                    lab.url(path, version)), code, f'{method} {path}')


def pipelining(_, version):
    """Fifty requests in one write; the answers come whole and in order."""
    host = SERVER4 if version == 4 else SERVER6
    sizes = [(37 * i * i) % 5000 for i in range(50)]
    with socket.create_connection((host, HTTP), timeout=300) as s:
        s.sendall(b''.join(b'GET /bytes/%d HTTP/1.1\r\nHost: usher\r\n\r\n' % n
                           for n in sizes))
        stream = s.makefile('rb')
        for n in sizes:
            line = stream.readline()
            check(b' 200 ' in line, f'answer to /bytes/{n}: {line}')
            length = None
            while (header := stream.readline().strip()):
                if header.lower().startswith(b'content-length:'):
                    length = int(header.split(b':')[1])
            equal(length, n, 'Content-Length')
            equal(stream.read(n), pattern(n), f'body of /bytes/{n}')


def test():
    need('curl')
    for kind in ('tap', 'af_packet'):
        with Lab(kind) as lab:
            for version in (4, 6):
                for step in (page_is_whole, connection_is_kept, large_bodies, refusals, pipelining):
                    with case(f'{kind}, IPv{version}: {step.__name__.replace("_", " ")}'):
                        step(lab, version)


main(test)
