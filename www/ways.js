/*
 * ways.js: every transport in a tab of its own. All tabs read the channel `ticker` with
 * Encke.Reader; only the transport differs. A tab reads while it is shown. When it is shown again,
 * it goes on from its cursor, so the numbers that were published meanwhile come at once.
 */
(function (window) {
    "use strict";

    if (!window.Parts) {
        return;         /* parts.js has said what is missing */
    }

    const $ = window.jQuery;
    const { BASE, NAMES, clock, leaving, panel } = window.Parts;

    const CHANNEL = "ticker";
    const SHOWN = 100;
    const ECHO_SILENCE_MS = 10000;

    const WAYS = [{
        name: "long-polling",
        tab: "Long polling",
        what: "The page asks, and the server answers when there is news; then the page asks again.",
        weak: "Each answer costs a request. But every web server passes it on, and checks each request"
            + " anew: cookies, rights, the address."
    }, {
        name: "streaming",
        tab: "Streaming",
        what: "One answer that goes on: a line of JSON for each message, read as it arrives.",
        weak: "One way only, and the web server checks nothing anew until it reconnects, every few"
            + " minutes. A web server that buffers answers holds it back."
    }, {
        name: "iframe",
        tab: "Iframe",
        what: "A hidden frame loads a document that goes on; its scripts call the page.",
        weak: "The page seems to load all the time, and no browser tells it that the connection"
            + " broke: it notices only after a minute of silence. The oldest way; no page needs it"
            + " any more."
    }, {
        name: "events",
        tab: "SSE",
        what: "Server-Sent Events: a stream with a standard format, read by the browser's EventSource.",
        weak: "One way, and text only. Over HTTP/1.1 it takes one of the six connections that a"
            + " browser opens to a host, like all the others except WebSocket."
    }, {
        name: "websocket",
        tab: "WebSocket",
        what: "A connection for both directions: the server sends numbers, and answers what you say.",
        weak: "It is not HTTP any more: FastCGI cannot carry it, so the web server passes it to a"
            + " second socket of Encke, and some proxies do not let it through."
    }];

    const VERDICTS = {
        asking: "…",
        works: "works",
        buffered: "buffered by the server",
        refused: "refused",
        silent: "no answer"
    };

    /* What a tab has received, the newest on top. */
    function lines(root) {
        const list = root.find(".lines");
        const empty = root.find(".empty");
        const url = new URL(BASE + "create", document.baseURI).href;

        root.find("[data-text=curl]").text("curl -d msg=42 -d channel=" + CHANNEL + " " + url);

        function add(items) {
            const live = list.children().length > 0;
            items.forEach(item => item.toggleClass("live", live));
            list.prepend(items.slice(-SHOWN).reverse().map(item => item[0]));
            list.children().slice(SHOWN).remove();
            empty.prop("hidden", true);
        }

        function line(text, time) {
            return $("<li>").append($("<span class=text>").append(text), clock(time));
        }

        return {
            say(messages) {
                add(messages.map(message => {
                    const said = $("<b dir=auto>").text(message.data)[0];
                    return line(["Server says: ", said], message.time).attr("data-id", message.id);
                }));
            },
            echo(text) {
                add([line(document.createTextNode(text), Date.now()).addClass("echoed")]);
            },
            notice(text) {
                add([$("<li class=notice>").text(text)]);
            }
        };
    }

    /*
     * What is said to the server comes back over a WebSocket that is opened when something is said
     * and closed when another tab is shown. Nothing is stored.
     */
    function echo(form, heard) {
        const input = form.find("input");
        const hint = form.find(".hint");
        const waiting = [];
        let socket = null;
        let timer = 0;

        function close() {
            window.clearTimeout(timer);
            waiting.length = 0;
            if (socket) {
                socket.close();
                socket = null;
            }
        }

        function lost() {
            hint.text(waiting.length ? "The WebSocket broke, and what you said is lost." : "");
            close();
        }

        function open() {
            const url = new URL(BASE + "websocket?as=echo&id=now&channel=echo", document.baseURI);
            url.protocol = url.protocol.replace("http", "ws");
            const opened = new window.WebSocket(url);
            opened.addEventListener("open", () => waiting.forEach(text => opened.send(text)));
            opened.addEventListener("message", event => {
                if (opened === socket && event.data.startsWith("You say:")) {
                    window.clearTimeout(timer);
                    waiting.shift();
                    heard.echo(event.data);
                }
            });
            opened.addEventListener("close", () => opened === socket && lost());
            return opened;
        }

        form.on("submit", event => {
            const text = input.val();
            event.preventDefault();
            if (text === "") {
                return;
            }
            input.val("");
            hint.text("");
            socket = socket || open();
            waiting.push(text);
            window.clearTimeout(timer);
            timer = window.setTimeout(lost, ECHO_SILENCE_MS);
            if (socket.readyState === window.WebSocket.OPEN) {
                socket.send(text);
            }
        });

        return { close: close };
    }

    /* One transport: its tab, its panel, its Reader. */
    function way(about) {
        const { name } = about;
        const tab = $("<button type=button role=tab data-phase=stopped>").attr({
            id: "tab-" + name,
            "aria-controls": "way-" + name,
            "aria-selected": "false",
            tabindex: -1
        }).append($("<span class=dot aria-hidden=true>"), $("<span>").text(about.tab));
        const root = $(document.getElementById("panel").content.cloneNode(true).firstElementChild);
        const heard = lines(root);
        const talk = name === "websocket"
            ? $(document.getElementById("echo").content.cloneNode(true).firstElementChild) : null;

        root.attr({ id: "way-" + name, "aria-labelledby": "tab-" + name }).prop("hidden", true);
        root.find("[data-text=what]").text(about.what);
        root.find("[data-text=weak]").text(about.weak);
        root.find("[data-text=board]").attr("href", "./?by=" + name);
        if (talk) {
            talk.find("label").attr("for", "say");
            talk.find("input").attr("id", "say");
            root.find(".heard").prepend(talk);
        }

        const speaker = talk && echo(talk, heard);
        const state = panel(root.find(".state"), { retry: () => reader.retry(), focus: tab });
        const reader = new window.Encke.Reader({
            base: BASE,
            channels: [CHANNEL],
            history: false,
            transport: name,
            onmessages: messages => heard.say(messages),
            onreset: () => heard.notice("A gap: numbers may be missing here."),
            onstate(now) {
                state.show(now);
                tab.attr("data-phase", root.find(".state").attr("data-phase"));
            }
        });

        return {
            name: name,
            tab: tab,
            root: root,
            show(on) {
                root.prop("hidden", !on);
                tab.attr({ "aria-selected": String(on), tabindex: on ? 0 : -1 });
                if (on) {
                    reader.start();
                } else {
                    reader.stop();
                    if (speaker) {
                        speaker.close();
                    }
                }
            },
            start: () => reader.start(),
            stop: () => reader.stop()
        };
    }

    /* Tabs as in the WAI-ARIA practices: arrow keys, Home and End move to a tab and show it. */
    function tabs(ways) {
        let shown = null;

        function show(next) {
            if (next === shown) {
                return;
            }
            if (shown) {
                shown.show(false);
            }
            shown = next;
            shown.show(true);
        }

        function go(next) {
            show(next);
            next.tab.trigger("focus");
            window.history.replaceState(null, "", "#" + next.name);
        }

        function fromAddress() {
            show(ways.find(one => one.name === window.location.hash.slice(1)) || ways[0]);
        }

        ways.forEach((one, at) => {
            const to = {
                ArrowLeft: (at + ways.length - 1) % ways.length,
                ArrowRight: (at + 1) % ways.length,
                Home: 0,
                End: ways.length - 1
            };
            one.tab.on("click", () => go(one)).on("keydown", event => {
                const plain = !(event.ctrlKey || event.altKey || event.metaKey);
                if (plain && Object.hasOwn(to, event.key)) {
                    event.preventDefault();
                    go(ways[to[event.key]]);
                }
            });
            $("#tabs").append(one.tab);
            $("#panels").append(one.root);
        });
        $(window).on("hashchange", fromAddress);
        fromAddress();
        leaving(() => shown.stop(), () => shown.start());
    }

    /* Makes one request by each transport, one after the other, to see what the web server passes on. */
    function front() {
        const rows = new Map();

        WAYS.forEach(about => {
            const verdict = $("<span class=verdict>");
            const row = $("<li>").append($("<span class=dot aria-hidden=true>"),
                                         $("<span class=name>").text(NAMES[about.name]), verdict);
            rows.set(about.name, (found, why) => {
                row.attr("data-verdict", found);
                verdict.text(VERDICTS[found] + (why ? ": " + why : ""));
            });
            $("#carried").append(row);
        });

        async function ask() {
            const works = new Set();
            $("#again").attr("aria-disabled", "true");
            $("#choice").text("Trying each once…");
            rows.forEach(show => show("asking"));
            for (const [name, show] of rows) {
                const { verdict, why } = await window.Encke.probe({ base: BASE, name: name });
                show(verdict, why);
                if (verdict === "works") {
                    works.add(name);
                }
            }
            const best = window.Encke.AUTO.find(name => works.has(name));
            $("#choice").text(best
                ? "A page that leaves the choice to encke.js, like the message board, reads by "
                    + NAMES[best] + " here."
                : "None of them gets an answer. Is Encke running?");
            $("#again").attr("aria-disabled", null);
        }

        $("#again").on("click", () => $("#again").attr("aria-disabled") || ask());
        ask();
    }

    tabs(WAYS.map(way));
    front();
})(window);
