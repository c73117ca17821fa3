"""The options of the bench, with what they are in a full run and in a quick one."""
import argparse
import os
import shlex
from pathlib import Path

import fanout
import streams
import rates
import durable
import latency
import relay
from bench import SCENARIOS
from servers import STARTERS

#: Where the scenarios are. They run in the order in which these are imported.
MODULES = (fanout, streams, rates, durable, latency, relay)
ROOT = Path(__file__).resolve().parents[2]
KINDS = ("sse", "lines", "iframe", "ws")


def number(text):
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 on")
    return int(text)


def numbers(text):
    return [number(part) for part in text.split(",")]


def among(known):
    """Takes a list of names, each one of those."""

    def names(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"knows no '{name}', only {', '.join(known)}")
        return chosen

    return names


LEFT_OUT = (  # in a quick run
    "lighttpd+encke", "lighttpd+holder", "nginx+tornado", "nginx+gevent", "tornado", "gevent",
    "nginx return",
)  # fmt: skip

#: name, metavar, type, in a full run, in a quick run, what it is
SIZES = (
    ("holds", "LIST", numbers, "1000,4000,8000", "4000", "requests held at once"),
    ("crowds", "LIST", numbers, "8000,12000", "8000", "the same, with two nginx workers"),
    ("streams", "N", number, "5000", "5000", "streams that get a message"),
    ("kinds", "LIST", among(KINDS), "sse,ws", "sse,ws", f"of {','.join(KINDS)}: kinds of streams"),
    ("slow", "N", number, "1000", "200", "streams that do not read"),
    ("messages", "K", number, "10000", "2000", "published while they do not, of 1 KiB each"),
    ("relayed", "N", number, "5000", "1000", "polls that are relayed to an upstream, all the same"),
    ("queries", "LIST", numbers, "100,1000", "100", "how many different ones are relayed at once"),
    ("pace", "P", number, "5", "5", "publishes a second there, beside the board's load"),
    ("publishers", "LIST", numbers, "1,16,64,256", "64", "connections that create at a time"),
    ("sizes", "LIST", numbers, "60,1024", "60", "bytes of a message, beside stores"),
    ("asking", "C", number, "64", "64", "connections that update, or ask for status, at a time"),
    ("flood", "N", number, "5000", "2000", "streams, and as many WebSockets, that are flooded"),
    ("flood-rate", "M", number, "100", "100", "messages a second then"),
    ("flood-seconds", "S", number, "2", "1", "for how long"),
    ("fsync", "MS", number, "5", "5", "how much longer a slow disk's fsync takes"),
    ("read", "MS", number, "20", "20", "how much longer a slow disk's read takes"),
    ("paging", "N", number, "100", "100", "clients that read old pages from it"),
    ("old", "N", number, "100000", "100000", "messages that these are in"),
    ("chain", "N", number, "10000", "1000", "messages in a chain, one after the other"),
    ("logs", "LIST", numbers, "1000,100000,10000000", "1000,100000", "how long logs are to be"),
    ("storm", "N", number, "8000", "2000", "clients that come back at once"),
    ("behind", "M", number, "1000", "1000", "how many messages they are behind, at most"),
    ("quiet", "S", number, "5", "1", "how long their publishers are alone before that"),
    ("rounds", "R", number, "6", "3", "publishes a turn"),
    ("repeats", "T", number, "5", "2", "turns a contestant"),
    ("seconds", "S", number, "2", "1", "length of a turn that counts requests a second"),
    ("idle", "S", number, "10", "2", "how long to watch the holds while nothing happens"),
    ("workers", "W", number, "1", "1", "nginx's worker processes"),
)

EPILOG = """\
scenarios:
{scenarios}

contestants:
{contestants}

environment: ENCKE_BIN (build/encke), BENCH_BIN (build/bench), ENCKE_SHIMS (build/tests),
ENCKE_ARGS (options of the daemon), NGINX_WORKERS (1).
"""


def parser():
    scenarios = "\n".join(f"  {name:<17}{it.run.__doc__}" for name, it in SCENARIOS.items())
    contestants = "\n".join(f"  {name:<17}{it.what}" for name, it in STARTERS.items())
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description="Measures Encke on this machine, beside its peers and the floors below it.",
        epilog=EPILOG.format(scenarios=scenarios, contestants=contestants),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer and shorter runs")
    add("--only", metavar="LIST", type=among(SCENARIOS), help="scenarios, comma between")
    add("--contestants", metavar="LIST", type=among(STARTERS), help="only these")
    for name, metavar, kind, full, quick, text in SIZES:
        default = full if full == quick else f"{full}; quick {quick}"
        add(f"--{name}", metavar=metavar, type=kind, help=f"{text} ({default})")
    add("--edit", metavar="SED", default="", help="change nginx's configuration so, to try it")
    add("--dir", metavar="DIR", type=Path, help="where the log and the sockets are: which disk")
    add("--csv", metavar="FILE", nargs="?", const="-", help="every figure of every round; without "
        "FILE in place of the table")  # fmt: skip
    add("--svg", metavar="FILE", type=Path, help="plot how cost grows with those that wait")
    return parser


def parse(arguments):
    """The options, complete. Ends the program if there is something wrong with them."""
    options = parser().parse_args(arguments)
    environment = os.environ.get
    options.encke = Path(environment("ENCKE_BIN") or ROOT / "build" / "encke").absolute()
    options.programs = Path(environment("BENCH_BIN") or ROOT / "build" / "bench").absolute()
    shims = environment("ENCKE_SHIMS") or options.programs.parent / "tests"
    options.fault = Path(shims, "fault.so").absolute()
    options.encke_args = shlex.split(environment("ENCKE_ARGS", ""))
    for name in ("ENCKE_BIN", "ENCKE_SHIMS", "ENCKE_ARGS"):
        os.environ.pop(name, None)  # the daemon refuses what is no option of its own
    options.dir = options.dir or options.programs
    if not options.workers and environment("NGINX_WORKERS"):
        try:
            options.workers = number(environment("NGINX_WORKERS"))
        except argparse.ArgumentTypeError as error:
            parser().error(f"NGINX_WORKERS: {error}")
    options.usual = not options.contestants  # so that it takes about as long as we know
    for name, _, kind, full, quick, _ in SIZES:
        name = name.replace("-", "_")
        if getattr(options, name):
            options.usual = False
        else:
            setattr(options, name, kind(quick if options.quick else full))
    every = [name for name, it in SCENARIOS.items() if it.quick_s or not options.quick]
    options.only = options.only or every
    left_out = LEFT_OUT if options.quick else ()
    options.contestants = options.contestants or [it for it in STARTERS if it not in left_out]
    return options
