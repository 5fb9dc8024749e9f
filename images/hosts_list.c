#include "images/hosts_internal.h"
#include "images/pull_protocol.h"
#include "images/strings.h"
#include <string.h>

struct host_endpoint *hosts_add(struct hosts *hosts, char *url)
{
        hosts->endpoints = grow_array(hosts->endpoints, hosts->n + 1, sizeof(*hosts->endpoints));
        struct host_endpoint *endpoint = &hosts->endpoints[hosts->n++];
        *endpoint = (struct host_endpoint){ .url = url,
                                            .flags = PULL_ENDPOINT_RESOLVE | PULL_ENDPOINT_PULL,
                                            .ca_pem = dup_string(""),
                                            .cert_pem = dup_string(""),
                                            .key_pem = dup_string(""),
                                            .headers = dup_string(""),
                                            .proxy = dup_string("") };
        return endpoint;
}

void hosts_warn(struct hosts *hosts, char *sentence)
{
        if (!hosts->warnings)
                hosts->warnings = strings_empty();
        strings_add(&hosts->warnings, sentence);
        free(sentence);
}

void hosts_drop_last(struct hosts *hosts)
{
        struct host_endpoint *endpoint = &hosts->endpoints[--hosts->n];
        explicit_bzero(endpoint->key_pem, strlen(endpoint->key_pem));
        explicit_bzero(endpoint->headers, strlen(endpoint->headers));
        free(endpoint->url);
        free(endpoint->ca_pem);
        free(endpoint->cert_pem);
        free(endpoint->key_pem);
        free(endpoint->headers);
        free(endpoint->proxy);
}

void hosts_done(struct hosts *hosts)
{
        while (hosts->n)
                hosts_drop_last(hosts);
        free(hosts->endpoints);
        free_strings(hosts->warnings);
        *hosts = (struct hosts){ NULL, 0, NULL };
}
