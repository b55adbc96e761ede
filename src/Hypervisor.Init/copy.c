// Copies files out of and into the image's file system: the built-in programs of the channel, each in a child of its own.
// What they mean is FileEntry and CopyToHeader of streams.proto, as TreeReader.cs and TreeWriter.cs have it for containers.
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { KIND_FILE = 1, KIND_FOLDER, KIND_LINK, KIND_END, ENTRY_BYTES = 37, DEPTH_MAX = 128, PATH_BYTES = 4096, CHUNK = 64 << 10 };

struct entry { uint8_t kind; uint32_t mode, user, group, nanoseconds; int64_t seconds, size; char path[PATH_BYTES], target[PATH_BYTES]; };

// The kernel's own file systems, whose files are no data.
static bool of_kernel(int file) {
    static const unsigned long kernel[] = {
        PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, BPF_FS_MAGIC,
    };
    struct statfs status;
    if (fstatfs(file, &status) != 0) return true;
    for (size_t i = 0; i < sizeof kernel / sizeof *kernel; i++) {
        if ((unsigned long)status.f_type == kernel[i]) return true;
    }
    return false;
}

static void stop(const char *what, const char *path) __attribute__((noreturn));

static void stop(const char *what, const char *path) {
    dprintf(2, "%s %s: %s", what, path, strerror(errno));
    _exit(1);
}

static void put(const void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t written = write(1, (const uint8_t *)bytes + done, length - done);
        if (written < 0) _exit(1);
        done += (size_t)written;
    }
}

static void get(void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t got = read(0, (uint8_t *)bytes + done, length - done);
        // The client went away in the middle: what is half there has no name yet.
        if (got <= 0) _exit(1);
        done += (size_t)got;
    }
}

static void put_entry(uint8_t kind, const struct stat *status, const char *path, const char *target) {
    uint8_t bytes[ENTRY_BYTES + 4] = { kind };
    put32(bytes + 1, status->st_mode & 07777);
    put32(bytes + 5, status->st_uid);
    put32(bytes + 9, status->st_gid);
    put64(bytes + 13, (uint64_t)status->st_mtim.tv_sec);
    put32(bytes + 21, (uint32_t)status->st_mtim.tv_nsec);
    put64(bytes + 25, kind == KIND_FILE ? (uint64_t)status->st_size : 0);
    put16(bytes + 33, (uint16_t)strlen(path));
    put16(bytes + 35, (uint16_t)strlen(target));
    put(bytes, ENTRY_BYTES);
    put(path, strlen(path));
    put(target, strlen(target));
}

static int compare(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

static void out(int file, const char *path, int depth);

static void out_folder(int file, const char *path, int depth) {
    char own[64];
    snprintf(own, sizeof own, "/proc/self/fd/%d", file);
    DIR *folder = opendir(own);
    char **names = NULL;
    size_t count = 0;
    for (struct dirent *next; folder && (next = readdir(folder));) {
        if (!strcmp(next->d_name, ".") || !strcmp(next->d_name, "..")) continue;
        char **more = realloc(names, (count + 1) * sizeof *names);
        if (!more || !(more[count] = strdup(next->d_name))) stop("read", path);
        names = more;
        count++;
    }
    if (folder) closedir(folder);
    if (count) qsort(names, count, sizeof *names, compare);
    for (size_t i = 0; i < count; i++) {
        char below[PATH_BYTES];
        if (snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "/" : "", names[i]) < (int)sizeof below) {
            int next = openat(file, names[i], O_PATH | O_NOFOLLOW | O_CLOEXEC);
            if (next >= 0) out(next, below, depth + 1), close(next);
        }
        free(names[i]);
    }
    free(names);
}

static void out_file(int file, int64_t size) {
    static uint8_t chunk[CHUNK];
    char own[64];
    snprintf(own, sizeof own, "/proc/self/fd/%d", file);
    int content = open(own, O_RDONLY | O_CLOEXEC);
    // Exactly what was announced, also of a file that has become shorter.
    for (int64_t done = 0; done < size;) {
        size_t part = size - done < CHUNK ? (size_t)(size - done) : CHUNK;
        ssize_t got = content < 0 ? 0 : read(content, chunk, part);
        if (got <= 0) memset(chunk, 0, part), got = (ssize_t)part;
        put(chunk, (size_t)got);
        done += got;
    }
    if (content >= 0) close(content);
}

