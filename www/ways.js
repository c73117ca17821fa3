/*
 * ways.js: every way of comet, one tab each. All of them read channel `ticker` with Encke.Reader
 * and differ by its transport only. A tab reads while it is shown; shown again, it goes on from its
 * cursor, so the numbers said meanwhile come at once.
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
        weak: "A request for each answer. But any web server carries it, and each request is looked"
            + " at afresh: cookies, rights, the address."
    }, {
        name: "streaming",
        tab: "Streaming",
        what: "One answer that goes on: a line of JSON a message, read as it arrives.",
        weak: "One way only, and nothing is looked at afresh until it reconnects, as it does every"
            + " few minutes. A web server that buffers answers holds it back."
    }, {
        name: "iframe",
        tab: "Iframe",
        what: "A hidden frame loads a document that goes on; its scripts call the page.",
        weak: "The page looks as if it loaded for ever, and no browser tells it that the line"
            + " broke: only a minute of silence does. The oldest way; no page needs it any more."
    }, {
        name: "events",
        tab: "SSE",
        what: "Server-Sent Events: a stream with a format of its own, read by the browser's own"
            + " EventSource.",
        weak: "One way, and text only. Over HTTP/1.1 it takes one of the six connections that a"
            + " browser opens to a host, as all of these do but WebSocket."
    }, {
        name: "websocket",
        tab: "WebSocket",
        what: "A connection of its own, both ways: the server says numbers, and answers what you"
            + " say.",
        weak: "Not HTTP any more: no FastCGI carries it, so the web server passes it to a second"
            + " socket of Encke's; and some proxies do not let it through."
    }];

    const VERDICTS = {
        asking: "…",
        works: "works",
        buffered: "buffered by the server",
        refused: "refused",
        silent: "no answer"
    };

    /* What was heard in a tab, the newest on top. */
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
     * What is said to the server comes back, by a socket that is opened when something is said and
     * closed when the tab is left. Nothing is stored.
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
            hint.text(waiting.length ? "The WebSocket is gone, and what you said with it." : "");
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

    /* One way: its tab, its panel, its Reader. */
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

    /* Tabs as the WAI-ARIA practices have them: arrows, Home and End move to one and show it. */
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

    /* Asks the server in front once by each transport, one after the other. */
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
            $("#choice").text("Asking it once by each…");
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
                ? "A page that leaves the choice to encke.js, as the message board does, reads by "
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
