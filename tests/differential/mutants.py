#!/usr/bin/env python3
"""Shows that listen-differential can fail: plants the mistakes of mutants.toml, one at a time, and
runs it until it finds a difference.

    sudo tests/differential/mutants.py build [--schedules 500] [--seed 1] [--only TEXT] [--part I/N]

`build` is a build directory. Only the file with the mistake
is compiled anew, and put before the library's own; the tree and the build stay as they are.
Prints a row for each mutant, with the number of the first schedule that shows it. Exit code 1: one
was not found.
"""
import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAM = "tests/differential/listen-differential"


def compile_command(build, source):
    """The command that compiles `source`, as a list, without ccache."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if (build / entry["file"]).resolve() == ROOT / source:
            words = shlex.split(entry["command"])
            return words[1:] if words[0].endswith("ccache") else words
    sys.exit(f"{source} is not part of {build}")


def link_command(build):
    lines = subprocess.run(["ninja", "-C", str(build), "-t", "commands", PROGRAM], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    return shlex.split(lines[-1])


def mutate(mutant):
    text = (ROOT / mutant["file"]).read_text()
    if text.count(mutant["from"]) != 1:
        sys.exit(f"{mutant['name']}: its text is {text.count(mutant['from'])} times in "
                 f"{mutant['file']}")
    return text.replace(mutant["from"], mutant["to"])


def build_mutant(build, mutant, folder):
    """Compiles and links into `folder`; returns the program's path."""
    source, code, program = folder / "mutant.cc", folder / "mutant.o", folder / "mutant"
    source.write_text(mutate(mutant))
    words = compile_command(build, mutant["file"])
    words[words.index("-o") + 1] = str(code)
    words[words.index("-c") + 1] = str(source)
    for flag in ("-MF", "-MQ"):
        at = words.index(flag)
        del words[at:at + 2]
    words = [w for w in words if w != "-MD" and not w.startswith("-flto")]
    # A mistake may leave something unused; optimizing less compiles sooner.
    subprocess.run(words + ["-O1", "-w", f"-I{ROOT}"], cwd=build, check=True)
    words = link_command(build)
    words[words.index("-o") + 1] = str(program)
    words = [w for w in words if not w.startswith("-flto")]
    at = next(i for i, w in enumerate(words) if w.endswith(".o"))
    words.insert(at, str(code))
    subprocess.run(words + ["-fno-lto"], cwd=build, check=True)
    return program


def first_difference(program, arguments):
    """The number of the first schedule that differs and what shows it; none: (None, report)."""
    run = subprocess.run([str(program), "--schedules", str(arguments.schedules), "--seed",
                          str(arguments.seed), "--jobs", str(arguments.jobs), "--first-failure",
                          "--no-minimise", "--reports", "1000"], capture_output=True, text=True)
    found = re.findall(r"^seed (\d+) \((.*?)\): step (\d+): (.*)", run.stdout, re.MULTILINE)
    if run.returncode == 77:
        sys.exit(run.stdout)
    if not found:
        return None, run.stdout + run.stderr
    seed, profile, _, step = min(found, key=lambda f: int(f[0]))
    return int(seed) - arguments.seed + 1, f"{profile}: {step}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--schedules", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=32)
    parser.add_argument("--part", default="1/1", help="2/3: the second third of them")
    parser.add_argument("--only", default="", help="mutants whose name has this text")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    subprocess.run(["ninja", "-C", str(build), PROGRAM], check=True, stdout=subprocess.DEVNULL)
    mutants = tomllib.loads((HERE / "mutants.toml").read_text())["mutant"]
    part, parts = map(int, arguments.part.split("/"))
    mutants = [m for m in mutants if arguments.only in m["name"]][part - 1::parts]
    missed = []
    for mutant in mutants:
        with tempfile.TemporaryDirectory(prefix="usher-mutant-") as folder:
            program = build_mutant(build, mutant, pathlib.Path(folder))
            number, what = first_difference(program, arguments)
        if number is None:
            missed.append(mutant["name"])
            print(f"    -  {mutant['name']}: NOT FOUND\n{what}", flush=True)
        else:
            print(f"{number:5}  {mutant['name']} ({what})", flush=True)
    print(f"{len(mutants) - len(missed)} of {len(mutants)} mutants found within "
          f"{arguments.schedules} schedules")
    return 1 if missed or not mutants else 0


if __name__ == "__main__":
    sys.exit(main())
