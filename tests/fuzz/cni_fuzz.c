/* What the CNI folder reads: with a first byte of 0 a conflist, of 1 a .conf, of 2 a bandwidth
 * annotation, else a plugin's result. */
#include "cni/cni.h"
#include "cni/conf.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static struct error *read_result(const char *text)
{
        struct cni_result result;
        TRY(cni_result_parse(text, "eth0", &result));
        for (char **ip = result.ips; *ip; ip++)
                if (strpbrk(*ip, "/ \n"))
                        abort();
        cni_result_done(&result);
        return NULL;
}

static struct error *read_conf(const char *text, size_t len_bytes)
{
        _cleanup_(freep) char *wrapped = NULL;
        _cleanup_(json_freep) struct json *list = NULL;
        TRY(conf_wrap(text, len_bytes, &wrapped));
        return conflist_parse(wrapped, strlen(wrapped), &list);
}

static struct error *read_bandwidth(const char *text)
{
        _cleanup_(freep) char *json = NULL;
        _cleanup_(json_freep) struct json *tree = NULL;
        TRY(cni_bandwidth(text, text, &json));
        TRY(json_parse(json, strlen(json), &tree));
        int64_t rate = json_integer(json_get(tree, "egressRate"), 0);
        if (rate < 1000 || rate > INT64_C(1000000000000000))
                abort();
        return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        if (len_bytes == 0)
                return 0;
        _cleanup_(freep) char *text = dup_bytes(bytes + 1, len_bytes - 1);
        _cleanup_(json_freep) struct json *list = NULL;
        struct error *e = bytes[0] == 0   ? conflist_parse(text, len_bytes - 1, &list)
                          : bytes[0] == 1 ? read_conf(text, len_bytes - 1)
                          : bytes[0] == 2 ? read_bandwidth(text)
                                          : read_result(text);
        error_free(e);
        return 0;
}
