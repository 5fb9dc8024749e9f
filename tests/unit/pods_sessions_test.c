/* What can be asked of sessions and what not, and with what the handler is asked to open them. Needs root. */
#include "base/session.h"
#include "tests/unit/pods_maker.h"

static char sh[] = "sh", term_of_image[] = "TERM", vt100[] = "vt100";
static const char *command[] = { sh };
static const struct wait soon = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };

static Cri__ExecRequest exec_of(const char *id)
{
        Cri__ExecRequest request = CRI__EXEC_REQUEST__INIT;
        request.container_id = id;
        request.cmd = command;
        request.n_cmd = 1;
        request.stdout = true;
        return request;
}

static Cri__AttachRequest attach_of(const char *id)
{
        Cri__AttachRequest request = CRI__ATTACH_REQUEST__INIT;
        request.container_id = id;
        request.stdout = true;
        return request;
}

static void with_stdin(Cri__ContainerConfig *config)
{
        config->stdin = true;
        config->stdin_once = true;
}

static void with_terminal(Cri__ContainerConfig *config)
{
        config->stdin = true;
        config->tty = true;
}

/* A terminal of another kind is the container's choice. */
static void with_term(Cri__ContainerConfig *config)
{
        static Cri__KeyValue value = CRI__KEY_VALUE__INIT;
        static Cri__KeyValue *envs[] = { &value };
        value.key = term_of_image;
        value.value = (ProtobufCBinaryData){ sizeof(vt100) - 1, (uint8_t *) vt100 };
        config->envs = envs;
        config->n_envs = 1;
        config->tty = true;
}

/* Both the check and the opening refuse it, and nothing is opened. */
static void exec_is_refused(struct made_node *made, const Cri__ExecRequest *request, enum error_code code,
                            const char *text)
{
        struct session_fds fds;
        assert_fails(code, text, node_check_exec(made->node, request));
        assert_fails(code, text, node_open_exec(made->node, request, 0, 0, &soon, &fds));
        assert_int_equal(fds.channel_fd, -1);
        assert_int_equal(fake_session().kind, FAKE_SESSION_NONE);
}

static void attach_is_refused(struct made_node *made, const Cri__AttachRequest *request, enum error_code code,
                              const char *text)
{
        struct session_fds fds;
        assert_fails(code, text, node_check_attach(made->node, request));
        assert_fails(code, text, node_open_attach(made->node, request, 0, 0, &soon, &fds));
        assert_int_equal(fds.channel_fd, -1);
        assert_int_equal(fake_session().kind, FAKE_SESSION_NONE);
}

static void forward_is_refused(struct made_node *made, const Cri__PortForwardRequest *request,
                               enum error_code code, const char *text)
{
        struct session_fds fds;
        assert_fails(code, text, node_check_forward(made->node, request));
        assert_fails(code, text, node_open_forward(made->node, request, &soon, &fds));
        assert_int_equal(fds.channel_fd, -1);
        assert_int_equal(fake_session().kind, FAKE_SESSION_NONE);
}

static char *running(struct made_node *made, const char *pod, const char *name,
                     void (*edit)(Cri__ContainerConfig *config))
{
        char *id = made_container(made, pod, name, edit);
        made_start(made, id);
        return id;
}

static void an_exec_that_cannot_be_is_refused_at_once(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = made_container(made, pod, "c", NULL);
        Cri__ExecRequest request = exec_of("0123");
        exec_is_refused(made, &request, ERROR_NOT_FOUND, "container 0123 does not exist");
        request = exec_of(id);
        exec_is_refused(made, &request, ERROR_FAILED_PRECONDITION, "is not running");
        made_start(made, id);
        assert_ok(node_check_exec(made->node, &request));
        request.n_cmd = 0;
        exec_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "command");
        request = exec_of(id);
        request.stdout = false;
        exec_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "one of stdin, stdout and stderr");
        request = exec_of(id);
        request.tty = request.stderr = true;
        exec_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "tty and stderr");
        fake_exit(id, 0);
        made_wait(made, id, CRI__CONTAINER_STATE__CONTAINER_EXITED);
        request = exec_of(id);
        exec_is_refused(made, &request, ERROR_FAILED_PRECONDITION, "is not running");
}

