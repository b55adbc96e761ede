// Starts processes. Everything that touches the image (accounts, paths, programs) happens in the child, which may block or fail alone.
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void fail(int descriptor, enum reason reason, int number, const char *format, ...) {
    struct failure failure = { .reason = (uint8_t)reason, .number = number };
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure.message, sizeof failure.message, format, arguments);
    va_end(arguments);
    if (write(descriptor, &failure, sizeof failure) < 0) _exit(125);
    _exit(reason == REASON_COMMAND_NOT_FOUND ? 127 : 126);
}

static char *copy(const uint8_t *bytes, size_t length) {
    char *text = malloc(length + 1);
    if (!text) _exit(125);
    memcpy(text, bytes, length);
    text[length] = 0;
    return text;
}

// Without printf, as all that every main process begins with: where code is translated when it first runs, that takes milliseconds.
static char *joined(const char *first, const char *second) {
    size_t length = strlen(first);
    char *text = malloc(length + strlen(second) + 1);
    if (!text) _exit(125);
    strcpy(stpcpy(text, first), second);
    return text;
}

// One entry per name: the last value, at the first one's place.
static void merge(char **all, size_t *count, char *entry) {
    char *equals = strchr(entry, '=');
    if (!equals || equals == entry || *count >= WORDS_MAX) return;
    size_t name = (size_t)(equals - entry) + 1;
    for (size_t i = 0; i < *count; i++) {
        if (!strncmp(all[i], entry, name)) { all[i] = entry; return; }
    }
    all[(*count)++] = entry;
    all[*count] = NULL;
}

static void merge_records(char **all, size_t *count, struct records records) {
    struct record record;
    for (size_t offset = 0; records_next(records, &offset, &record);) {
        if (record.tag == TAG_ENVIRONMENT) merge(all, count, copy(record.value, record.length));
    }
}

static const char *value_of(char **all, const char *name) {
    for (size_t length = strlen(name); *all; all++) {
        if (!strncmp(*all, name, length) && (*all)[length] == '=') return *all + length + 1;
    }
    return NULL;
}

static char **environment(struct records request, bool main_process, bool terminal, const char *home) {
    static char *all[WORDS_MAX + 1];
    char hostname[256];
    size_t count = 0;
    records_text(config, TAG_HOSTNAME, hostname, sizeof hostname);
    merge(all, &count, (char *)default_path);
    merge(all, &count, joined("HOSTNAME=", hostname));
    if (terminal) merge(all, &count, "TERM=xterm");
    merge_records(all, &count, config);
    if (!main_process) merge_records(all, &count, request);
    if (!value_of(all, "HOME")) merge(all, &count, joined("HOME=", home));
    return all;
}

// What is not there is made, as container runtimes do.
static void enter(int failure, const char *directory) {
    char path[PATH_MAX];
    if (directory[0] != '/' || strlen(directory) >= sizeof path) {
        fail(failure, REASON_DIRECTORY_INVALID, 0, "\"%.128s\" is not an absolute path", directory);
    }
    strcpy(path, directory);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
    if (chdir(directory) != 0 && (mkdir(path, 0755) != 0 || chdir(directory) != 0)) {
        fail(failure, REASON_DIRECTORY_INVALID, errno, "the working directory \"%.128s\" cannot be entered: %s", directory, strerror(errno));
    }
}

static void become(int failure, const struct account *account, bool terminal) {
    // So that a user other than root may open /dev/stdout again.
    for (int i = 0; i < 3; i++) {
        struct stat status;
        if (fstat(i, &status) == 0 && (S_ISFIFO(status.st_mode) || terminal)) {
            if (fchown(i, account->user, terminal ? (gid_t)-1 : account->group) != 0) continue;
        }
    }
    if (setgroups(account->group_count, account->groups) != 0 || setgid(account->group) != 0 || setuid(account->user) != 0) {
        fail(failure, REASON_START_FAILED, errno, "the user cannot be taken on: %s", strerror(errno));
    }
}

