#!/usr/bin/python3
"""tornado_board.py - a message board on Tornado, for the benchmark to measure Encke beside.

    tornado_board.py PORT          on 127.0.0.1, until it is killed

Written as somebody would who knows Tornado and wants it fast: one process on the asyncio loop, a
future a waiter and no timer of its own for it, no ETag, no log line a request. The loop is
asyncio's own, as Tornado comes: uvloop, another package, is not tried.

    POST /create   msg=TEXT        {"id": "17"}
    GET  /update?id=ID|now         {"id": "18", "messages": [{"id", "time", "data"}, ...]}
    GET  /status                   {"holds": N}

An `update` with nothing newer than ID waits for it, at most HOLD_S.
"""
import asyncio
import sys
import time

from board import BACKLOG, HOLD_S, Board
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
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


class Update(Handler):
    held = 0
    news = None
    gone = False

    def on_connection_close(self):
        self.gone = True
        if self.news:
            waiting.end(self.news)

    async def get(self):
        since = board.since(self.get_query_argument("id", ""))
        if since == board.head:
            Update.held += 1
            self.news = waiting.wait()
            await self.news
            Update.held -= 1
        if not self.gone:
            self.finish(board.answer(since))


class Status(Handler):
    def get(self):
        self.finish({"holds": Update.held})


async def main(port):
    application = Application(
        [("/create", Create), ("/update", Update), ("/status", Status)],
        log_function=lambda handler: None,
    )
    HTTPServer(application).add_sockets(bind_sockets(port, "127.0.0.1", backlog=BACKLOG))
    PeriodicCallback(waiting.end_due, 1000).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tornado_board.py PORT")
    asyncio.run(main(int(sys.argv[1])))
