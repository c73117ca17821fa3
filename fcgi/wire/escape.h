/* escape.h - text that is data, written so that it stays data: in JSON, HTML, scripts and events.
 *
 * All text was checked to be UTF-8 without NUL when it came in. Pure, but for the buffer.
 */
#ifndef ENCKE_FCGI_ESCAPE_H
#define ENCKE_FCGI_ESCAPE_H

#include <stddef.h>

#include "fcgi/io/buf.h"

/* A JSON string (RFC 8259, 7), quotes included. */
void escape_json(struct buf *out, const char *text, size_t len);

/* The same without its quotes. */
void escape_json_text(struct buf *out, const char *text, size_t len);

/* The text of an HTML element or quoted attribute. */
void escape_html(struct buf *out, const char *text, size_t len);

/* A JavaScript string, quotes included, that cannot end the <script> around it (HTML standard,
 * 4.12.1.3), nor the line in engines that take U+2028 and U+2029 for line ends. */
void escape_script(struct buf *out, const char *text, size_t len);

/* The data lines of a Server-Sent Event (HTML standard, 9.2.5): one a line of the text, which CR,
 * LF and CRLF end. The blank line that ends the event is left to the caller. */
void escape_event(struct buf *out, const char *text, size_t len);

/* The text in one line: CR, LF and CRLF become a blank. */
void escape_line(struct buf *out, const char *text, size_t len);

#endif
