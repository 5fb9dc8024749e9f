#include "cri/client/upgrade.h"
#include "base/buf.h"
#include "base/wait.h"
#include <ctype.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT_MS 10000
/* skiffd opens the session only when all streams are there, so the answer to the upgrade itself is quick. */
#define ANSWER_TIMEOUT_MS 30000
#define BODY_TIMEOUT_MS 2000

/* --- the URL --- */

void stream_url_done(struct stream_url *url)
{
        freep(&url->host);
        freep(&url->port);
        freep(&url->path);
}

static struct error *error_url(const char *text)
{
        return error_new(ERROR_INVALID_ARGUMENT, "the server gave \"%s\", which is no http://HOST:PORT/PATH",
                         text);
}

struct error *stream_url_parse(const char *text, struct stream_url *out)
{
        static const char http[] = "http://", https[] = "https://";
        if (strncasecmp(text, https, strlen(https)) == 0)
                return error_new(ERROR_UNIMPLEMENTED,
                                 "the server's streams are behind TLS (%s), which this "
                                 "command does not speak",
                                 text);
        if (strncasecmp(text, http, strlen(http)) != 0 || strpbrk(text, " \r\n\t"))
                return error_url(text);
        const char *host = text + strlen(http), *end = host + strcspn(host, "/?");
        const char *host_end = *host == '[' ? memchr(host, ']', (size_t) (end - host)) : NULL;
        const char *colon = host_end ? host_end + 1 : memchr(host, ':', (size_t) (end - host));
        if (*host == '[' && (!host_end || (*colon != ':' && colon != end)))
                return error_url(text);
        if (!colon)
                colon = end;
        bool has_port = colon != end;
        host += host_end ? 1 : 0;
        size_t host_bytes = (size_t) ((host_end ? host_end : colon) - host);
        size_t port_bytes = has_port ? (size_t) (end - colon - 1) : 0;
        if (host_bytes == 0 || (has_port && (port_bytes == 0 || port_bytes > 5 ||
                                             strspn(colon + 1, "0123456789") != port_bytes)))
                return error_url(text);
        out->host = dup_bytes(host, host_bytes);
        out->port = has_port ? dup_bytes(colon + 1, port_bytes) : dup_string("80");
        out->path = format_string("%s%s", *end == '/' ? "" : "/", end);
        return NULL;
}

/* --- the connection --- */

static struct error *finish_connect(int fd, const struct wait *wait)
{
        int failed = 0;
        socklen_t size_bytes = sizeof(failed);
        TRY(wait_fd(wait, fd, POLLOUT, "connect"));
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size_bytes) < 0)
                return error_errno(errno, "connect");
        return failed ? error_as(error_errno(failed, "connect"), ERROR_UNAVAILABLE) : NULL;
}

static struct error *connect_one(const struct addrinfo *address, const struct wait *wait, int *out_fd)
{
        const int on = 1;
        _cleanup_(closep) int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(errno, "socket");
        /* A key that was pressed goes out at once. */
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
                if (errno != EINPROGRESS)
                        return error_as(error_errno(errno, "connect"), ERROR_UNAVAILABLE);
                TRY(finish_connect(fd, wait));
        }
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static void freeaddrinfop(struct addrinfo **list)
{
        if (*list)
                freeaddrinfo(*list);
}

static struct error *connect_any(const struct stream_url *url, int *out_fd)
{
        struct wait wait = wait_of_ms(CONNECT_TIMEOUT_MS);
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
        _cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
        int failed = getaddrinfo(url->host, url->port, &hints, &list);
        if (failed)
                return error_new(ERROR_UNAVAILABLE, "%s: %s", url->host, gai_strerror(failed));
        struct error *e = error_new(ERROR_UNAVAILABLE, "no address");
        for (const struct addrinfo *at = list; at && e; at = at->ai_next) {
                error_ignore(e); /* the last one's is told */
                e = connect_one(at, &wait, out_fd);
        }
        return e;
}

/* --- request and answer --- */

static struct error *send_request(int fd, const struct stream_url *url, const char *const *protocols,
                                  const struct wait *wait)
{
        _cleanup_(buf_done) struct buf request;
        bool is_v6 = strchr(url->host, ':') != NULL;
        buf_init(&request, UPGRADE_ANSWER_MAX);
        TRY(buf_append_format(&request,
                              "POST %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: skiff/" SKIFF_VERSION
                              "\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n",
                              url->path, is_v6 ? "[" : "", url->host, is_v6 ? "]" : "", url->port));
        for (; *protocols; protocols++)
                TRY(buf_append_format(&request, "X-Stream-Protocol-Version: %s\r\n", *protocols));
        TRY(buf_append_text(&request, "\r\n"));
        while (request.len_bytes) {
                ssize_t n_bytes = send(fd, request.bytes, request.len_bytes, MSG_NOSIGNAL);
                if (n_bytes < 0 && errno != EAGAIN)
                        return error_as(error_errno(errno, "send"), ERROR_UNAVAILABLE);
                if (n_bytes < 0)
                        TRY(wait_fd(wait, fd, POLLOUT, "send"));
                else
                        buf_consume(&request, (size_t) n_bytes);
        }
        return NULL;
}

