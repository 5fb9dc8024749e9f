"""The house rules that a program can check. `rules.py`: all of them on the tree, a line a breach, exit status 1 when there is
one. rules_test.py tests each rule.

A rule is a function: (path, text, tree) to pairs of an offset in the text and a sentence. It says in its docstring what it
wants and why."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"/\*.*?\*/", re.S)
# At the left margin: a declaration of a function, with the comment behind it if there is one.
DECLARATION = re.compile(
    r"^(?!typedef|return|DEFINE_|[#/}* \t])[A-Za-z_][^;{}()]*\([^;{}]*\)[^;{}]*;(?:[ \t]*/\*.*?\*/)?", re.S | re.M
)
INTEGER = r"(?:unsigned(?: int| long)?|int|long|size_t|ssize_t|off_t|u?int(?:32|64)_t)"
UNITLESS = r"(?:timeout|deadline|delay|interval|grace|period|age|len|length|size|(?<!pids_)limit)"


RETURNS_ERROR = re.compile(r"^(?:static |MUST_CHECK |inline )*struct error \*(\w+)\(", re.M)
DEFINED = re.compile(r"^static [^;{}()=]*?(\w+)\([^;{}]*\)\n\{", re.M)


class Tree:
    """All files by path, and what a rule wants to know of all of them."""

    def __init__(self, files):
        self.files = files
        self.declared = {
            name for path, text in files.items() if path.endswith(".h") for name in RETURNS_ERROR.findall(text)
        }
        # Not failures of their own: they make, or take, somebody's error.
        self.declared -= {"error_ignore"}

    def fallible_in(self, path):
        """The functions that return an error, as seen in this file: its static ones hide others of the same name."""
        own = set(DEFINED.findall(self.files[path]))
        return (self.declared - own) | set(RETURNS_ERROR.findall(self.files[path]))


def without_comments(text):
    """The same offsets, with blanks for what is in comments."""
    return COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def public(path):
    return path.endswith(".h") and not path.startswith("tests/")


def header_says_what_it_is(path, text, _tree):
    """A header begins with "NAME.h - what it is" and is included once."""
    if not public(path):
        return
    if not text.startswith(f"/* {pathlib.Path(path).name} - "):
        yield 0, f'does not begin with "/* {pathlib.Path(path).name} - what it is"'
    if "\n#pragma once\n" not in text:
        yield 0, "has no #pragma once"


def declaration_has_a_comment(path, text, _tree):
    """A caller reads the header alone: a declaration has a comment behind it or before its group, which an empty line
    ends."""
    if not public(path):
        return
    for match in DECLARATION.finditer(text):
        group = text[: match.start()].rsplit("\n\n", 1)[-1]
        if "/*" not in group and "/*" not in match[0]:
            yield match.start(), "has no comment"


def error_is_checked(path, text, _tree):
    """A function that returns an error says MUST_CHECK in its header, so that the compiler finds who drops it."""
    if not public(path):
        return
    for match in re.finditer(r"^struct error \*\w+\(", text, re.M):
        yield match.start(), "returns an error without MUST_CHECK"


def error_is_not_dropped(path, text, tree):
    """What a static function returns the compiler does not ask for: no call is a statement of its own, none is cast
    away."""
    if not path.endswith(".c"):
        return
    fallible = tree.fallible_in(path)
    for match in re.finditer(r"(?<=[;{}])\s+(?:\(void\) ?)?(\w+)\([^;]*\);", without_comments(text)):
        if match[1] in fallible:
            yield match.start(1), f"the error of {match[1]} is dropped; error_ignore() where nothing depends on it"


def unit_is_in_the_name(path, text, _tree):
    """A number that has a unit says it: timeout_ms, len_bytes."""
    if not public(path):
        return
    for match in re.finditer(rf"\b{INTEGER} \*?((?:\w+_)?{UNITLESS})\b[;,)]", without_comments(text)):
        yield match.start(), f"{match[1]} has no unit in its name"


def struct_has_no_typedef(path, text, _tree):
    """A struct is called struct."""
    if path.endswith((".c", ".h")):
        for match in re.finditer(r"^typedef struct\b(?! error \*)", text, re.M):
            yield match.start(), "a typedef for a struct"


def descriptor_begins_at_none(path, text, _tree):
    """A descriptor that is closed at the end of its scope has a value from its first line: 0 is somebody's stdin."""
    if not path.endswith(".c"):
        return
    for match in re.finditer(r"_cleanup_\(closep\) int ([^;]*);", without_comments(text)):
        names = re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "", match[1])
        for one in names.split(","):
            if "=" not in one:
                yield match.start(), f"{one.strip()} has no value yet"


def test_waits_for_the_thing(path, text, _tree):
    """A fixed sleep is too short on a slow machine and too long on all others: a test sleeps in a loop that looks whether
    the thing has come. Where the time itself is what is tested, a comment beside it says so ("# fixed: why")."""
    if not (path.startswith("tests/") and path.endswith(".py")):
        return
    lines = text.split("\n")
    at = 0
    for number, line in enumerate(lines):
        if re.match(r"\s+time\.sleep\(", line) and "# fixed:" not in line and not in_a_loop(lines, number):
            yield at, "a fixed sleep"
        at += len(line) + 1


def in_a_loop(lines, number):
    depth = len(lines[number]) - len(lines[number].lstrip())
    for line in reversed(lines[:number]):
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent < depth:
            depth = indent
            if re.match(r"\s*(while|for)\b", line):
                return True
            if re.match(r"\s*(async )?def\b", line):
                return False
    return False


RULES = (
    header_says_what_it_is, declaration_has_a_comment, error_is_checked, error_is_not_dropped, unit_is_in_the_name,
    struct_has_no_typedef, descriptor_begins_at_none, test_waits_for_the_thing,
)  # fmt: skip


def breaches(tree):
    for path, text in sorted(tree.files.items()):
        for rule in RULES:
            for at, what in rule(path, text, tree):
                line = text.count("\n", 0, at) + 1
                yield f"{path}:{line}: {what} ({rule.__name__})"


def tracked():
    names = subprocess.run(["git", "ls-files", "*.c", "*.h", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = (ROOT / name for name in names.stdout.split())
    return Tree({str(path.relative_to(ROOT)): path.read_text() for path in found if path.exists()})


def main():
    found = list(breaches(tracked()))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
