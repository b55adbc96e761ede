// What is on its way to a process's standard input: as much as the agent has credit for, so it always fits.
#include "init.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

bool input_add(struct input *input, const uint8_t *data, size_t length) {
    if (!length) {
        input->closing = true;
        return true;
    }
    if (input->closing) return true;
    if (length > CREDIT_BYTES - input->count) return false;
    for (size_t done = 0; done < length;) {
        uint32_t end = (input->start + input->count) % CREDIT_BYTES;
        size_t part = CREDIT_BYTES - end < length - done ? CREDIT_BYTES - end : length - done;
        memcpy(input->data + end, data + done, part);
        input->count += (uint32_t)part;
        done += part;
    }
    return true;
}

// Answers how much was taken, also when nobody will ever read it.
uint32_t input_flush(struct input *input) {
    uint32_t taken = 0;
    while (input->count) {
        uint32_t part = CREDIT_BYTES - input->start < input->count ? CREDIT_BYTES - input->start : input->count;
        ssize_t written = input->descriptor >= 0 ? write(input->descriptor, input->data + input->start, part) : (ssize_t)part;
        if (written < 0 && errno == EAGAIN) {
            wait_for(input->descriptor, POLLOUT);
            return taken;
        }
        if (written < 0) {
            close(input->descriptor);
            input->descriptor = -1;
            continue;
        }
        input->start = (input->start + (uint32_t)written) % CREDIT_BYTES;
        input->count -= (uint32_t)written;
        taken += (uint32_t)written;
    }
    if (input->closing && input->descriptor >= 0) {
        close(input->descriptor);
        input->descriptor = -1;
    }
    return taken;
}