/* The value of a header in the head, or NULL: until the line's end. */
static const char *header(const char *head, const char *name)
{
        size_t name_bytes = strlen(name);
        for (const char *line = head; (line = strstr(line, "\r\n"));) {
                line += 2;
                if (strncasecmp(line, name, name_bytes) == 0 && line[name_bytes] == ':')
                        return line + name_bytes + 1 + strspn(line + name_bytes + 1, " \t");
        }
        return NULL;
}

/* The text of a refusal, on one line. */
static struct error *error_refused(int status, const char *body)
{
        char text[512];
        size_t len = 0;
        for (; *body && len < sizeof(text) - 1; body++)
                text[len++] = isprint((unsigned char) *body) ? *body : ' ';
        while (len && text[len - 1] == ' ')
                len--;
        text[len] = '\0';
        if (status == 404)
                return error_new(ERROR_NOT_FOUND, "the server does not know its own URL any more (404): %s",
                                 text);
        return error_new(ERROR_UNAVAILABLE, "the server refused the streams: HTTP status %d%s%s", status,
                         len ? ": " : "", text);
}

struct error *upgrade_check(const char *answer, size_t len_bytes)
{
        static const char version[] = "HTTP/1.";
        _cleanup_(freep) char *text = dup_bytes(answer, len_bytes);
        char *end = strstr(text, "\r\n\r\n");
        const char *space = strchr(text, ' ');
        if (strncmp(text, version, strlen(version)) != 0 || !space || strspn(space + 1, "0123456789") != 3)
                return error_new(ERROR_INVALID_ARGUMENT, "the server's answer to the upgrade is no HTTP");
        int status = (space[1] - '0') * 100 + (space[2] - '0') * 10 + (space[3] - '0');
        const char *body = "";
        if (end) {
                *end = '\0';
                body = end + 4;
        }
        if (status != 101)
                return error_refused(status, body);
        const char *to = header(text, "Upgrade");
        if (!to || strncasecmp(to, "SPDY/3.1", 8) != 0)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "the server upgraded to something other than SPDY/3.1");
        return NULL;
}

/* Receives up to len_bytes more. *ended: nothing follows. */
static struct error *receive(int fd, size_t len_bytes, const struct wait *wait, struct buf *answer,
                             bool *ended)
{
        char *to = NULL;
        TRY(buf_reserve(answer, len_bytes, &to));
        for (;;) {
                ssize_t n_bytes = recv(fd, to, len_bytes, 0);
                if (n_bytes >= 0) {
                        buf_added(answer, (size_t) n_bytes);
                        *ended = n_bytes == 0;
                        return NULL;
                }
                if (errno != EAGAIN)
                        return error_as(error_errno(errno, "the answer to the upgrade"), ERROR_UNAVAILABLE);
                TRY(wait_fd(wait, fd, POLLIN, "the answer to the upgrade"));
        }
}

/* What a refusal says, as far as it comes soon. */
static void read_body(int fd, struct buf *answer)
{
        struct wait wait = wait_of_ms(BODY_TIMEOUT_MS);
        const char *size = header(answer->bytes, "Content-Length");
        size_t head_bytes = answer->len_bytes;
        unsigned long left_bytes = size ? strtoul(size, NULL, 10) : UPGRADE_ANSWER_MAX;
        for (bool ended = false; !ended && answer->len_bytes - head_bytes < left_bytes;) {
                struct error *e = receive(fd, 1024, &wait, answer, &ended);
                if (e) {
                        error_ignore(e); /* the status is known, and says enough */
                        return;
                }
        }
}

/* Reads the head and no byte more, for what follows a 101 is SPDY. */
static struct error *read_answer(int fd, const struct wait *wait, struct buf *answer)
{
        for (bool ended = false;;) {
                TRY(receive(fd, 1, wait, answer, &ended));
                if (ended)
                        return answer->len_bytes ? NULL : error_new(ERROR_UNAVAILABLE, "the server hung up");
                if (answer->len_bytes >= 4 &&
                    memcmp(answer->bytes + answer->len_bytes - 4, "\r\n\r\n", 4) == 0)
                        break;
        }
        if (answer->len_bytes < 12 || memcmp(answer->bytes + 8, " 101", 4) != 0)
                read_body(fd, answer);
        return NULL;
}

struct error *upgrade(const char *url_text, const char *const *protocols, int *out_fd)
{
        _cleanup_(stream_url_done) struct stream_url url = { 0 };
        _cleanup_(closep) int fd = -1;
        _cleanup_(buf_done) struct buf answer;
        struct wait wait = wait_of_ms(ANSWER_TIMEOUT_MS);
        buf_init(&answer, UPGRADE_ANSWER_MAX);
        TRY(stream_url_parse(url_text, &url));
        TRY_WRAP(connect_any(&url, &fd), "streams at %s:%s", url.host, url.port);
        TRY_WRAP(send_request(fd, &url, protocols, &wait), "streams at %s:%s", url.host, url.port);
        TRY_WRAP(read_answer(fd, &wait, &answer), "streams at %s:%s", url.host, url.port);
        TRY(upgrade_check(answer.bytes, answer.len_bytes));
        *out_fd = TAKE_FD(fd);
        return NULL;
}
