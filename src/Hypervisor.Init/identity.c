// Who the guest is: host name, the files in /etc that say so, machine id; and what a guest that goes on from a snapshot must not share.
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int bound;

// The first time it is bound over the image's file; from then on writing it changes what programs see.
static void put(const char *name, const char *target, const char *text, bool make) {
    int file = openat(files_dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || write(file, text, strlen(text)) < 0) say("%s: %s", target, strerror(errno));
    if (file < 0) return;
    if (!bound) {
        char source[64];
        struct stat there;
        snprintf(source, sizeof source, "/proc/self/fd/%d", file);
        // A link to what is not there (to systemd's resolver, say) is replaced. Without blocking: it may be anything.
        if (make && stat(target, &there) != 0) {
            mkdir("/etc", 0755);
            unlink(target);
            int point = open(target, O_WRONLY | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0644);
            if (point >= 0) close(point);
        }
        if (stat(target, &there) == 0
            && (mount(source, target, NULL, MS_BIND, NULL) != 0
                || mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)) {
            say("%s: %s", target, strerror(errno));
        }
    }
    close(file);
}

void identity_set_up(void) {
    static char text[16 << 10];
    char hostname[256];
    struct record record;
    records_text(config, TAG_HOSTNAME, hostname, sizeof hostname);
    sethostname(hostname, strlen(hostname));
    size_t length = (size_t)snprintf(text, sizeof text, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    bool network = records_find(config, TAG_NETWORK, &record);
    if (network) {
        const uint8_t *a = record.value;
        snprintf(text + length, sizeof text - length, "%u.%u.%u.%u\t%s\n", a[0], a[1], a[2], a[3], hostname);
    }
    put("hosts", "/etc/hosts", text, true);
    snprintf(text, sizeof text, "%s\n", hostname);
    put("hostname", "/etc/hostname", text, true);

    text[0] = 0;
    length = 0;
    bool searching = false;
    for (int pass = 0; network && pass < 2; pass++) {
        uint16_t tag = pass ? TAG_DNS_SEARCH : TAG_DNS_SERVER;
        for (size_t offset = 0; records_next(config, &offset, &record);) {
            if (record.tag != tag || record.length > 255 || length + 300 > sizeof text) continue;
            const char *before = pass == 0 ? "nameserver " : searching ? " " : "search ";
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%.*s%s", before, (int)record.length, (const char *)record.value, pass ? "" : "\n");
            searching = pass == 1;
        }
    }
    if (searching) snprintf(text + length, sizeof text - length, "\n");
    put("resolv.conf", "/etc/resolv.conf", text, true);

    if (records_text(config, TAG_MACHINE_ID, text, 64) == 32) {
        strcat(text, "\n");
        put("machine-id", "/etc/machine-id", text, false);
    }
    bound = 1;
}

// random(4): credited, since it is the host's own; reseeded at once, so that two guests from one snapshot differ from their first byte on.
void refresh(struct records records) {
    struct record record;
    if (records_find(records, TAG_RANDOM, &record) && record.length >= 16 && record.length <= 256) {
        struct { struct rand_pool_info info; uint8_t bytes[256]; } pool;
        pool.info.entropy_count = (int)record.length * 8;
        pool.info.buf_size = (int)record.length;
        memcpy(pool.bytes, record.value, record.length);
        int random = open("/dev/urandom", O_RDWR | O_CLOEXEC);
        if (random < 0 || ioctl(random, RNDADDENTROPY, &pool) != 0 || ioctl(random, RNDRESEEDCRNG) != 0) say("randomness: %s", strerror(errno));
        if (random >= 0) close(random);
    }
    if (records_find(records, TAG_TIME, &record)) {
        struct timespec time = { .tv_sec = (time_t)get64(record.value), .tv_nsec = get32(record.value + 8) };
        if (clock_settime(CLOCK_REALTIME, &time) != 0) say("clock: %s", strerror(errno));
    }
}
