// The loopback and one Ethernet interface, named eth0, with a fixed address.
#include "init.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int kernel = -1;

static void ask(unsigned long request, void *argument, const char *what) {
    if (ioctl(kernel, request, argument) != 0) say("network: %s: %s", what, strerror(errno));
}

static void set_flags(const char *name, bool up) {
    struct ifreq request = { 0 };
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    ask(SIOCGIFFLAGS, &request, "flags");
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    ask(SIOCSIFFLAGS, &request, up ? "up" : "down");
}

static void set_address(unsigned long request, uint32_t address, const char *what) {
    struct ifreq interface = { .ifr_name = "eth0" };
    struct sockaddr_in *at = (struct sockaddr_in *)&interface.ifr_addr;
    at->sin_family = AF_INET;
    at->sin_addr.s_addr = address;
    ask(request, &interface, what);
}

// The interface with that address, else the only one there is: a guest that goes on from a snapshot still has the snapshot's.
static bool find(const uint8_t *hardware, char *name, bool *exact) {
    DIR *interfaces = opendir("/sys/class/net");
    *exact = false;
    name[0] = 0;
    for (struct dirent *entry; interfaces && !*exact && (entry = readdir(interfaces));) {
        struct ifreq request = { 0 };
        if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "lo") || strlen(entry->d_name) >= IFNAMSIZ) continue;
        strcpy(request.ifr_name, entry->d_name);
        if (ioctl(kernel, SIOCGIFHWADDR, &request) != 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER) continue;
        *exact = !memcmp(request.ifr_hwaddr.sa_data, hardware, 6);
        strcpy(name, entry->d_name);
    }
    if (interfaces) closedir(interfaces);
    return name[0];
}

void network_set_up(void) {
    struct record record;
    char name[IFNAMSIZ];
    bool exact;
    kernel = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    set_flags("lo", true);
    if (records_find(config, TAG_NETWORK, &record)) {
        const uint8_t *value = record.value;
        if (!find(value + 9, name, &exact)) {
            die("the guest has no network interface");
        }
        if (!exact || strcmp(name, "eth0")) set_flags(name, false);
        if (strcmp(name, "eth0")) {
            struct ifreq rename = { 0 };
            strcpy(rename.ifr_name, name);
            strcpy(rename.ifr_newname, "eth0");
            ask(SIOCSIFNAME, &rename, "rename");
        }
        if (!exact) {
            struct ifreq hardware = { .ifr_name = "eth0", .ifr_hwaddr.sa_family = ARPHRD_ETHER };
            memcpy(hardware.ifr_hwaddr.sa_data, value + 9, 6);
            ask(SIOCSIFHWADDR, &hardware, "hardware address");
        }
        struct ifreq mtu = { .ifr_name = "eth0", .ifr_mtu = get16(value + 15) };
        ask(SIOCSIFMTU, &mtu, "mtu");
        uint32_t address, gateway;
        memcpy(&address, value, 4);
        memcpy(&gateway, value + 5, 4);
        unsigned prefix = value[4] > 32 ? 32 : value[4];
        set_address(SIOCSIFADDR, address, "address");
        set_address(SIOCSIFNETMASK, prefix ? htonl(~0u << (32 - prefix)) : 0, "prefix");
        set_flags("eth0", true);
        struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
        ((struct sockaddr_in *)&route.rt_dst)->sin_family = AF_INET;
        ((struct sockaddr_in *)&route.rt_genmask)->sin_family = AF_INET;
        struct sockaddr_in *via = (struct sockaddr_in *)&route.rt_gateway;
        via->sin_family = AF_INET;
        via->sin_addr.s_addr = gateway;
        if (gateway) ask(SIOCADDRT, &route, "default route");
    }
    close(kernel);
}
