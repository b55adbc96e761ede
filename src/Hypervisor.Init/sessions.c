// Processes beside the main one, each with a stream of the channel. They end with their stream, or with the agent's connection.
#include "init.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct session {
    bool used, started, exited, told, terminal;
    uint32_t stream;
    pid_t pid;
    int status, failure, outputs[2];
    uint32_t credit[2];
    struct input input;
} sessions[SESSIONS_MAX];

static struct session *find(uint32_t stream) {
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (sessions[i].used && sessions[i].stream == stream) return &sessions[i];
    }
    return NULL;
}

static void shut(int *descriptor) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
}

static void end(struct session *s) {
    // The leader's number is its own until it is reaped; what it left in its session may run on.
    if (!s->exited) kill_session(s->pid, SIGKILL);
    shut(&s->failure), shut(&s->outputs[0]), shut(&s->outputs[1]), shut(&s->input.descriptor);
    s->used = false;
}

bool sessions_start(uint32_t stream, struct records request) {
    struct session *s = NULL;
    for (size_t i = 0; !s && i < SESSIONS_MAX; i++) {
        if (!sessions[i].used) s = &sessions[i];
    }
    if (!s || find(stream)) {
        channel_answer(stream, REASON_START_FAILED, 0, s ? "the stream is in use" : "too many additional processes; end some");
        return false;
    }
    struct spawned spawned;
    int problem = spawn(request, false, &spawned);
    if (problem) {
        channel_answer(stream, REASON_START_FAILED, problem, strerror(problem));
        return false;
    }
    s->used = true;
    s->started = s->exited = s->told = false;
    s->terminal = records_number(request, TAG_FLAGS) & FLAG_TERMINAL;
    s->stream = stream;
    s->pid = spawned.pid;
    s->failure = spawned.failure;
    s->outputs[0] = spawned.output;
    s->outputs[1] = spawned.error;
    s->credit[0] = s->credit[1] = CREDIT_BYTES;
    s->input.descriptor = spawned.input;
    s->input.start = s->input.count = 0;
    s->input.closing = false;
    return true;
}

void sessions_input(uint32_t stream, const uint8_t *data, size_t length) {
    struct session *s = find(stream);
    if (!s) return;
    // A terminal has no end of its own.
    if (!length && s->terminal) return;
    if (!input_add(&s->input, data, length)) end(s);
}

void sessions_resize(uint32_t stream, uint16_t columns, uint16_t rows) {
    struct session *s = find(stream);
    if (s && s->terminal) set_size(s->outputs[0], columns, rows);
}

void sessions_signal(uint32_t stream, int signal) {
    struct session *s = find(stream);
    if (s && !s->exited) kill(s->pid, signal);
}

void sessions_credit(uint32_t stream, int which, uint32_t bytes) {
    struct session *s = find(stream);
    if (s && which >= 1 && which <= 2 && bytes <= CREDIT_BYTES - s->credit[which - 1]) s->credit[which - 1] += bytes;
}

void sessions_release(uint32_t stream) {
    struct session *s = find(stream);
    if (s) end(s);
}

void sessions_end_all(void) {
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (sessions[i].used) end(&sessions[i]);
    }
}

bool sessions_reaped(pid_t pid, int status) {
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (!sessions[i].used || sessions[i].exited || sessions[i].pid != pid) continue;
        sessions[i].exited = true;
        sessions[i].status = status;
        return true;
    }
    return false;
}

static void begin(struct session *s) {
    struct failure failure;
    ssize_t got = read(s->failure, &failure, sizeof failure);
    if (got < 0 && errno == EAGAIN) {
        wait_for(s->failure, POLLIN);
        return;
    }
    shut(&s->failure);
    if (got == sizeof failure) {
        channel_answer(s->stream, failure.reason, failure.number, failure.message);
        end(s);
        return;
    }
    s->started = true;
    channel_answer(s->stream, REASON_NONE, 0, "");
}

static void pump_output(struct session *s, int which) {
    static uint8_t data[PAYLOAD_MAX];
    if (s->outputs[which] < 0 || !s->credit[which]) return;
    if (!channel_has_room(PAYLOAD_MAX)) return;
    size_t most = s->credit[which] < sizeof data ? s->credit[which] : sizeof data;
    ssize_t got = read(s->outputs[which], data, most);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        wait_for(s->outputs[which], POLLIN);
        return;
    }
    uint8_t type = which ? FRAME_ERROR : FRAME_OUTPUT;
    if (got <= 0) {
        // EIO: a terminal that nobody has open any more.
        shut(&s->outputs[which]);
        channel_send(type, s->stream, NULL, 0);
        return;
    }
    s->credit[which] -= (uint32_t)got;
    channel_send(type, s->stream, data, (size_t)got);
    wait_for(s->outputs[which], POLLIN);
}

void sessions_pump(void) {
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &sessions[i];
        if (s->used && !s->started) begin(s);
        if (!s->used || !s->started) continue;
        pump_output(s, 0);
        pump_output(s, 1);
        uint32_t taken = input_flush(&s->input);
        uint8_t answer[9];
        if (taken) {
            put32(answer, taken);
            channel_send(FRAME_CREDIT_BACK, s->stream, answer, 4);
        }
        if (s->exited && !s->told) {
            bool killed = WIFSIGNALED(s->status);
            put32(answer, killed ? 128 + (uint32_t)WTERMSIG(s->status) : (uint32_t)WEXITSTATUS(s->status));
            put32(answer + 4, killed ? (uint32_t)WTERMSIG(s->status) : 0);
            answer[8] = 0;
            channel_send(FRAME_EXIT, s->stream, answer, 9);
            s->told = true;
        }
    }
}
