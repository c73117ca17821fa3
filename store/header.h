/* header.h - the first 100 bytes of a SQLite file, read without SQLite.
 *
 * SQLite may write while it opens a database. So a file is first looked at with plain reads: one
 * that is foreign, newer or cut short is refused and stays as it is, byte for byte.
 * https://sqlite.org/fileformat2.html#the_database_header
 *
 * No state, any thread. Blocks on the disk.
 */
#ifndef ENCKE_STORE_HEADER_H
#define ENCKE_STORE_HEADER_H

#include <stddef.h>
#include <stdint.h>

/* Whether the file at path, open as fd, is a log of this format, and as long as it says. Returns 0,
 * or -1 with the reason in why. */
int header_check(const char *path, int fd, char *why, size_t why_size);

/* The page size, in bytes, that the file open as fd says it has. -1 with errno if that cannot be
 * read. */
int64_t header_page_size(int fd);

#endif
