"""The contestants: how each is started, and what the load generator must know of it.

All listen on loopback or on unix sockets in the bench's folder. Those that several scenarios
measure are rows of STARTERS: each is started when it is first asked for, and runs to the end.
"""
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Callable

from processes import Failure, children, free_port, listens

MESSAGE = "x" * 60

NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
PYTHON = Path("/usr/bin/python3")  # Debian's, which has Debian's tornado and gevent
MODULES = Path("/usr/lib/python3/dist-packages")


@dataclasses.dataclass
class Contestant:
    """Something that answers: `base` is where its endpoints are, in the way load writes addresses.

    `watch` says whose CPU and memory count: of the `daemon`, and of the `web` server before it.
    """

    name: str
    base: str
    watch: dict
    websocket: str = ""  # where its WebSockets are, if not at `base`
    dialect: str = "encke"  # that load speaks to it
    publish: str = "create"  # where it takes messages, and what stands before one
    form: str = "msg="

    def options(self):
        """Options of load in any mode."""
        yield from ("--dialect", self.dialect)
        for name, pids in self.watch.items():
            yield from ("--watch", f"{name}={','.join(map(str, pids))}")

    def streams(self, kind):
        """Options of load for streams of this kind."""
        yield from ("-k", kind)
        if kind == "ws" and self.websocket:
            yield from ("--streams-at", self.websocket)


# ---- the daemon ------------------------------------------------------------------------------


class Encke:
    """A daemon with a log of its own; at the end of a `with` both are gone."""

    def __init__(self, bench, name, *options, env=None, under=()):
        """`name` is its files', `options` are its own, `env` is for its environment, `under` is a
        command that starts it."""
        self.bench, self.name, self.env, self.under = bench, name, env, under
        self.db = bench.scratch / f"{name}.db"
        self.socket = bench.scratch / f"{name}.sock"
        self.remove_files()  # of one that did not come to its end
        self.start(*options)

    def start(self, *options):
        """With the log as it is."""
        websocket = self.socket.with_name(f"{self.name}-websocket.sock")
        command = [*self.under, self.bench.options.encke, "--db", self.db]
        command += ["--socket", self.socket, "--websocket-socket", websocket]
        command += [*options, *self.bench.options.encke_args]
        self.process = self.bench.processes.start(self.name, *command, env=self.env)
        self.process.wait_until(self.socket.is_socket)
        #: With no web server between.
        self.straight = Contestant(
            "encke",
            f"fcgi:{self.socket}:/comet/",
            {"daemon": [self.process.pid]},
            f"unix:{websocket}:/comet/",
        )

    def stop(self):
        self.bench.processes.stop(self.process)
        self.remove_files()

    def remove_files(self):
        self.socket.unlink(missing_ok=True)
        for file in self.db.parent.glob(f"{self.db.name}*"):
            file.unlink()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# ---- web servers in front ----------------------------------------------------------------------


def replace_in(file, *pairs):
    """Replaces texts in a file, each of which must be there."""
    text = file.read_text()
    for old, new in pairs:
        if old not in text:
            raise Failure(f"{file} has no '{old}': the bench and the configuration disagree")
        text = text.replace(old, new, 1)
    file.write_text(text)


def write_site(bench, server, folder, port, socket, workers):
    """Has deploy/site write a configuration; returns the command that starts the server."""
    command = [bench.root / "deploy" / "site", server, folder, port, socket]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env={**os.environ, "NGINX_WORKERS": str(workers)},
    )
    if done.returncode:
        raise Failure(f"no configuration for {server}: {done.stderr.strip()}")
    return shlex.split(done.stdout)


def new_folder(bench, name):
    """One below the bench's that is not there yet: NAME, NAME-2, ..."""
    number = 1
    while True:
        folder = bench.scratch / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            folder.mkdir()
            return folder
        number += 1


def start_nginx(bench, name, socket, configure, workers=None):
    """nginx for the backend on this socket, with what deploy/site writes for it.

    `configure(folder, port)` may change that before it starts. Returns the port, and the workers:
    the master does nothing.
    """
    workers = workers or bench.options.workers
    folder, port = new_folder(bench, f"nginx-{name}"), free_port()
    command = write_site(bench, "nginx", folder, port, socket, workers)
    configure(folder, port)
    sed = ["sed", "-i", "-e", bench.options.edit, str(folder / "encke.conf")]
    if subprocess.run(sed).returncode:
        raise Failure("sed can't do --edit: it is a script for sed, like 's/16k/32k/'")
    process = bench.processes.start(folder.name, *command)
    process.wait_until(lambda: listens(port) and len(children(process.pid)) >= workers)
    return port, children(process.pid)


