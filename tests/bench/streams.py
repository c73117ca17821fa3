"""Scenarios: streams of every kind that get messages, and streams that do not read."""
from bench import scenario
from fanout import FAN_NOTE, fan_columns
from servers import Encke, nchan, nginx, two_workers
from table import ERRORS, Column, Section

NCHAN_KINDS = ("sse", "ws")

LISTEN = ";\n    server_name"  # the end of nginx's directive of that name

MEMORY_COLUMNS = (
    Column("resident bytes", "daemon_rss_bytes_a_stream", 0),
    Column("of it heap", "daemon_heap_bytes_a_stream", 0),
)


def stream_memory(bench, kind):
    """What a stream costs, in a daemon that has had streams, but not many.

    What is allocated once is no memory of a stream, nor is what earlier ones left to be used again.
    """
    with Encke(bench, "memory") as daemon:
        site, options = daemon.straight, [*daemon.straight.streams(kind), "-r", 1]
        bench.unmeasured(site, "streams", *options, "-n", 50)
        options += ["-n", bench.options.streams]
        bench.load(site, "streams", *options, case=kind, table="stream-memory")


@scenario(
    Section(
        "{streams} streams of a kind, one message to all: ms since it was sent, and CPU ms",
        # The first turn opens nginx's memory of a stream; the next ones find it there.
        (*fan_columns(), Column("nginx's bytes", "web_rss_bytes_a_stream", 0, of=max)),
        "kind",
        note=FAN_NOTE,
    ),
    Section(
        "A stream in the daemon, beyond what the kernel needs for its socket",
        MEMORY_COLUMNS,
        "kind",
        table="stream-memory",
    ),
    full_s=35,
)
def streams(bench):
    """many streams of a kind, one message to all"""
    options = bench.options
    size = ("-n", options.streams, "-r", options.rounds)
    sites = {}
    for kind in options.kinds:
        stream_memory(bench, kind)
        # An nginx of its own: so its memory, too, is of this kind alone.
        sites[kind] = [nginx(bench, bench.daemon), bench.daemon.straight]
        if kind in NCHAN_KINDS:
            sites[kind] += [nchan(bench)]
    for _ in bench.turns():
        for kind in options.kinds:
            for site in bench.among(*sites[kind]):
                bench.load(site, "streams", *site.streams(kind), *size, case=kind)
            lengths = bench.results.values(("streams", kind, "nginx+encke"), "bytes_each")
            floor = (options.streams, int(max(lengths, default=200)), options.rounds)
            bench.program("send loop", "sends", *floor, case=kind)


def campaign_columns(phase):
    """Of the messages published while those streams are not there ("alone") or do not read."""
    return (
        Column("creates/s", f"{phase}_creates_a_second", 0, spread=True),
        Column("p99 ms", f"{phase}_create_p99_ms"),
        Column("2nd half", f"{phase}_late_creates_a_second", 0),
        Column("create p99", f"{phase}_late_create_p99_ms"),
        Column("stream p99", f"{phase}_late_stream_p99_ms"),
        Column("poll p99", f"{phase}_late_poll_p99_ms"),
        Column("CPU us", f"daemon_{phase}_cpu_us_a_create", 0),
        Column("RSS MiB", f"{phase}_daemon_most_rss_mib"),
    )


CATCH_UP_COLUMNS = (
    Column("all there after s", "catch_up_s", spread=True),
    Column("MiB/s", "catch_up_mib_a_second", 0),
    Column("create p50", "catch_create_p50_ms"),
    Column("create p99", "catch_create_p99_ms"),
    Column("RSS MiB", "catch_daemon_most_rss_mib"),
    ERRORS,
)


@scenario(
    Section(
        "{messages} messages of 1 KiB, to a few readers",
        campaign_columns("alone"),
        "kind",
        note="2nd half: of the messages; by then, below, the sockets of those are full",
    ),
    Section(
        "... and beside them {slow} streams that do not read",
        (*campaign_columns("slow"), Column("behind", "streams_behind", 0)),
        "kind",
    ),
    Section("They read again: each message once, and in order", CATCH_UP_COLUMNS, "kind"),
    full_s=150,
)
def slow(bench):
    """streams that do not read, and what they do to others"""
    options = bench.options
    size = ("-n", options.slow, "--messages", options.messages)
    with Encke(bench, "slow") as daemon:
        # On loopback the kernel lets nginx have some 1.5 MB on their way to each client, because
        # packets are so large there; over a network it is a tenth of that. So nginx's buffers are
        # made as they are over a network, or 1,000 streams take more memory than TCP may have here.
        site = nginx(bench, daemon, edits=[(LISTEN, LISTEN.replace(";", " sndbuf=64k;"))])
        # Its memory of recent messages is full before the first turn, and does not grow any more.
        fill = ("-n", 64, "-t", 2, "--post", "msg=" + "x" * 1000)
        bench.unmeasured(site, "rate", *fill, rest="create")
        # A turn takes long and shows much: half as many will do.
        for _ in bench.turns((options.repeats + 1) // 2):
            for kind in options.kinds:
                for contestant in bench.among(site, daemon.straight):
                    kinds = contestant.streams(kind)
                    bench.load(contestant, "slow", *kinds, *size, case=kind)


FLOOD_COLUMNS = (
    Column("delivered/s", "deliveries_a_second", 0, spread=True),
    Column("/ nginx+encke", "deliveries_a_second", 2, to="nginx+encke"),
    Column("in time", "share_in_time", 2),
    Column("all after s", "all_s", 1),
    Column("p50 ms", "p50_ms", 0),
    Column("p99 ms", "p99_ms", 0),
    Column("create p99", "create_p99_ms"),
    Column("CPU us: daemon", "daemon_cpu_us_a_delivery"),
    Column("web", "web_cpu_us_a_delivery"),
    Column("both", "daemon_cpu_us_a_delivery", plus="web_cpu_us_a_delivery"),
    Column("client", "load_cpu_us_a_delivery"),
    ERRORS,
)


@scenario(
    Section(
        "{flood} event streams and as many WebSockets, {flood_rate} messages/s for {flood_seconds} s",
        FLOOD_COLUMNS,
        note="nginx with two workers; in time: had come when the last one was published; CPU is for "
        "each delivery; both: daemon and web; the client has the same cores, so what it needs less "
        "for one contestant than for another is that one's gain",
    ),
    full_s=78, quick_s=5,
)
def flood(bench):
    """event streams and WebSockets, and more messages than can be delivered in time"""
    options = bench.options
    # A stream is two connections of nginx: more than one worker may have.
    sites = two_workers(bench, "nginx+encke", "nginx+nchan")
    flood = ("-k", "sse,ws", "-n", 2 * options.flood, "--rate", options.flood_rate)
    for _ in bench.turns((options.repeats + 1) // 2):
        for site in bench.in_turn(sites):
            bench.load(site, "streams", *flood, "-t", options.flood_seconds, "--give-up", 60)
