// Carries the main process's output from its pipes, which programs can open again under /dev/stdout, to the ports, which open only once.
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static struct carrier {
    int source, sink;
    bool console;
    size_t start, count;
    uint8_t data[PAYLOAD_MAX];
} carriers[2] = { { .source = -1, .sink = -1 }, { .source = -1, .sink = -1 } };

void outputs_open(void) {
    static const char *const names[] = { "zixiao.stdout", "zixiao.stderr" };
    int console = -1;
    for (int i = 0; i < 2; i++) {
        // A machine without a control port has none of these either: nothing is waited for.
        carriers[i].sink = channel_is_port() ? port_open(names[i]) : -1;
        carriers[i].console = carriers[i].sink < 0;
        if (carriers[i].console && console < 0) console = openat(dev_dir, "console", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (carriers[i].console) carriers[i].sink = console;
    }
}

void outputs_connect(const struct spawned *spawned) {
    carriers[0].source = spawned->output;
    carriers[1].source = spawned->error;
}

// In place of the main process, which did not come about.
void outputs_say(const char *text) {
    struct carrier *to = &carriers[1];
    size_t length = strlen(text);
    if (to->start + to->count + length > sizeof to->data) return;
    memcpy(to->data + to->start + to->count, text, length);
    to->count += length;
}

// True when some of what it carried was for this turn only, and there may be more at once.
bool outputs_pump(void) {
    bool more = false;
    for (int i = 0; i < 2; i++) {
        struct carrier *c = &carriers[i];
        if (!c->count && c->source >= 0) {
            ssize_t got = read(c->source, c->data, sizeof c->data);
            if (got > 0) {
                c->start = 0;
                c->count = (size_t)got;
            } else if (got == 0 || errno != EAGAIN) {
                // EIO: a terminal that nobody has open any more.
                close(c->source);
                c->source = -1;
            } else {
                wait_for(c->source, POLLIN);
            }
        }
        if (!c->count) continue;
        ssize_t written = c->sink < 0 ? (ssize_t)c->count : write(c->sink, c->data + c->start, c->count);
        if (written >= 0) {
            c->start += (size_t)written;
            c->count -= (size_t)written;
            more = true;
        } else if (errno == EAGAIN) {
            if (c->console) wait_for(c->sink, POLLOUT);
        } else {
            c->count = 0;
        }
    }
    return more;
}

bool outputs_done(void) {
    return carriers[0].source < 0 && carriers[1].source < 0 && !carriers[0].count && !carriers[1].count;
}
