"""A lab for tests that let real programs talk to usherd.

main() moves the process into a network namespace of its own, which ends with the last process in
it, and children end with the test: nothing can outlive it, however it ends. See README.md.
"""

import atexit
import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get('USHER_BUILD', ROOT / 'build')).resolve()
USHERD = BUILD / 'app' / 'usherd'
USHERCTL = BUILD / 'tools' / 'usherctl'

# The client's side, and usher's.
CLIENT4, CLIENT6 = '198.18.0.1', '2001:2::1'
SERVER4, SERVER6 = '198.18.0.2', '2001:2::2'
HTTP, ECHO, DISCARD, CHARGEN = 80, 7, 9, 19
# Where the client is when a router stands between.
ROUTER4, ROUTED4, ROUTER6, ROUTED6 = '192.0.2.1', '192.0.2.2', '2001:db8::1', '2001:db8::2'

CHUNK = 1 << 16

# Guards against a hang only: far beyond what any step needs on a slow machine.
PATIENCE_S = 300

HTTP_LISTENER = {'port': HTTP, 'service': 'http', 'root': str(ROOT / 'config' / 'www')}
LISTENERS = [
    HTTP_LISTENER,
    {'port': ECHO, 'service': 'echo'},
    {'port': DISCARD, 'service': 'discard'},
    {'port': CHARGEN, 'service': 'chargen'},
]


class Failure(Exception):
    """What a test expected did not happen."""


class Skip(Exception):
    """What a test needs is not there; the reason."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def equal(actual, expected, what):
    if actual != expected:
        raise Failure(f'{what}: {actual!r}, expected {expected!r}')


def need(*programs):
    """Skips the test unless the programs are installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise Skip(f'{program} is not installed (sudo tools/deps installs it)')


_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_PR_SET_PDEATHSIG = 1


def _libc_call(name, *arguments):
    if getattr(_libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f'{name}: {os.strerror(error)}')


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _enter_namespace():
    """A network namespace, and /sys that shows it."""
    _libc_call('unshare', _CLONE_NEWNET | _CLONE_NEWNS)
    _libc_call('mount', b'none', b'/', None, _MS_REC | _MS_PRIVATE, None)
    _libc_call('mount', b'sysfs', b'/sys', b'sysfs', 0, None)
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)


def tool(*command, **options):
    """Runs a set-up command that must succeed; its output."""
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    check(done.returncode == 0, f'{" ".join(map(str, command))}: {done.stdout.strip()}')
    return done.stdout


def sysctl(name, value):
    Path('/proc/sys', *name.split('.')).write_text(str(value))


def wait_until(condition, what, patience_s=PATIENCE_S, pause_s=0.05):
    """Returns condition() as soon as it is true."""
    deadline = time.monotonic() + patience_s
    while not (result := condition()):
        check(time.monotonic() < deadline, f'still waiting for: {what}')
        time.sleep(pause_s)
    return result


def _toml(value):
    if isinstance(value, list):
        return '[' + ', '.join(map(_toml, value)) + ']'
    return json.dumps(value)


def config_text(eal_args, listeners, stack=None, settings=None, interface=None):
    """The configuration as TOML."""
    lines = ['[eal]', f'args = {_toml(eal_args)}']
    interface = {'port': 0, 'addresses': [f'{SERVER4}/15', f'{SERVER6}/48'], **(interface or {})}
    lines += ['[[interface]]'] + [f'{k} = {_toml(v)}' for k, v in interface.items()]
    lines += ['[stack]'] + [f'{k} = {_toml(v)}' for k, v in (stack or {}).items()]
    lines += ['[sysctl]'] + [f'"{k}" = {_toml(v)}' for k, v in (settings or {}).items()]
    for listener in listeners:
        listener = {'address': '::', 'backlog': 1024, **listener}
        lines += ['[[listener]]'] + [f'{k} = {_toml(v)}' for k, v in listener.items()]
    return '\n'.join(lines) + '\n'


