#!/usr/bin/env python3
"""How much the tests would notice: a random sample of small mistakes, planted one at a time.

    tests/mutation/mutate.py BUILD [--sample 300] [--seed 1] [--jobs 1] [--folders stack/tcp ...]

A mistake is a comparison, a condition, a constant or a sign turned round in a .cc file of the folders.
BUILD is a build directory in which the tests are built; only the file with the mistake is compiled anew
and put before the library's own, so that the tree and the build stay as they are. The programs run in
the order of CHECKS until one fails, the folder's own first. Prints a line for each mistake; the last
is the share that was caught. What survives is not always a gap: some mistakes change nothing that can
be seen.
"""
import argparse
import json
import os
import pathlib
import random
import re
import resource
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ADAPTER = 'tools/libusher-packetdrill.so'
MATRIX = 'All/ArrivalMatrixTest.*'
# Program and what it is told, the quick ones first.
CHECKS = [('tests/unit/test-tcp', f'--gtest_filter=-{MATRIX}'), ('tests/unit/test-listen', ''),
          ('tests/unit/test-shard', ''), ('tests/unit/test-api', ''),
          ('tests/unit/test-tcp', f'--gtest_filter={MATRIX}'), ('tests/sim/bottleneck-test', ''),
          ('tests/sim/sim-test', ''), (ADAPTER, '')]
CPU_LIMIT_S = 40  # a mistake may make a loop endless: that too is noticed

# Pattern and what may stand in its place. Operators have blanks around them (.clang-format), which
# tells them from template brackets, references and signs.
MISTAKES = [
    (r'(?<= )<(?= )', ['<=', '>=']), (r'(?<= )<=(?= )', ['<', '>']),
    (r'(?<= )>(?= )', ['>=', '<=']), (r'(?<= )>=(?= )', ['>', '<']),
    (r'(?<= )==(?= )', ['!=']), (r'(?<= )!=(?= )', ['==']),
    (r'(?<= )&&(?= )', ['||']), (r'(?<= )\|\|(?= )', ['&&']),
    (r'(?<= )\+(?= )', ['-']), (r'(?<= )-(?= )', ['+']),
    (r'(?<= )\+=(?= )', ['-=']), (r'(?<= )-=(?= )', ['+=']),
    (r'\btrue\b', ['false']), (r'\bfalse\b', ['true']),
    (r'\bif \((?!constexpr)', ['if (!(']),
    (r'(?<![\w.\'])\d+(?![\w.\'])', ['+1']),
    (r'\bstd::min\b', ['std::max']), (r'\bstd::max\b', ['std::min']),
    (r'(?<=return )!(?=\w)', ['']),
]
# Lines that say nothing to the program, or nothing that a test could see.
IDLE = re.compile(r'^\s*(//|#|static_assert|namespace|using |USHER_D?CHECK|case .*:$|template)')


