"""A machine of QEMU's, in software, with network cards that DPDK's own drivers take.

Kernel and busybox come from Debian's packages, unpacked and never installed; the rest of its root
file system is what usherd needs to run: its libraries, DPDK's drivers, two kernel modules.
"""

import functools
import gzip
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'live'))

from lab import (BUILD, PATIENCE_S, USHERCTL, USHERD, Failure, Process, Skip, check,  # noqa: E402
                 need, tool, wait_until)

CACHE = BUILD / 'nic-guest'  # what the packages hold, unpacked
LOAD = BUILD / 'tools' / 'usher-load'
# In the order of loading; some kernels have fewer.
MODULES = ('uio', 'uio_pci_generic', 'irqbypass', 'iommufd', 'vfio', 'vfio_virqfd',
           'vfio_iommu_type1', 'vfio-pci-core', 'vfio-pci')
DRIVERS = ('bus_pci', 'bus_vdev', 'mempool_ring', 'net_e1000', 'net_virtio')
MEMORY_MIB, HUGEPAGES = 640, 96  # of 2 MiB
CORES = 2


# ---- what comes from packages ----

def _apt(command, *arguments):
    return subprocess.run([command, '-q', *arguments], cwd=CACHE, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _download(package):
    """The path of the package's file. Old lists name versions that the mirrors no longer have."""
    for attempt in range(2):
        done = _apt('apt-get', 'download', '-o', 'APT::Sandbox::User=root', package)
        found = sorted(CACHE.glob(f'{package}_*.deb'))
        if done.returncode == 0 and found:
            return found[-1]
        if attempt == 0:
            _apt('apt-get', 'update')
    raise Skip(f'apt-get download {package}: {done.stdout.strip().splitlines()[-1:]}')


def _unpack(package, *wanted):
    """Puts the members whose names match one of `wanted` into the cache, flat."""
    archive = subprocess.run(['dpkg-deb', '--fsys-tarfile', package], check=True,
                             stdout=subprocess.PIPE).stdout
    subprocess.run(['tar', '-x', '-C', CACHE, '--transform=s,.*/,,', '--wildcards', *wanted],
                   input=archive, check=True)


def _kernel_package():
    """The package that the newest cloud kernel's name stands for."""
    for attempt in range(2):
        text = _apt('apt-cache', 'depends', 'linux-image-cloud-amd64').stdout
        found = re.search(r'Depends: (linux-image-\S*cloud-amd64)', text)
        if found:
            return found[1]
        if attempt == 0:
            _apt('apt-get', 'update')
    raise Skip('apt knows no linux-image-cloud-amd64')


def fetch():
    """Fills the cache; needs the network, so before the test leaves it. Skips where that is none."""
    need('qemu-system-x86_64', 'dpkg-deb', 'apt-get')
    if subprocess.run(['dpkg', '--print-architecture'], stdout=subprocess.PIPE,
                      text=True).stdout.strip() != 'amd64':
        raise Skip('the guest is made of amd64 packages')
    if (CACHE / 'complete').exists():
        return
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    _unpack(_download('busybox-static'), '*bin/busybox')
    _unpack(_download(_kernel_package()), '*boot/vmlinuz-*',
            '*/kernel/drivers/uio/*.ko*', '*/kernel/drivers/vfio/*.ko*', '*/kernel/virt/lib/*.ko*')
    for package in CACHE.glob('*.deb'):
        package.unlink()
    (CACHE / 'complete').touch()


# ---- the root file system ----

class Tree:
    """Files of an initramfs (the format: Linux, driver-api/early-userspace/buffer-format)."""

    def __init__(self):
        self._members = {'.': (0o40755, b'')}

    def folder(self, path):
        path = Path(path.lstrip('/'))
        for part in [*reversed(path.parents), path]:
            self._members.setdefault(str(part), (0o40755, b''))

    def file(self, path, content, mode=0o644):
        self.folder(os.path.dirname(path))
        self._members[path.lstrip('/')] = (0o100000 | mode, content)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self._members[path.lstrip('/')] = (0o120777, target.encode())

    def host_file(self, path):
        """As on this machine, behind the same symbolic link: the loader knows files by inode."""
        path, real = str(path), os.path.realpath(path)
        self.file(real, Path(real).read_bytes(), 0o755)
        if real != path and path.lstrip('/') not in self._members:
            self.link(path, real)

    def program(self, path, host_path):
        self.file(path, Path(host_path).read_bytes(), 0o755)
        self.libraries_of(host_path)

    def libraries_of(self, host_path):
        for name in re.findall(r'(/\S+) \(0x', tool('ldd', host_path)):
            self.host_file(name)

    def write(self, path):
        out = io.BytesIO()
        members = [*self._members.items(), ('TRAILER!!!', (0, b''))]
        for number, (name, (mode, content)) in enumerate(members):
            raw = name.encode() + b'\0'
            fields = (number + 1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
            head = b'070701' + b''.join(b'%08X' % field for field in fields) + raw
            out.write(head + b'\0' * (-len(head) % 4) + content + b'\0' * (-len(content) % 4))
        with gzip.open(path, 'wb', compresslevel=1) as file:
            file.write(out.getvalue())


@functools.cache
def driver_folder():
    """Where DPDK looks for its drivers."""
    folder = Path(tool('pkg-config', '--variable=libdir', 'libdpdk').strip()) / 'dpdk'
    found = sorted(folder.glob('pmds-*'))
    check(found, f'no drivers of DPDK in {folder}')
    return found[-1]


def make_tree(files):
    """`files`: content by path, beside what every guest has."""
    tree = Tree()
    for folder in ('/proc', '/sys', '/dev', '/tmp', '/run', '/var/run', '/root'):
        tree.folder(folder)
    tree.file('/bin/busybox', (CACHE / 'busybox').read_bytes(), 0o755)
    tree.file('/init', (HERE / 'init.sh').read_bytes(), 0o755)
    for number, name in enumerate(MODULES):
        for path in CACHE.glob(f'{name}.ko*'):  # busybox unpacks what is packed
            tree.file(f'/modules/{number:02}-{path.name}', path.read_bytes())
    for program in (USHERD, USHERCTL, LOAD):
        check(program.exists(), f'{program} is not built')
        tree.program(f'/bin/{program.name}', program)
    for name in DRIVERS:
        library = driver_folder() / f'librte_{name}.so'
        tree.host_file(library)
        tree.libraries_of(library)
    for path, content in files.items():
        tree.file(path, content)
    return tree


# ---- the machine ----

class Guest:
    """Runs from __enter__ to __exit__; a shell of it is reached by its second serial line."""

    def __init__(self, directory, files, devices):
        self.directory = directory
        self.console = directory / 'console.log'
        self._files = files
        self._devices = devices  # QEMU's arguments
        self._machine = None
        self._shell = None
        self._pending = b''

    def __enter__(self):
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind is not None and issubclass(kind, Exception):
            self._show()
        self.close()

    def _boot(self):
        image = self.directory / 'initramfs.gz'
        make_tree(self._files).write(image)
        self._machine = Process(
            ['qemu-system-x86_64', '-nodefaults', '-display', 'none', '-no-reboot', '-M', 'q35',
             '-device', 'intel-iommu,intremap=on',
             '-accel', 'tcg', '-cpu', 'max', '-smp', CORES, '-m', MEMORY_MIB,
             '-kernel', next(CACHE.glob('vmlinuz-*')), '-initrd', image,
             '-append', f'console=ttyS0 quiet panic=-1 intel_iommu=on iommu=pt '
                        f'hugepages={HUGEPAGES}',
             '-serial', f'file:{self.console}',
             '-serial', f'unix:{self.directory}/shell,server=on,wait=off',
             '-qmp', f'unix:{self.directory}/qmp,server=on,wait=off', *self._devices],
            self.directory / 'qemu.log')
        self._shell = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self._shell.connect_ex(str(self.directory / 'shell')) == 0, 'QEMU to start')
        self._read_until(b'guest is up\n')

    def close(self):
        if self._machine is not None:
            self._machine.end(signal.SIGKILL)
            self._machine = None

    def _show(self):
        for path in (self.directory / 'qemu.log', self.console):
            if path.exists():
                lines = path.read_text(errors='replace').splitlines()[-60:]
                print(f'  {path.name}:\n' + '\n'.join(f'  | {line}' for line in lines))

    def _read_until(self, mark):
        """What came before `mark`."""
        deadline = time.monotonic() + PATIENCE_S
        while mark not in self._pending:
            left = deadline - time.monotonic()
            check(left > 0, f'the guest says nothing; its last words: {self._pending[-300:]!r}')
            if select.select([self._shell], [], [], left)[0]:
                got = self._shell.recv(1 << 16)
                check(got, 'the guest is gone')
                self._pending += got
        before, _, self._pending = self._pending.partition(mark)
        return before

    def run(self, command, ok=0):
        """Runs a command in the guest's shell; its output. `ok`: its exit code (None: any)."""
        line = f'{{ {command}\n}} </dev/null 2>&1; echo "ended-with $?"\n'
        self._shell.sendall(line.encode())
        output = self._read_until(b'ended-with ').decode(errors='replace')
        code = int(self._read_until(b'\n'))
        if ok is not None and code != ok:
            raise Failure(f'in the guest: {command}: exit code {code}, expected {ok}\n{output[-3000:]}')
        return output

    def qmp(self, command, **arguments):
        """A command for QEMU itself."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE_S)
            s.connect(str(self.directory / 'qmp'))
            lines = s.makefile('rw')
            lines.readline()
            for order in ({'execute': 'qmp_capabilities'}, {'execute': command, 'arguments': arguments}):
                lines.write(json.dumps(order) + '\n')
                lines.flush()
                while 'return' not in (answer := json.loads(lines.readline())):
                    check('error' not in answer, f'{command}: {answer}')


class Server:
    """usherd in a guest, from its start to its orderly end."""

    def __init__(self, guest, config):
        self.guest = guest
        self.config = config
        self.log = f'/tmp/{Path(config).stem}.log'
        self.pid = None

    def __enter__(self):
        self.pid = int(self.guest.run(
            f'usherd --config {self.config} >{self.log} 2>&1 & echo $!'))
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            if issubclass(kind, Exception):
                for line in ['usherd said:', *self.said().splitlines()]:
                    print(f'  | {line}')
            return
        self.guest.run(f'kill -TERM {self.pid}; wait {self.pid}')

    def said(self):
        return self.guest.run(f'cat {self.log}')

    def wait_serving(self):
        """What it said until it served."""
        def serving():
            text = self.said()
            self.guest.run(f'kill -0 {self.pid}')
            return text if re.search('^usherd: serving', text, re.MULTILINE) else None
        return wait_until(serving, 'usherd to serve in the guest', pause_s=0.2)
