// Who "user", "uid", "user:group" or "uid:gid" is by the image's own account files. As AccountFiles.cs of the agent: an entry of that very
// name wins over its being a number. Runs in children only: the files may be anything.
#include "init.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Ids end below 2^31: -1 means "unchanged" to the kernel.
static bool to_id(const char *text, uint32_t *id) {
    char *end;
    if (text[0] < '0' || text[0] > '9' || strlen(text) > 10) return false;
    unsigned long value = strtoul(text, &end, 10);
    *id = (uint32_t)value;
    return !*end && value <= INT_MAX;
}

static char *load(const char *path) {
    char *text = malloc(ACCOUNT_FILE_MAX + 1);
    size_t length = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (text && file >= 0 && length < ACCOUNT_FILE_MAX) {
        ssize_t got = read(file, text + length, ACCOUNT_FILE_MAX - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    if (file >= 0) close(file);
    if (text) text[length] = 0;
    return text;
}

// Takes the next line apart; false at the end.
static bool next(char **rest, char **fields, int wanted) {
    for (char *line; (line = strsep(rest, "\n"));) {
        int count = 0;
        for (char *field; count < wanted && (field = strsep(&line, ":"));) fields[count++] = field;
        if (count == wanted && fields[0][0]) return true;
    }
    return false;
}

static bool find_group(char *text, const char *name, gid_t *group) {
    char *rest = text, *fields[3];
    while (next(&rest, fields, 3)) {
        if (!strcmp(fields[0], name) && to_id(fields[2], group)) return true;
    }
    return to_id(name, group);
}

static bool is_member(char *members, const char *name) {
    for (char *member; (member = strsep(&members, ","));) {
        if (!strcmp(member, name)) return true;
    }
    return false;
}

static char *passwd, *group_file;

void accounts_keep(void) {
    passwd = load("/etc/passwd");
    group_file = load("/etc/group");
}

bool account_find(const char *asked, struct account *account, char *message) {
    char user[512], *name = NULL, *rest, *fields[6];
    uint32_t number = 0;
    if (strlen(asked) >= sizeof user) return snprintf(message, MESSAGE_MAX, "the user's name is too long"), false;
    strcpy(user, asked);
    char *group = strchr(user, ':');
    if (group) *group++ = 0;
    if (!user[0]) strcpy(user, "0");
    bool numeric = to_id(user, &number);
    memset(account, 0, sizeof *account);
    strcpy(account->home, "/");
    account->user = number;
    char *text = passwd ? passwd : load("/etc/passwd");
    for (rest = text; text && next(&rest, fields, 6);) {
        uint32_t id;
        bool damaged = !to_id(fields[2], &id);
        if (strcmp(fields[0], user) && !(numeric && !damaged && id == number)) continue;
        if (damaged) return snprintf(message, MESSAGE_MAX, "the entry of \"%.64s\" in the image's /etc/passwd is damaged", user), false;
        account->user = id;
        to_id(fields[3], &account->group);
        if (fields[5][0] == '/') strncpy(account->home, fields[5], sizeof account->home - 1);
        name = fields[0];
        break;
    }
    if (!name && !numeric) return snprintf(message, MESSAGE_MAX, "there is no user \"%.64s\" in the image's /etc/passwd", user), false;
    char *groups = group_file ? group_file : load("/etc/group");
    if (group && group[0]) {
        if (groups && find_group(groups, group, &account->group)) return true;
        if (to_id(group, &account->group)) return true;
        return snprintf(message, MESSAGE_MAX, "there is no group \"%.64s\" in the image's /etc/group", group), false;
    }
    for (rest = groups; name && groups && next(&rest, fields, 4);) {
        uint32_t id;
        if (account->group_count < GROUPS_MAX && to_id(fields[2], &id) && id != account->group && is_member(fields[3], name)) {
            account->groups[account->group_count++] = id;
        }
    }
    return true;
}
