// Texts that find out what breaks: each is one message.

const LIMIT = 64 * 1024; // --max-message

// What could break out of a script, of HTML, of JSON or of a line.
export const HOSTILE = [
  ' ',
  '</script>',
  '</script><script>parent.stolen.push(1)</script>',
  '</SCRIPT\t><img src=x onerror=parent.stolen.push(2)>',
  '<!--',
  '<!--<script>',
  '--><!--',
  ']]>',
  '"',
  "'",
  '\\',
  '\\"',
  '\\u003c/script\\u003e',
  '");parent.stolen.push(3);("',
  '`${parent.stolen.push(4)}`',
  '&lt;&amp;&quot;&#60;',
  '\u2028',
  'a\u2028b\u2029c',
  '\u0085\u000b\u000c',
  '\u0001\u001f\u007f\u0080',
  '\n',
  '\r',
  '\r\n',
  '\r\r\n\n',
  'a\nb\rc\r\nd',
  'ends in LF\n',
  'ends in CR\r',
  '\nbegins with LF',
  '{"reset":true}',
  '{"id":"000000000000-1"}',
  'null',
  'é ü ß 日本語',
  '💥👩‍👩‍👧‍👦🏳️‍🌈',
  '\u{10ffff}\ufffd\uffff',
  'e\u0301',
  '\u202eright to left',
  '\ufeff',
  '\ufeffBOM first',
];

// What looks like the fields of an event stream.
export const FIELDS = [
  '  two spaces before',
  ':colon',
  'id: 7',
  'data: data: x',
  'event: reset',
  'retry: 1',
  '\n\n',
  'data: x\n\nevent: message\ndata: forged\n\n',
];

// The largest there are, and those that grow most when they are escaped.
export const LARGE = [
  'x'.repeat(LIMIT),
  '"'.repeat(LIMIT),
  '<'.repeat(LIMIT),
  '\n'.repeat(LIMIT),
  '\u0001'.repeat(LIMIT),
  '💥'.repeat(LIMIT / 4),
  'a\r\n'.repeat(LIMIT / 3),
];

export const TEXTS = [...HOSTILE, ...FIELDS, ...LARGE];
