// The machine's power: its button, as ACPI tells of it, and its end.
#include "init.h"

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

int power_socket = -1;

static struct nlattr *next_attribute(struct nlattr *at, const uint8_t *end, size_t *left) {
    const uint8_t *next = (uint8_t *)at + NLA_ALIGN(at->nla_len);
    *left = next < end ? (size_t)(end - next) : 0;
    return *left >= sizeof *at ? (struct nlattr *)next : NULL;
}

// The only group of the family; Documentation/userspace-api/netlink, drivers/acpi/event.c.
static uint32_t find_group(const uint8_t *from, const uint8_t *end, uint16_t wanted) {
    size_t left = (size_t)(end - from);
    for (struct nlattr *at = left >= sizeof *at ? (struct nlattr *)from : NULL; at && at->nla_len >= sizeof *at && at->nla_len <= left; at = next_attribute(at, end, &left)) {
        const uint8_t *value = (uint8_t *)(at + 1);
        uint16_t type = at->nla_type & NLA_TYPE_MASK;
        if (wanted == CTRL_ATTR_MCAST_GROUPS && type == wanted) return find_group(value, value + at->nla_len - sizeof *at, 0);
        if (wanted == 0) return find_group(value, value + at->nla_len - sizeof *at, CTRL_ATTR_MCAST_GRP_ID);
        if (wanted == CTRL_ATTR_MCAST_GRP_ID && type == wanted && at->nla_len >= sizeof *at + 4) return get32(value);
    }
    return 0;
}

void power_open(void) {
    static const char family[] = "acpi_event";
    struct {
        struct nlmsghdr header;
        struct genlmsghdr generic;
        struct nlattr attribute;
        char name[12];
    } request = {
        .header = { .nlmsg_len = sizeof request, .nlmsg_type = GENL_ID_CTRL, .nlmsg_flags = NLM_F_REQUEST },
        .generic = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 },
        .attribute = { .nla_len = sizeof(struct nlattr) + sizeof family, .nla_type = CTRL_ATTR_FAMILY_NAME },
    };
    memcpy(request.name, family, sizeof family);
    uint8_t answer[4096] __attribute__((aligned(4)));
    // Ctrl-Alt-Del, and a button where there is no ACPI, are a signal.
    reboot(RB_DISABLE_CAD);
    power_socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    if (power_socket < 0 || send(power_socket, &request, sizeof request, 0) < 0) return;
    ssize_t got = recv(power_socket, answer, sizeof answer, MSG_DONTWAIT);
    size_t fixed = sizeof(struct nlmsghdr) + sizeof(struct genlmsghdr);
    uint32_t group = got > (ssize_t)fixed && ((struct nlmsghdr *)answer)->nlmsg_type == GENL_ID_CTRL
        ? find_group(answer + fixed, answer + got, CTRL_ATTR_MCAST_GROUPS)
        : 0;
    if (!group || setsockopt(power_socket, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
        close(power_socket);
        power_socket = -1;
    }
}

bool power_pressed(void) {
    uint8_t event[4096];
    bool pressed = false;
    for (ssize_t got; (got = recv(power_socket, event, sizeof event, MSG_DONTWAIT)) > 0;) {
        pressed |= memmem(event, (size_t)got, "button/power", 12) != NULL;
    }
    return pressed;
}

void power_off(void) {
    sync();
    reboot(ends_by_reset ? RB_AUTOBOOT : RB_POWER_OFF);
    // What the machine does not know: the panic of a kernel whose first process ends resets it.
    _exit(1);
}
