// Server-Sent Events, read to the letter of the HTML standard (9.2.6 "Interpreting an event
// stream"), so that what the daemon writes is judged by the standard and not by a client's grace.
//
//   const parser = new SseParser();
//   parser.push(bytes);              // whatever arrives, cut wherever
//   parser.events                    // what a browser would dispatch: {type, data, lastEventId}
//   parser.lastEventId, parser.retry // what it would reconnect with
//
// Beside that it notes what a browser would overlook: `comments`, and `ignored` fields.
export class SseParser {
  constructor() {
    this.decoder = new TextDecoder('utf-8'); // strips one BOM at the start, as the standard says
    this.rest = '';
    this.afterCr = false;
    this.data = '';
    this.type = '';
    this.idBuffer = '';
    this.lastEventId = '';
    this.retry = null;
    this.events = [];
    this.comments = [];
    this.ignored = [];
    this.blocks = 0; // empty lines
    this.onEvent = null;
  }

  push(bytes) {
    let text = this.decoder.decode(bytes, { stream: true });
    if (text === '') return;
    // A LF after a CR that ended the bytes before belongs to it.
    if (this.afterCr && text[0] === '\n') text = text.slice(1);
    this.afterCr = text === '' ? false : text.endsWith('\r');
    const lines = (this.rest + text).split(/\r\n|\r|\n/);
    this.rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === '') return this.#dispatch();
    if (line[0] === ':') return void this.comments.push(line.slice(1));
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value[0] === ' ') value = value.slice(1);
    switch (field) {
      case 'event':
        this.type = value;
        return;
      case 'data':
        this.data += `${value}\n`;
        return;
      case 'id':
        if (!value.includes('\0')) this.idBuffer = value;
        else this.ignored.push(line);
        return;
      case 'retry':
        if (/^[0-9]+$/.test(value)) this.retry = Number(value);
        else this.ignored.push(line);
        return;
      default:
        this.ignored.push(line);
    }
  }

  #dispatch() {
    this.blocks++;
    this.lastEventId = this.idBuffer;
    const { data, type } = this;
    this.data = '';
    this.type = '';
    if (data === '') return;
    const event = {
      type: type || 'message',
      data: data.slice(0, -1),
      lastEventId: this.lastEventId,
    };
    this.events.push(event);
    this.onEvent?.(event);
  }
}
