/* escape.h - writes text into JSON, HTML, scripts and events so that no part of it has a meaning
 * there.
 *
 * All text is UTF-8 without NUL, which was checked when it came in. The functions append to a
 * buffer and have no state: any thread.
 */
#ifndef ENCKE_FCGI_ESCAPE_H
#define ENCKE_FCGI_ESCAPE_H

#include <stddef.h>

#include "fcgi/io/buf.h"

/* A JSON string (RFC 8259, 7), quotes included. */
void escape_json(struct buf *out, const char *text, size_t len);

/* The same without the quotes. */
void escape_json_text(struct buf *out, const char *text, size_t len);

/* Text in an HTML element or a quoted attribute. */
void escape_html(struct buf *out, const char *text, size_t len);

/* A JavaScript string, quotes included. It cannot end the <script> around it (HTML standard,
 * 4.12.1.3), nor the line in old engines, to which U+2028 and U+2029 are line ends. */
void escape_script(struct buf *out, const char *text, size_t len);

/* The data lines of a Server-Sent Event (HTML standard, 9.2.5): one for each line of the text. CR,
 * LF and CRLF end a line. The caller adds the empty line that ends the event. */
void escape_event(struct buf *out, const char *text, size_t len);

/* The text in one line: each CR, LF or CRLF becomes a space. */
void escape_line(struct buf *out, const char *text, size_t len);

#endif
