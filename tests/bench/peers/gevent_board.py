#!/usr/bin/python3
"""gevent_board.py - a message board on gevent, for the benchmark to measure Encke beside.

    gevent_board.py PORT          on 127.0.0.1, until it is killed

Written as somebody would who knows gevent and wants it fast: pywsgi, a greenlet a connection, one
event that all waiters wait for, no log line a request.

    POST /create   msg=TEXT        {"id": "17"}
    GET  /update?id=ID|now         {"id": "18", "messages": [{"id", "time", "data"}, ...]}
    GET  /status                   {"holds": N}

An `update` with nothing newer than ID waits for it, at most HOLD_S. When its client goes away
before, it holds on: pywsgi does not look.
"""
import sys
from socket import AF_INET, IPPROTO_TCP, TCP_NODELAY
from urllib.parse import parse_qs

from board import BACKLOG, HOLD_S, Board
from gevent.event import Event
from gevent.pywsgi import WSGIServer

JSON = ("Content-Type", "application/json")
NO_STORE = ("Cache-Control", "no-store")

board = Board()
news = Event()  # set, and put away, by the next message
held = 0


def answer(start_response, body, status="200 OK"):
    start_response(status, [JSON, NO_STORE, ("Content-Length", str(len(body)))])
    return [body]


def create(environ, start_response):
    global news
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    texts = parse_qs(body.decode(), keep_blank_values=True).get("msg")
    if not texts:
        return answer(start_response, b'{"error": "msg is missing"}', "400 Bad Request")
    body = board.create(texts[0])
    for_all, news = news, Event()
    for_all.set()
    return answer(start_response, body)


def update(environ, start_response):
    global held
    since = board.since(parse_qs(environ["QUERY_STRING"]).get("id", [""])[0])
    if since == board.head:
        held += 1
        news.wait(HOLD_S)
        held -= 1
    return answer(start_response, board.answer(since))


def status(environ, start_response):
    return answer(start_response, b'{"holds": %d}' % held)


routes = {
    ("POST", "/create"): create,
    ("GET", "/update"): update,
    ("GET", "/status"): status,
}


def nothing(environ, start_response):
    return answer(start_response, b'{"error": "not here"}', "404 Not Found")


def application(environ, start_response):
    route = routes.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]), nothing)
    return route(environ, start_response)


def serve(port):
    listener = WSGIServer.get_listener(("127.0.0.1", port), backlog=BACKLOG, family=AF_INET)
    # Connections inherit it. pywsgi sends head and body one after the other, and without this a
    # body would wait for the client's delayed acknowledgement, 40 ms.
    listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    WSGIServer(listener, application, log=None).serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: gevent_board.py PORT")
    serve(int(sys.argv[1]))