class Process:
    """A child that ends with this process; its output goes to a file."""

    def __init__(self, command, log, **options):
        self.command = [str(part) for part in command]
        self.log = Path(log)
        with open(self.log, 'wb') as sink:
            self.popen = subprocess.Popen(self.command, stdin=options.pop('stdin', subprocess.DEVNULL),
                                          stdout=options.pop('stdout', sink), stderr=sink,
                                          start_new_session=True, preexec_fn=_die_with_parent,
                                          **options)

    @property
    def pid(self):
        return self.popen.pid

    def output(self):
        return self.log.read_text(errors='replace')

    def wait(self, patience_s=PATIENCE_S):
        try:
            return self.popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise Failure(f'{self.command[0]} still runs after {patience_s} s') from None

    def end(self, sent=signal.SIGTERM):
        """Its exit code (negative: the signal that ended it)."""
        if self.popen.poll() is None:
            self.popen.send_signal(sent)
            try:
                return self.popen.wait(30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


class Lab:
    """usherd on a port of `kind` (tap, af_packet), with the kernel as its client.

    with Lab('tap') as lab:
        lab.run('curl', lab.url('/'))

    Leaving it without an exception stops the server and checks that it ended well. With `routed`
    the client is in a network of its own, and this process's namespace is the router between. With
    `link`, a dictionary of the settings of link.cc, the client is behind a link with these faults;
    `beside` then names further devices (veth) on the server's side of it, for other servers.
    """

    _count = itertools.count()

    def __init__(self, kind='tap', listeners=LISTENERS, stack=None, settings=None, memory_mib=512,
                 routed=False, interface=None, eal=(), link=None, beside=()):
        self.kind = kind
        self.instance = f'usher-live-{os.getpid()}-{next(Lab._count)}'
        self.device = 'usher0'  # the kernel's end
        self.directory = Path(tempfile.mkdtemp(prefix='usher-live-'))
        self.listeners = listeners
        self.stack = {'max_connections': 16384, **(stack or {})}
        self.settings = settings or {}
        self.memory_mib = memory_mib
        self.routed = routed
        self.link_settings = link
        self.link = None
        self.beside = list(beside)
        self.interface = interface  # further keys of [[interface]]; None removes one
        self.eal = list(eal)
        self.server = None
        self._holders = []
        self._client_prefix = []
        self._children = []

    # ---- set-up and tear-down ----

    def __enter__(self):
        atexit.register(self.close)
        try:
            self._start()
        except BaseException:
            self._show_log()
            self.close()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop_server()
            elif issubclass(kind, Exception):
                self._show_log()
        except Failure:
            self._show_log()
            raise
        finally:
            self.close()

    def eal_args(self):
        vdev = {'tap': f'net_tap0,iface={self.device}',
                # A ring for what arrives while a loaded machine does not let usherd run.
                'af_packet': 'net_af_packet0,iface=usherport,framecnt=4096,'
                             f'qpairs={self.stack.get("shards", 1)}'}[self.kind]
        return ['--no-huge', '-m', str(self.memory_mib), '--no-pci',
                f'--file-prefix={self.instance}', f'--vdev={vdev}', *self.eal]

    def config(self):
        interface = {'gateway': CLIENT4, 'gateway6': CLIENT6} if self.routed else {}
        interface.update(self.interface or {})
        return config_text(self.eal_args(), self.listeners, self.stack, self.settings,
                           {k: v for k, v in interface.items() if v is not None})

    def _start(self):
        check(USHERD.exists(), f'{USHERD} is not built')
        prefix = []
        if self.kind == 'af_packet':
            prefix = self._make_veth()
        config = self.directory / 'usherd.toml'
        config.write_text(self.config())
        self.server = Process([*prefix, USHERD, '--config', config], self.directory / 'usherd.log',
                              cwd=ROOT)
        wait_until(lambda: self.server.popen.poll() is not None or
                   re.search('^usherd: serving', self.server.output(), re.MULTILINE),
                   'usherd to serve')
        check(self.server.popen.poll() is None,
              f'usherd ended with exit code {self.server.popen.poll()}')
        if self.link_settings is None:
            self._address_client()
        else:
            self._make_link()
        for address in (SERVER4, SERVER6):
            wait_until(lambda: subprocess.run([*(self._client_prefix if self.link else []), 'ping',
                                               '-q', '-c1', '-W1', address],
                                              stdout=subprocess.DEVNULL).returncode == 0,
                       f'{address} to answer a ping')

    def _namespace(self):
        """A further namespace, alive as long as the lab; the prefix of commands in it."""
        holder = Process(['unshare', '--net', 'sleep', 'infinity'], self.directory / 'holder.log')
        self._holders.append(holder)
        own = os.readlink('/proc/self/ns/net')
        wait_until(lambda: os.readlink(f'/proc/{holder.pid}/ns/net') != own, 'a namespace')
        return holder.pid, ['nsenter', f'--net=/proc/{holder.pid}/ns/net']

    def _make_veth(self):
        """usher's end lives in a namespace of its own, as a cable's other end would."""
        pid, enter = self._namespace()
        tool('ip', 'link', 'add', self.device, 'type', 'veth', 'peer', 'name', 'usherport')
        tool('ip', 'link', 'set', 'usherport', 'netns', pid)
        # The kernel there must stay silent, and frames must come as a wire would carry them.
        tool(*enter, 'sysctl', '-q', '-w', 'net.ipv6.conf.usherport.disable_ipv6=1')
        tool(*enter, 'ip', 'link', 'set', 'usherport', 'up')
        tool('ethtool', '-K', self.device, 'tx', 'off', 'tso', 'off', 'gso', 'off')
        tool('ip', 'link', 'set', self.device, 'up')
        return enter

    def _address_client(self):
        tool('ip', 'addr', 'add', f'{CLIENT4}/15', 'dev', self.device)
        tool('ip', 'addr', 'add', f'{CLIENT6}/48', 'dev', self.device, 'nodad')
        tool('ip', 'link', 'set', self.device, 'up')
        if self.routed:
            self._make_router()

    def _make_router(self):
        pid, enter = self._namespace()
        tool('ip', 'link', 'add', 'router0', 'type', 'veth', 'peer', 'name', 'client0')
        tool('ip', 'link', 'set', 'client0', 'netns', pid)
        for prefix, device, addresses in (([], 'router0', (f'{ROUTER4}/24', f'{ROUTER6}/64')),
                                          (enter, 'client0', (f'{ROUTED4}/24', f'{ROUTED6}/64'))):
            # Single packets, so that each is lost alone.
            tool(*prefix, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off')
            tool(*prefix, 'ip', 'addr', 'add', addresses[0], 'dev', device)
            tool(*prefix, 'ip', 'addr', 'add', addresses[1], 'dev', device, 'nodad')
            tool(*prefix, 'ip', 'link', 'set', device, 'up')
        tool(*enter, 'ip', 'link', 'set', 'lo', 'up')
        tool(*enter, 'ip', 'route', 'add', 'default', 'via', ROUTER4)
        tool(*enter, 'ip', '-6', 'route', 'add', 'default', 'via', ROUTER6)
        sysctl('net.ipv4.ip_forward', 1)
        sysctl('net.ipv6.conf.all.forwarding', 1)
        self._client_prefix = enter

    def _make_link(self):
        pid, enter = self._namespace()
        tool('ip', 'link', 'add', 'link0', 'type', 'veth', 'peer', 'name', 'client0')
        tool('ip', 'link', 'set', 'client0', 'netns', pid)
        self._client_prefix = enter
        tool(*enter, 'ip', 'addr', 'add', f'{CLIENT4}/15', 'dev', 'client0')
        tool(*enter, 'ip', 'addr', 'add', f'{CLIENT6}/48', 'dev', 'client0', 'nodad')
        for prefix, device in ((enter, 'lo'), (enter, 'client0'), ([], 'link0'), ([], self.device)):
            if device != 'lo':
                # Single packets with whole checksums, as on a wire.
                tool(*prefix, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off')
            if not prefix:  # the kernel here only looks on
                tool('sysctl', '-q', '-w', f'net.ipv6.conf.{device}.disable_ipv6=1')
            tool(*prefix, 'ip', 'link', 'set', device, 'up')
        self.set_link(self.link_settings)

    def set_link(self, settings):
        """Another link in place of the one there is; what that one did, if there was one."""
        did = self.end_link()
        self.link_settings = settings
        self.link = Process([BUILD / 'tests' / 'live' / 'link', 'link0', self.device, *self.beside,
                             *(f'{key}={value}' for key, value in settings.items())],
                            self.directory / 'link.log')
        wait_until(lambda: 'link: ready' in self.link.output() or self.link.popen.poll() is not None,
                   'the link')
        check(self.link.popen.poll() is None, f'the link: {self.link.output()}')
        return did

    def end_link(self):
        if self.link is None:
            return None
        equal(self.link.end(), 0, f'exit code of the link ({self.link.output()})')
        link, self.link = self.link, None
        return json.loads(link.output().splitlines()[-1])

    def stop_server(self):
        """SIGTERM must end it with exit code 0 and no complaint in its log."""
        if self.server is None:
            return
        code = self.server.end()
        server, self.server = self.server, None
        try:
            equal(code, 0, 'exit code of usherd after SIGTERM')
            check(not re.search(r'Sanitizer|CHECK failed|runtime error', server.output()),
                  'usherd complains in its log')
        except Failure:
            self.server = server  # so that its log is shown
            raise

    def close(self):
        atexit.unregister(self.close)
        for child in [*self._children, self.link, self.server]:
            if child is not None:
                child.end()
        for device in ('router0', 'link0', *self.beside, self.device):
            subprocess.run(['ip', 'link', 'del', device], stderr=subprocess.DEVNULL)
        for holder in self._holders:
            holder.end(signal.SIGKILL)
        self._children, self.server, self._holders, self._client_prefix = [], None, [], []
        self.link = None
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(f'/run/dpdk/{self.instance}', ignore_errors=True)

    def _show_log(self):
        if self.server is not None and self.server.log.exists():
            lines = self.server.output().splitlines()[-60:]
            print('  usherd.log:\n' + '\n'.join(f'  | {line}' for line in lines))

    # ---- programs ----

    def run(self, *command, ok=0, text=True, patience_s=PATIENCE_S, **options):
        """Runs a client; its exit code must be `ok` (None: any)."""
        command = [str(part) for part in [*self._client_prefix, *command]]
        child = subprocess.Popen(command, text=text, preexec_fn=_die_with_parent,
                                 stdin=options.pop('stdin', subprocess.PIPE if 'input' in options
                                                   else subprocess.DEVNULL),
                                 stdout=options.pop('stdout', subprocess.PIPE),
                                 stderr=options.pop('stderr', subprocess.STDOUT),
                                 start_new_session=True,
                                 **{k: v for k, v in options.items() if k != 'input'})
        try:
            out, err = child.communicate(options.get('input'), timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise Failure(f'{" ".join(command)}: still runs after {patience_s} s') from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if ok is not None and child.returncode != ok:
            said = out if isinstance(out, str) else (out or b'').decode(errors='replace')
            raise Failure(f'{" ".join(command)}: exit code {child.returncode}, expected {ok}\n'
                          f'{said[-3000:]}')
        return subprocess.CompletedProcess(command, child.returncode, out, err)

    def spawn(self, *command, **options):
        """Starts a client in the background; it ends with the lab at the latest."""
        log = self.directory / f'child-{len(self._children)}.log'
        child = Process([*self._client_prefix, *command], log, **options)
        self._children.append(child)
        return child

    @staticmethod
    def url(path, version=4, port=HTTP):
        host = SERVER4 if version == 4 else f'[{SERVER6}]'
        return f'http://{host}{"" if port == HTTP else f":{port}"}{path}'

    # ---- what the server says of itself ----

    def ctl(self, *arguments):
        """`usherctl --json`, parsed."""
        return json.loads(self.run(USHERCTL, '--instance', self.instance, '--json', *arguments,
                                   stderr=subprocess.PIPE).stdout)

    def status(self):
        return json.loads(self.run('curl', '-sS', '--fail', self.url('/status')).stdout)

    def counters(self):
        return self.status()['counters']

    def baseline(self):
        """What must be free again when nobody is connected: back_to() compares with it."""
        status = self.status()
        return {'pools': status['pools']}

    def back_to(self, baseline):
        """Waits until no connection is left and every pool is as full as it was."""
        def settled():
            now = self.status()
            alive = {k: n for k, n in now['connections'].items() if n > 0 and k != 'time_wait'}
            self._unsettled = f"{alive}, {now['pools']}, at first {baseline['pools']}"
            return alive == {'established': 1} and now['pools'] == baseline['pools']
        try:
            wait_until(settled, 'all connections and buffers to be given back', pause_s=0.3)
        except Failure as failure:
            raise Failure(f'{failure}; there are {self._unsettled}') from None


    # ---- transfers, each compared by SHA-256; one of a version at a time ----

    def down(self, version, length):
        """curl fetches `length` bytes of the pattern."""
        got = self.directory / f'down{version}'
        self.run('curl', '-sS', '--fail', '-o', got, self.url(f'/bytes/{length}', version))
        equal(sha256_of(got), pattern_sha256(length), 'SHA-256 of what came down')

    def up_and_back(self, version, length):
        """curl sends random bytes to /echo."""
        up, back = self.directory / f'up{version}', self.directory / f'back{version}'
        wanted = random_file(up, length)
        self.run('curl', '-sS', '--fail', '-H', 'Expect:', '-T', up, '-X', 'POST', '-o', back,
                 self.url('/echo', version))
        equal(sha256_of(back), wanted, 'SHA-256 of what went up and came back')

    def echo(self, version, length, *client):
        """Random bytes through `client` (socat unless told), whose input they are and whose output
        must be the same; it closes its sending half at their end."""
        up, back = self.directory / f'up{version}', self.directory / f'back{version}'
        wanted = random_file(up, length)
        host = SERVER4 if version == 4 else f'[{SERVER6}]'
        with open(up, 'rb') as source, open(back, 'wb') as sink:
            self.run(*(client or ('socat', '-t', 300, '-', f'TCP{version}:{host}:{ECHO}')),
                     stdin=source, stdout=sink)
        equal(sha256_of(back), wanted, 'SHA-256 of the echo')


# ---- hashes of what went over the wire ----

def pattern(length, start=0):
    """What /bytes/N answers: byte i is i mod 251."""
    period = bytes(range(251))
    offset = start % 251
    return (period * ((offset + length) // 251 + 1))[offset:offset + length]


def pattern_sha256(length):
    digest = hashlib.sha256()
    block = 251 * 4096
    for start in range(0, length, block):
        digest.update(pattern(min(block, length - start), start))
    return digest.hexdigest()


def random_file(path, length):
    """Writes `length` random bytes; their SHA-256."""
    digest = hashlib.sha256()
    with open(path, 'wb') as file:
        while length > 0:
            block = os.urandom(min(length, 1 << 20))
            digest.update(block)
            file.write(block)
            length -= len(block)
    return digest.hexdigest()


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ---- running a test file ----

@contextlib.contextmanager
def case(name):
    """Names a step; a failure in it carries the name."""
    start = time.monotonic()
    print(f'{name} ...', flush=True)
    try:
        yield
    except (Failure, OSError, ValueError, KeyError) as error:
        print(f'FAILED {name}: {error}', flush=True)
        raise
    print(f'  ok, {time.monotonic() - start:.1f} s', flush=True)


def main(test, before=None):
    """Runs test() as the whole program; before(), if given, while the network is still the host's."""
    def stop(number, _):
        raise SystemExit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    if os.geteuid() != 0:
        print('needs root')
        sys.exit(77)
    try:
        if before is not None:
            before()
        _enter_namespace()
        test()
    except Skip as reason:
        print(reason)
        sys.exit(77)
    except Failure as failure:
        print(f'FAILED: {failure}')
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    print('passed')
