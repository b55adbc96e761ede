// The config drive: what to run is read from it, how it ended is written to it.
#include "init.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void drive_read(void) {
    static uint8_t bytes[RECORDS_MAX];
    uint8_t header[64];
    config_disk = boot_find_disk("config", "ZXCONF01");
    if (config_disk < 0) die("the guest has no config drive");
    if (pread(config_disk, header, sizeof header, 0) != sizeof header || memcmp(header, "ZXCONF01", 8) || get32(header + 8) != 1) {
        die("the config drive is not of this init's version");
    }
    size_t length = get32(header + 12);
    if (length > sizeof bytes || pread(config_disk, bytes, length, sizeof header) != (ssize_t)length
        || crc32(bytes, length) != get32(header + 16) || !records_check((struct records){ bytes, length })) {
        die("the config drive is damaged");
    }
    config_set(bytes, length);
    // What is in the page cache of a guest that goes on from a memory snapshot is of another drive: everything else is written around it.
    int flags = fcntl(config_disk, F_GETFL);
    fcntl(config_disk, F_SETFL, flags | O_DIRECT);
}

void drive_write_exit(int code, int signal, bool out_of_memory, enum reason reason, const char *message) {
    static uint8_t sector[4096] __attribute__((aligned(4096)));
    uint64_t size = 0;
    if (config_disk < 0 || ioctl(config_disk, BLKGETSIZE64, &size) != 0 || size < 512) return;
    memset(sector, 0, 512);
    memcpy(sector, "ZXEXIT01", 8);
    put32(sector + 8, 1);
    put64(sector + 12, records_number(config, TAG_RUN));
    put32(sector + 20, (uint32_t)code);
    put32(sector + 24, (uint32_t)signal);
    sector[28] = out_of_memory;
    sector[29] = (uint8_t)reason;
    size_t length = message ? strnlen(message, MESSAGE_MAX) : 0;
    put16(sector + 30, (uint16_t)length);
    if (length) memcpy(sector + 32, message, length);
    put32(sector + 508, crc32(sector, 508));
    if (pwrite(config_disk, sector, 512, (off_t)(size - 512)) != 512 || fdatasync(config_disk) != 0) say("the exit could not be written");
}
