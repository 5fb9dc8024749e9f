"""Prints the ten longest C functions, and fails where one has more than 100 lines.

A function here starts at a line in column 0 that is no declaration and ends at the next line that is just "}".
"""

import subprocess
import sys

LIMIT_LINES = 100


def functions(path):
    start = name = None
    with open(path, encoding="utf-8") as source:
        lines = source.read().split("\n")
    for number, line in enumerate(lines, 1):
        if line == "{":
            start, name = number, lines[number - 2].strip()
        elif line == "}" and start:
            yield number - start - 1, f"{path}:{start} {name[:70]}"
            start = None


def main():
    files = subprocess.run(["git", "ls-files", "*.c"], capture_output=True, text=True, check=True).stdout.split()
    longest = sorted((f for path in files for f in functions(path)), reverse=True)[:10]
    for length, where in longest:
        print(f"{length:4d} {where}")
    sys.exit(1 if longest and longest[0][0] > LIMIT_LINES else 0)


main()
