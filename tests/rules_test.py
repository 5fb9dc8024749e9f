"""Each rule of rules.py finds what it is for, and passes what is right: a rule that finds nothing any more would never be
missed."""

import pytest
import rules

HEADER = "/* x.h - what it is. */\n#pragma once\n"

# rule, path, what it must find once, what it must pass
CASES = [
    (rules.header_says_what_it_is, "base/x.h", "#include <a.h>\n#pragma once\n", HEADER),
    (rules.header_says_what_it_is, "base/x.h", "/* x.h - what it is. */\n", HEADER),
    (rules.header_says_what_it_is, "base/x.h", "/* base/x.h - what it is. */\n#pragma once\n", HEADER),
    (rules.declaration_has_a_comment, "base/x.h", HEADER + "\nint f(int a);\n", HEADER + "\n/* A. */\nint f(int a);\nint g(void);\n"),
    (rules.declaration_has_a_comment, "base/x.h", HEADER + "\n/* A. */\nint f(int a);\n\nint g(void);\n", HEADER + "\nint f(int a); /* A. */\n"),
    (rules.declaration_has_a_comment, "base/x.h", HEADER + "\nint f(int a,\n      int b);\n", HEADER + "\nstruct x {\n        int (*f)(void);\n};\n"),
    (rules.error_is_checked, "base/x.h", "struct error *f(void);\n", "MUST_CHECK struct error *f(void);\n"),
    (rules.error_is_not_dropped, "base/x.c", "static struct error *f(int a)\n{\n}\nvoid g(void)\n{\n        f(1);\n}\n",
     "static struct error *f(int a)\n{\n}\nvoid g(void)\n{\n        TRY(f(1));\n        error_ignore(f(2));\n}\n"),
    (rules.error_is_not_dropped, "base/x.c", "void g(void)\n{\n        if (1)\n                return;\n        (void) declared(1);\n}\n",
     "static void declared(int a)\n{\n}\nvoid g(void)\n{\n        declared(1);\n}\n"),
    (rules.error_is_not_dropped, "base/x.c", "void g(void)\n{\n        /* why */ declared(1);\n}\n", "void g(void)\n{\n        /* ; declared(1); */\n}\n"),
    (rules.unit_is_in_the_name, "base/x.h", "void f(int timeout);\n", "void f(int timeout_ms, size_t len_bytes);\n"),
    (rules.unit_is_in_the_name, "base/x.h", "struct x {\n        uint64_t memory_limit;\n};\n", "struct x {\n        uint64_t memory_limit_bytes, pids_limit;\n};\n"),
    (rules.struct_has_no_typedef, "base/x.h", "typedef struct x x_t;\n", "typedef struct error *row_function(void *row);\n"),
    (rules.descriptor_begins_at_none, "base/x.c", "        _cleanup_(closep) int fd;\n", "        _cleanup_(closep) int fd = -1, other = f(a, g(b));\n"),
    (rules.descriptor_begins_at_none, "base/x.c", "        _cleanup_(closep) int fd, other = -1;\n", "        _cleanup_(closep) int fd = open(path, 0);\n"),
    (rules.test_waits_for_the_thing, "tests/x.py", "def f():\n    time.sleep(1)\n", "def f():\n    while g():\n        time.sleep(1)\n"),
    (rules.test_waits_for_the_thing, "tests/x.py", "def f():\n    if a:\n        time.sleep(1)\n",
     "def f():\n    time.sleep(1)  # fixed: a pause is what is tested\n"),
    (rules.test_waits_for_the_thing, "tests/x.py", "while True:\n    def f():\n        time.sleep(1)\n", "def f():\n    for x in y:\n        if x:\n            time.sleep(1)\n"),
]  # fmt: skip


@pytest.mark.parametrize("rule, path, bad, good", CASES)
def test_a_rule(rule, path, bad, good):
    declared = {"base/y.h": "MUST_CHECK struct error *declared(int a);\n"}
    assert len(list(rule(path, bad, rules.Tree({path: bad, **declared})))) == 1
    assert not list(rule(path, good, rules.Tree({path: good, **declared})))


def test_every_rule_is_tested_and_says_why():
    assert {case[0] for case in CASES} == set(rules.RULES)
    assert all(rule.__doc__ for rule in rules.RULES)