static void an_exec_is_opened_as_asked(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *id = running(made, pod, "c", NULL),
                              *other = running(made, pod, "d", with_term);
        _cleanup_(session_fds_close) struct session_fds fds = SESSION_FDS_NONE, more = SESSION_FDS_NONE;
        Cri__ExecRequest request = exec_of(id);
        request.stdin = request.stderr = true;
        assert_ok(node_open_exec(made->node, &request, 0, 0, &soon, &fds));
        assert_true(fds.channel_fd >= 0);
        struct fake_session session = fake_session();
        assert_int_equal(session.kind, FAKE_SESSION_EXEC);
        assert_string_equal(session.container_id, id);
        assert_string_equal(session.command, "sh");
        assert_string_equal(session.term, "");
        assert_true(session.streams.in && session.streams.out && session.streams.err && !session.streams.tty);
        for (int i = 0; i < 2; i++) {
                request = exec_of(i ? other : id);
                request.tty = true;
                session_fds_close(&more);
                assert_ok(node_open_exec(made->node, &request, 33, 101, &soon, &more));
                session = fake_session();
                assert_true(session.streams.tty && session.streams.out && !session.streams.in);
                assert_int_equal(session.streams.rows, 33);
                assert_int_equal(session.streams.columns, 101);
                assert_string_equal(session.term, i ? "vt100" : "xterm");
        }
        /* What it could not be opened for reaches the caller. */
        struct session_fds none;
        fake_refuse(FAKE_SESSION);
        assert_fails(ERROR_UNAVAILABLE, "refused", node_open_exec(made->node, &request, 0, 0, &soon, &none));
        assert_int_equal(none.channel_fd, -1);
}

static void an_attach_takes_what_the_container_has(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL), *plain = running(made, pod, "c", NULL),
                              *with = running(made, pod, "d", with_stdin),
                              *terminal = running(made, pod, "e", with_terminal);
        _cleanup_(session_fds_close) struct session_fds a = SESSION_FDS_NONE, b = SESSION_FDS_NONE;
        Cri__AttachRequest request = attach_of("0123");
        attach_is_refused(made, &request, ERROR_NOT_FOUND, "container 0123 does not exist");
        request = attach_of(plain);
        request.stdin = true;
        attach_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "has no stdin open");
        request = attach_of(with);
        request.tty = true;
        attach_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "has no terminal");
        request.stderr = true;
        attach_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "tty and stderr");
        request = attach_of(with);
        request.stdout = false;
        attach_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "one of");
        request = attach_of(with);
        request.stdin = request.stderr = true;
        assert_ok(node_check_attach(made->node, &request));
        assert_ok(node_open_attach(made->node, &request, 0, 0, &soon, &a));
        struct fake_session session = fake_session();
        assert_int_equal(session.kind, FAKE_SESSION_ATTACH);
        assert_true(session.streams.in && session.streams.out && session.streams.err && !session.streams.tty);
        /* The terminal is the container's, whether the client says so or not. */
        request = attach_of(terminal);
        request.stdin = request.stderr = true;
        assert_ok(node_open_attach(made->node, &request, 24, 80, &soon, &b));
        session = fake_session();
        assert_true(session.streams.tty && session.streams.in && !session.streams.err);
        assert_int_equal(session.streams.columns, 80);
        assert_true(fake_spec(terminal)->tty && fake_spec(with)->stdin_once && !fake_spec(plain)->tty);
        fake_exit(with, 0);
        made_wait(made, with, CRI__CONTAINER_STATE__CONTAINER_EXITED);
        request = attach_of(with);
        attach_is_refused(made, &request, ERROR_FAILED_PRECONDITION, "is not running");
}

static void a_forward_is_to_a_pod_that_is_ready(void **state)
{
        struct made_node *made = *state;
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        _cleanup_(session_fds_close) struct session_fds fds = SESSION_FDS_NONE;
        static int32_t ports[] = { 80, 65535, 1 };
        Cri__PortForwardRequest request = CRI__PORT_FORWARD_REQUEST__INIT;
        request.pod_sandbox_id = "0123";
        forward_is_refused(made, &request, ERROR_NOT_FOUND, "pod 0123 does not exist");
        request.pod_sandbox_id = pod;
        request.port = ports;
        request.n_port = LENGTH(ports);
        assert_ok(node_check_forward(made->node, &request));
        assert_ok(node_open_forward(made->node, &request, &soon, &fds));
        struct fake_session session = fake_session();
        assert_int_equal(session.kind, FAKE_SESSION_FORWARD);
        assert_string_equal(session.container_id, pod);
        static const int32_t none[] = { 0, -1, 65536 };
        for (size_t i = 0; i < LENGTH(none); i++) {
                ports[1] = none[i];
                forward_is_refused(made, &request, ERROR_INVALID_ARGUMENT, "is no port");
        }
        request.n_port = 0;
        assert_ok(node_stop_pod(made->node, pod, NULL));
        forward_is_refused(made, &request, ERROR_FAILED_PRECONDITION, "is not ready");
}

UNIT_MAIN(IN_NODE(an_exec_that_cannot_be_is_refused_at_once), IN_NODE(an_exec_is_opened_as_asked),
          IN_NODE(an_attach_takes_what_the_container_has), IN_NODE(a_forward_is_to_a_pod_that_is_ready))
