// virtio-serial ports by name. Their devices are those of the initramfs: the image's /dev has none of them.
#include "init.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool is_bound(void) {
    DIR *devices = opendir("/sys/bus/virtio/drivers/virtio_console");
    bool bound = false;
    for (struct dirent *entry; devices && !bound && (entry = readdir(devices));) bound = !strncmp(entry->d_name, "virtio", 6);
    if (devices) closedir(devices);
    return bound;
}

static int find(const char *wanted) {
    DIR *ports = opendir("/sys/class/virtio-ports");
    int port = -1;
    for (struct dirent *entry; ports && port < 0 && (entry = readdir(ports));) {
        char path[320], name[64];
        if (strncmp(entry->d_name, "vport", 5)) continue;
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        read_file(path, name, sizeof name);
        name[strcspn(name, "\n")] = 0;
        if (!strcmp(name, wanted)) port = openat(dev_dir, entry->d_name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (ports) closedir(ports);
    return port;
}

// The monitor tells of ports and their names after the driver has begun: a console device without the port gives up after half a second.
int port_open(const char *name) {
    int port = -1;
    for (int attempt = 0; attempt < 250 && (port = find(name)) < 0 && is_bound(); attempt++) {
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
    if (port >= 0) wait_for_changes(port);
    return port;
}
