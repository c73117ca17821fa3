// A proxy in front of the web server that treats some endpoints badly, as proxies do:
//
//   refuse   404, and no upgrade           buffer   the answer is passed on when it has ended
//   hang     takes the request, no more    cut      the answer ends after its first bytes
//
//   const proxy = await badProxy(t, stack, { websocket: 'refuse', events: 'buffer' });
//
// `proxy.treats` may be changed at any time; what is under way is not changed by that.
import http from 'node:http';
import net from 'node:net';
import { defer } from './harness.mjs';

const nameOf = (url) => url.split('?')[0].split('/').at(-1);

export async function badProxy(t, stack, treats = {}) {
  const sockets = new Set();
  const proxy = { treats, asked: {} };
  const treatment = (req) => {
    const name = nameOf(req.url);
    proxy.asked[name] = (proxy.asked[name] ?? 0) + 1;
    return proxy.treats[name];
  };

  const server = http.createServer((req, res) => {
    const how = treatment(req);
    if (how === 'hang') return;
    if (how === 'refuse') {
      res.writeHead(404, { 'Content-Type': 'text/plain' });
      res.end('not here');
      return;
    }
    const { method, headers, url } = req;
    const on = http.request({ port: stack.web.port, host: '127.0.0.1', method, headers, path: url, agent: false });
    const kept = [];
    on.on('response', (answer) => {
      if (how !== 'buffer') {
        res.writeHead(answer.statusCode, answer.headers);
        res.flushHeaders();
      }
      answer.on('data', (part) => {
        if (how === 'buffer') kept.push(part);
        else res.write(part);
        if (how === 'cut') answer.destroy();
      });
      answer.on('close', () => {
        if (how === 'buffer') res.writeHead(answer.statusCode, answer.headers);
        res.end(Buffer.concat(kept));
      });
    });
    on.on('error', () => res.destroy());
    res.on('close', () => on.destroy());
    req.pipe(on);
  });

  server.on('upgrade', (req, socket, head) => {
    const how = treatment(req);
    socket.on('error', () => socket.destroy());
    if (how === 'hang') return;
    if (how === 'refuse') {
      socket.end('HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const on = net.connect(stack.web.port, '127.0.0.1', () => {
      const lines = [`${req.method} ${req.url} HTTP/1.1`];
      for (let i = 0; i < req.rawHeaders.length; i += 2) lines.push(`${req.rawHeaders[i]}: ${req.rawHeaders[i + 1]}`);
      on.write(`${lines.join('\r\n')}\r\n\r\n`);
      on.write(head);
      socket.pipe(on);
    });
    let seen = '';
    on.on('data', (part) => {
      socket.write(part);
      if (how !== 'cut') return;
      seen += part.toString('latin1');
      if (/\r\n\r\n./s.test(seen)) socket.end(); // the handshake's answer and the first frame have passed
    });
    on.on('error', () => socket.destroy());
    on.on('close', () => socket.destroy());
    socket.on('close', () => on.destroy());
  });

  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  proxy.origin = `http://127.0.0.1:${server.address().port}`;
  defer(t, () => new Promise((resolve) => {
    server.close(resolve);
    for (const socket of sockets) socket.destroy();
  }));
  return proxy;
}
