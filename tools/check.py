#!/usr/bin/env python3
"""Builds usher in every supported way, checks its style and runs all tests; see tools/README.md.

Started by tools/check. The last line is `N passed, M failed, K skipped`; exit code 0 only if M is 0.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILDS = ROOT / 'build-check'
LOGS = BUILDS / 'logs'
JOBS = os.cpu_count() or 1
# Guards against a hang only: far beyond what any step needs.
STEP_LIMIT_S = 3600
LIVE_LIMIT_S = 900
LOG_TAIL_LINES = 60
# Other versions of compilers, clang-format and clang-tidy have other opinions; Debian 12's are the
# reference, and only of theirs a warning is an error.
GCC_VERSION = '12'
LLVM_VERSION = '14'


class Child:
    """A child process with all it starts: they share a session, or at least a mark in their
    environment, by which daemons are found too."""

    _count = itertools.count()

    def __init__(self, command, output, env, cwd):
        self.mark = f'USHER_CHECK={os.getpid()}-{next(Child._count)}'
        name, _, value = self.mark.partition('=')
        self.process = subprocess.Popen(
            [str(part) for part in command], cwd=cwd, env={**(env or os.environ), name: value},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True)

    def members(self):
        """The living processes of this child."""
        found = []
        for entry in Path('/proc').iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / 'stat').read_text().rpartition(')')[2].split()
                if fields[0] not in 'ZX' and (
                        int(fields[3]) == self.process.pid or
                        self.mark.encode() in (entry / 'environ').read_bytes().split(b'\0')):
                    found.append(int(entry.name))
            except OSError:  # gone, or not ours to see
                continue
        return found

    def end(self):
        """Interrupts all, so that they can clean up; kills what is left after 10 s."""
        for sent, patience_s in ((signal.SIGINT, 5), (signal.SIGTERM, 5), (signal.SIGKILL, 2)):
            for pid in self.members():
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                if not self.members():
                    return
                time.sleep(0.1)

    def leftovers(self):
        """Kills what outlived its end; the command lines."""
        if not self.members():
            return []
        time.sleep(1)  # what ends because its parent did needs a moment
        commands = []
        for pid in self.members():
            try:
                words = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
                commands.append(b' '.join(words).decode(errors='replace'))
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        return commands


stopping = threading.Event()


def run(command, log=None, timeout_s=STEP_LIMIT_S, env=None, cwd=ROOT, left=None):
    """Runs `command`; returns (exit code, output). Exit code 124: stopped after timeout_s.

    `left`, a list, receives the command lines of the processes that outlived the command.
    """
    if stopping.is_set():
        raise KeyboardInterrupt
    with tempfile.TemporaryFile() if log is None else open(log, 'w+b') as sink:
        child = Child(command, sink, env, cwd)
        try:
            code = wait(child.process, timeout_s)
            if code is None:
                child.end()
                code = 124
        except KeyboardInterrupt:
            child.end()
            raise
        if left is not None:
            left.extend(child.leftovers())
        sink.seek(0)
        return code, sink.read().decode(errors='replace')


def wait(process, timeout_s):
    """The exit code, or None after timeout_s. Threads beside the main one learn of Ctrl-C here."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if stopping.is_set():
                raise KeyboardInterrupt from None
    return None


