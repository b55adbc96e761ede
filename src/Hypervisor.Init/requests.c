// What the agent asks for over the channel.
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

// Records that come in parts, of one request at a time.
static uint8_t parts[RECORDS_MAX];
static size_t parts_length;
static uint32_t parts_stream;
static bool parts_broken;

// Freezing waits for the disk: a child does it. One at a time.
static pid_t freezer;
static uint32_t freezer_stream, freezer_ms;
static bool freezing;
static int64_t thaw_at;

void requests_reset(void) {
    parts_length = 0;
    parts_broken = false;
    freezer_stream = 0;
}

static void add_part(uint32_t stream, const uint8_t *payload, size_t length) {
    if (stream != parts_stream) requests_reset(), parts_stream = stream;
    if (length > sizeof parts - parts_length) parts_broken = true;
    else memcpy(parts + parts_length, payload, length), parts_length += length;
}

// The records of a request are whole with its own frame.
static bool whole(uint32_t stream, const uint8_t *payload, size_t length, struct records *records) {
    if (stream != parts_stream) requests_reset(), parts_stream = stream;
    add_part(stream, payload, length);
    *records = (struct records){ parts, parts_length };
    bool good = !parts_broken && records_check(*records);
    requests_reset();
    if (!good) channel_answer(stream, REASON_START_FAILED, EINVAL, "the request is damaged or too long");
    return good;
}

static int root_ioctl(unsigned long request) {
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int problem = root < 0 || ioctl(root, request, 0) != 0 ? errno : 0;
    if (root >= 0) close(root);
    return problem;
}

static void freeze(uint32_t stream, uint32_t until_ms, bool freeze) {
    if (freezer) {
        channel_answer(stream, REASON_ERRNO, EBUSY, "the file system is being frozen or thawed already");
        return;
    }
    pid_t pid = fork();
    if (pid == 0) _exit(root_ioctl(freeze ? FIFREEZE : FITHAW));
    if (pid < 0) {
        channel_answer(stream, REASON_ERRNO, errno, strerror(errno));
        return;
    }
    freezer = pid;
    freezer_stream = stream;
    freezer_ms = until_ms;
    freezing = freeze;
}

bool frozen_reaped(pid_t pid, int status) {
    if (pid != freezer) return false;
    int problem = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    freezer = 0;
    if (!problem) thaw_at = freezing ? now_ms() + freezer_ms : 0;
    if (freezer_stream) channel_answer(freezer_stream, problem ? REASON_ERRNO : REASON_NONE, problem, problem ? strerror(problem) : "");
    return true;
}

int64_t frozen_deadline(void) { return thaw_at; }

void frozen_pump(void) {
    if (thaw_at && now_ms() >= thaw_at && !freezer) {
        thaw_at = 0;
        freeze(0, 0, false);
    }
}

static void begin(uint32_t stream, struct records records) {
    if (state != STATE_HELD) {
        channel_answer(stream, REASON_ERRNO, EALREADY, "the entry point has been started already");
        return;
    }
    refresh(records);
    config_set(records.bytes, records.length);
    identity_set_up();
    network_set_up();
    main_start();
    channel_answer(stream, REASON_NONE, 0, "");
}

void channel_handle(uint8_t type, uint32_t stream, const uint8_t *payload, size_t length) {
    struct records records;
    switch (type) {
        case FRAME_PART:
            add_part(stream, payload, length);
            break;
        case FRAME_EXEC:
            if (!whole(stream, payload, length, &records)) break;
            if (state == STATE_RUNS) sessions_start(stream, records);
            else channel_answer(stream, REASON_START_FAILED, 0, "the main process does not run");
            break;
        case FRAME_INPUT:
            if (stream) sessions_input(stream, payload, length);
            else input_add(&main_input, payload, length);
            break;
        case FRAME_RESIZE:
            if (length != 4) break;
            if (stream) sessions_resize(stream, get16(payload), get16(payload + 2));
            else main_resize(get16(payload), get16(payload + 2));
            break;
        case FRAME_SIGNAL:
            if (length != 1 || payload[0] > 64) break;
            if (stream) { sessions_signal(stream, payload[0]); break; }
            main_signal(payload[0]);
            channel_answer(0, REASON_NONE, 0, "");
            break;
        case FRAME_CREDIT:
            if (length == 5) sessions_credit(stream, payload[0], get32(payload + 1));
            break;
        case FRAME_RELEASE:
            sessions_release(stream);
            break;
        case FRAME_STATS: {
            uint8_t answer[5 + 128] = { REASON_NONE };
            channel_send(FRAME_ANSWER, stream, answer, 5 + statistics_read(answer + 5));
            break;
        }
        case FRAME_SHUTDOWN:
            channel_answer(stream, REASON_NONE, 0, "");
            shut_down(length == 4 ? get32(payload) : 0);
            break;
        case FRAME_BEGIN:
            if (whole(stream, payload, length, &records)) begin(stream, records);
            break;
        case FRAME_REFRESH:
            if (!whole(stream, payload, length, &records)) break;
            refresh(records);
            // Who goes on from a file, or goes on after all, has nobody to wait for.
            if (thaw_at && !freezer) thaw_at = 0, freeze(0, 0, false);
            channel_answer(stream, REASON_NONE, 0, "");
            break;
        case FRAME_FREEZE:
            freeze(stream, length == 4 ? get32(payload) : 0, true);
            break;
        case FRAME_THAW:
            freeze(stream, 0, false);
            break;
    }
}
