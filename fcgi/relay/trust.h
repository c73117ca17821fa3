/* trust.h - by whose certificates a TLS peer proves who it is: those of a file, read once.
 *
 * The system's file has some 150 certificates. To read and parse them takes 20 to 40 ms, on the
 * loop's thread, and libcurl does it for each connection. It keeps what it has parsed only if no
 * folder of certificates counts beside the file. So no folder does, and libcurl may keep that for
 * as long as its multi handle lives. trust_load has it parsed before the loop runs: it connects to
 * a peer that speaks no TLS, which fails, but only once libcurl knows whom it would trust.
 *
 * What changes in the file counts after the next start.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_TRUST_H
#define ENCKE_FCGI_TRUST_H

#include <curl/curl.h>
#include <stdbool.h>

/* Lets the peers of a request prove who they are by the certificates in the file; NULL: by the
 * system's, in the file that libcurl was built for. Returns false if libcurl refuses that. */
bool trust_set(CURL *easy, const char *file);

/* Has those certificates read and parsed for all requests of the multi handle. Blocks on the disk.
 * Returns NULL, or what is wrong with the file: a static text. */
const char *trust_load(CURLM *multi, const char *file);

#endif
