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

// The files, bound over the image's the first time; from then on writing them changes what programs see. They stay open: opening each anew takes a
// guest that has just gone on from its memory a few milliseconds.
enum file { FILE_HOSTS, FILE_HOSTNAME, FILE_RESOLVER, FILE_MACHINE_ID, FILE_COUNT };

static const struct { const char *name, *target; bool make; } files[FILE_COUNT] = {
    { "hosts", "/etc/hosts", true }, { "hostname", "/etc/hostname", true }, { "resolv.conf", "/etc/resolv.conf", true },
    { "machine-id", "/etc/machine-id", false },
};
static struct { int descriptor; size_t length; } opened[FILE_COUNT];

// What is about to be written to one of them.
static char text[16 << 10];
static size_t length;

static void bind_over(int file, const char *target, bool make) {
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

static void put(enum file which) {
    const char *target = files[which].target;
    int file = opened[which].descriptor;
    bool first = file <= 0;
    if (first) file = opened[which].descriptor = openat(files_dir, files[which].name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || pwrite(file, text, length, 0) < 0 || (length < opened[which].length && ftruncate(file, (off_t)length) != 0)) {
        say("%s: %s", target, strerror(errno));
    }
    opened[which].length = length;
    if (first && file >= 0) bind_over(file, target, files[which].make);
}

// Without printf, as in process.c.
static void add(const char *more, size_t size) {
    if (size >= sizeof text - length) return;
    memcpy(text + length, more, size);
    text[length += size] = 0;
}

static void add_text(const char *more) { add(more, strlen(more)); }

static void add_address(const uint8_t *address) {
    for (int i = 0; i < 4; i++) {
        char digits[] = { (char)('0' + address[i] / 100), (char)('0' + address[i] / 10 % 10), (char)('0' + address[i] % 10) };
        size_t zeros = address[i] >= 100 ? 0 : address[i] >= 10 ? 1 : 2;
        if (i) add_text(".");
        add(digits + zeros, sizeof digits - zeros);
    }
}

static void add_resolvers(void) {
    struct record record;
    bool searching = false;
    for (uint16_t tag = TAG_DNS_SERVER; tag <= TAG_DNS_SEARCH; tag++) {
        for (size_t offset = 0; records_next(config, &offset, &record);) {
            if (record.tag != tag || record.length > 255 || length + 300 > sizeof text) continue;
            add_text(tag == TAG_DNS_SERVER ? "nameserver " : searching ? " " : "search ");
            add((const char *)record.value, record.length);
            if (tag == TAG_DNS_SERVER) add_text("\n");
            searching = tag == TAG_DNS_SEARCH;
        }
    }
    if (searching) add_text("\n");
}

void identity_set_up(void) {
    char hostname[256], machine[64];
    struct record record;
    records_text(config, TAG_HOSTNAME, hostname, sizeof hostname);
    sethostname(hostname, strlen(hostname));
    bool network = records_find(config, TAG_NETWORK, &record);
    length = 0;
    add_text("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if (network) {
        add_address(record.value);
        add_text("\t");
        add_text(hostname);
        add_text("\n");
    }
    put(FILE_HOSTS);

    length = 0;
    add_text(hostname);
    add_text("\n");
    put(FILE_HOSTNAME);

    // Not empty, so that the file of a guest that is nobody yet has its page already.
    length = 0;
    if (network) add_resolvers();
    if (!length) add_text("\n");
    put(FILE_RESOLVER);

    if (records_text(config, TAG_MACHINE_ID, machine, sizeof machine) == 32) {
        length = 0;
        add_text(machine);
        add_text("\n");
        put(FILE_MACHINE_ID);
    }
}

// random(4): credited, since it is the host's own; reseeded at once, so that two guests from one snapshot differ from their first byte on.
static void add_randomness(const struct record *record) {
    static int random = -1;
    struct { struct rand_pool_info info; uint8_t bytes[256]; } pool;
    pool.info.entropy_count = (int)record->length * 8;
    pool.info.buf_size = (int)record->length;
    memcpy(pool.bytes, record->value, record->length);
    if (random < 0) random = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (random < 0 || ioctl(random, RNDADDENTROPY, &pool) != 0 || ioctl(random, RNDRESEEDCRNG) != 0) say("randomness: %s", strerror(errno));
}

// What was now when the agent wrote it, or when it had the answer to its HELLO: since then the guest's own clock has counted.
static void set_clock(const struct record *record) {
    struct timespec time = { .tv_sec = (time_t)get64(record->value), .tv_nsec = get32(record->value + 8) };
    if (record->tag == TAG_GREETED) {
        struct timespec passed = channel_since_greeting();
        time.tv_sec += passed.tv_sec;
        time.tv_nsec += passed.tv_nsec;
        if (time.tv_nsec >= 1000000000) time.tv_sec++, time.tv_nsec -= 1000000000;
    }
    if (clock_settime(CLOCK_REALTIME, &time) != 0) say("clock: %s", strerror(errno));
}

void refresh(struct records records) {
    struct record record;
    if (records_find(records, TAG_RANDOM, &record) && record.length >= 16 && record.length <= 256) add_randomness(&record);
    if (records_find(records, TAG_GREETED, &record) || records_find(records, TAG_TIME, &record)) set_clock(&record);
}