def start_lighttpd(bench, name, socket):
    """lighttpd for the backend on this socket; returns the port, and its process."""
    folder, port = new_folder(bench, f"lighttpd-{name}"), free_port()
    command = write_site(bench, "lighttpd", folder, port, socket, 1)
    process = bench.processes.start(folder.name, *command)
    process.wait_until(lambda: listens(port))
    return port, [process.pid]


def with_floor(*edits):
    """Changes deploy/nginx/ in these places, and adds the location /floor to it."""
    floor = f'\nserver {{\n    location = /floor {{ return 200 "{MESSAGE}"; }}'
    return lambda folder, _: replace_in(folder / "encke.conf", ("\nserver {", floor), *edits)


def nginx(bench, daemon, workers=None, edits=()):
    """An Encke behind an nginx of its own with deploy/nginx/."""
    configure = with_floor(*edits)
    port, pids = start_nginx(bench, daemon.process.name, daemon.socket, configure, workers)
    watch = {**daemon.straight.watch, "web": pids}
    return Contestant("nginx+encke", f"http://127.0.0.1:{port}/comet/", watch)


def lighttpd(bench, daemon):
    """An Encke behind a lighttpd of its own with deploy/lighttpd/."""
    port, pids = start_lighttpd(bench, daemon.process.name, daemon.socket)
    watch = {**daemon.straight.watch, "web": pids}
    return Contestant("lighttpd+encke", f"http://127.0.0.1:{port}/comet/", watch)


# ---- peers -------------------------------------------------------------------------------------


def put_peer(bench, folder, name, port, *edits):
    """Has a peer's configuration in the place of deploy/nginx/, with this port."""
    text = (bench.root / "tests" / "bench" / "peers" / name).read_text()
    (folder / "encke.conf").write_text(text)
    listen = ("\n    listen 80 ", f"\n    listen 127.0.0.1:{port} ")
    replace_in(folder / "encke.conf", listen, *edits)


def nchan(bench, workers=None):
    """nchan, in the same nginx with the same main settings."""

    def configure(folder, port):
        put_peer(bench, folder, "nchan.conf", port)
        module = f"load_module {NCHAN};\nworker_processes"
        replace_in(folder / "nginx.conf", ("worker_processes", module))

    port, pids = start_nginx(bench, "nchan", bench.scratch / "none.sock", configure, workers)
    base = f"http://127.0.0.1:{port}/"
    return Contestant(
        "nginx+nchan", base, {"web": pids}, dialect="nchan", publish="publish", form=""
    )


def two_workers(bench, *names):
    """Those of Encke, nchan and holder that take part, each behind an nginx with two workers."""
    starters = {
        "nginx+encke": lambda: nginx(bench, bench.daemon, workers=2),
        "nginx+nchan": lambda: nchan(bench, workers=2),
        "nginx+holder": lambda: nginx_backend(bench, "holder", workers=2),
    }
    return [starters[name]() for name in starters if name in names and bench.takes_part(name)]


def start_board(bench, name, process_name):
    """Starts one of the boards in Python; returns its port and pid."""
    port = free_port()
    program = bench.root / "tests" / "bench" / "peers" / f"{name}_board.py"
    process = bench.processes.start(process_name, PYTHON, "-B", program, port)
    process.wait_until(lambda: listens(port))
    return port, process.pid


def python_board(bench, name):
    """A message board in Python, that is its own web server."""
    port, pid = start_board(bench, name, name)
    return Contestant(name, f"http://127.0.0.1:{port}/", {"daemon": [pid]})


def nginx_board(bench, name):
    """Another such board, behind the same nginx."""

    def configure(folder, port):
        put_peer(bench, folder, "proxy.conf", port, ("127.0.0.1:81;", f"127.0.0.1:{board};"))

    board, pid = start_board(bench, name, f"{name}-behind")
    port, pids = start_nginx(bench, name, bench.scratch / "none.sock", configure)
    watch = {"daemon": [pid], "web": pids}
    return Contestant(f"nginx+{name}", f"http://127.0.0.1:{port}/", watch)


# ---- floors ------------------------------------------------------------------------------------


def backend(bench, name, length):
    """Starts a program that answers so many bytes, each time for a web server of its own.

    Returns its process, and its socket.
    """
    number = sum(process.name.startswith(name) for process in bench.processes.running) + 1
    socket = bench.scratch / f"{name}-{number}.sock"
    command = bench.options.programs / name, socket, length
    process = bench.processes.start(f"{name}-{number}", *command)
    process.wait_until(socket.is_socket)
    return process, socket


def held_answer(bench):
    """The length of the body with which Encke answers a hold."""
    board = bench["nginx+encke"]
    return len(fetch(board.base + ready(board)))


def nginx_backend(bench, name, workers=None):
    """A program behind nginx, whose answer is about as long as Encke's to an update."""
    process, socket = backend(bench, name, held_answer(bench))
    port, pids = start_nginx(bench, process.name, socket, with_floor(), workers)
    watch = {"daemon": [process.pid], "web": pids}
    return Contestant(f"nginx+{name}", f"http://127.0.0.1:{port}/comet/", watch)


