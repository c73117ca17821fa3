/* table.h - hash tables in which nobody outside can foresee a key's bucket: uthash, with a keyed
 * hash.
 *
 * Include this and never <uthash.h> itself. Most keys are names that clients choose. uthash's own
 * hash has no secret, so anybody can make names that all fall into one bucket. Then each look-up
 * walks all of them, and uthash stops growing a table whose buckets are uneven (noexpand), for all
 * its keys and for good. So here
 * - the hash is SipHash-2-4 (libsodium's crypto_shorthash; Aumasson and Bernstein, 2012) with a key
 *   drawn when the process starts: without the key nobody can aim at a bucket;
 * - a table always grows as it fills, even if its buckets were uneven before;
 * - when there is no memory for an element, it is not in the table, and its hh.tbl is NULL; uthash
 *   by itself would end the process.
 *
 * A table keeps the order of insertion, whatever the key. Any thread.
 */
#ifndef ENCKE_STORE_TABLE_H
#define ENCKE_STORE_TABLE_H

#include <stddef.h>

#define HASH_FUNCTION(key, len, hash) ((hash) = table_hash((key), (len)))
#define HASH_NONFATAL_OOM 1
#define uthash_noexpand_fyi(table) ((table)->noexpand = (table)->ineff_expands = 0)
#include <uthash.h>

/* The hash of len bytes at key, the same as long as the process lives. */
unsigned table_hash(const void *key, size_t len);

#endif
