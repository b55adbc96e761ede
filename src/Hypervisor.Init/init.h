// What the files of the init share. The format of the config drive and of the channel is docs/decisions/0009-guest-init.md.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

// Every bound, with its reason.
enum {
    // Records of the config drive or of one request: an environment and arguments of 2 MiB would not fit execve(2) either.
    RECORDS_MAX = 1 << 20,
    PAYLOAD_MAX = 16 << 10,
    // Type, stream and length.
    HEADER_BYTES = 7,
    // A frame of the largest payload whose every byte is stuffed, between two borders.
    FRAME_MAX = 2 * (HEADER_BYTES + PAYLOAD_MAX) + 2,
    // Two of the largest frames, and room for the answers meanwhile.
    SEND_MAX = 3 * FRAME_MAX,
    // So much is kept free of output, for answers.
    SEND_RESERVE = FRAME_MAX,
    // More than an agent opens at once (StreamLimits.PerInstance) and its own health checks.
    SESSIONS_MAX = 48,
    CREDIT_BYTES = 64 << 10,
    MESSAGE_MAX = 256,
    WORDS_MAX = 8192,
    // Since an account file may be anything: larger ones name nobody.
    ACCOUNT_FILE_MAX = 1 << 20,
    GROUPS_MAX = 64,
    // From the end of the main process until what it left in its pipes is passed on; longer only when nobody takes it.
    DRAIN_MS = 2000,
    // From when the port has no host until what an agent had begun is ended: far longer than the kernel takes to tell of the next one.
    HOST_AWAY_MS = 5000,
    // What the kernel ends a second later: three times as long.
    SETTLE_MS = 3000,
    SETTLE_POLL_MS = 20,
};

enum tag {
    TAG_RUN = 1, TAG_UID, TAG_HOSTNAME, TAG_NETWORK, TAG_DNS_SERVER, TAG_DNS_SEARCH, TAG_ARGUMENT, TAG_ENVIRONMENT, TAG_DIRECTORY, TAG_USER,
    TAG_FLAGS, TAG_PIDS, TAG_MACHINE_ID, TAG_RANDOM, TAG_TIME, TAG_SIZE, TAG_BUILTIN, TAG_GREETED, TAG_LAST = TAG_GREETED,
};

enum flag { FLAG_TERMINAL = 1, FLAG_STDIN = 2, FLAG_READ_ONLY = 4, FLAG_HOLD = 8 };

enum reason {
    REASON_NONE, REASON_COMMAND_NOT_FOUND, REASON_COMMAND_NOT_EXECUTABLE, REASON_USER_NOT_FOUND, REASON_DIRECTORY_INVALID, REASON_START_FAILED,
    REASON_PATH_NOT_FOUND, REASON_PATH_INVALID, REASON_ERRNO = 255,
};

enum builtin { BUILTIN_NONE, BUILTIN_COPY_OUT, BUILTIN_COPY_IN };

// records.c
struct records { const uint8_t *bytes; size_t length; };
struct record { uint16_t tag; uint32_t length; const uint8_t *value; };
uint16_t get16(const uint8_t *at);
uint32_t get32(const uint8_t *at);
uint64_t get64(const uint8_t *at);
void put16(uint8_t *at, uint16_t value);
void put32(uint8_t *at, uint32_t value);
void put64(uint8_t *at, uint64_t value);
uint32_t crc32(const uint8_t *bytes, size_t length);
bool records_check(struct records records);
bool records_next(struct records records, size_t *offset, struct record *record);
bool records_find(struct records records, uint16_t tag, struct record *record);
uint64_t records_number(struct records records, uint16_t tag);
size_t records_text(struct records records, uint16_t tag, char *text, size_t size);

// The running guest's configuration; replaced by BEGIN only.
extern struct records config;
void config_set(const uint8_t *bytes, size_t length);
// To a child that was there before it; both wait until all of it is through.
bool config_send(int pipe);
bool config_receive(int pipe);

// boot.c
void boot_early(void);
void boot_modules(void);
void boot_root(void);
int boot_find_disk(const char *serial, const char *magic);
extern int config_disk;
extern int cgroup_dir;
// The machine's own devices; the image's /dev has few.
extern int dev_dir;
// Folder of the initramfs with the files that are bound over the image's.
extern int files_dir;
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
bool write_file(const char *path, const char *text);
size_t read_file(const char *path, char *text, size_t size);

// drive.c
void drive_read(void);
void drive_write_exit(int code, int signal, bool out_of_memory, enum reason reason, const char *message);

// network.c
void network_open(void);
void network_set_up(void);

// identity.c
void identity_set_up(void);
void refresh(struct records records);

