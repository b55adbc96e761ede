// From the kernel's hand to a root file system: modules, disks, mounts.
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

int config_disk = -1;
int cgroup_dir = -1;
int files_dir = -1;
int dev_dir = -1;

void say(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    dprintf(2, "init: %s\n", text);
}

void die(const char *format, ...) {
    char text[MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say("%s", text);
    drive_write_exit(126, 0, false, REASON_START_FAILED, text);
    power_off();
}

bool write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return false;
    bool written = write(file, text, strlen(text)) == (ssize_t)strlen(text);
    close(file);
    return written;
}

size_t read_file(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, size - 1);
    if (file >= 0) close(file);
    text[length < 0 ? 0 : length] = 0;
    return length < 0 ? 0 : (size_t)length;
}

static void attach(const char *source, const char *target, const char *type, unsigned long flags, const char *options) {
    mkdir(target, 0755);
    if (mount(source, target, type, flags, options) != 0) say("mount %s: %s", target, strerror(errno));
}

void boot_early(void) {
    umask(022);
    attach("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755");
    // The kernel opens /dev/console for its first process only when the initramfs has one.
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    for (int i = 0; console >= 0 && i < 3; i++) dup2(console, i);
    if (console > 2) close(console);
    attach("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
    attach("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
    attach("cgroup", "/cgroup", "cgroup2", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
    mkdir("/cgroup/instance", 0755);
    write_file("/cgroup/cgroup.subtree_control", "+pids");
    cgroup_dir = open("/cgroup/instance", O_PATH | O_DIRECTORY | O_CLOEXEC);
    // Without swap, a guest that is out of memory would read the programs that it runs from the disk again and again, for minutes, before the
    // kernel ends whoever took it all. What was used within this second stays (Documentation/admin-guide/mm/multigen_lru.rst).
    write_file("/sys/kernel/mm/lru_gen/enabled", "y");
    write_file("/sys/kernel/mm/lru_gen/min_ttl_ms", "1000");
    mkdir("/files", 0755);
    dev_dir = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    files_dir = open("/files", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

// In the order that was found when the initramfs was made. A device that is not there needs no driver: failures are told and passed over.
void boot_modules(void) {
    char list[4096];
    read_file("/modules/order", list, sizeof list);
    char *rest = NULL;
    for (char *name = strtok_r(list, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
        char path[128];
        snprintf(path, sizeof path, "/modules/%s", name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST && errno != ENODEV)) say("module %s: %s", name, strerror(errno));
        if (file >= 0) close(file);
        unlink(path);
    }
    unlink("/modules/order");
    rmdir("/modules");
    unlink("/init");
}

// By serial number; a monitor that gives none (Firecracker) has the disks in our order, and ours begins with its magic.
int boot_find_disk(const char *serial, const char *magic) {
    DIR *blocks = opendir("/sys/block");
    char found[32] = "";
    for (struct dirent *entry; blocks && (entry = readdir(blocks));) {
        char path[300], text[64];
        if (strncmp(entry->d_name, "vd", 2) || strlen(entry->d_name) > 8) continue;
        snprintf(path, sizeof path, "/sys/block/%s/serial", entry->d_name);
        read_file(path, text, sizeof text);
        text[strcspn(text, "\n")] = 0;
        if (!strcmp(text, serial)) { snprintf(found, sizeof found, "/dev/%.8s", entry->d_name); break; }
        if (!magic || found[0]) continue;
        snprintf(path, sizeof path, "/dev/%.8s", entry->d_name);
        if (read_file(path, text, 9) == 8 && !memcmp(text, magic, 8)) snprintf(found, sizeof found, "%.31s", path);
    }
    if (blocks) closedir(blocks);
    return found[0] ? open(found, O_RDWR | O_CLOEXEC) : -1;
}

static void grow(int disk) {
    // ext4: fields of the superblock at 1,024 (Documentation/filesystems/ext4/super.rst).
    uint8_t super[1024];
    uint64_t bytes = 0;
    if (pread(disk, super, sizeof super, 1024) != sizeof super || get16(super + 0x38) != 0xEF53 || ioctl(disk, BLKGETSIZE64, &bytes) != 0) return;
    uint32_t shift = get32(super + 0x18);
    uint64_t blocks = get32(super + 4);
    if (get32(super + 0x60) & 0x80) blocks |= (uint64_t)get32(super + 0x150) << 32;
    if (shift > 6 || bytes >> (10 + shift) <= blocks) return;
    uint64_t wanted = bytes >> (10 + shift);
    int root = open("/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || ioctl(root, EXT4_IOC_RESIZE_FS, &wanted) != 0) say("the root file system could not be grown: %s", strerror(errno));
    if (root >= 0) close(root);
}

// As container runtimes make it: devices without which programs do not run, and none of the machine's own.
static void make_devices(void) {
    static const struct { const char *path; unsigned minor, major; } devices[] = {
        { "/root/dev/null", 3, 1 }, { "/root/dev/zero", 5, 1 }, { "/root/dev/full", 7, 1 }, { "/root/dev/random", 8, 1 },
        { "/root/dev/urandom", 9, 1 }, { "/root/dev/tty", 0, 5 },
    };
    static const char *const links[][2] = {
        { "/proc/self/fd", "/root/dev/fd" }, { "/proc/self/fd/0", "/root/dev/stdin" }, { "/proc/self/fd/1", "/root/dev/stdout" },
        { "/proc/self/fd/2", "/root/dev/stderr" }, { "pts/ptmx", "/root/dev/ptmx" },
    };
    attach("tmpfs", "/root/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor));
        chmod(devices[i].path, 0666);
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        if (symlink(links[i][0], links[i][1]) != 0) say("%s: %s", links[i][1], strerror(errno));
    }
    attach("devpts", "/root/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    attach("shm", "/root/dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
    attach("mqueue", "/root/dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
}

void boot_root(void) {
    int disk = boot_find_disk("root", NULL);
    if (disk < 0) disk = open("/dev/vda", O_RDWR | O_CLOEXEC);
    char path[64], device[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", disk);
    ssize_t length = disk < 0 ? -1 : readlink(path, device, sizeof device - 1);
    if (length < 0) die("the guest has no root disk");
    device[length] = 0;
    mkdir("/root", 0755);
    if (mount(device, "/root", "ext4", 0, NULL) != 0 && mount(device, "/root", "ext4", MS_RDONLY, NULL) != 0) {
        die("the root file system on %s cannot be mounted: %s", device, strerror(errno));
    }
    grow(disk);
    close(disk);
    // A link in the image's place of one of them leads out of /root only as far as the initramfs, which is left right after.
    attach("proc", "/root/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
    attach("sysfs", "/root/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
    attach("cgroup", "/root/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
    make_devices();
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0) {
        die("the root file system cannot be entered: %s", strerror(errno));
    }
}
