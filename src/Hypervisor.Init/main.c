// Process 1 of guests made from OCI images. See docs/decisions/0009-guest-init.md.
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum state state = STATE_HELD;
pid_t main_pid;
struct input main_input = { .descriptor = -1 };
bool ends_by_reset;

static struct pollfd waiting[4 * SESSIONS_MAX + 16];
static nfds_t waiting_count;
static bool signalled = true, powered;
static int changes = -1, signals = -1, main_terminal = -1, main_failure = -1;
static struct failure failure;
// The main process: there before it runs in a guest that holds.
static struct spawned prepared;
static int64_t kill_at, end_at;
static uint64_t kills_before;

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void wait_for(int descriptor, short events) {
    if (waiting_count < sizeof waiting / sizeof *waiting) waiting[waiting_count++] = (struct pollfd){ descriptor, events, 0 };
}

void wait_for_changes(int port) {
    if (changes < 0) changes = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
    epoll_ctl(changes, EPOLL_CTL_ADD, port, &event);
}

static void ended(int code, int signal) {
    uint8_t exit[9];
    bool out_of_memory = signal == SIGKILL && out_of_memory_kills() > kills_before;
    drive_write_exit(code, signal, out_of_memory, failure.reason, failure.message);
    state = STATE_ENDED;
    put32(exit, (uint32_t)code);
    put32(exit + 4, (uint32_t)signal);
    exit[8] = out_of_memory;
    channel_send(FRAME_EXIT, 0, exit, sizeof exit);
    // A frozen file system would neither let them end nor be synced.
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root >= 0) ioctl(root, FITHAW, 0), close(root);
    kill(-1, SIGKILL);
    end_at = now_ms() + DRAIN_MS;
    kill_at = 0;
}

static bool settled(void) {
    char clock[64], link[64];
    read_file("/sys/devices/system/clocksource/clocksource0/current_clocksource", clock, sizeof clock);
    read_file("/sys/class/net/eth0/operstate", link, sizeof link);
    return strcmp(clock, "tsc-early\n") && !strstr(clock, "jiffies") && (!link[0] || !strcmp(link, "up\n"));
}

// Some of what a kernel has begun it ends a second later: it takes up its last clock, and with it another timer, and notes that an interface is up.
// Whoever goes on from this memory should not each do so.
static void settle(void) {
    for (int attempt = 0; attempt < SETTLE_MS / SETTLE_POLL_MS && !settled(); attempt++) poll(NULL, 0, SETTLE_POLL_MS);
}

// Not again when it is the one in force: most guests of a template have the same.
static void limit_processes(void) {
    static uint64_t in_force;
    char limit[32] = "max";
    uint64_t pids = records_number(config, TAG_PIDS);
    if (pids == in_force) return;
    in_force = pids;
    if (pids) snprintf(limit, sizeof limit, "%llu", (unsigned long long)pids);
    int file = openat(cgroup_dir, "pids.max", O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, limit, strlen(limit)) < 0) say("the limit of processes is not in force: %s", strerror(errno));
    if (file >= 0) close(file);
}

void main_prepare(void) {
    read_program_ahead();
    limit_processes();
    kills_before = out_of_memory_kills();
    int problem = spawn_waiting(&prepared);
    if (problem) say("nothing waits to become the main process: %s", strerror(problem));
    settle();
}

static void start_anew(void) {
    int ends[] = { prepared.input, prepared.output, prepared.error, prepared.failure };
    for (size_t i = 0; prepared.pid && i < sizeof ends / sizeof *ends; i++) {
        if (ends[i] >= 0) close(ends[i]);
    }
    kills_before = out_of_memory_kills();
    int problem = spawn(config, true, &prepared);
    if (problem) die("the main process cannot be started: %s", strerror(problem));
}

void main_start(void) {
    limit_processes();
    if (records_number(config, TAG_FLAGS) & FLAG_READ_ONLY && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) {
        die("the root file system cannot be made read-only: %s", strerror(errno));
    }
    state = STATE_RUNS;
    if (!spawn_go()) start_anew();
    main_pid = prepared.pid;
    main_failure = prepared.failure;
    main_terminal = prepared.error < 0 ? prepared.output : -1;
    bool input = records_number(config, TAG_FLAGS) & FLAG_STDIN;
    if (input) main_input.descriptor = prepared.input;
    else if (prepared.input >= 0) close(prepared.input);
    outputs_connect(&prepared);
}