def lighttpd_holder(bench):
    """What lighttpd needs for a fan-out with any backend at all."""
    process, socket = backend(bench, "holder", held_answer(bench))
    port, pids = start_lighttpd(bench, process.name, socket)
    watch = {"daemon": [process.pid], "web": pids}
    return Contestant("lighttpd+holder", f"http://127.0.0.1:{port}/comet/", watch)


def nginx_return(bench):
    """The floor of the web server itself: `return 200` beside Encke's locations."""
    board = bench["nginx+encke"]
    base = urllib.parse.urljoin(board.base, "/floor")
    return Contestant("nginx return", base, {"web": board.watch["web"]})


@dataclasses.dataclass(frozen=True)
class Starter:
    """How a contestant is started (not a program that runs and ends, nor what only one scenario
    has), what must be there for it, and what it is."""

    start: Callable
    needs: object
    what: str


#: What --contestants chooses from: those of several scenarios, by their names in the table.
STARTERS = {
    "nginx+encke": Starter(
        lambda bench: nginx(bench, bench.daemon), "nginx", "Encke behind deploy/nginx/"
    ),
    "nginx+nchan": Starter(nchan, NCHAN, "nchan in the same nginx; messages in memory"),
    "lighttpd+encke": Starter(
        lambda bench: lighttpd(bench, bench.daemon), "lighttpd", "Encke behind deploy/lighttpd/"
    ),
    "encke": Starter(
        lambda bench: bench.daemon.straight, "setpriv", "Encke alone, asked straight, in FastCGI"
    ),
    "nginx+tornado": Starter(
        lambda bench: nginx_board(bench, "tornado"), MODULES / "tornado",
        "a board on Tornado behind the same nginx; in memory",
    ),
    "nginx+gevent": Starter(
        lambda bench: nginx_board(bench, "gevent"), MODULES / "gevent",
        "a board on gevent behind the same nginx; in memory",
    ),
    "tornado": Starter(
        lambda bench: python_board(bench, "tornado"), MODULES / "tornado",
        "the board on Tornado, asked straight",
    ),
    "gevent": Starter(
        lambda bench: python_board(bench, "gevent"), MODULES / "gevent",
        "the board on gevent, asked straight",
    ),
    "nginx+holder": Starter(
        lambda bench: nginx_backend(bench, "holder"), "nginx",
        "floor: a backend that only holds, and sends all the same answer",
    ),
    "lighttpd+holder": Starter(lighttpd_holder, "lighttpd", "floor: the same behind lighttpd"),
    "nginx+hello": Starter(
        lambda bench: nginx_backend(bench, "hello"), "nginx",
        "floor: a bare libfcgi responder behind the same nginx",
    ),
    "nginx return": Starter(nginx_return, "nginx", "floor: nginx's own return 200"),
    "redis": Starter(
        None, "redis-server", "a store: Redis streams; appendfsync always"
    ),
    "postgresql": Starter(
        None, "/usr/lib/postgresql", "a store: PostgreSQL, an INSERT a transaction"
    ),
    "nats": Starter(
        None, "nats-server", "a store: NATS JetStream; before 2.10 not on the disk at once"
    ),
    "beanstalkd": Starter(None, "beanstalkd", "a store: beanstalkd -f0"),
    "send loop": Starter(None, "setpriv", "floor: one send(2) a socket, in a loop"),
    "SQLite inserts": Starter(None, "setpriv", "floor: SQLite alone on the same disk"),
}  # fmt: skip


def check_installed(names):
    """That what these contestants need is there."""
    for name in names:
        need = STARTERS[name].needs
        if not Path(need).exists() and not shutil.which(need):
            raise Failure(
                f"{name} needs {need}, which is not installed: run deploy/packages bench, or leave "
                f"it out (--contestants)"
            )


# ---- requests that are not measured --------------------------------------------------------------


def fetch(url, form=None, head=False):
    """The body of a 200; with `head` its head before it."""
    data = urllib.parse.urlencode(form).encode() if form else None
    try:
        with urllib.request.urlopen(url, data, timeout=10) as answer:
            body = answer.read()
            return b"HTTP/1.1 200 OK\r\n%s%s" % (answer.headers.as_bytes(), body) if head else body
    except (urllib.error.URLError, OSError) as error:
        raise Failure(f"{url} does not answer: {error}") from error


def ready(board):
    """An update of this Encke with exactly one message, on a channel that nobody else writes to."""
    answers = [fetch(f"{board.base}create?channel=ready", {"msg": MESSAGE}) for _ in range(2)]
    return f"update?channel=ready&id={json.loads(answers[0])['id']}"


def answer_size(board):
    """About what an answer with one message is on a socket: head, body, frames."""
    return len(fetch(board.base + ready(board), head=True))
