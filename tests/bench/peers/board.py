"""board.py - the messages of the two Python boards: what is the same on Tornado and on gevent.

In memory only: nothing is on disk when a create is answered. Every answer is rendered once for all
who get it, as bytes: who waits for the next message asks with the same id.
"""
import gc
import time
from collections import deque
from itertools import islice
from json import JSONEncoder

HOLD_S = 55  # how long an update waits
KEEP = 10000  # messages
BACKLOG = 4096  # connections that wait to be accepted

# With thousands of requests held Python's default, a collection every 700 new objects, looks through
# the same objects again and again: a fan-out takes a third longer.
gc.set_threshold(100_000, 20, 20)

_compact = JSONEncoder(separators=(",", ":")).encode


class Board:
    def __init__(self):
        self.messages = deque(maxlen=KEEP)  # as JSON
        self.head = 0  # the last one's id
        self.answers = {}  # by the id asked from; until the next message

    def create(self, text):
        """Adds a message; returns the answer to its publisher."""
        self.head += 1
        message = _compact({"id": str(self.head), "time": int(time.time() * 1000), "data": text})
        self.messages.append(message)
        self.answers.clear()
        return b'{"id":"%d"}' % self.head

    def since(self, text):
        """The id that a client says it has. Absent or unknown: 0, before all messages."""
        if text == "now":
            return self.head
        since = int(text) if text.isdecimal() else 0
        return since if since <= self.head else 0

    def answer(self, since):
        """The messages after that id, as JSON."""
        body = self.answers.get(since)
        if body is None:
            kept_from = self.head - len(self.messages)
            messages = ",".join(islice(self.messages, max(since - kept_from, 0), None))
            body = f'{{"id":"{self.head}","messages":[{messages}]}}'.encode()
            self.answers[since] = body
        return body
