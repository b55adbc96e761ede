// Records (tag, length, value) and numbers in little-endian order. Nothing here trusts a length.
#include "init.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

struct records config;
static uint8_t config_bytes[RECORDS_MAX];

uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }
uint32_t get32(const uint8_t *at) { return get16(at) | (uint32_t)get16(at + 2) << 16; }
uint64_t get64(const uint8_t *at) { return get32(at) | (uint64_t)get32(at + 4) << 32; }

void put16(uint8_t *at, uint16_t value) { at[0] = (uint8_t)value; at[1] = (uint8_t)(value >> 8); }
void put32(uint8_t *at, uint32_t value) { put16(at, (uint16_t)value); put16(at + 2, (uint16_t)(value >> 16)); }
void put64(uint8_t *at, uint64_t value) { put32(at, (uint32_t)value); put32(at + 4, (uint32_t)(value >> 32)); }

// The polynomial of Ethernet and zlib, bit by bit: a few KiB per boot are not worth a table.
uint32_t crc32(const uint8_t *bytes, size_t length) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

bool records_next(struct records records, size_t *offset, struct record *record) {
    if (records.length - *offset < 6) return false;
    const uint8_t *at = records.bytes + *offset;
    record->tag = get16(at);
    record->length = get32(at + 2);
    record->value = at + 6;
    if (record->length > records.length - *offset - 6) return false;
    *offset += 6 + (size_t)record->length;
    return true;
}

bool records_check(struct records records) {
    struct record record;
    size_t offset = 0;
    while (records_next(records, &offset, &record)) {
        size_t fixed = 0;
        switch (record.tag) {
            case TAG_RUN: case TAG_PIDS: fixed = 8; break;
            case TAG_NETWORK: fixed = 17; break;
            case TAG_FLAGS: case TAG_SIZE: fixed = 4; break;
            case TAG_TIME: case TAG_GREETED: fixed = 12; break;
            case TAG_BUILTIN: fixed = 1; break;
            case TAG_RANDOM: break;
            default:
                // Text: it ends where its record does.
                if (record.tag == 0 || record.tag > TAG_LAST || memchr(record.value, 0, record.length)) return false;
        }
        if (fixed && record.length != fixed) return false;
    }
    return offset == records.length;
}

bool records_find(struct records records, uint16_t tag, struct record *record) {
    size_t offset = 0;
    while (records_next(records, &offset, record)) {
        if (record->tag == tag) return true;
    }
    return false;
}

uint64_t records_number(struct records records, uint16_t tag) {
    struct record record;
    if (!records_find(records, tag, &record)) return 0;
    return record.length == 8 ? get64(record.value) : record.length == 4 ? get32(record.value) : record.length == 1 ? record.value[0] : 0;
}

size_t records_text(struct records records, uint16_t tag, char *text, size_t size) {
    struct record record;
    size_t length = records_find(records, tag, &record) && record.length < size ? record.length : 0;
    if (length) memcpy(text, record.value, length);
    text[length] = 0;
    return length;
}

void config_set(const uint8_t *bytes, size_t length) {
    memmove(config_bytes, bytes, length);
    config = (struct records){ config_bytes, length };
}

bool config_send(int pipe) {
    uint32_t length = (uint32_t)config.length;
    struct iovec parts[] = { { &length, sizeof length }, { config_bytes, length } };
    return writev(pipe, parts, 2) == (ssize_t)(sizeof length + length);
}

bool config_receive(int pipe) {
    uint32_t length;
    if (read(pipe, &length, sizeof length) != sizeof length || length > sizeof config_bytes) return false;
    for (size_t have = 0; have < length;) {
        ssize_t got = read(pipe, config_bytes + have, length - have);
        if (got <= 0) return false;
        have += (size_t)got;
    }
    config = (struct records){ config_bytes, length };
    return true;
}