class Report:
    """Counts cases and prints progress: a line per phase, the log of what failed."""

    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []
        self.phases = []
        self._phase = None

    def phase(self, name):
        self.end_phase()
        self._phase = (name, time.monotonic(), self.passed, len(self.failures), len(self.skips))
        print(f'== {name}', flush=True)

    def end_phase(self):
        if self._phase is None:
            return
        name, start, passed, failed, skipped = self._phase
        took_s = time.monotonic() - start
        self._phase = None
        self.phases.append((name, took_s))
        print(f'   {self.passed - passed} passed, {len(self.failures) - failed} failed, '
              f'{len(self.skips) - skipped} skipped in {took_s:.0f} s', flush=True)

    def ok(self, count=1):
        self.passed += count

    def fail(self, name, log='', count=1):
        self.failures.extend([name] * count)
        print(f'   FAIL {name}', flush=True)
        lines = log.rstrip().splitlines()
        if len(lines) > LOG_TAIL_LINES:
            lines = [f'[{len(lines) - LOG_TAIL_LINES} lines above]'] + lines[-LOG_TAIL_LINES:]
        for line in lines:
            print(f'   | {line}', flush=True)

    def skip(self, name, reason):
        self.skips.append((name, reason))

    def finish(self):
        self.end_phase()
        if self.skips:
            print('skipped:')
            for name, reason in self.skips:
                print(f'   {name}: {reason}')
        if self.failures:
            print('failed:')
            for name in self.failures:
                print(f'   {name}')
        times = ', '.join(f'{name} {took_s:.0f} s' for name, took_s in self.phases)
        print(f'times: {times}')
        print(f'{self.passed} passed, {len(self.failures)} failed, {len(self.skips)} skipped',
              flush=True)
        return 0 if not self.failures else 1


report = Report()


def tracked_files(*suffixes):
    """Paths (from the root) of the files git tracks, or of all files where there is no git."""
    code, text = run(['git', '-c', 'safe.directory=*', 'ls-files', '-z'])
    if code == 0:
        names = [name for name in text.split('\0') if name]
    else:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob('*') if path.is_file()]
        names = [name for name in names if not name.startswith(('build', '.git/'))]
    return sorted(name for name in names if name.endswith(suffixes) and (ROOT / name).is_file())


class Build:
    """A meson build directory below build-check/."""

    def __init__(self, name, compiler, options):
        self.name = name
        self.path = BUILDS / name
        ccache = 'ccache ' if shutil.which('ccache') else ''
        self.environment = dict(os.environ, CXX=ccache + compiler)
        self.options = options
        self.built = False

    def configure(self):
        """Runs meson; one case if it fails."""
        log = LOGS / f'build-{self.name}.log'
        setup = ['meson', 'setup', self.path, *self.options]
        existing = (self.path / 'build.ninja').exists()
        code, text = run(setup + (['--reconfigure'] if existing else []), log,
                         env=self.environment)
        if code != 0 and self.path.exists():  # half-made, or of other compilers
            shutil.rmtree(self.path)
            code, text = run(setup, log, env=self.environment)
        if code != 0:
            report.fail(f'build {self.name}', text)
        return code == 0

    def make(self, targets=('all', 'meson-test-prereq')):
        """Configures and compiles; one case."""
        if not self.configure():
            return False
        code, text = run(['ninja', '-C', self.path, '-j', JOBS, *targets],
                         LOGS / f'build-{self.name}.log', env=self.environment)
        if code != 0:
            report.fail(f'build {self.name}',
                        '\n'.join(line for line in text.splitlines()
                                  if not re.match(r'\[\d+/\d+\] (Compiling|Linking|Generating)',
                                                  line)))
            return False
        report.ok()
        self.built = True
        return True

    def test(self, include=None, exclude=(), environment=None):
        """Runs the registered tests of the suites `include` (None: all) except `exclude`."""
        if not self.built:
            report.skip(f'tests of build {self.name}', 'the build failed')
            return
        listed = json.loads((self.path / 'meson-info' / 'intro-tests.json').read_text())
        members = {}
        for test in listed:
            suite = (test['suite'] or [''])[0].split(':')[-1]
            if suite not in exclude and (include is None or suite in include):
                members[f'{suite}/{test["name"]}'] = test
                gtest_results(self.path, test).unlink(missing_ok=True)
        json_log = self.path / 'meson-logs' / 'check.json'
        json_log.unlink(missing_ok=True)
        suites = sorted({name.partition('/')[0] for name in members})
        code, text = run(['meson', 'test', '-C', self.path, '--no-rebuild', '--num-processes', JOBS,
                          '--logbase', 'check', *(f'--suite={suite}' for suite in suites)],
                         LOGS / f'test-{self.name}.log', env=dict(os.environ, **(environment or {})))
        results = {}
        if json_log.exists():
            for line in json_log.read_text().splitlines():
                result = json.loads(line)
                results[result['name'].rpartition(' / ')[2]] = result
        if not results:
            report.fail(f'meson test ({self.name})', f'exit code {code}\n{text}')
            return
        for name, test in members.items():
            if test['name'] not in results:
                report.fail(f'{self.name}/{name}', 'was not run')
            else:
                self._count(f'{self.name}/{name}', test, results[test['name']])

    def _count(self, name, test, result):
        output = result.get('stdout', '') + result.get('stderr', '')
        if result['result'] == 'SKIP':
            lines = output.strip().splitlines()
            report.skip(name, lines[-1] if lines else 'exit code 77, no reason given')
            return
        good = result['result'] in ('OK', 'EXPECTEDFAIL')
        passed, failed, skipped = cases(test, self.path, output)
        report.ok(passed)
        for case, reason in skipped:
            report.skip(f'{name}: {case}', reason)
        for case, text in failed:
            report.fail(f'{name}: {case}', text)
        if good and not failed:
            if passed == 0 and not skipped:
                report.ok()
        elif not failed:  # crashed, leaked, or a program without cases
            code = result.get('returncode', '?')
            report.fail(name, f'{output}\n{result["result"]}, exit code {code}')


