#!/bin/bash
# check.sh [--all]: layout (clang-format), sizes of files and functions, the house rules (rules.py), clang-tidy, gcc -fanalyzer and cppcheck, on the C
# files that changed against the newest commit on the main branch, or on all. Exit status 0 when all is clean.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
say() { printf '%s\n' "$*"; }

sources() { git ls-files '*.c' '*.h' '*.cc'; }
if [ "${1:-}" = --all ]; then
        changed=$(sources | grep -E '\.c$' | grep -vE '^tests/(fuzz|bench)/')
else
        base=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse -q --verify HEAD~1 || true)
        changed=$({ [ -n "$base" ] && git diff --name-only --diff-filter=d "$base"; git diff --name-only --diff-filter=d HEAD; } |
                grep -E '\.c$' | grep -vE '^tests/(fuzz|bench)/' | sort -u | head -n 40)
fi

unformatted=$(sources | xargs clang-format --dry-run 2>&1 | grep -c 'clang-format-violations')
[ "$unformatted" = 0 ] || { say "clang-format: $unformatted places; run: git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i"; bad=1; }

long=$(git ls-files '*.c' '*.h' '*.cc' '*.py' '*.sh' | xargs wc -l | awk '$2 != "total" && $1 > 800')
[ -z "$long" ] || { say "over 800 lines:" "$long"; bad=1; }
/usr/bin/python3 tests/function_lengths.py || bad=1
/usr/bin/python3 tests/rules.py || bad=1
/usr/bin/python3 -m pytest -q -p no:cacheprovider tests/rules_test.py | tail -n 20
[ "${PIPESTATUS[0]}" = 0 ] || bad=1

# A header includes what it uses: each compiles alone.
if [ -d build/debug/generated ]; then
        git ls-files '*.h' | grep -v '^tests/' | xargs -P 2 -I{} gcc -fsyntax-only -Wall -Wextra -Werror -x c -std=gnu17 -D_GNU_SOURCE \
                -Ulinux -Uunix -DPROTOBUF_C__NO_DEPRECATED -include base/banned.h -I. -Ibuild/debug/generated $(pkg-config --cflags yajl libnl-3.0) \
                -include {} /dev/null 2>&1 | grep -E 'error' && bad=1
fi

if [ -n "$changed" ] && [ -f build/debug/compile_commands.json ]; then
        # shellcheck disable=SC2086 # lists of files
        clang-tidy -p build/debug --quiet --extra-arg=-Wno-unused-command-line-argument $changed 2>/dev/null | grep -E 'warning:|error:' && bad=1
        # A message that points at locals is packed before its function returns; NULL ends log_event's pairs on every
        # platform with 64-bit pointers; a statement expression is WALK_FAILURES' way: three checks that cannot know.
        # shellcheck disable=SC2086
        cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability --std=c11 -D__x86_64__ -DSKIFF_VERSION='"0"' \
                --suppress=nullPointerArithmeticRedundantCheck --suppress=internalAstError \
                --suppress=returnDanglingLifetime --suppress=varFuncNullUB --suppress=constStatement --suppress=ctunullpointer -I. $changed || bad=1
        /usr/bin/python3 tests/analyze.py $changed || bad=1
fi
exit $bad
