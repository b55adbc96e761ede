// The loopback and one Ethernet interface, named eth0, with a fixed address.
#include "init.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ipv6_addresses[] = "/proc/sys/net/ipv6/conf/eth0/addr_gen_mode";

// Both stay open: the kernel takes down a socket of rtnetlink at length.
static int kernel = -1, route = -1;

// What eth0 is; no index: there is none.
static unsigned index_of_ethernet;
static uint8_t hardware[6];
static int mtu;

static void ask(unsigned long request, struct ifreq *argument, const char *what) {
    if (ioctl(kernel, request, argument) != 0) say("network: %s: %s", what, strerror(errno));
}

static void set_flags(const char *name, bool up) {
    struct ifreq request = { 0 };
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    ask(SIOCGIFFLAGS, &request, "flags");
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    ask(SIOCSIFFLAGS, &request, up ? "up" : "down");
}

// The interface with the address that is wanted, else the only one there is.
static bool find(const uint8_t *wanted, char *name) {
    DIR *interfaces = opendir("/sys/class/net");
    bool exact = false;
    name[0] = 0;
    for (struct dirent *entry; interfaces && !exact && (entry = readdir(interfaces));) {
        struct ifreq request = { 0 };
        if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "lo") || strlen(entry->d_name) >= IFNAMSIZ) continue;
        strcpy(request.ifr_name, entry->d_name);
        if (ioctl(kernel, SIOCGIFHWADDR, &request) != 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER) continue;
        memcpy(hardware, request.ifr_hwaddr.sa_data, sizeof hardware);
        exact = wanted && !memcmp(hardware, wanted, sizeof hardware);
        strcpy(name, entry->d_name);
    }
    if (interfaces) closedir(interfaces);
    return name[0];
}

// All that needs no address. A guest that goes on from this one's memory has an interface that is up already: bringing it up takes longer than all
// the rest.
void network_open(void) {
    struct record record;
    struct ifreq request = { .ifr_name = "eth0" };
    char name[IFNAMSIZ];
    kernel = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    route = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    // Else the first message would get it its name.
    bind(route, (struct sockaddr *)&(struct sockaddr_nl){ .nl_family = AF_NETLINK }, sizeof(struct sockaddr_nl));
    set_flags("lo", true);
    if (!find(records_find(config, TAG_NETWORK, &record) ? record.value + 9 : NULL, name)) return;
    if (strcmp(name, "eth0")) {
        struct ifreq rename = { 0 };
        set_flags(name, false);
        strcpy(rename.ifr_name, name);
        strcpy(rename.ifr_newname, "eth0");
        ask(SIOCSIFNAME, &rename, "rename");
    }
    // None of its own: the node's network has no IPv6, as containers are told too. A kernel without it has no such file.
    write_file(ipv6_addresses, "1");
    set_flags("eth0", true);
    ask(SIOCGIFMTU, &request, "mtu");
    mtu = request.ifr_mtu;
    index_of_ethernet = if_nametoindex("eth0");
}

struct attribute { struct rtattr header; uint32_t value; };

static struct attribute attribute(unsigned short type, uint32_t value) {
    return (struct attribute){ { .rta_len = sizeof(struct attribute), .rta_type = type }, value };
}

// Both in one message: rtnetlink(7) answers to neither unless it fails.
static void set_address(uint32_t address, unsigned prefix, uint32_t gateway) {
    struct {
        struct nlmsghdr header;
        struct ifaddrmsg address;
        struct attribute local, peer, broadcast;
        struct nlmsghdr route_header;
        struct rtmsg route;
        struct attribute gateway, interface;
    } request = {
        .header = { .nlmsg_type = RTM_NEWADDR, .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE },
        .address = { .ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)prefix, .ifa_index = index_of_ethernet },
        .local = attribute(IFA_LOCAL, address),
        .peer = attribute(IFA_ADDRESS, address),
        .broadcast = attribute(IFA_BROADCAST, address | (prefix ? ~htonl(~0u << (32 - prefix)) : ~0u)),
        .route_header = { .nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE },
        .route = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST },
        .gateway = attribute(RTA_GATEWAY, gateway),
        .interface = attribute(RTA_OIF, index_of_ethernet),
    };
    struct { struct nlmsghdr header; struct nlmsgerr error; uint8_t rest[sizeof request]; } answer;
    size_t first = (size_t)((uint8_t *)&request.route_header - (uint8_t *)&request);
    request.header.nlmsg_len = (uint32_t)first;
    request.route_header.nlmsg_len = (uint32_t)(sizeof request - first);
    if (route < 0 || send(route, &request, gateway ? sizeof request : first, 0) < 0) say("network: %s", strerror(errno));
    while (recv(route, &answer, sizeof answer, MSG_DONTWAIT) > 0) {
        if (answer.header.nlmsg_type != NLMSG_ERROR || !answer.error.error) continue;
        say("network: %s: %s", answer.error.msg.nlmsg_type == RTM_NEWADDR ? "address" : "default route", strerror(-answer.error.error));
    }
}

void network_set_up(void) {
    struct record record;
    if (!records_find(config, TAG_NETWORK, &record)) return;
    const uint8_t *value = record.value;
    if (!index_of_ethernet) die("the guest has no network interface");
    if (memcmp(hardware, value + 9, sizeof hardware)) {
        struct ifreq request = { .ifr_name = "eth0", .ifr_hwaddr.sa_family = ARPHRD_ETHER };
        memcpy(request.ifr_hwaddr.sa_data, value + 9, sizeof hardware);
        ask(SIOCSIFHWADDR, &request, "hardware address");
    }
    if (mtu != get16(value + 15)) {
        struct ifreq request = { .ifr_name = "eth0", .ifr_mtu = get16(value + 15) };
        ask(SIOCSIFMTU, &request, "mtu");
    }
    uint32_t address, gateway;
    memcpy(&address, value, 4);
    memcpy(&gateway, value + 5, 4);
    set_address(address, value[4] > 32 ? 32 : value[4], gateway);
}
