/*
 * encke.js: read and write an Encke message log from a web page.
 *
 * Needs jQuery, nothing else. A page that wants news the moment it happens does
 *
 *     const reader = new Encke.Reader({
 *         base: "comet/",                       // where the web server mounts Encke
 *         channels: ["news"],
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
 * The Reader decides what to ask and when. How an answer travels is a transport's business: see
 * `transports` below, where another one can be added without a change to the Reader.
 */
(function (window) {
    "use strict";

    /* A hold lasts under a minute unless the site's owner has set it otherwise (encke --hold). */
    const HOLD_MS = 60000;
    /* How long a line may be silent, beyond what it was asked to hold, until it is given up. */
    const SILENCE_MS = 15000;
    const CREATE_SILENCE_MS = 30000;
    /* Waits after failures: a random part of 1, 2, 4 … 30 s, so that no crowd returns at once. */
    const BACKOFF_FIRST_MS = 1000;
    const BACKOFF_MOST_MS = 30000;
    const BACKOFF_LEAST_MS = 200;
    const RETRY_AFTER_MOST_MS = 300000;
    /* An empty answer this soon is no hold that ended, but a server that is going down. */
    const HASTY_MS = 500;

    const STRANGE = "the answer was not understood; is Encke mounted here?";

    /*
     * A request that did not work out. `message` is for people. `status` is HTTP's, 0 without one.
     * `retryAfterMs` is what the server asked for, or 0. `unsure` is true where a create may have
     * been stored all the same: its answer was lost, or is not Encke's word but that of the web
     * server, which has lost it.
     */
    class Failure extends Error {
        constructor(message, { status = 0, retryAfterMs = 0, unsure = true } = {}) {
            super(message);
            this.name = "Failure";
            this.status = status;
            this.retryAfterMs = retryAfterMs;
            this.unsure = unsure;
        }
    }

    /* Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3). */
    function retryAfterMs(text) {
        if (!text) {
            return 0;
        }
        const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
        return ms > 0 ? Math.min(ms, RETRY_AFTER_MOST_MS) : 0;
    }

    /* Encke's errors say what is wrong; the web server's own are known by number only. */
    function failureOf(xhr, why) {
        const status = xhr.status;
        const details = {
            status: status,
            retryAfterMs: retryAfterMs(xhr.getResponseHeader("Retry-After"))
        };
        if (why === "parsererror") {
            return new Failure(STRANGE, details);
        }
        if (!status) {
            return new Failure("no answer from the server");
        }
        let said = null;
        try {
            said = JSON.parse(xhr.responseText).error;
        } catch (notJson) {
            /* An error page of the web server's own. */
        }
        details.unsure = status === 500 || (status > 500 && !said);
        const title = xhr.statusText === "error" ? "" : " " + xhr.statusText;
        return new Failure(said ? String(said) : status + title, details);
    }

    /*
     * Transports: name -> function (ask, sink), which carries one ask and returns { abort() }.
     *
     *   ask.base      where Encke is mounted
     *   ask.channels  at least one name
     *   ask.cursor    the id to go on from; "" for all that is retained, "now" for what comes
     *   ask.wait      true: hold until there is something; false: answer at once, in any case
     *   ask.holdS     how many seconds to hold, or null to leave it to the server
     *
     *   sink.alive()         something arrived: the line is not dead
     *   sink.answer(answer)  {id, messages, more, reset} as `update` gives it; any number of times
     *   sink.end(failure)    once, last: null if it ended as it should, and the Reader asks again
     *
     * A long poll gives one answer and ends. A stream would give many before it ends; for an ask
     * that does not wait, it can call upon the long poll. Calls into the sink after abort() do
     * nothing.
     */
    const transports = {
        "long-polling": function (ask, sink) {
            const $ = window.jQuery;
            const fields = ask.channels.map(name => ({ name: "channel", value: name }));
            if (ask.cursor) {
                fields.push({ name: "id", value: ask.cursor });
            }
            if (!ask.wait || ask.holdS !== null) {
                fields.push({ name: "timeout", value: ask.wait ? ask.holdS : 0 });
            }
            return $.ajax({
                url: ask.base + "update",
                /* Not GET: a second tab's GET of the same address would wait for the first. */
                method: "POST",
                data: fields,
                dataType: "json",
                /* Else jQuery takes "??" in an address or a body for a wish to load a script. */
                jsonp: false,
                xhr() {
                    const xhr = $.ajaxSettings.xhr();
                    xhr.addEventListener("progress", sink.alive);
                    return xhr;
                }
            }).done(answer => {
                sink.answer(answer);
                sink.end(null);
            }).fail((xhr, why) => sink.end(failureOf(xhr, why)));
        }
    };

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
     *   transport   a name in Encke.transports
     *   holdS       seconds to hold a request; the default is the server's, which is under a minute
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
                transport: "long-polling",
                holdS: null,
                remember: 10000,
                onmessages() {},
                onreset() {},
                onstate() {}
            }, options);
            this.running = false;
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
         *   phase     "connecting": asked, and an answer is due at once; "waiting": the server
         *             holds the request until there is something new; "disconnected": the last
         *             attempt failed, the next is at retryAt; "idle": no channel is picked;
         *             "stopped"
         *   outcome   of the last request: "success", the failure's text, or "" when none has ended
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
                transport: this.options.transport,
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
         * that is held and one that is lost look the same.
         */
        ask() {
            this.drop();
            if (!this.channels.length) {
                this.become("idle");
                return;
            }
            const join = this.joining.size > 0;
            const link = {
                join: join,
                wait: this.settled && !join,
                began: Date.now(),
                brought: false,
                watchdog: 0,
                carrier: null
            };
            this.link = link;
            this.requests++;
            this.guard(link);
            link.carrier = transports[this.options.transport]({
                base: this.options.base,
                channels: join ? Array.from(this.joining) : this.channels,
                cursor: join ? this.joinCursor : this.cursor,
                wait: link.wait,
                holdS: this.options.holdS
            }, {
                alive: () => this.link === link && this.guard(link),
                answer: answer => this.link === link && this.take(link, answer),
                end: failure => this.link === link && this.end(link, failure)
            });
            this.become(link.wait ? "waiting" : "connecting");
        }

        /* Winds the watchdog: a line that says nothing for longer than this is given up. */
        guard(link) {
            const holdMs = this.options.holdS === null ? HOLD_MS : this.options.holdS * 1000;
            window.clearTimeout(link.watchdog);
            link.watchdog = window.setTimeout(() => this.silent(link),
                                              SILENCE_MS + (link.wait ? holdMs : 0));
        }

        /* A hold that does not end: a dead line, or a patient server? A quick question tells. */
        silent(link) {
            if (link.wait) {
                this.retry();
            } else {
                this.drop();
                this.lost(new Failure("no answer within " + SILENCE_MS / 1000 + " s"));
            }
        }

        take(link, answer) {
            if (!understood(answer)) {
                this.drop();
                this.lost(new Failure(STRANGE));
                return;
            }
            const history = link.join || !this.caughtUp;
            const merge = this.merging;
            link.brought = link.brought || answer.messages.length > 0 || answer.reset === true;
            if (link.wait) {
                this.failures = 0;      /* a quick answer does not show that holds work again */
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
            if (this.link === link) {       /* the page may have changed its mind meanwhile */
                this.become(this.phase);
            }
        }

        end(link, failure) {
            const hasty = link.wait && !link.brought && Date.now() - link.began < HASTY_MS;
            window.clearTimeout(link.watchdog);
            this.link = null;
            if (failure) {
                this.lost(failure);
            } else if (hasty) {
                this.settled = false;
                this.later(HASTY_MS + Math.random() * 3 * HASTY_MS, "connecting");
            } else {
                this.ask();
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
            const held = this.link ? Date.now() - this.link.began : 0;
            if (event.type === "online" || (!document.hidden && (!this.link || held > HOLD_MS))) {
                this.retry();
            }
        }
    }

    /*
     * Stores a message; resolves to {id} once it is on the server's disk, or rejects with a
     * Failure. Without a message (undefined) the server makes one up.
     */
    function create(options) {
        const $ = window.jQuery;
        return new Promise((resolve, reject) => {
            $.ajax({
                url: (options.base || "comet/") + "create?channel="
                    + encodeURIComponent(options.channel || "main"),
                method: "POST",
                data: options.message === undefined ? undefined : { msg: options.message },
                dataType: "json",
                jsonp: false,
                timeout: CREATE_SILENCE_MS
            }).done(answer => {
                if (answer && typeof answer.id === "string") {
                    resolve(answer);
                } else {
                    reject(new Failure(STRANGE));
                }
            }).fail((xhr, why) => reject(failureOf(xhr, why)));
        });
    }

    window.Encke = { Reader: Reader, create: create, transports: transports, Failure: Failure };
})(window);