def gtest_results(build_path, test):
    return Path(test.get('workdir') or build_path) / f'{test["name"]}.xml'


def case_output(output, name):
    """What a GoogleTest program printed while it ran one case: traces and seeds included."""
    match = re.search(r'^\[ RUN      \] ' + re.escape(name) + r'\n(.*?)^\[  FAILED  \]', output,
                      re.MULTILINE | re.DOTALL)
    return match.group(1) if match else ''


def cases(test, build_path, output):
    """The single cases of a test program: (passed, [(failed, text)], [(skipped, reason)])."""
    passed, failed, skipped = 0, [], []
    if test.get('protocol') == 'gtest':
        try:
            tree = ElementTree.parse(gtest_results(build_path, test))
        except (OSError, ElementTree.ParseError):
            return passed, failed, skipped
        for case in tree.iter('testcase'):
            name = f'{case.get("classname")}.{case.get("name")}'
            faults = [fault.get('message') or '' for fault in case.iter('failure')]
            if faults:
                failed.append((name, case_output(output, name) or '\n'.join(faults)))
            elif case.get('result') == 'skipped' or case.get('status') == 'notrun':
                skipped.append((name, 'skips itself'))
            else:
                passed += 1
    elif test.get('protocol') == 'tap':
        lines = output.splitlines()
        for number, line in enumerate(lines):
            match = re.match(r'(not )?ok\b(?:\s+\d+)?(?:\s*-)?\s*([^#]*)(?:#\s*(\w+)\s*(.*))?', line)
            if not match:
                continue
            wrong, name, directive, reason = match.groups()
            if (directive or '').lower() == 'skip':
                skipped.append((name.strip(), reason))
            elif wrong:
                detail = []
                for after in lines[number + 1:]:
                    if not after.startswith('#'):
                        break
                    detail.append(after)
                failed.append((name.strip(), '\n'.join(detail)))
            else:
                passed += 1
    return passed, failed, skipped


def unusable(tool):
    """Why this LLVM tool cannot judge the sources; None if it can."""
    if not shutil.which(tool):
        return f'{tool} is not installed'
    _, text = run([tool, '--version'])
    version = re.search(r'version (\d+)', text)
    if not version or version.group(1) != LLVM_VERSION:
        return f'{tool} {version.group(1) if version else "?"} judges otherwise than {LLVM_VERSION}'
    return None


