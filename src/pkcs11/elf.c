/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#if __SIZEOF_POINTER__ == 8
enum { OUR_CLASS = ELFCLASS64 };
#else
enum { OUR_CLASS = ELFCLASS32 };
#endif

/* What this program was built for: the loader's word for a module of another machine is "no such file", or worse. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

/* A part that lies past the end of the file would be a SIGBUS when it is touched. */
static bool segments_are_in_file(const uint8_t *head, size_t size, const ElfW(Ehdr) * header, uint64_t file_size) {
        for (size_t i = 0; i < header->e_phnum; i++) {
                ElfW(Phdr) segment;
                uint64_t at = header->e_phoff + i * sizeof(segment);

                if (header->e_phoff > size || at > size || size - at < sizeof(segment))
                        return false;
                memcpy(&segment, head + at, sizeof(segment));
                if (segment.p_type == PT_LOAD &&
                    (segment.p_offset > file_size || segment.p_filesz > file_size - segment.p_offset))
                        return false;
        }
        return true;
}

/* System V ABI, "Object Files". */
int elf_check(const void *head, size_t size, uint64_t file_size, const char **ret_why) {
        ElfW(Ehdr) header;

        *ret_why = "not a shared object";
        if (size < EI_NIDENT || memcmp(head, ELFMAG, SELFMAG) != 0)
                return -ELIBBAD;
        memcpy(header.e_ident, head, EI_NIDENT);
        *ret_why = "built for another architecture";
        if (header.e_ident[EI_CLASS] != OUR_CLASS || header.e_ident[EI_DATA] != __ehdr_start.e_ident[EI_DATA])
                return -ELIBBAD;
        *ret_why = "cut off";
        if (size < sizeof(header))
                return -ELIBBAD;
        memcpy(&header, head, sizeof(header));
        *ret_why = "built for another architecture";
        if (header.e_machine != __ehdr_start.e_machine)
                return -ELIBBAD;
        *ret_why = "not a shared object";
        if (header.e_type != ET_DYN || header.e_phentsize != sizeof(ElfW(Phdr)) || header.e_phnum == 0)
                return -ELIBBAD;
        *ret_why = "cut off";
        if (!segments_are_in_file(head, size, &header, file_size))
                return -ELIBBAD;
        *ret_why = NULL;
        return 0;
}
