#include "cri/stream/control.h"
#include "base/socket.h"
#include <string.h>

struct packet {
        struct control_message message;
        char text[CONTROL_TEXT_MAX];
};

struct error *control_send(int fd, const struct control_message *message, const char *text, const int *fds,
                           size_t n_fds, const struct wait *wait)
{
        size_t text_bytes = text ? strnlen(text, CONTROL_TEXT_MAX) : 0;
        size_t len_bytes = sizeof(*message) + text_bytes;
        _cleanup_(freep) char *bytes = NEW_ARRAY(char, len_bytes);
        memcpy(bytes, message, sizeof(*message));
        if (text_bytes)
                memcpy(bytes + sizeof(*message), text, text_bytes);
        return socket_send(fd, bytes, len_bytes, fds, n_fds, wait);
}

/* What is used later as it came: a token without its end, a count past its array. */
static bool message_holds(const struct control_message *m)
{
        return memchr(m->token, '\0', sizeof(m->token)) && m->n_ports <= CONTROL_PORTS_MAX &&
               m->type >= CONTROL_START && m->type <= CONTROL_FAILED;
}

struct error *control_receive(int fd, struct control_received *out, const struct wait *wait)
{
        _cleanup_(freep) struct packet *packet = malloc(sizeof(*packet));
        size_t len_bytes = 0;
        if (!packet)
                return error_errno(ENOMEM, "message");
        out->ended = false;
        out->n_fds = CONTROL_FDS_MAX;
        memset(out->fds, -1, sizeof(out->fds));
        struct error *e =
                socket_receive(fd, packet, sizeof(*packet), &len_bytes, out->fds, &out->n_fds, wait);
        if (e) {
                out->n_fds = 0;
                return e;
        }
        out->ended = len_bytes == 0;
        if (out->ended)
                return NULL;
        if (len_bytes < sizeof(packet->message) || !message_holds(&packet->message)) {
                control_received_done(out);
                return error_new(ERROR_INTERNAL, "no message of this protocol");
        }
        size_t text_bytes = len_bytes - sizeof(packet->message);
        out->message = packet->message;
        memcpy(out->text, packet->text, text_bytes);
        out->text[text_bytes] = '\0';
        return NULL;
}

void control_received_done(struct control_received *received)
{
        for (size_t i = 0; i < CONTROL_FDS_MAX; i++)
                closep(&received->fds[i]);
        received->n_fds = 0;
}