static void out(int file, const char *path, int depth) {
    struct stat status;
    char target[PATH_BYTES] = "";
    if (depth > DEPTH_MAX) errno = ELOOP, stop("read", path);
    if (fstat(file, &status) != 0) return;
    if (S_ISLNK(status.st_mode)) {
        ssize_t length = readlinkat(file, "", target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        put_entry(KIND_LINK, &status, path, target);
    } else if (S_ISDIR(status.st_mode)) {
        put_entry(KIND_FOLDER, &status, path, "");
        if (!of_kernel(file)) out_folder(file, path, depth);
    } else if (S_ISREG(status.st_mode) && !of_kernel(file)) {
        put_entry(KIND_FILE, &status, path, "");
        out_file(file, status.st_size);
    }
}

void copy_out(int failure, const char *path) {
    struct stat none = { 0 };
    int start = open(path, O_PATH | O_CLOEXEC);
    if (start < 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        fail(failure, missing ? REASON_PATH_NOT_FOUND : REASON_PATH_INVALID, errno, "\"%.128s\": %s", path, strerror(errno));
    }
    if (of_kernel(start)) fail(failure, REASON_PATH_INVALID, 0, "\"%.128s\": it is in one of the kernel's own file systems", path);
    close(failure);
    out(start, "", 0);
    put_entry(KIND_END, &none, "", "");
}

static void text(char *to, uint16_t length) {
    if (length >= PATH_BYTES) errno = ENAMETOOLONG, stop("take", "the entry");
    get(to, length);
    to[length] = 0;
}

static void get_entry(struct entry *entry) {
    uint8_t bytes[ENTRY_BYTES];
    get(bytes, sizeof bytes);
    entry->kind = bytes[0];
    entry->mode = get32(bytes + 1) & 07777;
    entry->user = get32(bytes + 5);
    entry->group = get32(bytes + 9);
    entry->seconds = (int64_t)get64(bytes + 13);
    entry->nanoseconds = get32(bytes + 21);
    entry->size = (int64_t)get64(bytes + 25);
    text(entry->path, get16(bytes + 33));
    text(entry->target, get16(bytes + 35));
}

// Each name is one step into a folder that is no link.
static int descend(int base, char *path, const char **name) {
    int folder = fcntl(base, F_DUPFD_CLOEXEC, 0);
    for (char *slash; folder >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
        *slash = 0;
        int next = openat(folder, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0) stop("enter", path);
        close(folder);
        folder = next;
    }
    if (!path[0] || !strcmp(path, ".") || !strcmp(path, "..")) errno = EINVAL, stop("make", path);
    if (of_kernel(folder)) errno = EPERM, stop("make", path);
    *name = path;
    return folder;
}

static void apply(int file, const struct entry *entry) {
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { (time_t)entry->seconds, entry->nanoseconds % 1000000000 } };
    if (fchown(file, entry->user, entry->group) != 0 || fchmod(file, entry->mode) != 0 || futimens(file, times) != 0) stop("change", entry->path);
}

static void in_file(int folder, const char *name, const struct entry *entry) {
    static uint8_t chunk[CHUNK];
    static unsigned number;
    char temporary[64];
    snprintf(temporary, sizeof temporary, ".hypervisor-copy-%d-%u", getpid(), number++);
    int file = openat(folder, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
    bool named = file < 0;
    if (named) file = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0) stop("create", name);
    for (int64_t left = entry->size; left > 0;) {
        size_t part = left < CHUNK ? (size_t)left : CHUNK;
        get(chunk, part);
        for (size_t done = 0; done < part;) {
            ssize_t written = write(file, chunk + done, part - done);
            if (written < 0) {
                int problem = errno;
                if (named) unlinkat(folder, temporary, 0);
                errno = problem;
                stop("write", name);
            }
            done += (size_t)written;
        }
        left -= (int64_t)part;
    }
    apply(file, entry);
    if (!named && linkat(file, "", folder, temporary, AT_EMPTY_PATH) != 0) stop("link", name);
    if (renameat(folder, temporary, folder, name) != 0) {
        int problem = errno;
        unlinkat(folder, temporary, 0);
        errno = problem;
        stop("rename to", name);
    }
    close(file);
}

static void in_link(int folder, const char *name, const struct entry *entry) {
    char temporary[64];
    snprintf(temporary, sizeof temporary, ".hypervisor-copy-%d-link", getpid());
    if (symlinkat(entry->target, folder, temporary) != 0 || fchownat(folder, temporary, entry->user, entry->group, AT_SYMLINK_NOFOLLOW) != 0
        || renameat(folder, temporary, folder, name) != 0) {
        int problem = errno;
        unlinkat(folder, temporary, 0);
        errno = problem;
        stop("link", name);
    }
}

// Folders get their mode and time last: writing into them changes the time, and may need the mode.
static struct folder { struct folder *before; int file; struct entry entry; } *folders;

static void in_folder(int parent, const char *name, const struct entry *entry) {
    struct folder *folder = malloc(sizeof *folder);
    if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST) stop("mkdir", name);
    if (!folder || (folder->file = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0) stop("enter", name);
    folder->entry = *entry;
    folder->before = folders;
    folders = folder;
}

static int find_place(int failure, const char *place, const char *name, const char **used) {
    struct stat status;
    char parent[PATH_BYTES];
    int base = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *used = name;
    if (base < 0) {
        // A file to replace, or a new name in a folder that has to be there.
        const char *slash = strrchr(place, '/');
        if (!slash || strlen(place) >= sizeof parent) fail(failure, REASON_PATH_INVALID, 0, "an absolute path is needed");
        memcpy(parent, place, (size_t)(slash - place) + 1);
        parent[slash - place + 1] = 0;
        *used = slash + 1;
        base = slash[1] ? open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        if (base < 0) fail(failure, REASON_PATH_NOT_FOUND, ENOENT, "there is no folder \"%.128s\" in the instance", slash[1] ? parent : place);
    }
    if (fstat(base, &status) != 0 || of_kernel(base)) fail(failure, REASON_PATH_INVALID, 0, "it is in one of the kernel's own file systems");
    return base;
}

void copy_in(int failure, const char *place, const char *name) {
    static struct entry entry;
    const char *root, *last;
    if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..")) fail(failure, REASON_PATH_INVALID, 0, "name: one name is needed");
    int base = find_place(failure, place, name, &root);
    close(failure);
    for (;;) {
        static char path[2 * PATH_BYTES];
        get_entry(&entry);
        if (entry.kind == KIND_END) break;
        if (entry.size < 0) errno = EINVAL, stop("take", "the entry");
        snprintf(path, sizeof path, "%s%s%s", root, entry.path[0] ? "/" : "", entry.path);
        int folder = descend(base, path, &last);
        switch (entry.kind) {
            case KIND_FILE: in_file(folder, last, &entry); break;
            case KIND_FOLDER: in_folder(folder, last, &entry); break;
            case KIND_LINK: in_link(folder, last, &entry); break;
            default: errno = EINVAL, stop("take", "the entry");
        }
        close(folder);
    }
    for (; folders; folders = folders->before) apply(folders->file, &folders->entry);
}
