#!/usr/bin/env python3
"""Proves that each rule of layering_test.py can fail, and that it leaves what is right alone.

Every case is a made-up tree; `breaks` names the places (path:line) that its rule must report, and
all other rules must be silent about the tree. Prints TAP.
"""

import sys
import tempfile
from pathlib import Path

import layering_test as lint

# A tree without fault; each case adds or replaces files.
CLEAN = {
    'meson.build': "project('x', 'cpp')\n",
    'README.md': 'Text.\n',
    'stack/README.md': 'Text.\n',
    'stack/base/README.md': 'Text.\n',
    'stack/base/seq.h': '#pragma once\n',
    'stack/wire/README.md': 'Text.\n',
    'stack/wire/tcp.h': '#pragma once\n#include <cstdint>\n#include "stack/base/seq.h"\n',
    'stack/port/README.md': 'Text.\n',
    'stack/port/dpdk/port.h': '#pragma once\n#include <rte_mbuf.h>\nrte_mbuf* x;\n',
    'stack/ip/README.md': 'Text.\n',
    'stack/ip/egress.h': '#pragma once\n',
    'stack/ip/route.h': '#pragma once\n#include "stack/ip/egress.h"\n',
    'stack/tcp/README.md': 'Text.\n',
    'stack/tcp/sent_segments.h': '#pragma once\n',
    'stack/tcp/tcb.h': '#pragma once\n#include "stack/ip/egress.h"\n#include "stack/wire/tcp.h"\n',
    'stack/tcp/recovery/rack.h': '#pragma once\n#include "stack/tcp/sent_segments.h"\n'
                                 '#include "stack/base/seq.h"\n',
    'stack/glue/README.md': 'Text.\n',
    'stack/glue/main.cc': '#include "stack/port/dpdk/port.h"\n#include "stack/tcp/tcb.h"\n'
                          'auto t = std::chrono::steady_clock::now();\nint e = rte_eal_init(0, 0);\n',
    'app/README.md': 'Text.\n',
    'app/usherd.cc': '#include "stack/glue/loop.h"\n',
    'stack/glue/loop.h': '#pragma once\n',
    'tests/README.md': 'Text.\n',
    'tests/unit/port/dpdk_port_test.cc': '#include "stack/port/dpdk/port.h"\nint x = RTE_MAX(1, 2);\n',
    'tests/unit/tcp/tcb_test.cc': '#include "stack/tcp/tcb.h"\n'
                                  '// rte_mbuf and steady_clock in a comment, /work, 1\'000\n',
}


def case(rule, what, files, breaks):
    return rule, what, files, breaks


