/*
 * parts.js: what both pages use: where Encke is mounted, a message if a script is missing, the
 * state panel of a Reader, and a time of day. Text is put into the page with .text() only.
 */
(function (window) {
    "use strict";

    if (!window.jQuery || !window.Encke || !window.Encke.Reader) {
        const trouble = document.getElementById("trouble");
        trouble.textContent = window.jQuery
            ? "encke.js did not load, so this page cannot ask for messages."
            : "jQuery did not load from /javascript/jquery/jquery.min.js, so this page cannot ask"
                + " for messages. On Debian it comes with libjs-jquery; the web server maps it.";
        trouble.hidden = false;
        return;
    }

    const $ = window.jQuery;
    const BASE = "comet/";

    /* The transports' usual names. */
    const NAMES = {
        "long-polling": "Long polling",
        streaming: "Streaming",
        iframe: "Iframe",
        events: "Server-Sent Events",
        websocket: "WebSocket"
    };

    /* Local time; with the day if it is not today. */
    function clock(ms) {
        const when = new Date(ms);
        const element = $("<time>");
        if (Number.isNaN(when.getTime())) {
            return element;
        }
        const today = when.toDateString() === new Date().toDateString();
        const shown = today
            ? when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })
            : when.toLocaleString([], {
                day: "numeric", month: "short", hour: "2-digit", minute: "2-digit"
            });
        return element.attr({ datetime: when.toISOString(), title: when.toLocaleString() })
            .text(shown);
    }

    /*
     * The state panel: what a Reader is doing, in words and numbers. It fills those elements of
     * `root` that have data-show="phase" and so on. `focus` gets the keyboard focus when the button
     * that has it disappears.
     */
    function panel(root, { retry, focus }) {
        const phases = {
            connecting: "Connecting…",
            waiting: "Connected, waiting for news",
            disconnected: "Disconnected",
            idle: "No channel picked",
            stopped: "Stopped"
        };
        const part = name => $(root).find("[data-show=" + name + "]");
        let now = null;
        let clockwork = 0;

        function put(name, text) {
            const element = part(name);
            if (element.text() !== text) {      /* a screen reader would say it again */
                element.text(text);
            }
        }

        function countdown() {
            const left = Math.max(0, Math.ceil((now.retryAt - Date.now()) / 1000));
            put("countdown", now.phase === "disconnected" ? "reconnecting in " + left + " s" : "");
        }

        part("retry").on("click", retry);

        return {
            show(state) {
                const lost = state.outcome !== "" && state.outcome !== "success";
                const again = lost && state.phase === "connecting";
                const idle = state.phase === "idle" || state.phase === "stopped";
                now = state;
                $(root).attr("data-phase", lost && !again && !idle ? "disconnected" : state.phase);
                put("phase", again ? "Reconnecting…" : phases[state.phase]);
                put("outcome", "[state: " + (state.outcome || "connecting") + " ]");
                put("requests", String(state.requests));
                put("received", String(state.received));
                put("transport", NAMES[state.transport] || state.transport);
                put("id", state.id || "–");
                /* The button stays during an attempt. When it disappears, the focus must move. */
                if (!lost && document.activeElement === part("retry")[0]) {
                    $(focus).trigger("focus");
                }
                part("retry").prop("hidden", !lost || idle);
                window.clearInterval(clockwork);
                if (state.phase === "disconnected") {
                    clockwork = window.setInterval(countdown, 250);
                }
                countdown();
            }
        };
    }

    /* A page that comes back from the browser's cache goes on where it stopped. */
    function leaving(stop, start) {
        $(window).on("pagehide", stop);
        $(window).on("pageshow", event => event.originalEvent.persisted && start());
    }

    window.Parts = { BASE: BASE, NAMES: NAMES, clock: clock, panel: panel, leaving: leaving };
})(window);
