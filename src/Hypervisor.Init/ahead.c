// Reads the program that is going to run into memory, for whoever goes on from it. It is not run: nothing of the image runs before the guest is
// somebody.
#include "init.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Answers where the program interpreter's name is (elf(5)); empty where there is none.
static void interpreter(const uint8_t *start, size_t length, char *path, size_t size) {
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)start;
    path[0] = 0;
    if (length < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_ident[EI_CLASS] != ELFCLASS64) return;
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phoff > length || header->e_phoff % _Alignof(Elf64_Phdr)) return;
    const Elf64_Phdr *program = (const Elf64_Phdr *)(start + header->e_phoff);
    for (size_t left = (length - header->e_phoff) / sizeof *program, i = 0; i < header->e_phnum && i < left; i++) {
        if (program[i].p_type != PT_INTERP || program[i].p_offset > length || program[i].p_filesz > length - program[i].p_offset) continue;
        snprintf(path, size, "%.*s", (int)program[i].p_filesz, (const char *)start + program[i].p_offset);
        return;
    }
}

static void read_ahead(const char *path, char *next, size_t size) {
    static uint8_t piece[64 << 10] __attribute__((aligned(8)));
    struct stat status;
    next[0] = 0;
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return;
    bool readable = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
    for (size_t total = 0; readable && total < READ_AHEAD_BYTES;) {
        ssize_t got = read(file, piece, sizeof piece);
        if (got <= 0) break;
        if (!total) interpreter(piece, (size_t)got, next, size);
        total += (size_t)got;
    }
    close(file);
}

void read_program_ahead(void) {
    char name[256], path[512], linker[256];
    if (!records_text(config, TAG_ARGUMENT, name, sizeof name)) return;
    strcpy(path, name);
    for (const char *from = strchr(name, '/') ? "" : strchr(default_path, '=') + 1, *end; *from; from = *end ? end + 1 : end) {
        end = strchrnul(from, ':');
        snprintf(path, sizeof path, "%.*s/%s", (int)(end - from), from, name);
        if (access(path, X_OK) == 0) break;
    }
    read_ahead(path, linker, sizeof linker);
    if (linker[0]) read_ahead(linker, path, sizeof path);
}
