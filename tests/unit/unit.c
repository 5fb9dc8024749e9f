#include "tests/unit/unit.h"
#include <ftw.h>

int unit_tmpdir_make(void **state)
{
        const char *place = getenv("TMPDIR");
        char *dir = format_string("%s/skiff-unit.XXXXXX", place && *place ? place : "/tmp");
        *state = mkdtemp(dir);
        return *state ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void) st, (void) type, (void) ftw;
        return remove(path);
}

int unit_tmpdir_remove(void **state)
{
        int failed = nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        free(*state);
        return failed;
}

int unit_main(const char *name, const struct CMUnitTest *tests, size_t n, int argc, char **argv)
{
        if (argc > 1)
                cmocka_set_test_filter(argv[1]);
        return _cmocka_run_group_tests(name, tests, n, NULL, NULL);
}