def warnings_are_errors(compiler, reference):
    """The meson options that make warnings errors, for the reference version of a compiler."""
    _, text = run([compiler, '-dumpversion'])
    version = text.strip().split('.')[0]
    if version == reference:
        return ['-Dwerror=true']
    report.skip(f'warnings of {compiler}', f'{compiler} {version} warns otherwise than {reference}')
    return ['-Dwerror=false']


def check_format():
    report.phase('format')
    reason = unusable('clang-format')
    if reason:
        report.skip('format', reason)
        return
    files = tracked_files('.cc', '.h')
    code, text = run(['clang-format', '--dry-run', '-Werror', '--style=file', *files])
    if code == 0:
        report.ok()
        return
    places = sorted(set(re.findall(r'^([^:\s]+):\d+:\d+: error', text, re.MULTILINE)))
    report.fail('format', '\n'.join(places) + '\n(repair: clang-format -i FILE)' if places else text)


def check_lint(build):
    """clang-tidy over every translation unit of the library and the programs; one case per file.

    Clang's own warnings are among what it tells, so that nothing needs to be compiled for them.
    """
    report.phase('lint')
    reason = unusable('clang-tidy')
    if reason:
        report.skip('lint', reason)
        return
    if not build.configure():
        return
    cache = BUILDS / 'tidy-cache'
    cache.mkdir(exist_ok=True)
    commands = {}
    for entry in json.loads((build.path / 'compile_commands.json').read_text()):
        name = os.path.relpath(os.path.join(entry['directory'], entry['file']), ROOT)
        if name.startswith(('stack/', 'app/', 'tools/')):
            commands.setdefault(name, entry)
    _, version = run(['clang-tidy', '--version'])
    salt = version + (ROOT / '.clang-tidy').read_text()
    with ThreadPoolExecutor(JOBS) as pool:
        work = {name: pool.submit(lint_file, build, entry, name, salt, cache)
                for name, entry in sorted(commands.items())}
        for name, future in work.items():
            text = future.result()
            if text is None:
                report.ok()
            else:
                report.fail(f'lint {name}', text)


def lint_file(build, entry, name, salt, cache):
    """None if clang-tidy has nothing to say, else what it says. What was clean once is not redone."""
    command = shlex.split(entry['command'])
    if 'ccache' in os.path.basename(command[0]):
        command = command[1:]
    source = command.index('-c') if '-c' in command else len(command)
    preprocess = command[:source] + ['-E', '-C', '-P', '-o', '-', entry['file']]
    preprocess = [part for index, part in enumerate(preprocess)
                  if not (part.startswith(('-MD', '-MQ', '-MF')) or
                          (index and preprocess[index - 1] in ('-MQ', '-MF')))]
    first_output = preprocess.index('-o')
    if preprocess[first_output + 1] != '-':
        del preprocess[first_output:first_output + 2]
    code, text = run(preprocess, cwd=entry['directory'])
    key = hashlib.sha256((salt + name + text).encode()).hexdigest()
    stamp = cache / key
    if code == 0 and stamp.exists():
        return None
    code, text = run(['clang-tidy', '--quiet', '-p', build.path, ROOT / name])
    if code == 0:
        stamp.touch()
        return None
    return '\n'.join(line for line in text.splitlines()
                     if not re.match(r'\d+ warnings? (generated|treated)', line))


def live_tests(build):
    """As many side by side as there are cores: they mostly wait, each in namespaces of its own."""
    report.phase('live tests')
    folders = [ROOT / 'tests' / name for name in ('nic', 'live')]  # the longest first
    tests = [test for folder in folders
             for test in sorted([*folder.glob('*_test.sh'), *folder.glob('*_test.py')])]
    ready = []
    for test in tests:
        name = f'{test.parent.name}/{test.name}'
        if not os.access(test, os.X_OK):
            report.fail(name, 'is not executable')
        elif os.geteuid() != 0:
            report.skip(name, 'needs root')
        elif not build.built:
            report.skip(name, 'the release build failed')
        else:
            ready.append((name, test))
    with ThreadPoolExecutor(JOBS) as pool:
        for name, future in [(name, pool.submit(live_test, name, test, build))
                             for name, test in ready]:
            passed, lines = future.result()
            if passed is None:
                report.skip(name, lines)
            elif passed:
                report.ok()
                print(f'   {lines}', flush=True)
            else:
                report.fail(name, lines)


