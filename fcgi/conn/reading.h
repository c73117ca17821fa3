/* reading.h - how a request gets in: bytes are read until it is whole, decoded, and handed over.
 *
 *     FastCGI:   gate_scan ------> request_decode --> conns->take_request
 *     WebSocket: handshake_scan --------------------> conns->take_websocket
 *
 * When the call returns, the request has been answered, or the connection waits for something, or
 * has ended; the request is released then. Bytes that are no FastCGI request end the connection. A
 * handshake with a fault gets an answer that names it.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_READING_H
#define ENCKE_FCGI_READING_H

#include "fcgi/conn/conn.h"

/* What a connection waits for at first, and again after each answer: conns->first. */
extern const struct wait idle_wait;

/* Take over a connected, non-blocking socket, and read what is already there: a FastCGI request, or
 * the handshake of a WebSocket. They close fd when out of memory. */
void conn_accept_fastcgi(struct conns *conns, int fd);
void conn_accept_websocket(struct conns *conns, int fd);

#endif