CASES = [
    case(lint.includes_leftward, 'a folder includes to its right',
         {'stack/wire/tcp.h': '#pragma once\n\n#include "stack/tcp/tcb.h"\n'}, ['stack/wire/tcp.h:3']),
    case(lint.includes_leftward, 'an indented include counts',
         {'stack/base/seq.h': '#pragma once\n  #  include "stack/wire/tcp.h"\n'},
         ['stack/base/seq.h:2']),
    case(lint.includes_leftward, 'the stack includes a program',
         {'stack/glue/a.cc': '#include "app/http.h"\n', 'app/http.h': '#pragma once\n'},
         ['stack/glue/a.cc:1']),
    case(lint.includes_leftward, 'a program includes a test',
         {'app/usherd.cc': '#include "tests/support/x.h"\n', 'tests/support/x.h': '#pragma once\n'},
         ['app/usherd.cc:1']),
    case(lint.includes_leftward, 'a folder nobody knows',
         {'stack/misc/README.md': '', 'stack/misc/a.cc': '#include "stack/base/seq.h"\n'},
         ['stack/misc/a.cc:1']),
    case(lint.includes_leftward, 'an include in a comment is none',
         {'stack/base/a.h': '#pragma once\n/*\n#include "stack/tcp/tcb.h"\n*/\n'
                            '// #include "stack/tcp/tcb.h"\n'}, []),
    case(lint.ip_only_by_egress, 'tcp includes routes',
         {'stack/tcp/a.cc': '#include "stack/ip/route.h"\n'}, ['stack/tcp/a.cc:1']),
    case(lint.ip_only_by_egress, 'listen includes routes',
         {'stack/listen/README.md': '', 'stack/listen/a.cc': '#include "stack/ip/route.h"\n'},
         ['stack/listen/a.cc:1']),
    case(lint.recovery_and_congestion_apart, 'recovery includes the connection',
         {'stack/tcp/recovery/a.cc': '#include "stack/tcp/tcb.h"\n'}, ['stack/tcp/recovery/a.cc:1']),
    case(lint.recovery_and_congestion_apart, 'congestion may include recovery',
         {'stack/tcp/congestion/a.cc': '#include "stack/tcp/recovery/rack.h"\n'}, []),
    case(lint.recovery_and_congestion_apart, 'congestion includes a header of the wire',
         {'stack/tcp/congestion/a.cc': '#include "stack/wire/tcp.h"\n'},
         ['stack/tcp/congestion/a.cc:1']),
    case(lint.dpdk_at_home, 'the core names DPDK',
         {'stack/tcp/a.cc': '\nint x = rte_lcore_id();\n'}, ['stack/tcp/a.cc:2']),
    case(lint.dpdk_at_home, 'a program includes a DPDK header',
         {'app/usherd.cc': '#include <rte_eal.h>\n'}, ['app/usherd.cc:1']),
    case(lint.dpdk_at_home, 'the port folder itself names DPDK',
         {'stack/port/port.cc': 'RTE_LOG(ERR);\n'}, ['stack/port/port.cc:1']),
    case(lint.dpdk_at_home, 'a program includes the DPDK port',
         {'app/usherd.cc': '#include "stack/port/dpdk/port.h"\n'}, ['app/usherd.cc:1']),
    *[case(lint.no_clocks, f'the core says {text}',
           {'stack/tcp/a.cc': f'int a;\nauto x = {text};\n'}, ['stack/tcp/a.cc:2'])
      for text in ('std::chrono::system_clock::now()', 'steady_clock::now()',
                   'clock_gettime(0, &t)', 'gettimeofday(&t, nullptr)', 'rand()', 'srand (1)',
                   'std::random_device{}()', '__rdtsc()', 'getrandom(b, 8, 0)', 'time(nullptr)',
                   'open("/dev/urandom")')],
    case(lint.no_clocks, 'words that only contain a clock',
         {'stack/tcp/a.cc': 'int operand(int); int x = operand(1), run_time(0), strand_size = 3;\n'},
         []),
    case(lint.no_clocks, 'a clock behind a raw string that holds a quote and slashes',
         {'stack/tcp/a.cc': 'auto s = R"(" // )"; auto t = steady_clock::now();\n'},
         ['stack/tcp/a.cc:1']),
    case(lint.includes_resolve, 'an include beside the file',
         {'stack/tcp/a.cc': '#include "tcb.h"\n'}, ['stack/tcp/a.cc:1']),
    case(lint.includes_resolve, 'an include of nothing',
         {'stack/tcp/a.cc': '#include "stack/tcp/gone.h"\n'}, ['stack/tcp/a.cc:1']),
    case(lint.includes_resolve, 'Abseil and GoogleTest in quotes',
         {'stack/tcp/a.cc': '#include "absl/status/status.h"\n',
          'tests/unit/tcp/a_test.cc': '#include "gtest/gtest.h"\n'}, []),
    case(lint.headers_guarded, 'a header without guard',
         {'stack/tcp/a.h': 'int x;\n'}, ['stack/tcp/a.h:1']),
    case(lint.headers_guarded, 'a list that is included several times',
         {'stack/tcp/state_list.h': 'X(kClosed)\n'}, []),
    case(lint.files_short, 'a file of 801 lines',
         {'stack/tcp/a.cc': 'int x;\n' * 801}, ['stack/tcp/a.cc:800']),
    case(lint.files_short, 'a script of 801 lines',
         {'tools/README.md': '', 'tools/run': '#!/bin/sh\n' + ':\n' * 800}, ['tools/run:800']),
    case(lint.files_short, 'a file of 800 lines', {'stack/tcp/a.cc': 'int x;\n' * 800}, []),
    *[case(lint.nothing_unfinished, f'a source says {word}',
           {'tests/unit/tcp/a_test.cc': f'\n\n  {word}\n'}, ['tests/unit/tcp/a_test.cc:3'])
      for word in ('// TODO(me): later', '/* FIXME */', '// XXX', 'GTEST_SKIP() << 1;',
                   'TEST(A, DISABLED_B) {}')],
    case(lint.nothing_unfinished, 'a script says it',
         {'tests/live/a_test.sh': '#!/bin/sh\n# TODO\n'}, ['tests/live/a_test.sh:2']),
    case(lint.nothing_unfinished, 'six X are a pattern of mktemp',
         {'tests/live/a_test.sh': '#!/bin/sh\nmktemp /tmp/a.XXXXXX\n'}, []),
    case(lint.readmes_there, 'a folder of the stack without README.md',
         {'stack/shard/a.cc': '\n'}, ['stack/shard/README.md:1']),
    case(lint.readmes_there, 'a house without README.md',
         {'config/tap.toml': '\n'}, ['config/README.md:1']),
    case(lint.top_level_fixed, 'something new at the top',
         {'notes.txt': '\n', 'src/a.py': '\n'}, ['notes.txt:1', 'src:1']),
    *[case(lint.no_machine_paths, f'a path {path}',
           {'config/README.md': f'\nSee {path}.\n'}, ['config/README.md:2'])
      for path in ('/work/main', '/home/me/usher', '/tmp/h/x', '/root/x')],
    case(lint.no_machine_paths, 'paths of the tree and addresses',
         {'config/README.md': 'stack/work/x, http://host/home/x, /tmp/x, /usr/share\n'}, []),
]


def run(files):
    """The places each rule reports in a tree made of CLEAN and `files`."""
    with tempfile.TemporaryDirectory() as folder:
        contents = {**CLEAN, **files}
        for path, text in contents.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_text(text, encoding='utf-8')
        tree = lint.Tree(folder, list(contents))
        return {rule: [':'.join(place.split(':')[:2]) for place in rule(tree)]
                for rule in lint.RULES}


def main():
    results = [('a tree without fault', run({}), {})]
    results += [(f'{rule.__name__}: {what}', run(files), {rule: breaks})
                for rule, what, files, breaks in CASES]
    print(f'1..{len(results) + 1}')
    failed = False
    for number, (name, found, expected) in enumerate(results, 1):
        wrong = [(rule, places) for rule, places in found.items()
                 if places != expected.get(rule, [])]
        failed = failed or bool(wrong)
        print(f'{"not ok" if wrong else "ok"} {number} - {name.replace("#", "")}')
        for rule, places in wrong:
            print(f'# {rule.__name__} reports {places}, expected {expected.get(rule, [])}')
    unproven = {rule.__name__ for rule in lint.RULES} - \
        {rule.__name__ for rule, _, _, breaks in CASES if breaks}
    failed = failed or bool(unproven)
    print(f'{"not ok" if unproven else "ok"} {len(results) + 1} - every rule has been seen to fail')
    for name in sorted(unproven):
        print(f'# {name}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
