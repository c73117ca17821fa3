/* storing.h - a client's messages on their way into the log, and the answer once they are there.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_STORING_H
#define ENCKE_FCGI_STORING_H

#include <stdbool.h>
#include <stddef.h>

#include "fcgi/endpoints/endpoint.h"

/* Publishes messages, all of them or none, and answers the request when they are on the disk, or
 * why they are not. Takes over the references, as publish_messages does. array: the client sent an
 * array, so it is answered with one, and of an error it is told which element is the reason. Else
 * there is one message. */
void storing_begin(const struct service *service, struct conn *conn,
                   struct message *const *messages, size_t count, bool array);

#endif
