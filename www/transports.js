/*
 * transports.js: the ways in which messages travel from Encke to a page.
 *
 * Five of them, one function each, with one contract (see `transports` below). What they carry is
 * the same: messages, and the cursor to go on from. So whoever asks, encke.js's Reader, can change
 * from one to another at any time. None of them tries again: that is the Reader's to decide.
 *
 *   long-polling  a question that is answered when there is news
 *   streaming     one answer that goes on, a line of JSON a message
 *   iframe        the same as a document whose scripts run as they arrive
 *   events        Server-Sent Events, read by the browser's EventSource
 *   websocket     a socket of its own, both ways
 */
(function (window) {
    "use strict";

    const RETRY_AFTER_MOST_MS = 300000;

    /* Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3). */
    function retryAfterMs(text) {
        if (!text) {
            return 0;
        }
        const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
        return ms > 0 ? Math.min(ms, RETRY_AFTER_MOST_MS) : 0;
    }

    /* Encke's errors say what is wrong, the web server's own are known by number only. */
    function errorIn(body) {
        try {
            return String(JSON.parse(body).error || "");
        } catch {
            return "";
        }
    }

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

        /* What an HTTP answer other than 200 means; status 0: there was none. */
        static refused({ status, title = "", retryAfter = "", body = "" }) {
            if (!status) {
                return new Failure("no answer from the server");
            }
            const said = errorIn(body);
            return new Failure(said || (status + " " + title).trim(), {
                status: status,
                retryAfterMs: retryAfterMs(retryAfter),
                unsure: status === 500 || (status > 500 && !said)
            });
        }

        static strange(status = 0) {
            return new Failure("the answer was not understood; is Encke mounted here?",
                               { status: status });
        }
    }

    /* The same of one of jQuery's requests. */
    function failureOf(xhr, why) {
        return why === "parsererror" ? Failure.strange(xhr.status) : Failure.refused({
            status: xhr.status,
            title: xhr.statusText === "error" ? "" : xhr.statusText,
            retryAfter: xhr.getResponseHeader("Retry-After"),
            body: xhr.responseText
        });
    }

    /*
     * Transports: name -> function (ask, sink), which carries one ask.
     *
     *   ask.base     where Encke is mounted
     *   ask.query    a URLSearchParams of its own, to send and to add to: the channels; `id`, the
     *                cursor to go on from; and, where it is not left to the server, `timeout`
     *
     *   sink.alive()         something arrived: the line is not dead
     *   sink.answer(answer)  {id, messages, more, reset} as `update` gives it; any number of times
     *   sink.end(failure)    once, last: null if it ended as it should, and the Reader asks again
     *
     * It returns { abort(), stream }, before it calls the sink for the first time; calls into the
     * sink after abort() do nothing. The long poll holds until there is news, gives one answer and
     * ends. `stream: true` is for those that give any number of answers: they say something at once
     * and then twice a minute at least, and are asked to wait only: what is there already, a Reader
     * fetches by long poll.
     */
    const transports = {};

    transports["long-polling"] = function (ask, sink) {
        const $ = window.jQuery;
        const request = $.ajax({
            url: ask.base + "update",
            /* Not GET: a second tab's GET of the same address would wait for the first. */
            method: "POST",
            data: ask.query.toString(),
            dataType: "json",
            /* Else jQuery takes "??" in an address or a body for a wish to load a script. */
            jsonp: false,
            xhr() {
                const xhr = $.ajaxSettings.xhr();
                xhr.addEventListener("progress", sink.alive);
                return xhr;
            }
        });
        request.done(answer => {
            sink.answer(answer);
            sink.end(null);
        }).fail((xhr, why) => sink.end(failureOf(xhr, why)));
        return { stream: false, abort: () => request.abort() };
    };

    /*
     * Where the words of a stream become answers; what the streams have in common. `close` ends the
     * one below. Words that arrive together are handed over together: a page that is told of a
     * thousand messages at once is drawn once. What is not yet handed over when the stream is
     * aborted is no loss, since the cursor has not moved either.
     */
    class Inlet {
        constructor(sink, close) {
            this.stream = true;
            this.sink = sink;
            this.closeBelow = close;
            this.spoken = false;
            this.over = false;
            this.timer = 0;
            this.clear();
        }

        clear() {
            this.id = null;
            this.messages = [];
            this.gap = false;
        }

        message(message) {
            this.messages.push(message);
            this.cursor(message.id);
        }

        cursor(id) {
            this.id = id;
            this.heard();
        }

        /* No cursor comes with it: it has moved only with what follows. */
        reset() {
            this.gap = true;
            this.heard();
        }

        /* A word of JSON: a message, {"id"} or {"reset"}. Others are of a later Encke. */
        word(text) {
            let word = null;
            try {
                word = JSON.parse(text);
            } catch {
                this.end(Failure.strange());
                return;
            }
            if (word && typeof word.data === "string") {
                this.message(word);
            } else if (word && word.reset) {
                this.reset();
            } else if (word && typeof word.id === "string") {
                this.cursor(word.id);
            }
        }

        heard() {
            this.spoken = true;
            this.sink.alive();
            this.timer = this.timer || window.setTimeout(() => this.flush(), 0);
        }

        flush() {
            const answer = { id: this.id, messages: this.messages, more: false, reset: this.gap };
            window.clearTimeout(this.timer);
            this.timer = 0;
            if (answer.id !== null) {
                this.clear();
                this.sink.answer(answer);
            }
        }

        end(failure) {
            if (!this.over) {
                this.flush();
                this.abort();
                this.sink.end(failure);
            }
        }

        abort() {
            this.over = true;
            window.clearTimeout(this.timer);
            this.closeBelow();
        }
    }

    /*
     * Read by fetch, not by XMLHttpRequest at readyState 3: that keeps all that has come in one
     * text, for as long as the request lasts; this keeps the line that is not yet whole.
     */
    transports.streaming = function (ask, sink) {
        const controller = new AbortController();
        const inlet = new Inlet(sink, () => controller.abort());

        async function read() {
            const response = await window.fetch(ask.base + "streaming", {
                method: "POST",
                body: ask.query,
                signal: controller.signal
            });
            if (!response.ok) {
                throw Failure.refused({
                    status: response.status,
                    title: response.statusText,
                    retryAfter: response.headers.get("Retry-After"),
                    body: await response.text()
                });
            }
            if (!/^application\/x-ndjson/.test(response.headers.get("Content-Type"))) {
                throw Failure.strange(response.status);
            }
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            let rest = "";
            for (;;) {
                const { value, done } = await reader.read();
                if (done) {
                    return;
                }
                const lines = (rest + value).split("\n");
                rest = lines.pop();
                lines.forEach(line => inlet.word(line));
                sink.alive();
            }
        }

        read().then(() => inlet.end(null), fault => inlet.end(
            fault instanceof Failure ? fault
                : new Failure(inlet.spoken ? "the line broke" : "no answer from the server")));
        return inlet;
    };

    /*
     * EventSource would reconnect by itself, with a cursor and a pause of its own. There is one
     * Reader, so there is one cursor and one pause: it is closed at the first error. An error after
     * the first words is all that it tells of an end, be it in order or not; the next ask tells.
     */
    transports.events = function (ask, sink) {
        ask.query.set("as", "json");
        const source = new window.EventSource(ask.base + "events?" + ask.query);
        const inlet = new Inlet(sink, () => source.close());
        source.addEventListener("message", event => inlet.word(event.data));
        source.addEventListener("cursor", event => inlet.cursor(event.data));
        source.addEventListener("reset", () => inlet.reset());
        source.addEventListener("error", () => inlet.end(
            inlet.spoken ? null : new Failure("no event stream")));
        return inlet;
    };

    transports.websocket = function (ask, sink) {
        const url = new URL(ask.base + "websocket?" + ask.query, document.baseURI);
        url.protocol = url.protocol.replace("http", "ws");
        const socket = new window.WebSocket(url);
        const inlet = new Inlet(sink, () => socket.close());
        socket.addEventListener("message", event => inlet.word(event.data));
        socket.addEventListener("close", event => {
            /* 1000: the end; 1001: the daemon goes down in order (RFC 6455, section 7.4.1). */
            if (event.code === 1000 || event.code === 1001) {
                inlet.end(null);
            } else if (!inlet.spoken) {
                inlet.end(new Failure("the handshake failed"));
            } else {
                inlet.end(new Failure(event.reason || "the WebSocket broke (" + event.code + ")"));
            }
        });
        return inlet;
    };

    /*
     * Each iframe's scripts call a function of their own. An end in order is its load event; a line
     * that breaks under it is no event at all (in Chromium): that is left to the Reader's watchdog.
     */
    let frames = 0;

    transports.iframe = function (ask, sink) {
        const name = "add_from_frame_" + ++frames;
        const frame = document.createElement("iframe");
        const show = () => document.body.append(frame);
        const inlet = new Inlet(sink, () => {
            window.removeEventListener("load", show);
            frame.remove();
            delete window[name];
        });

        window[name] = (text, id, channel, time) => {
            if (text !== null) {
                inlet.message({ id: id, channel: channel, time: time, data: text });
            } else if (id !== null) {
                inlet.cursor(id);
            } else {
                inlet.reset();
            }
        };
        ask.query.set("callback", name);
        frame.hidden = true;
        frame.src = ask.base + "iframe?" + ask.query;
        /* The document has ended. Or it was none of Encke's streams, and perhaps it says why. */
        frame.addEventListener("load", () => {
            const body = frame.contentDocument && frame.contentDocument.body;
            const said = body ? errorIn(body.textContent) || "no stream in the iframe"
                : "no answer from the server";
            inlet.end(inlet.spoken ? null : new Failure(said));
        });
        /* A frame in a page that still loads would keep it loading until the stream ends. */
        if (document.readyState === "complete") {
            show();
        } else {
            window.addEventListener("load", show);
        }
        return inlet;
    };

    /*
     * Starts a transport by its name. One that cannot even begin, since the browser lacks it or the
     * page's policy forbids it, is one that was refused.
     */
    function carry(name, ask, sink) {
        try {
            return transports[name](ask, sink);
        } catch (fault) {
            const timer = window.setTimeout(() => sink.end(new Failure(fault.message)), 0);
            return { stream: name !== "long-polling", abort: () => window.clearTimeout(timer) };
        }
    }

    window.Encke = {
        Failure: Failure,
        carry: carry,
        failureOf: failureOf,
        transports: transports
    };
})(window);
