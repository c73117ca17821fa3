/*
 * encke.js: read and write an Encke message log from a web page.
 *
 * Needs jQuery, transports.js and ladder.js before it. A page that wants news the moment it happens
 * does
 *
 *     const reader = new Encke.Reader({
 *         base: "comet/",                       // where the web server mounts Encke
 *         channels: ["news"],
 *         transport: "auto",                    // the best that the web server carries
 *         onmessages(messages) {
 *             for (const message of messages)
 *                 $("<li>").text(message.data).appendTo("#news");   // .text, never .html
 *         }
 *     });
 *     reader.start();
 *
 * and, to write,
 *
 *     Encke.create({ base: "comet/", channel: "news", message: "hello" })
 *         .then(answer => console.log("stored as", answer.id), failure => alert(failure.message));
 *
 * What a Reader promises: every message of its channels is handed over once, and those of one
 * channel in the order of the log, whatever happens to the line, the web server or the daemon.
 * The promise rests on three things.
 *
 *   The cursor.   Each answer brings an id, and the next ask starts from it. It moves when an
 *                 answer has arrived, never before, so what a broken request would have brought
 *                 is asked for again. It is opaque: kept and sent back, not looked into.
 *   The gap.      Where the server cannot go on from a cursor (another log, or one that has let
 *                 go of what came next) it says so, `reset`, and sends all that it still has.
 *                 What of that was handed over before is recognised and left out; `onreset`
 *                 tells the page.
 *   The join.     A channel that is picked later has its history read by itself first, and then
 *                 joins the others at their cursor. What both of these bring is, again, handed
 *                 over once.
 *
 * The Reader decides what to ask and when. How an answer travels is a transport's business
 * (transports.js); which of them, if it is left open, is the Ladder's (ladder.js). All go on from
 * the one cursor, so a Reader changes from one to another in mid-course and the promise holds.
 */
