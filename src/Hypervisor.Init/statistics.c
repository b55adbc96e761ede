// What the guest uses. Read through descriptors opened at the start, whatever is mounted over /proc later.
#include "init.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int cpu_file, pids_file, memory_file, network_file, disk_file, vm_file;

void statistics_open(void) {
    cpu_file = openat(cgroup_dir, "cpu.stat", O_RDONLY | O_CLOEXEC);
    pids_file = openat(cgroup_dir, "pids.current", O_RDONLY | O_CLOEXEC);
    memory_file = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    network_file = open("/proc/net/dev", O_RDONLY | O_CLOEXEC);
    disk_file = open("/proc/diskstats", O_RDONLY | O_CLOEXEC);
    vm_file = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
}

static char text[16 << 10];

static const char *load(int file) {
    ssize_t length = file < 0 ? 0 : pread(file, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = 0;
    return text;
}

static uint64_t field(const char *from, const char *name) {
    const char *at = strstr(from, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

uint64_t out_of_memory_kills(void) { return field(load(vm_file), "\noom_kill "); }

size_t statistics_read(uint8_t *answer) {
    uint64_t values[11] = { 0 };
    values[0] = field(load(cpu_file), "usage_usec ") * 1000;
    const char *memory = load(memory_file);
    values[2] = field(memory, "MemTotal:") << 10;
    uint64_t available = field(memory, "MemAvailable:") << 10;
    values[1] = values[2] > available ? values[2] - available : 0;
    values[3] = strtoull(load(pids_file), NULL, 10);
    values[4] = records_number(config, TAG_PIDS);
    load(network_file);
    const char *interface = strstr(text, "eth0:");
    unsigned long long n[4] = { 0 };
    if (interface && sscanf(interface + 5, "%llu %llu %*u %*u %*u %*u %*u %*u %llu %llu", &n[0], &n[1], &n[2], &n[3]) == 4) {
        values[5] = n[0], values[6] = n[2], values[7] = n[1], values[8] = n[3];
    }
    load(disk_file);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char name[32];
        unsigned long long read, written;
        // Documentation/admin-guide/iostats.rst; whole disks only.
        if (sscanf(line, "%*u %*u %31s %*u %*u %llu %*u %*u %*u %llu", name, &read, &written) == 3 && !strncmp(name, "vd", 2) && strlen(name) == 3) {
            values[9] += read * 512;
            values[10] += written * 512;
        }
    }
    for (size_t i = 0; i < 11; i++) put64(answer + 8 * i, values[i]);
    return 8 * 11;
}