def live_test(name, test, build):
    """(passed, what to say); None for passed: skipped."""
    start = time.monotonic()
    left = []
    code, text = run([test], LOGS / f'live-{test.stem}.log', LIVE_LIMIT_S, left=left,
                     env=dict(os.environ, USHER_BUILD=str(build.path)))
    lines = text.strip().splitlines()
    if code == 77:
        return None, lines[-1] if lines else 'exit code 77, no reason given'
    if code != 0:
        what = f'still running after {LIVE_LIMIT_S} s' if code == 124 else f'exit code {code}'
        return False, f'{text.rstrip()}\n{what}'
    if left:
        return False, 'left processes behind:\n' + '\n'.join(left)
    return True, f'{test.name} {time.monotonic() - start:.0f} s'


SANITIZERS = {
    'ASAN_OPTIONS': 'detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:'
                    'check_initialization_order=1:abort_on_error=0',
    'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1',
}


def check(quick):
    for tool in ('meson', 'ninja', 'g++'):
        if not shutil.which(tool):
            report.fail('build', f'{tool} is not installed (run: sudo tools/deps)')
            return
    dpdk = []
    if run(['pkg-config', '--exists', 'libdpdk'])[0] != 0:
        dpdk = ['-Ddpdk=disabled']
        report.skip('programs', 'DPDK is not installed (run: sudo tools/deps)')

    check_format()
    report.phase('build: GCC, release')
    release = Build('gcc', 'g++', [
        '-Dbuildtype=release', *warnings_are_errors('g++', GCC_VERSION), *dpdk])
    release.make()
    if quick:
        report.phase('unit tests, layering')
        release.test(include=('unit', 'lint'))
        return

    sanitized = Build('asan', 'clang++', [
        '-Dbuildtype=debug', '-Doptimization=1', '-Ddpdk=disabled', '-Db_sanitize=address,undefined',
        '-Db_lundef=false', '-Db_lto=false',
        '-Dcpp_args=-fno-sanitize-recover=all -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS '
        '-gline-tables-only'])
    if shutil.which('clang++'):
        report.phase('build: Clang, address and undefined-behaviour sanitizers')
        sanitized.options += warnings_are_errors('clang++', LLVM_VERSION)
        sanitized.make(['meson-test-prereq'])  # of the rest nothing is run
        check_lint(Build('clang', 'clang++', ['-Doptimization=0', '-Ddebug=false', *dpdk]))
    else:
        report.skip('Clang build, sanitizers, lint', 'clang is not installed (run: sudo tools/deps)')
    report.phase('tests: sanitizers')
    sanitized.test(exclude=('lint',), environment=SANITIZERS)
    report.phase('tests: release')
    release.test()
    live_tests(release)


def main():
    parser = argparse.ArgumentParser(
        prog='tools/check',
        description='Builds usher with GCC and Clang, checks formatting, layering and lint, and runs '
                    'all tests. As root it first installs what is missing and runs the live tests.')
    parser.add_argument('--quick', action='store_true',
                        help='only formatting, layering, the GCC build and its unit tests')
    arguments = parser.parse_args()
    os.chdir(ROOT)
    LOGS.mkdir(parents=True, exist_ok=True)

    def interrupted(*_):
        if not stopping.is_set():  # a second one would cut the cleaning up short
            stopping.set()
            raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        check(arguments.quick)
    except KeyboardInterrupt:
        report.fail('interrupted')
        report.finish()
        return 130
    return report.finish()


if __name__ == '__main__':
    sys.exit(main())
