/*
 * transports.js: the transports that bring messages from Encke to a page.
 *
 * There are five, one function each, with the same contract (see `transports` below). All of them
 * carry messages, and the cursor to go on from. So their user, the Reader in encke.js, can change
 * from one to another at any time. None of them tries again: the Reader decides that.
 *
 *   long-polling  a request that is answered when there is news
 *   streaming     one answer that goes on, a line of JSON for each message
 *   iframe        the same, as a document whose scripts run as they arrive
 *   events        Server-Sent Events, read by the browser's EventSource
 *   websocket     a WebSocket
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

    /* Encke's errors say what is wrong; of the web server's own errors only the status is known. */
    function errorIn(body) {
        try {
            return String(JSON.parse(body).error || "");
        } catch {
            return "";
        }
    }

    /*
     * A request that failed. `message` is for people. `status` is HTTP's, or 0 if there was no
     * answer. `retryAfterMs` is what the server asked for, or 0. `unsure` is true if a create may
     * have been stored nevertheless: the answer was lost, or it came from the web server, which
     * lost Encke's.
     */
    class Failure extends Error {
        constructor(message, { status = 0, retryAfterMs = 0, unsure = true } = {}) {
            super(message);
            this.name = "Failure";
            this.status = status;
            this.retryAfterMs = retryAfterMs;
            this.unsure = unsure;
        }

        /* The failure for an HTTP answer other than 200; status 0: there was no answer. */
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

    /* The same for a request made by jQuery. */
    function failureOf(xhr, why) {
        return why === "parsererror" ? Failure.strange(xhr.status) : Failure.refused({
            status: xhr.status,
            title: xhr.statusText === "error" ? "" : xhr.statusText,
            retryAfter: xhr.getResponseHeader("Retry-After"),
            body: xhr.responseText
        });
    }

    /*
     * Transports: name -> function (ask, sink), which makes one request.
     *
     *   ask.base     where Encke is mounted
     *   ask.query    a URLSearchParams that the transport may change and sends: the channels; `id`,
     *                the cursor to go on from; and `timeout`, if it is not left to the server
     *
     *   sink.alive()         something arrived: the connection is not dead
     *   sink.answer(answer)  {id, messages, more, reset} as in an `update`; any number of times
     *   sink.end(failure)    once, at the end; null: it ended in good order, and the Reader goes on
     *
     * The function returns { abort(), stream } before it calls the sink for the first time. Calls
     * of the sink after abort() do nothing. A long poll is held until there is news, gives one
     * answer and ends. `stream: true` means that there may be any number of answers. A stream sends
     * something at once, and then at least twice a minute. Streams are used only to wait: what is
     * there already, the Reader fetches by long poll.
     */
    const transports = {};

    transports["long-polling"] = function (ask, sink) {
        const $ = window.jQuery;
        const request = $.ajax({
            url: ask.base + "update",
            /* Not GET: a browser makes a GET of a second tab wait for the first one's answer. */
            method: "POST",
            data: ask.query.toString(),
            dataType: "json",
            /* Otherwise jQuery takes "??" in an address or a body as a request for a script. */
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
     * What all streams use: it makes answers of what a stream sends. `close` ends the connection
     * below. What arrives together is handed over together, so that a page that gets a thousand
     * messages at once is drawn once. If a stream is aborted, what was not yet handed over is not
     * lost, because the cursor has not moved either.
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

        /* A reset has no cursor: the cursor moves only with what follows. */
        reset() {
            this.gap = true;
            this.heard();
        }

        /* One piece of JSON: a message, {"id"} or {"reset"}. Others may come from a later Encke. */
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
     * It is read by fetch, not by XMLHttpRequest at readyState 3, which keeps everything that has
     * come in one text until the request ends. This keeps only the line that is not yet complete.
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
     * An EventSource reconnects by itself, with its own cursor and pause. The Reader has one cursor
     * and one pause for all transports, so the EventSource is closed at its first error. It reports
     * an error also when a stream ends in good order; the next request shows which it was.
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
            /* 1000: the end; 1001: the daemon stops (RFC 6455, section 7.4.1). */
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
     * The scripts of each iframe call a function of their own. When the document ends in good order
     * there is a load event. When the connection breaks there is no event (in Chromium); the
     * Reader's watchdog notices it.
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
        /* The document has ended. Or it is not a stream of Encke, and perhaps says why. */
        frame.addEventListener("load", () => {
            const body = frame.contentDocument && frame.contentDocument.body;
            const said = body ? errorIn(body.textContent) || "no stream in the iframe"
                : "no answer from the server";
            inlet.end(inlet.spoken ? null : new Failure(said));
        });
        /* A frame in a page that is still loading would keep it loading until the stream ends. */
        if (document.readyState === "complete") {
            show();
        } else {
            window.addEventListener("load", show);
        }
        return inlet;
    };

    /*
     * Starts a transport by its name. If it cannot start because the browser lacks it or the page's
     * policy forbids it, it is treated as refused.
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
