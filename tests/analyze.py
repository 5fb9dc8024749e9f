"""analyze.py FILE...: gcc -fanalyzer on these files, with the flags of build/debug/compile_commands.json."""

import json
import shlex
import subprocess
import sys


def main():
    with open("build/debug/compile_commands.json", encoding="utf-8") as file:
        commands = {entry["file"]: entry for entry in json.load(file)}
    failed = False
    for path in sys.argv[1:]:
        entry = next((e for f, e in commands.items() if f.endswith("/" + path)), None)
        if not entry:
            continue
        words = shlex.split(entry["command"])
        at = words.index("-o")
        words[at + 1] = "/dev/null"
        # gcc 12 does not know that an out-parameter is written where the error is NULL, nor what uthash's macros keep true:
        # null dereferences are clang's analyzer's to find (tests/check.sh runs both).
        words += ["-fanalyzer", "-Wno-error", "-Wno-analyzer-too-complex"]
        words += ["-Wno-analyzer-null-dereference", "-Wno-analyzer-null-argument"]
        words += ["-Wno-analyzer-possible-null-dereference", "-Wno-analyzer-possible-null-argument"]
        done = subprocess.run(words, cwd=entry["directory"], capture_output=True, text=True, check=False)
        found = [line for line in done.stderr.split("\n") if "-Wanalyzer" in line and "<unknown>" not in line]
        if found or done.returncode:
            failed = True
            print("\n".join(found) or done.stderr)
    sys.exit(failed)


main()