(function (window) {
    "use strict";

    const { Failure, Ladder, carry, failureOf } = window.Encke;

    /* A hold lasts under a minute unless the site's owner has set it otherwise (encke --hold). */
    const HOLD_MS = 60000;
    /* How long a line may be silent, beyond what it was asked to hold, until it is given up. */
    const SILENCE_MS = 15000;
    const CREATE_SILENCE_MS = 30000;
    /* Waits after failures: a random part of 1, 2, 4 … 30 s, so that no crowd returns at once. */
    const BACKOFF_FIRST_MS = 1000;
    const BACKOFF_MOST_MS = 30000;
    const BACKOFF_LEAST_MS = 200;
    /* An empty answer this soon is no hold that ended, but a server that is going down. */
    const HASTY_MS = 500;
    /* A stream speaks at once, and then every 25 s at the latest (encke --heartbeat). */
    const FIRST_BYTES_MS = 6000;
    const STREAM_SILENCE_MS = 60000;
    const STREAM_QUIET_MS = 30000;
    /* One that ends or breaks sooner than this was cut off. */
    const STEADY_MS = 10000;
    /* A drain ends all streams at once; they come back over this time. */
    const CROWD_MS = 1000;

    /* Asks all the quick questions. */
    const POLL = "long-polling";

    function understood(answer) {
        return answer && typeof answer.id === "string" && Array.isArray(answer.messages);
    }

    /* After a reset all that is retained comes again: so much of a channel is remembered. */
    class Seen {
        constructor(mostOfAChannel) {
            this.most = mostOfAChannel;
            this.channels = new Map();
        }

        /* True the first time. A log put back from a backup may use an id again: the time tells. */
        first(message) {
            const key = message.id + " " + message.time;
            let keys = this.channels.get(message.channel);
            if (!keys) {
                this.channels.set(message.channel, keys = new Set());
            }
            if (keys.has(key)) {
                return false;
            }
            keys.add(key);
            if (keys.size > this.most) {
                keys.delete(keys.values().next().value);    /* a Set keeps the order of arrival */
            }
            return true;
        }

        forget(channel) {
            this.channels.delete(channel);
        }
    }

    /*
     * Options, all of them optional:
     *
     *   base        where Encke is mounted, relative to the page or absolute; ends in "/"
     *   channels    the names to read
     *   history     false: only what comes from now on. Otherwise all that is retained first
     *   transport   how to wait: "auto", a name in Encke.transports, or a list of names, the
     *               best first (ladder.js)
     *   holdS       seconds to hold a request or to stream; the defaults are the server's, which
     *               are under a minute, and some minutes
     *   remember    how many messages a channel to know again after a reset; not fewer than the
     *               server keeps (encke --keep-messages)
     *   onmessages  (messages, { history, merge }): new messages [{id, channel, time, data}], time
     *               in milliseconds since 1970. `history` is true for those that were there before
     *               the page, or before the pick of their channel. `merge` is true where they may
     *               belong between messages of other channels that were handed over before
     *   onreset     (): a gap. What follows is all that the server still has, less what is known
     *   onstate     (state): something changed, see state()
     */
    class Reader {
        constructor(options) {
            this.options = Object.assign({
                base: "comet/",
                channels: ["main"],
                history: true,
                transport: POLL,
                holdS: null,
                remember: 10000,
                onmessages() {},
                onreset() {},
                onstate() {}
            }, options);
            this.running = false;
            this.ladder = new Ladder(this.options.base, this.options.transport);
            this.suspect = "";                  /* a stream that broke: its fault or the line's? */
            this.breaks = 0;                    /* that were its own, in a row */
            this.channels = [];
            this.cursor = this.beginning();     /* of all channels but those that still join */
            this.joining = new Set();           /* picked later, their history is not yet read */
            this.joinCursor = "";
            this.merging = false;               /* what was read while joining may come once more */
            this.caughtUp = false;              /* the first history is read */
            this.settled = false;               /* the last answer came, there is no more */
            this.seen = new Seen(this.options.remember);
            this.link = null;                   /* the one request under way */
            this.timer = 0;                     /* or the wait until the next */
            this.retryAt = 0;
            this.failures = 0;                  /* in a row */
            this.requests = 0;
            this.received = 0;
            this.phase = "stopped";
            this.outcome = "";
            this.onWake = event => this.wake(event);
            this.setChannels(this.options.channels);
        }

        start() {
            if (this.running) {
                return;
            }
            this.running = true;
            window.addEventListener("online", this.onWake);
            document.addEventListener("visibilitychange", this.onWake);
            this.ask();
        }

        /* The cursor stays, so that start() goes on where this left off. */
        stop() {
            this.running = false;
            this.suspect = "";
            window.removeEventListener("online", this.onWake);
            document.removeEventListener("visibilitychange", this.onWake);
            this.drop();
            this.become("stopped");
        }

        /* Do not wait any longer for the next attempt. */
        retry() {
            this.settled = false;
            if (this.running) {
                this.ask();
            }
        }

        /* Another transport, in mid-course: it goes on from where the last one was. */
        setTransport(wish) {
            this.ladder = new Ladder(this.options.base, wish);
            this.options.transport = wish;
            this.suspect = "";
            this.breaks = 0;
            this.failures = 0;
            if (this.running && !(this.link && !this.link.wait)) {
                this.ask();
            }
        }

        /*
         * A channel that is left is forgotten; picked again, it starts with its history. One that
         * is added is read from the beginning by itself and then joins the rest: neither can it
         * simply be read from their cursor on, which would skip its past, nor need they be read
         * again.
         */
        setChannels(names) {
            const next = Array.from(new Set(names));
            const added = next.filter(name => !this.channels.includes(name));
            const left = this.channels.filter(name => !next.includes(name));
            if (!added.length && !left.length) {
                return;
            }
            left.forEach(name => {
                this.joining.delete(name);
                this.seen.forget(name);
            });
            const stays = name => next.includes(name) && !this.joining.has(name);
            const underWay = this.channels.some(stays);
            this.channels = next;
            if (!underWay || this.cursor === "") {
                if (!underWay) {
                    this.cursor = this.beginning();
                    this.caughtUp = false;
                }
                this.joining.clear();
            } else if (added.length && this.options.history) {
                added.forEach(name => this.joining.add(name));
                this.joinCursor = "";
                this.merging = true;
            }
            this.retry();
        }

        /*
         * What a page may want to show:
         *   phase      "connecting": asked, and an answer is due at once; "waiting": the server
         *              holds the request until there is something new, or streams; "disconnected":
         *              the last attempt failed, the next is at retryAt; "idle": no channel is
         *              picked; "stopped"
         *   outcome    of the last request: "success", the failure's text, or "" if none has ended
         *   transport  what it waits with, or is about to
         */
        state() {
            return {
                phase: this.phase,
                outcome: this.outcome,
                failures: this.failures,
                retryAt: this.retryAt,
                requests: this.requests,
                received: this.received,
                id: this.cursor === "now" ? "" : this.cursor,
                transport: this.link && this.link.wait ? this.link.name : this.ladder.pick(),
                caughtUp: this.caughtUp
            };
        }

        /* The rest is the Reader's own. */

        beginning() {
            return this.options.history ? "" : "now";
        }

        become(phase) {
            this.phase = phase;
            this.tell(this.options.onstate, this.state());
        }

        /* A fault in the page's own function must not end the reading, nor go unseen. */
        tell(listener, ...args) {
            try {
                listener(...args);
            } catch (fault) {
                window.setTimeout(() => {
                    throw fault;
                }, 0);
            }
        }

        /* Ends whatever is under way; what it would have brought is asked for again. */
        drop() {
            const link = this.link;
            this.link = null;
            window.clearTimeout(this.timer);
            this.retryAt = 0;
            if (link) {
                window.clearTimeout(link.watchdog);
                link.carrier.abort();
            }
        }

        /*
         * The next ask waits for news only when the last answer was a good one that left nothing
         * over. Otherwise it wants an answer at once, which tells that the line works: a request
         * that is held and one that is lost look the same. Such quick questions go by long poll,
         * whatever the transport.
         */
        ask() {
            this.drop();
            if (!this.channels.length) {
                this.become("idle");
                return;
            }
            const join = this.joining.size > 0;
            const wait = this.settled && !join;
            const link = {
                name: wait ? this.ladder.pick() : POLL,
                join: join,
                wait: wait,
                began: Date.now(),
                heard: Date.now(),
                spoken: false,          /* something arrived by it */
                brought: false,         /* and it was news */
                watchdog: 0,
                stream: false,
                carrier: null
            };
            this.link = link;
            this.requests++;
            link.carrier = carry(link.name, {
                base: this.options.base,
                query: this.query(link)
            }, {
                alive: () => this.link === link && this.hear(link),
                answer: answer => this.link === link && this.take(link, answer),
                end: failure => this.link === link && this.end(link, failure)
            });
            link.stream = link.carrier.stream === true;
            this.guard(link);
            this.become(link.wait && !link.stream ? "waiting" : "connecting");
        }

        query(link) {
            const query = new URLSearchParams();
            const channels = link.join ? this.joining : this.channels;
            const cursor = link.join ? this.joinCursor : this.cursor;
            channels.forEach(name => query.append("channel", name));
            if (cursor) {
                query.append("id", cursor);
            }
            if (!link.wait || this.options.holdS !== null) {
                query.append("timeout", link.wait ? this.options.holdS : 0);
            }
            return query;
        }

        /* Winds the watchdog: a line that says nothing for longer than this is given up. */
        guard(link) {
            const holdMs = this.options.holdS === null ? HOLD_MS : this.options.holdS * 1000;
            const patienceMs = !link.stream ? SILENCE_MS + (link.wait ? holdMs : 0)
                : link.spoken ? STREAM_SILENCE_MS : FIRST_BYTES_MS;
            window.clearTimeout(link.watchdog);
            link.watchdog = window.setTimeout(() => this.silent(link, patienceMs), patienceMs);
        }

        hear(link) {
            const first = !link.spoken;
            link.heard = Date.now();
            link.spoken = true;
            this.guard(link);
            if (first && link.stream) {
                this.ladder.works(link.name);
                this.become("waiting");
            }
        }

        /* A hold that does not end: a dead line, or a patient server? A quick question tells. */
        silent(link, ms) {
            if (link.wait && !link.stream) {
                this.retry();
            } else {
                this.drop();
                this.fail(link, new Failure(
                    (link.spoken ? "silent for " : "no answer within ") + ms / 1000 + " s"));
            }
        }

        take(link, answer) {
            if (!understood(answer)) {
                this.drop();
                this.fail(link, Failure.strange());
                return;
            }
            this.hear(link);
            if (this.link !== link) {       /* the page has changed its mind on hearing that */
                return;
            }
            const history = link.join || !this.caughtUp;
            const merge = this.merging;
            link.brought = link.brought || answer.messages.length > 0 || answer.reset === true;
            if (!link.wait) {
                this.judge();
            } else if (!link.stream || this.steady(link)) {
                this.failures = 0;      /* a quick answer does not show that holds work again */
                this.breaks = 0;
            }
            this.outcome = "success";
            this.settled = !answer.more;
            if (link.join) {
                this.joinCursor = answer.id;
                if (!answer.more) {
                    this.joining.clear();
                }
            } else {
                this.cursor = answer.id;
                if (!answer.more) {
                    this.merging = false;
                    this.caughtUp = true;
                }
            }
            const fresh = answer.messages.filter(message => this.seen.first(message));
            this.received += fresh.length;
            if (answer.reset) {
                this.tell(this.options.onreset);
            }
            if (fresh.length) {
                this.tell(this.options.onmessages, fresh, { history: history, merge: merge });
            }
            if (this.link === link) {
                this.become(this.phase);
            }
        }

        /* Has this stream stood for a while, or for half as long as it was asked to? */
        steady(link) {
            const asked = this.options.holdS === null ? Infinity : this.options.holdS * 1000;
            return Date.now() - link.began >= Math.min(STEADY_MS, asked / 2);
        }

        end(link, failure) {
            const hasty = link.wait && !link.brought && Date.now() - link.began < HASTY_MS;
            window.clearTimeout(link.watchdog);
            this.link = null;
            if (failure) {
                this.fail(link, failure);
            } else if (link.stream && !(link.spoken && this.steady(link))) {
                this.fail(link, new Failure("the stream was cut off"));
            } else if (link.stream) {
                this.failures = 0;
                this.breaks = 0;
                this.later(Math.random() * CROWD_MS, "connecting");
            } else if (hasty) {
                this.settled = false;
                this.later(HASTY_MS + Math.random() * 3 * HASTY_MS, "connecting");
            } else {
                this.ask();
            }
        }

        /*
         * When a stream is refused, cut off or silent, is that the line's fault, or does the web
         * server not carry this transport? It is blamed only if a quick question is answered (see
         * judge), which is asked at once where the next transport would have its turn then. Who
         * says when to come back is no bad carrier.
         */
        fail(link, failure) {
            this.suspect = link.stream && !failure.retryAfterMs ? link.name : "";
            if (this.suspect && this.ladder.givesUp(link.name, this.breaks + 1)) {
                this.settled = false;
                this.ask();
                return;
            }
            if (!link.wait) {
                this.breaks = 0;
            }
            this.lost(failure);
        }

        judge() {
            if (this.suspect) {
                this.breaks++;
                if (this.ladder.givesUp(this.suspect, this.breaks)) {
                    this.ladder.shun(this.suspect);
                    this.breaks = 0;
                    this.failures = 0;
                }
                this.suspect = "";
            }
        }

        lost(failure) {
            const most = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * Math.pow(2, this.failures));
            this.failures++;
            this.settled = false;
            this.outcome = failure.message;
            /* After what the server asked for, still not all at the same moment. */
            this.later(failure.retryAfterMs + Math.max(BACKOFF_LEAST_MS, Math.random() * most),
                       "disconnected");
        }

        later(ms, phase) {
            this.retryAt = Date.now() + ms;
            this.timer = window.setTimeout(() => this.ask(), ms);
            this.become(phase);
        }

        /*
         * The network came back, or somebody looks at the page again. Timers may have slept
         * meanwhile, and a request that took too long, or another network, may be dead.
         */
        wake(event) {
            const silentMs = this.link ? Date.now() - this.link.heard : Infinity;
            const mostMs = this.link && this.link.stream ? STREAM_QUIET_MS : HOLD_MS;
            if (event.type === "online") {
                this.ladder.forgive();
                this.suspect = "";
                this.retry();
            } else if (!document.hidden && silentMs > mostMs) {
                this.retry();
            }
        }
    }

    /*
     * Stores a message; resolves to {id} once it is on the server's disk, or rejects with a
     * Failure. Without a message (undefined) the server makes one up. Half a character (a lone
     * surrogate) is stored as U+FFFD: URLSearchParams sees to it, where $.param would throw.
     */
    function create(options) {
        const $ = window.jQuery;
        return new Promise((resolve, reject) => {
            $.ajax({
                url: (options.base || "comet/") + "create?"
                    + new URLSearchParams({ channel: options.channel || "main" }),
                method: "POST",
                data: options.message === undefined ? undefined
                    : String(new URLSearchParams({ msg: options.message ?? "" })),
                dataType: "json",
                jsonp: false,
                timeout: CREATE_SILENCE_MS
            }).done(answer => {
                if (answer && typeof answer.id === "string") {
                    resolve(answer);
                } else {
                    reject(Failure.strange());
                }
            }).fail((xhr, why) => reject(failureOf(xhr, why)));
        });
    }

    Object.assign(window.Encke, { Reader: Reader, create: create });
})(window);
