#!/usr/bin/env python3
"""Enforces the rules of the house by reading the sources; see tests/README.md. Prints TAP.

Each rule is a function from a Tree to the places that break it, each place a string
`path:line: what is wrong`. layering_selftest.py proves that every rule can fail.
"""

import re
import subprocess
import sys
from pathlib import Path

# A folder of stack/ may include itself and what stands left of it.
FOLDERS = ['base', 'wire', 'packet', 'port', 'ip', 'tcp', 'listen', 'shard', 'api', 'glue']
# What may include what above stack/: a key may include the houses of its value.
HOUSES = {
    'stack': {'stack'},
    'app': {'stack', 'app'},
    'tools': {'stack', 'app', 'tools'},
    'tests': {'stack', 'app', 'tools', 'tests'},
}
TOP_LEVEL = {
    'meson.build', 'meson_options.txt', 'README.md', 'LICENSE', '.clang-format', '.clang-tidy',
    '.gitignore', '.ci', 'stack', 'app', 'config', 'tests', 'tools',
}
README_IN = re.compile(r'(stack|stack/\w+|app|config|tests|tools)/')
SENT_RECORD = re.compile(r'stack/tcp/sent_\w+\.h')
# Libraries whose headers are customarily included in quotes.
QUOTED_LIBRARIES = ('absl/', 'gtest/', 'gmock/', 'benchmark/')
CODE = ('.cc', '.h')
SCRIPTS = ('.py', '.sh', '.js', 'meson.build')
MAX_LINES = 800
# Where the words that other rules forbid have to stand.
LINT = 'tests/lint/'

CLOCKS = re.compile(
    r'\b(system_clock|steady_clock|high_resolution_clock|clock_gettime|gettimeofday|'
    r'random_device|__rdtscp?|_rdtsc|__builtin_ia32_rdtsc|getrandom|getentropy|arc4random\w*|'
    r's?rand(?=\s*\()|rand_r|random(?=\s*\(\s*\))|time(?=\s*\(\s*(?:NULL|nullptr|0)\s*\)))\b|'
    r'/dev/u?random')
UNFINISHED = re.compile(r'\b(TODO|FIXME|XXX|GTEST_SKIP|DISABLED_\w*)\b')
MACHINE_PATH = re.compile(r'(?<![\w./-])/(?:work|home|root|tmp/h)/')