// users.c
struct account { uid_t user; gid_t group; size_t group_count; gid_t groups[GROUPS_MAX]; char home[256]; };
// Keeps the files that it looks into, for a child that waits: nothing writes them meanwhile.
void accounts_keep(void);
bool account_find(const char *name, struct account *account, char *message);

// process.c
struct failure { uint8_t reason; int32_t number; char message[MESSAGE_MAX]; };
struct spawned { pid_t pid; int input; int output; int error; int failure; };
int spawn(struct records request, bool main_process, struct spawned *spawned);
extern const char default_path[];
int spawn_waiting(struct spawned *spawned);
bool spawn_go(void);
void fail(int descriptor, enum reason reason, int number, const char *format, ...) __attribute__((format(printf, 4, 5), noreturn));
void set_size(int terminal, uint16_t columns, uint16_t rows);
void kill_session(pid_t leader, int signal);

// ahead.c
// Of a program: more than most have, and no burden to the smallest guest.
enum { READ_AHEAD_BYTES = 16 << 20 };
void read_program_ahead(void);

// copy.c
void copy_out(int failure, const char *path);
void copy_in(int failure, const char *place, const char *name);

// main.c: the main process
enum state { STATE_HELD = 1, STATE_RUNS, STATE_ENDED };
extern enum state state;
extern pid_t main_pid;
void main_prepare(void);
void main_start(void);
void main_signal(int signal);
void main_resize(uint16_t columns, uint16_t rows);
void shut_down(uint32_t grace_ms);
int64_t now_ms(void);

// input.c: what is on its way to a process's standard input
struct input { int descriptor; uint32_t start, count; bool closing; uint8_t data[CREDIT_BYTES]; };
bool input_add(struct input *input, const uint8_t *data, size_t length);
uint32_t input_flush(struct input *input);
extern struct input main_input;

// outputs.c: where the main process's output goes
void outputs_open(void);
void outputs_connect(const struct spawned *spawned);
bool outputs_pump(void);
void outputs_say(const char *text);
bool outputs_done(void);

// sessions.c
bool sessions_start(uint32_t stream, struct records request);
void sessions_input(uint32_t stream, const uint8_t *data, size_t length);
void sessions_resize(uint32_t stream, uint16_t columns, uint16_t rows);
void sessions_signal(uint32_t stream, int signal);
void sessions_credit(uint32_t stream, int which, uint32_t bytes);
void sessions_release(uint32_t stream);
void sessions_end_all(void);
bool sessions_reaped(pid_t pid, int status);
void sessions_pump(void);

// channel.c
enum frame {
    FRAME_HELLO = 1, FRAME_PART, FRAME_EXEC, FRAME_INPUT, FRAME_RESIZE, FRAME_SIGNAL, FRAME_CREDIT, FRAME_RELEASE, FRAME_STATS, FRAME_SHUTDOWN,
    FRAME_BEGIN, FRAME_REFRESH, FRAME_FREEZE, FRAME_THAW,
    FRAME_HELLO_BACK = 65, FRAME_ANSWER, FRAME_OUTPUT, FRAME_ERROR, FRAME_EXIT, FRAME_CREDIT_BACK,
};
void channel_open(void);
bool channel_is_port(void);
void channel_pump(void);
// True when something went out: what waited for room may go on.
bool channel_flush(void);
bool channel_has_room(size_t payload);
void channel_send(uint8_t type, uint32_t stream, const void *payload, size_t length);
void channel_answer(uint32_t stream, enum reason reason, int number, const char *text);
void channel_handle(uint8_t type, uint32_t stream, const uint8_t *payload, size_t length);
bool channel_flushed(void);
// When the agent will have been away for too long; 0 while it is there.
int64_t channel_deadline(void);
// By the guest's own clock, which counts from when its memory was saved.
struct timespec channel_since_greeting(void);

// requests.c
void requests_reset(void);
void frozen_pump(void);
bool frozen_reaped(pid_t pid, int status);
int64_t frozen_deadline(void);

// ports.c
int port_open(const char *name);

// statistics.c
void statistics_open(void);
size_t statistics_read(uint8_t *answer);
uint64_t out_of_memory_kills(void);

// power.c
void power_open(void);
bool power_pressed(void);
extern int power_socket;
void power_off(void) __attribute__((noreturn));

// zixiao.end=reset on the kernel's command line, which the agent makes: of a machine that a power-off does not end.
extern bool ends_by_reset;

// The set of descriptors that the next wait is for.
void wait_for(int descriptor, short events);
// Wakes the next wait when something changes at a port, once per change: a port without a host would wake it for ever.
void wait_for_changes(int port);