void main_signal(int signal) {
    if (state == STATE_RUNS && main_pid > 1) kill(main_pid, signal);
}

void main_resize(uint16_t columns, uint16_t rows) {
    set_size(main_terminal, columns, rows);
}

void shut_down(uint32_t grace_ms) {
    if (state == STATE_HELD) power_off();
    main_signal(SIGTERM);
    if (grace_ms) kill_at = now_ms() + grace_ms;
}

static void take_failure(void) {
    if (main_failure < 0) return;
    ssize_t got = read(main_failure, &failure, sizeof failure);
    if (got < 0 && errno == EAGAIN) {
        wait_for(main_failure, POLLIN);
        return;
    }
    if (got != sizeof failure) memset(&failure, 0, sizeof failure);
    close(main_failure);
    main_failure = -1;
}

static void reap(void) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (frozen_reaped(pid, status) || sessions_reaped(pid, status) || pid != main_pid || state != STATE_RUNS) continue;
        take_failure();
        if (failure.reason) {
            outputs_say(failure.message);
            outputs_say("\n");
        }
        int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        ended(signal ? 128 + signal : WEXITSTATUS(status), signal);
    }
}

// Everything but the death of children is meant for the main process, as if it were process 1 itself. reboot(2) says SIGINT for Ctrl-Alt-Del.
static void take_signals(void) {
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) continue;
        main_signal(info.ssi_signo == SIGINT && info.ssi_code == SI_KERNEL ? SIGTERM : (int)info.ssi_signo);
    }
    reap();
}

static void loop(void) {
    for (;;) {
        waiting_count = 0;
        wait_for(signals, POLLIN);
        if (power_socket >= 0) wait_for(power_socket, POLLIN);
        if (signalled) take_signals();
        channel_pump();
        sessions_pump();
        take_failure();
        frozen_pump();
        bool more = outputs_pump();
        uint32_t taken = input_flush(&main_input);
        if (taken) {
            uint8_t credit[4];
            put32(credit, taken);
            channel_send(FRAME_CREDIT_BACK, 0, credit, sizeof credit);
        }
        if (powered && power_pressed()) shut_down(0);
        if (kill_at && now_ms() >= kill_at) {
            kill_at = 0;
            main_signal(SIGKILL);
        }
        more |= channel_flush();
        if (state == STATE_ENDED && (now_ms() >= end_at || (!more && outputs_done() && channel_flushed()))) break;
        int64_t deadline = end_at, thaw = frozen_deadline(), away = channel_deadline();
        if (kill_at && (!deadline || kill_at < deadline)) deadline = kill_at;
        if (thaw && (!deadline || thaw < deadline)) deadline = thaw;
        if (away && (!deadline || away < deadline)) deadline = away;
        int64_t left = deadline ? deadline - now_ms() : -1;
        if (changes >= 0) wait_for(changes, POLLIN);
        poll(waiting, waiting_count, more ? 0 : deadline ? (int)(left < 0 ? 0 : left > 60000 ? 60000 : left) : -1);
        // As they were asked for, first and second.
        signalled = waiting[0].revents;
        powered = power_socket >= 0 && waiting[1].revents;
        struct epoll_event events[16];
        if (changes >= 0) epoll_wait(changes, events, 16, 0);
    }
    sync();
    mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
    power_off();
}

int main(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    boot_early();
    char line[4096];
    read_file("/proc/cmdline", line, sizeof line);
    ends_by_reset = strstr(line, "zixiao.end=reset") != NULL;
    if (strstr(line, "zixiao.probe")) {
        // Somebody wants to know whether guests come this far, and nothing else.
        say("zixiao-probe-ok");
        power_off();
    }
    signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    boot_modules();
    drive_read();
    refresh(config);
    boot_root();
    identity_set_up();
    network_open();
    network_set_up();
    statistics_open();
    channel_open();
    outputs_open();
    power_open();
    if (records_number(config, TAG_FLAGS) & FLAG_HOLD) main_prepare();
    else main_start();
    loop();
}