static void run(int failure, char **arguments, char **variables) {
    const char *program = arguments[0], *path = value_of(variables, "PATH");
    int worst = ENOENT;
    if (strchr(program, '/')) {
        execve(program, arguments, variables);
        worst = errno;
    } else if (program[0]) {
        for (const char *at = path ? path : default_path + 5; at; at = strchr(at, ':') ? strchr(at, ':') + 1 : NULL) {
            char candidate[PATH_MAX];
            size_t length = strcspn(at, ":");
            if (length + strlen(program) + 3 > sizeof candidate) continue;
            memcpy(candidate, length ? at : ".", length ? length : 1);
            strcpy(stpcpy(candidate + (length ? length : 1), "/"), program);
            execve(candidate, arguments, variables);
            if (errno != ENOENT && errno != ENOTDIR) worst = errno;
        }
    }
    fail(failure, worst == ENOENT || worst == ENOTDIR ? REASON_COMMAND_NOT_FOUND : REASON_COMMAND_NOT_EXECUTABLE, worst,
        worst == ENOENT ? "\"%.128s\" was not found in the image: %s" : "\"%.128s\" cannot be run: %s", program, strerror(worst));
}

// What the waiting child is told by; -1: there is none.
static int go = -1;

// Where a child is told that it was waited for, and what it is to be.
struct wait { int ready[2], go[2]; };

// Blocks until the guest is somebody, with all done that is the same for everybody.
static struct records await(const struct wait *wait) {
    accounts_keep();
    close(wait->go[1]);
    close(wait->ready[0]);
    close(wait->ready[1]);
    if (!config_receive(wait->go[0])) _exit(125);
    return config;
}

// When memory runs out the kernel ends who has most. Where that takes long, as it does while code is translated, it ends others too: those that
// were asked for besides, with what they started, and not the main process, with which the guest would end.
static void worth_less(void) {
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score < 0) return;
    (void)!write(score, "500", 3);
    close(score);
}

static void child(struct records request, bool main_process, const struct wait *wait, int failure, bool terminal) __attribute__((noreturn));

static void child(struct records request, bool main_process, const struct wait *wait, int failure, bool terminal) {
    static char *arguments[WORDS_MAX + 1];
    static char user[512], directory[PATH_MAX];
    struct account account;
    struct record record;
    char message[MESSAGE_MAX];
    size_t count = 0;
    int group = openat(cgroup_dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (group >= 0 && write(group, "0", 1) != 1) fail(failure, REASON_START_FAILED, errno, "no more processes are allowed: %s", strerror(errno));
    // As containers have it (ContainerdLimits.OpenFiles).
    struct rlimit files = { 65536, 1048576 };
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!main_process) worth_less();
    if (wait) request = await(wait);
    for (size_t offset = 0; records_next(request, &offset, &record);) {
        if (record.tag == TAG_ARGUMENT && count < WORDS_MAX) arguments[count++] = copy(record.value, record.length);
    }
    switch (records_number(request, TAG_BUILTIN)) {
        case BUILTIN_COPY_OUT: copy_out(failure, count > 0 ? arguments[0] : ""); _exit(0);
        case BUILTIN_COPY_IN: copy_in(failure, count > 0 ? arguments[0] : "", count > 1 ? arguments[1] : ""); _exit(0);
    }
    if (!count) fail(failure, REASON_COMMAND_NOT_FOUND, 0, "there is no command to run");
    if (!records_text(request, TAG_USER, user, sizeof user)) records_text(config, TAG_USER, user, sizeof user);
    if (!records_text(request, TAG_DIRECTORY, directory, sizeof directory)) records_text(config, TAG_DIRECTORY, directory, sizeof directory);
    if (!account_find(user, &account, message)) fail(failure, REASON_USER_NOT_FOUND, 0, "%s", message);
    // Process 1 is in the root folder, and root without further groups, as its children are: of that nothing need be said to the kernel.
    if (directory[0] && strcmp(directory, "/")) enter(failure, directory);
    if (account.user || account.group || account.group_count) become(failure, &account, terminal);
    run(failure, arguments, environment(request, main_process, terminal, account.home));
    _exit(125);
}

void set_size(int terminal, uint16_t columns, uint16_t rows) {
    struct winsize size = { .ws_col = columns, .ws_row = rows };
    if (terminal >= 0 && columns && rows) ioctl(terminal, TIOCSWINSZ, &size);
}

static void no_descriptor(int *pair) { pair[0] = pair[1] = -1; }
static void shut(int descriptor) { if (descriptor >= 0) close(descriptor); }

