#!/usr/bin/python3
"""tornado_board.py - a message board on Tornado, for the benchmark to measure Encke beside.

    tornado_board.py PORT          on 127.0.0.1, until it is killed

Written as somebody would who knows Tornado and wants it fast: one process on the asyncio loop, a
future a waiter and no timer of its own for it, no ETag, no log line a request.

    POST /create   msg=TEXT        {"id": "17"}
    GET  /update?id=ID|now         {"id": "18", "messages": [{"id", "time", "data"}, ...]}
    GET  /events?id=ID|now         the same messages as Server-Sent Events
    GET  /status                   {"holds": N, "streams": {"events": N}}

An `update` with nothing newer than ID waits for it, at most HOLD_S.
"""
import asyncio
import sys
import time

from board import BACKLOG, HOLD_S, Board
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

board = Board()


class Waiting:
    """Those who wait for the next message. All wait equally long, so who came first is due first."""

    def __init__(self):
        self.futures = {}  # until when

    def wait(self):
        future = asyncio.get_running_loop().create_future()
        self.futures[future] = time.monotonic() + HOLD_S
        return future

    def wake(self):
        futures, self.futures = self.futures, {}
        for future in futures:
            future.set_result(None)

    def end(self, future):
        if self.futures.pop(future, None):
            future.set_result(None)

    def end_due(self):
        now = time.monotonic()
        due = []
        for future, until in self.futures.items():
            if until > now:
                break
            due.append(future)
        for future in due:
            self.end(future)


waiting = Waiting()


class Handler(RequestHandler):
    def set_default_headers(self):
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self):
        return None


class Create(Handler):
    def post(self):
        answer = board.create(self.get_body_argument("msg", strip=False))
        waiting.wake()
        self.finish(answer)


class Waiter(Handler):
    news = None
    gone = False

    async def wait(self):
        self.news = waiting.wait()
        await self.news

    def on_connection_close(self):
        self.gone = True
        if self.news:
            waiting.end(self.news)


class Update(Waiter):
    held = 0

    async def get(self):
        since = board.since(self.get_query_argument("id", ""))
        if since == board.head:
            Update.held += 1
            await self.wait()
            Update.held -= 1
        if not self.gone:
            self.finish(board.answer(since))


class Events(Waiter):
    """A reader that is slow gets what has come meanwhile in one piece."""

    opened = 0

    async def get(self):
        since = board.since(self.get_query_argument("id", ""))
        self.set_header("Content-Type", "text/event-stream")
        Events.opened += 1
        try:
            await self.flush()
            while not self.gone:
                if since == board.head:
                    await self.wait()
                self.write(board.events(since))
                since = board.head
                await self.flush()
        except StreamClosedError:
            pass
        finally:
            Events.opened -= 1


class Status(Handler):
    def get(self):
        self.finish({"holds": Update.held, "streams": {"events": Events.opened}})


async def main(port):
    application = Application(
        [("/create", Create), ("/update", Update), ("/events", Events), ("/status", Status)],
        log_function=lambda handler: None,
    )
    HTTPServer(application).add_sockets(bind_sockets(port, "127.0.0.1", backlog=BACKLOG))
    PeriodicCallback(waiting.end_due, 1000).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tornado_board.py PORT")
    asyncio.run(main(int(sys.argv[1])))