def places(folders):
    """(file, offset, length, replacement) of every possible mistake."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob('*.cc')):
            offset = 0
            for line in path.read_text().splitlines(keepends=True):
                code = re.sub(r'"(\\.|[^"])*"|//.*', lambda m: ' ' * len(m.group()), line)
                if not IDLE.match(line):
                    for pattern, others in MISTAKES:
                        found += [(path, offset + m.start(), len(m.group()), other)
                                  for m in re.finditer(pattern, code) for other in others]
                offset += len(line)
    return found


def planted(place):
    """The text with the mistake, its line number, the line before and after."""
    path, offset, length, other = place
    text = path.read_text()
    old = text[offset:offset + length]
    if other == '+1':
        other = str(int(old) + 1)
    new = text[:offset] + other + text[offset + length:]
    if old.startswith('if ('):
        close, depth = offset + length, 1
        while depth:
            depth += {'(': 1, ')': -1}.get(text[close], 0)
            close += 1
        shift = len(other) - length
        new = new[:close + shift] + ')' + new[close + shift:]
    number = text.count('\n', 0, offset)
    return new, number + 1, text.splitlines()[number].strip(), new.splitlines()[number].strip()


class Build:
    def __init__(self, path):
        self.path = path.resolve()
        self.commands = {(self.path / entry['file']).resolve(): entry['command'] for entry in
                         json.loads((self.path / 'compile_commands.json').read_text())
                         if 'usher-core' in entry['command'].split(' -c ')[0]}
        self.links = {}
        for program in {program for program, _ in CHECKS}:
            lines = subprocess.run(['ninja', '-C', self.path, '-t', 'commands', program], check=True,
                                   capture_output=True, text=True).stdout.splitlines()
            self.links[program] = shlex.split(lines[-1])

    def compile(self, path, text, folder):
        source, code = folder / 'mutant.cc', folder / 'mutant.o'
        source.write_text(text)
        words = shlex.split(self.commands[path])
        words = words[1:] if words[0].endswith('ccache') else words
        words[words.index('-o') + 1] = str(code)
        words[words.index('-c') + 1] = str(source)
        for flag in ('-MF', '-MQ'):
            at = words.index(flag)
            del words[at:at + 2]
        words = [w for w in words if not w.startswith(('-flto', '-ffat-lto', '-MD', '-O', '-Werror'))]
        done = subprocess.run([*words, '-O1', '-w'], cwd=self.path, capture_output=True)
        return code if done.returncode == 0 else None

    def link(self, program, code, folder):
        words = list(self.links[program])
        target = folder / pathlib.Path(program).name
        words[words.index('-o') + 1] = str(target)
        first = next(i for i, w in enumerate(words) if w.endswith('.a') or w == '-Wl,--start-group')
        words.insert(first, str(code))
        words = [w for w in words if not w.startswith('-flto')] + ['-fno-lto']
        subprocess.run(words, cwd=self.path, check=True, capture_output=True)
        return target

    def runs(self, program, target, argument):
        """The command lines that test with a program."""
        if program == ADAPTER:
            scripts = ROOT / 'tests' / 'script'
            runner = self.path / 'tests' / 'script' / 'script-runner'
            return [[runner, '--so', target, topic] for topic in sorted(scripts.iterdir())
                    if topic.is_dir()]
        return [[target, '--gtest_fail_fast', *filter(None, [argument])]]


def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def catcher(build, path, text):
    """The program that fails with `text` in place of the file, or None; 'compiler' if that does."""
    with tempfile.TemporaryDirectory(prefix='usher-mutation-') as name:
        folder = pathlib.Path(name)
        code = build.compile(path, text, folder)
        if code is None:
            return 'compiler'
        own = f'test-{path.relative_to(ROOT / "stack").parts[0]}'
        targets = {}
        for program, argument in sorted(CHECKS, key=lambda check: not check[0].endswith(own)):
            if program not in targets:
                targets[program] = build.link(program, code, folder)
            target = targets[program]
            if any(subprocess.run(command, cwd=folder, preexec_fn=limit, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
                   for command in build.runs(program, target, argument)):
                return target.name
    return None


def judge(build, place):
    """(line to print, who caught it or None)."""
    text, number, before, after = planted(place)
    caught = catcher(build, place[0], text)
    where = f'{place[0].relative_to(ROOT)}:{number}'
    return f'{caught or "SURVIVED":24} {where}: {before}  ->  {after}', caught


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('build', type=pathlib.Path)
    parser.add_argument('--sample', type=int, default=300)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--folders', nargs='+', default=['stack/tcp', 'stack/listen'])
    options = parser.parse_args()
    build = Build(options.build)
    candidates = [p for p in places(options.folders) if p[0] in build.commands]
    sound = catcher(build, candidates[0][0], candidates[0][0].read_text())
    if sound is not None:
        sys.exit(f'{sound} fails without any mistake: build the tests first (ninja -C {options.build})')
    random.Random(options.seed).shuffle(candidates)
    judged, found = 0, 0
    with ThreadPoolExecutor(options.jobs) as pool:
        pending = iter(candidates)
        while judged < options.sample:
            batch = [p for _, p in zip(range(min(options.jobs, options.sample - judged)), pending)]
            if not batch:
                break
            for result in pool.map(lambda place: judge(build, place), batch):
                if result[1] == 'compiler':
                    continue
                judged += 1
                found += result[1] is not None
                print(result[0], flush=True)
    print(f'{found} of {judged} caught, {100 * found / max(judged, 1):.1f}% '
          f'(seed {options.seed}, of {len(candidates)} possible)')
    return 0


if __name__ == '__main__':
    os.environ['MALLOC_PERTURB_'] = '0'
    sys.exit(main())