// Answers an errno; 0 means that there is a child, whose failure to run its program comes through the pipe.
static int start(struct records request, bool main_process, const struct wait *wait, struct spawned *spawned) {
    uint32_t flags = (uint32_t)records_number(request, TAG_FLAGS);
    bool terminal = flags & FLAG_TERMINAL, input = flags & FLAG_STDIN;
    int failure[2], in[2], out[2], err[2], master = -1, slave = -1;
    no_descriptor(failure), no_descriptor(in), no_descriptor(out), no_descriptor(err);
    if (pipe2(failure, O_CLOEXEC) != 0) return errno;
    if (terminal) {
        int unlocked = 0;
        master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (master >= 0 && ioctl(master, TIOCSPTLCK, &unlocked) == 0) slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct record size;
        if (slave >= 0 && records_find(request, TAG_SIZE, &size)) set_size(master, get16(size.value), get16(size.value + 2));
    } else {
        if (input) (void)!pipe2(in, O_CLOEXEC);
        else in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        (void)!pipe2(out, O_CLOEXEC);
        (void)!pipe2(err, O_CLOEXEC);
    }
    bool made = terminal ? slave >= 0 : in[0] >= 0 && out[0] >= 0 && err[0] >= 0;
    int problem = made ? 0 : errno ? errno : EMFILE;
    pid_t pid = made ? fork() : -1;
    if (made && pid < 0) problem = errno;
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        setsid();
        if (terminal) ioctl(slave, TIOCSCTTY, 0);
        dup2(terminal ? slave : in[0], 0);
        dup2(terminal ? slave : out[1], 1);
        dup2(terminal ? slave : err[1], 2);
        child(request, main_process, wait, failure[1], terminal);
    }
    shut(failure[1]), shut(slave), shut(in[0]), shut(out[1]), shut(err[1]);
    if (pid < 0) {
        shut(failure[0]), shut(master), shut(in[1]), shut(out[0]), shut(err[0]);
        return problem;
    }
    *spawned = (struct spawned){
        .pid = pid, .failure = failure[0], .output = terminal ? master : out[0], .error = terminal ? -1 : err[0],
        .input = terminal ? dup(master) : in[1],
    };
    int ours[] = { spawned->input, spawned->output, spawned->error, spawned->failure };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (ours[i] >= 0) fcntl(ours[i], F_SETFL, fcntl(ours[i], F_GETFL) | O_NONBLOCK), fcntl(ours[i], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

int spawn(struct records request, bool main_process, struct spawned *spawned) { return start(request, main_process, NULL, spawned); }

// A main process without a terminal and input, as most are, up to where it has to know what it is to be. Answers once it is there.
int spawn_waiting(struct spawned *spawned) {
    struct wait wait;
    if (pipe2(wait.ready, O_CLOEXEC) != 0) return errno;
    int problem = pipe2(wait.go, O_CLOEXEC) != 0 ? errno : 0;
    if (!problem) {
        problem = start((struct records){ 0 }, true, &wait, spawned);
        close(wait.go[0]);
        if (problem) close(wait.go[1]);
        else go = wait.go[1];
    }
    close(wait.ready[1]);
    uint8_t nothing;
    if (!problem) (void)!read(wait.ready[0], &nothing, 1);
    close(wait.ready[0]);
    return problem;
}

// False: it cannot be that one, which then ends.
bool spawn_go(void) {
    if (go < 0) return false;
    bool gone = !(records_number(config, TAG_FLAGS) & (FLAG_TERMINAL | FLAG_STDIN)) && config_send(go);
    close(go);
    go = -1;
    return gone;
}

// Each process here leads a session: its children, unless they left it on purpose, are in it too.
void kill_session(pid_t leader, int signal) {
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        char path[300], text[512];
        pid_t pid = atoi(entry->d_name), session = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        if (pid < 2 || !read_file(path, text, sizeof text)) continue;
        // proc(5): the second field, a name in parentheses, may contain anything.
        char *after = strrchr(text, ')');
        if (after && sscanf(after + 1, " %*c %*d %*d %d", &session) == 1 && session == leader) kill(pid, signal);
    }
    if (processes) closedir(processes);
    kill(leader, signal);
}
