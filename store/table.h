/* table.h - hash tables whose spread nobody outside can foresee: uthash, with a keyed hash.
 *
 * Include this and never <uthash.h> itself. Most keys are names that clients choose. uthash's own
 * hash has no secret, so anybody can make names that all fall into one bucket: each look-up then
 * walks all of them, and uthash stops growing a table whose buckets are uneven (noexpand), for
 * everybody in it and for good. So here
 * - the hash is SipHash-2-4 (libsodium's crypto_shorthash; Aumasson and Bernstein, 2012) under a
 *   key drawn when the process starts: who does not know the key cannot aim at a bucket;
 * - a table grows as long as it fills, whatever its spread was before;
 * - an element that found no memory is not in the table, and its hh.tbl is NULL; uthash would end
 *   the process.
 *
 * The order of a table is that of insertion, whatever the key. Any thread.
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