class Tree:
    """The files of a source tree by their path from its root."""

    def __init__(self, root, paths):
        self.root = Path(root)
        self.paths = sorted(paths)
        self._texts = {}

    @classmethod
    def of_repository(cls, root):
        """What git tracks; every file where there is no git."""
        listing = subprocess.run(['git', '-c', 'safe.directory=*', 'ls-files', '-z'], cwd=root,
                                 capture_output=True, text=True, check=False)
        if listing.returncode == 0 and listing.stdout:
            paths = [path for path in listing.stdout.split('\0') if path]
        else:
            paths = [path.relative_to(root).as_posix() for path in Path(root).rglob('*')]
            paths = [path for path in paths if not re.match(r'build|\.git/', path)]
        return cls(root, [path for path in paths if (Path(root) / path).is_file()])

    def text(self, path):
        """The text of a file; '' if it is not text."""
        if path not in self._texts:
            try:
                self._texts[path] = (self.root / path).read_text(encoding='utf-8')
            except UnicodeDecodeError:
                self._texts[path] = ''
        return self._texts[path]

    def code(self):
        return [path for path in self.paths if path.endswith(CODE)]

    def sources(self):
        """Code, scripts and whatever starts with #!."""
        return [path for path in self.paths
                if path.endswith(CODE + SCRIPTS) or self.text(path).startswith('#!')]

    def includes(self, path):
        """(line number, '"' or '<', included name) of each #include."""
        for number, line in enumerate(without_comments(self.text(path)).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if match:
                yield number, match.group(1), match.group(2)


def without_comments(text):
    """C++ text with comments blanked; lines keep their numbers, strings their content."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"(?P<end>\w*)\(.*?\)(?P=end)"|'
                       r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)

    def blank(match):
        found = match.group(0)
        return '\n' * found.count('\n') if found.startswith('/') else found
    # A digit separator is no character literal.
    return token.sub(blank, re.sub(r"(?<=\d)'(?=\d)", '', text))


def matches(tree, paths, pattern, message, strip=False):
    """The places in `paths` where `pattern` stands; `strip`: comments do not count."""
    for path in paths:
        text = without_comments(tree.text(path)) if strip else tree.text(path)
        for number, line in enumerate(text.splitlines(), 1):
            found = pattern.search(line)
            if found:
                yield f'{path}:{number}: {found.group(0)}: {message}'


def stack_folder(path):
    """'tcp' for stack/tcp/input.cc; None outside of the folders of stack/."""
    match = re.match(r'stack/(\w+)/', path)
    return match.group(1) if match else None


def is_dpdk_side(path):
    """port/dpdk, glue, and the tests of these two."""
    return path.startswith(('stack/port/dpdk/', 'stack/glue/', 'tests/unit/glue/')) or (
        path.startswith('tests/') and re.search(r'/dpdk[/_]', path) is not None)


def includes_leftward(tree):
    """stack/ includes only leftward; stack <- app <- tools <- tests"""
    for path in tree.code():
        house = path.split('/')[0]
        if house not in HOUSES:
            continue
        for number, kind, name in tree.includes(path):
            target_house = name.split('/')[0]
            if kind != '"' or target_house not in HOUSES:
                continue
            if target_house not in HOUSES[house]:
                yield f'{path}:{number}: {house}/ must not include {name}'
                continue
            folder, target = stack_folder(path), stack_folder(name)
            if folder is None or target is None:
                continue
            if folder not in FOLDERS:
                yield f'{path}:{number}: unknown folder stack/{folder}'
            elif target not in FOLDERS:
                yield f'{path}:{number}: unknown folder stack/{target}'
            elif FOLDERS.index(target) > FOLDERS.index(folder):
                yield f'{path}:{number}: {folder}/ must not include {name}: {target}/ is to its right'


def ip_only_by_egress(tree):
    """tcp/ and listen/ see of ip/ only egress.h"""
    for path in tree.code():
        if stack_folder(path) not in ('tcp', 'listen'):
            continue
        for number, _, name in tree.includes(path):
            if name.startswith('stack/ip/') and name != 'stack/ip/egress.h':
                yield f'{path}:{number}: {name}: of stack/ip/ only egress.h may be included here'


def recovery_and_congestion_apart(tree):
    """congestion/ and recovery/ see only base/, each other and the record of sent segments"""
    pair = ('stack/tcp/congestion/', 'stack/tcp/recovery/')
    for path in tree.code():
        if not path.startswith(pair):
            continue
        for number, _, name in tree.includes(path):
            if name.startswith('stack/') and not name.startswith(('stack/base/', *pair)) \
                    and not SENT_RECORD.fullmatch(name):
                yield f'{path}:{number}: congestion and recovery must not include {name}'


def dpdk_at_home(tree):
    """rte_ names and stack/port/dpdk/ only in port/dpdk, glue and their tests"""
    outside = [path for path in tree.code() if not is_dpdk_side(path)]
    yield from matches(tree, outside, re.compile(r'\b(rte_|RTE_)\w+'),
                       'DPDK names belong into stack/port/dpdk/ and stack/glue/', strip=True)
    for path in outside:
        for number, _, name in tree.includes(path):
            if name.startswith('stack/port/dpdk/'):
                yield f'{path}:{number}: {name} is only for stack/glue/'


def no_clocks(tree):
    """stack/ reads no clock and no system randomness (but glue and port/dpdk)"""
    core = [path for path in tree.code() if path.startswith('stack/') and not is_dpdk_side(path)]
    yield from matches(tree, core, CLOCKS, 'time and chance are passed in', strip=True)


def includes_resolve(tree):
    """quoted includes start at the root and exist"""
    known = set(tree.paths)
    for path in tree.code():
        for number, kind, name in tree.includes(path):
            if kind == '"' and name not in known and not name.startswith(QUOTED_LIBRARIES):
                yield f'{path}:{number}: "{name}" is no tracked file, seen from the root'


def headers_guarded(tree):
    """headers say pragma once (but x_list.h, which is included several times)"""
    for path in tree.code():
        if path.endswith('.h') and not path.endswith('_list.h') and \
                '#pragma once\n' not in tree.text(path):
            yield f'{path}:1: no #pragma once'


def files_short(tree):
    """no source file is longer than 800 lines"""
    for path in tree.sources():
        count = len(tree.text(path).splitlines())
        if count > MAX_LINES:
            yield f'{path}:{MAX_LINES}: {count} lines, more than {MAX_LINES}'


def nothing_unfinished(tree):
    """no TODO, FIXME, XXX, skipped or disabled test"""
    yield from matches(tree, [path for path in tree.sources() if not path.startswith(LINT)],
                       UNFINISHED, 'nothing unfinished, nothing skipped')


def readmes_there(tree):
    """each folder of the house has a README.md"""
    known = set(tree.paths)
    houses = set()
    for path in tree.paths:
        for depth in (1, 2):
            folder = '/'.join(path.split('/')[:depth]) + '/'
            if path.startswith(folder) and README_IN.fullmatch(folder):
                houses.add(folder)
    for folder in sorted(houses):
        if folder + 'README.md' not in known:
            yield f'{folder}README.md:1: missing'


def top_level_fixed(tree):
    """nothing new at the top of the tree"""
    for entry in sorted({path.split('/')[0] for path in tree.paths} - TOP_LEVEL):
        yield f'{entry}:1: not one of the entries the top of the tree is made of'


def no_machine_paths(tree):
    """no path of somebody's machine"""
    yield from matches(tree, [path for path in tree.paths if not path.startswith(LINT)],
                       MACHINE_PATH, 'a path of one machine')


RULES = [
    includes_leftward, ip_only_by_egress, recovery_and_congestion_apart, dpdk_at_home, no_clocks,
    includes_resolve, headers_guarded, files_short, nothing_unfinished, readmes_there,
    top_level_fixed, no_machine_paths,
]


def main():
    root = Path(__file__).resolve().parents[2]
    tree = Tree.of_repository(root)
    print(f'1..{len(RULES)}')
    failed = False
    for number, rule in enumerate(RULES, 1):
        places = list(rule(tree))
        failed = failed or bool(places)
        print(f'{"not ok" if places else "ok"} {number} - {rule.__doc__}')
        for place in places:
            print(f'# {place}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
