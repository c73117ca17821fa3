/*
 * encke.js: reads and writes an Encke message log from a web page. www/README.md in Encke's sources
 * shows how to use it.
 *
 * A page loads jQuery, transports.js and ladder.js before it.
 *
 * What a Reader promises: every message of its channels is handed to the page once, and the
 * messages of one channel in the order of the log, whatever happens to the connection, the web
 * server or the daemon. The promise depends on three things.
 *
 *   The cursor.   Each answer has an id, and the next request starts from it. The cursor moves when
 *                 an answer has arrived, never before, so what a broken request would have brought
 *                 is requested again. It is opaque: stored and sent back, not looked into.
 *   The gap.      If the server cannot go on from a cursor (it is of another log, or what came next
 *                 has been deleted), it says so with `reset`, and sends all that it still has.
 *                 Messages that the page has already are recognised and left out; `onreset` tells
 *                 the page.
 *   The join.     If a channel is added later, its history is first read separately. Then it joins
 *                 the others at their cursor. A message that comes both ways is handed over once.
 *
 * The Reader decides what to request and when. A transport carries the request and the answer
 * (transports.js). The Ladder chooses the transport if the page leaves it open (ladder.js). All
 * transports use the same cursor, so a Reader can change the transport at any time.
 */
(function (window) {
    "use strict";

    const { Failure, Ladder, carry, failureOf } = window.Encke;

    /* A hold lasts less than a minute, unless the daemon was told otherwise (encke --hold). */
    const HOLD_MS = 60000;
    /* A connection that sends nothing for this long, in addition to the hold, is given up. */
    const SILENCE_MS = 15000;
    const CREATE_SILENCE_MS = 30000;
    const CREATE_REPEATS = 3;
    /* Waits after failures: a random part of 1, 2, 4 … 30 s, so that clients return one by one. */
    const BACKOFF_FIRST_MS = 1000;
    const BACKOFF_MOST_MS = 30000;
    const BACKOFF_LEAST_MS = 200;
    /* An empty answer this soon is not a hold that ended, but a server that stops. */
    const HASTY_MS = 500;
    /* A stream sends something at once, and then at least every 25 s (encke --heartbeat). */
    const FIRST_BYTES_MS = 6000;
    const STREAM_SILENCE_MS = 60000;
    const STREAM_QUIET_MS = 30000;
    /* A stream that ends or breaks sooner than this was cut off. */
    const STEADY_MS = 10000;
    /* A daemon that stops ends all streams at once; their clients come back over this time. */
    const CROWD_MS = 1000;

    /* The transport for all requests that want an answer at once. */
    const POLL = "long-polling";

    /* How long to wait after so many failures in a row, and one more. */
    function backoffMs(failures) {
        const most = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * Math.pow(2, failures));
        return Math.max(BACKOFF_LEAST_MS, Math.random() * most);
    }

    function understood(answer) {
        return answer && typeof answer.id === "string" && Array.isArray(answer.messages);
    }

    /* After a reset all retained messages come again: this remembers which ones the page has. */
    class Seen {
        constructor(mostOfAChannel) {
            this.most = mostOfAChannel;
            this.channels = new Map();
        }

        /* True the first time. A log restored from a backup may give an id again, at another time. */
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
     *   history     false: only what comes from now on; otherwise first all that is retained
     *   transport   how to wait: "auto", a name in Encke.transports, or a list of names, the
     *               best first (ladder.js)
     *   holdS       seconds to hold a request or to stream; without it the server decides: less
     *               than a minute, and some minutes
     *   remember    how many messages of each channel to recognise after a reset; not fewer than
     *               the server keeps (encke --keep-messages)
     *   onmessages  (messages, { history, merge }): new messages [{id, channel, time, data}], time
     *               in milliseconds since 1970. `history` is true if they were there before the
     *               page was opened or their channel was added. `merge` is true if they may belong
     *               between messages of other channels that the page has already
     *   onreset     (): a gap; what follows is all that the server still has, except what the page
     *               has already
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
            this.suspect = "";                  /* a stream that broke: is its transport the cause? */
            this.breaks = 0;                    /* of the transport itself, in a row */
            this.channels = [];
            this.cursor = this.beginning();     /* of all channels except those that still join */
            this.joining = new Set();           /* added later, their history is not yet read */
            this.joinCursor = "";
            this.merging = false;               /* what was read while joining may come again */
            this.caughtUp = false;              /* the first history is read */
            this.settled = false;               /* the last answer was good and had no more */
            this.seen = new Seen(this.options.remember);
            this.link = null;                   /* the one open request */
            this.timer = 0;                     /* or the wait until the next one */
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

        /* Makes the next attempt now. */
        retry() {
            this.settled = false;
            if (this.running) {
                this.ask();
            }
        }

        /* Changes the transport: the new one goes on from the same cursor. */
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
         * A channel that is removed is forgotten; added again, it starts with its history. A
         * channel that is added is first read from its beginning, separately, and then joins the
         * others. To read it from their cursor on would skip its history, and to read all of them
         * from the beginning would fetch the others again.
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
         *   phase      "connecting": a request is out whose answer should come at once; "waiting":
         *              the server holds the request until there is something new, or streams;
         *              "disconnected": the last attempt failed, the next is at retryAt; "idle":
         *              there is no channel to read; "stopped"
         *   outcome    of the last request: "success", the failure's text, or "" if none has ended
         *   transport  the one with which it waits, or will wait
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

        /* ---- private ---- */

        beginning() {
            return this.options.history ? "" : "now";
        }

        become(phase) {
            this.phase = phase;
            this.tell(this.options.onstate, this.state());
        }

        /* An error in the page's own function must not stop the Reader, and must not be hidden. */
        tell(listener, ...args) {
            try {
                listener(...args);
            } catch (fault) {
                window.setTimeout(() => {
                    throw fault;
                }, 0);
            }
        }

        /* Ends the open request; what it would have brought is requested again. */
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
         * The next request waits for news only if the last answer was good and had no more.
         * Otherwise it wants an answer at once, which shows that the connection works: a request
         * that is held and a request that is lost look the same. Such quick requests are long
         * polls, whatever the transport is.
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
                spoken: false,          /* something has arrived */
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

        /* Starts the watchdog again: a connection that is silent for longer is given up. */
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

        /* A hold that does not end: is the connection dead? A quick request tells. */
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
            if (this.link !== link) {       /* the page's function has stopped or changed it */
                return;
            }
            const history = link.join || !this.caughtUp;
            const merge = this.merging;
            link.brought = link.brought || answer.messages.length > 0 || answer.reset === true;
            if (!link.wait) {
                this.judge();
            } else if (!link.stream || this.steady(link)) {
                this.failures = 0;      /* a quick answer does not show that waiting works again */
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

        /* Has this stream lasted for a while, or for half of the time that was requested? */
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
         * A stream was refused, cut off or silent. Is the connection the cause, or does the web
         * server not pass this transport on? The transport is blamed only if a quick request is
         * answered (see judge). If the next transport would then be used, the quick request is made
         * at once. A server that says when to come back is no reason to blame the transport.
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
            const ms = backoffMs(this.failures++);
            this.settled = false;
            this.outcome = failure.message;
            /* Retry-After, and a random time on top, so that clients do not return together. */
            this.later(failure.retryAfterMs + ms, "disconnected");
        }

        later(ms, phase) {
            this.retryAt = Date.now() + ms;
            this.timer = window.setTimeout(() => this.ask(), ms);
            this.become(phase);
        }

        /*
         * The network came back, or somebody looks at the page again. Timers may have stopped
         * meanwhile, and a request that has been silent for long may be dead.
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

    /* A key that no other message has: the same message with the same key is stored once. */
    function newKey() {
        const bytes = window.crypto.getRandomValues(new Uint8Array(16));
        return Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
    }

    /* One request to store a message. The channel is in the address, where the web server sees it. */
    function post(base, channel, fields) {
        const $ = window.jQuery;
        return new Promise((resolve, reject) => {
            $.ajax({
                url: base + "create?" + new URLSearchParams({ channel: channel }),
                method: "POST",
                data: String(new URLSearchParams(fields)),
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

    /*
     * Stores a message. Resolves to {id} once it is on the server's disk, or rejects with a
     * Failure. Without a message the server makes one up. Half a character (a lone surrogate) is
     * stored as U+FFFD: URLSearchParams replaces it, where $.param would throw.
     *
     * Each message has a key. If no answer comes, the request is sent again with it, three times,
     * and the message is stored once, however many of the requests arrived. If all of them fail
     * like that, `unsure` of the Failure is true, and its `once` is the key: to send the message
     * again later, pass it as the option `once`. The server remembers a key for ten minutes (encke
     * --once). A message that the server makes up has no key, and is sent once.
     */
    async function create(options) {
        const text = String(options.message ?? "");
        const once = text ? options.once || newKey() : undefined;
        const fields = once ? { msg: text, once: once } : {};
        for (let failures = 0; ; failures++) {
            try {
                return await post(options.base || "comet/", options.channel || "main", fields);
            } catch (failure) {
                failure.once = once;
                if (!failure.unsure || !once || failures === CREATE_REPEATS) {
                    throw failure;
                }
                const ms = failure.retryAfterMs + backoffMs(failures);
                await new Promise(resolve => window.setTimeout(resolve, ms));
            }
        }
    }

    Object.assign(window.Encke, { Reader: Reader, create: create });
})(window);
