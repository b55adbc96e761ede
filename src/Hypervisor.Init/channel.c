// The agent's byte stream and the frames in it. One peer at a time; a HELLO begins anew whatever was there before.
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BORDER = 0x7E, ESCAPE = 0x7D, MASK = 0x20, VSOCK_PORT = 1024 };

static int stream = -1, listener = -1;
static bool is_port, greeted;

// Since when the port says that it has no host; 0 while it has one. The monitor tells of hosts in a queue of its own, which the kernel works off
// later than the data: a HELLO may be read before its host has come, and before the earlier host has gone.
static int64_t away_since;

static struct timespec greeted_at;

// Stuffed frames that are not written yet.
static uint8_t sending[SEND_MAX];
static size_t send_start, send_end;

// What was read and is not looked at yet, and the frame that is being put together.
static uint8_t received[4096], body[HEADER_BYTES + PAYLOAD_MAX];
static size_t received_start, received_end, body_length;
static bool escaped, broken;

void channel_open(void) {
    stream = port_open("zixiao.control");
    is_port = stream >= 0;
    if (is_port) return;
    listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VSOCK_PORT };
    if (listener >= 0 && (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0)) {
        close(listener);
        listener = -1;
    }
}

bool channel_is_port(void) { return is_port; }

static size_t room(void) { return sizeof sending - (send_end - send_start); }

bool channel_has_room(size_t payload) { return room() >= 2 * (HEADER_BYTES + payload) + 2 + SEND_RESERVE; }

bool channel_flushed(void) { return !greeted || away_since || send_end == send_start; }

int64_t channel_deadline(void) { return greeted && away_since ? away_since + HOST_AWAY_MS : 0; }

static void stuff(uint8_t byte) {
    if (byte == BORDER || byte == ESCAPE) {
        sending[send_end++] = ESCAPE;
        byte ^= MASK;
    }
    sending[send_end++] = byte;
}

void channel_send(uint8_t type, uint32_t number, const void *payload, size_t length) {
    if (!greeted || length > PAYLOAD_MAX || room() < 2 * (HEADER_BYTES + length) + 2) return;
    if (sizeof sending - send_end < 2 * (HEADER_BYTES + length) + 2) {
        memmove(sending, sending + send_start, send_end - send_start);
        send_end -= send_start;
        send_start = 0;
    }
    uint8_t header[HEADER_BYTES] = { type };
    put32(header + 1, number);
    put16(header + 5, (uint16_t)length);
    sending[send_end++] = BORDER;
    for (size_t i = 0; i < sizeof header; i++) stuff(header[i]);
    for (size_t i = 0; i < length; i++) stuff(((const uint8_t *)payload)[i]);
    sending[send_end++] = BORDER;
}

void channel_answer(uint32_t number, enum reason reason, int error, const char *text) {
    uint8_t answer[5 + MESSAGE_MAX] = { (uint8_t)reason };
    size_t length = strnlen(text, MESSAGE_MAX);
    put32(answer + 1, (uint32_t)error);
    memcpy(answer + 5, text, length);
    channel_send(FRAME_ANSWER, number, answer, 5 + length);
}

static void lose_peer(void) {
    greeted = false;
    send_start = send_end = 0;
    requests_reset();
    sessions_end_all();
}

static void greet(const uint8_t *nonce) {
    lose_peer();
    greeted = true;
    clock_gettime(CLOCK_MONOTONIC, &greeted_at);
    // Whoever greets is there, whatever the port says yet: that it went is told from here on.
    if (away_since) away_since = now_ms();
    uint8_t answer[33];
    memcpy(answer, nonce, 16);
    put32(answer + 16, 1);
    answer[20] = (uint8_t)state;
    put64(answer + 21, records_number(config, TAG_RUN));
    put32(answer + 29, CREDIT_BYTES - main_input.count);
    channel_send(FRAME_HELLO_BACK, 0, answer, sizeof answer);
}

struct timespec channel_since_greeting(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    now.tv_sec -= greeted_at.tv_sec;
    now.tv_nsec -= greeted_at.tv_nsec;
    if (now.tv_nsec < 0) now.tv_sec--, now.tv_nsec += 1000000000;
    return now;
}

static void finish_frame(void) {
    size_t length = body_length;
    bool whole = !broken && !escaped && length >= HEADER_BYTES && length == HEADER_BYTES + (size_t)get16(body + 5);
    body_length = 0;
    broken = escaped = false;
    if (!whole) return;
    if (body[0] == FRAME_HELLO && length == HEADER_BYTES + 20) greet(body + HEADER_BYTES);
    else if (greeted) channel_handle(body[0], get32(body + 1), body + HEADER_BYTES, length - HEADER_BYTES);
}

static void take(uint8_t byte) {
    if (byte == BORDER) {
        finish_frame();
    } else if (byte == ESCAPE) {
        broken |= escaped;
        escaped = true;
    } else if (body_length == sizeof body) {
        broken = true;
    } else {
        body[body_length++] = escaped ? byte ^ MASK : byte;
        escaped = false;
    }
}

static void lose_stream(void) {
    lose_peer();
    received_start = received_end = body_length = 0;
    if (!is_port) {
        close(stream);
        stream = -1;
    }
}

static bool flush(void) {
    while (send_end > send_start) {
        ssize_t written = write(stream, sending + send_start, send_end - send_start);
        if (written < 0) return errno == EAGAIN || errno == EINTR;
        send_start += (size_t)written;
    }
    send_start = send_end = 0;
    return true;
}

bool channel_flush(void) {
    size_t before = send_end - send_start;
    if (stream >= 0 && !flush()) lose_stream();
    if (stream >= 0 && !is_port) wait_for(stream, (short)((received_start < received_end ? 0 : POLLIN) | (send_end > send_start ? POLLOUT : 0)));
    return send_end - send_start < before;
}

void channel_pump(void) {
    if (listener >= 0) {
        int next = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (next >= 0 && stream >= 0) lose_stream();
        if (next >= 0) stream = next;
        wait_for(listener, POLLIN);
    }
    while (stream >= 0) {
        if (!flush()) {
            lose_stream();
            break;
        }
        // What is asked is only looked at while its answer has room.
        while (received_start < received_end && channel_has_room(0)) take(received[received_start++]);
        if (received_start < received_end) break;
        ssize_t got = read(stream, received, sizeof received);
        if (got < 0 && errno == EINTR) break;
        if (got == 0 && is_port) {
            if (!away_since) away_since = now_ms();
            break;
        }
        if (got < 0 && errno == EAGAIN) {
            away_since = 0;
            break;
        }
        if (got <= 0) {
            lose_stream();
            break;
        }
        received_start = 0;
        received_end = (size_t)got;
        // Whoever writes is there: on a slow machine the kernel tells of it seconds later.
        if (away_since) away_since = now_ms();
    }
    int64_t deadline = channel_deadline();
    if (deadline && now_ms() >= deadline) lose_peer();
}
