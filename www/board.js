/*
 * board.js: the page of the message board. It reads with Encke.Reader and writes with Encke.create
 * (encke.js).
 *
 * It has four parts: inbox, picks, composer, terminal. Each is a function that manages its own
 * elements and returns a few functions. A fifth part, the state panel, is in parts.js. `board` puts
 * them together. Text from messages, from the server and from the address is put into the page with
 * .text() only.
 *
 * It reads by the best transport that the web server passes on. `?by=streaming` in the address
 * chooses another one, by any name of Encke.transports.
 */
(function (window) {
    "use strict";

    const OFFERED = ["main", "news", "random"];
    const PICKED_AT_FIRST = ["main", "news"];
    const CHANNEL = /^[A-Za-z0-9._-]{1,64}$/;
    const MOST_CHANNELS = 32;       /* as many as encke's --max-channels allows in one request */
    const SHOWN = 500;              /* the newest; an inbox that is open for weeks stays small */
    const NEAR_PX = 48;             /* this close to the end counts as the end */
    const TINTS = 6;

    if (!window.Parts) {
        return;         /* parts.js has said what is missing */
    }

    const $ = window.jQuery;
    const { BASE, clock, leaving, panel } = window.Parts;

    /* A channel has the same colour everywhere and in every session. */
    function tint(channel) {
        const known = OFFERED.indexOf(channel);
        let sum = 0;
        for (const letter of channel) {
            sum = (sum * 31 + letter.charCodeAt(0)) % 9973;
        }
        return "tint" + (known >= 0 ? known : sum % TINTS);
    }

    function tag(channel) {
        return $("<span class=tag>").addClass(tint(channel)).text(channel);
    }

    /*
     * The inbox: the newest messages of the picked channels, the oldest on top. If its end is in
     * view, the end stays in view. If somebody has scrolled up, the same lines stay in view.
     */
    function inbox() {
        const scroller = $("#inbox");
        const list = $("#messages");
        const jump = $("#jump");
        const rows = [];            /* as shown: {channel, time, element}; channel null: a notice */
        let unread = 0;             /* below what is in view */
        let unseen = 0;             /* since the tab was last looked at */
        const title = document.title;

        function atEnd() {
            const box = scroller[0];
            return box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
        }

        function toEnd() {
            scroller[0].scrollTop = scroller[0].scrollHeight;
        }

        /* Changes the list so that the lowest line in view, or the end, stays where it is. */
        function steadily(change) {
            const box = scroller[0];
            const end = atEnd();
            const edge = box.scrollTop + box.clientHeight;
            let anchor = null;
            if (!end) {
                for (let i = rows.length - 1; i >= 0 && !anchor; i--) {
                    anchor = rows[i].element.offsetTop <= edge ? rows[i].element : null;
                }
            }
            const before = anchor ? anchor.offsetTop : 0;
            change();
            if (end) {
                toEnd();
            } else if (anchor && anchor.isConnected) {
                box.scrollTop += anchor.offsetTop - before;
            }
            return end;
        }

        function trim() {
            const over = rows.length - SHOWN;
            if (over > 0) {
                rows.splice(0, over).forEach(row => row.element.remove());
            }
        }

        function line(message, live) {
            const text = $("<div class=text dir=auto>");
            if (message.data === "") {
                text.addClass("nothing").text("(an empty message)");
            } else {
                text.text(message.data);
            }
            return $("<li>").toggleClass("live", live).attr("data-id", message.id)
                .append(clock(message.time), tag(message.channel), text)[0];
        }

        /*
         * Where a message belongs. Answers have the order of the log. Only channels that were read
         * separately are merged by time, and then each channel still keeps its own order.
         */
        function placeOf(message, merge) {
            const after = row => row.channel !== null && row.channel !== message.channel
                && row.time > message.time;
            let at = rows.length;
            while (merge && at > 0 && after(rows[at - 1])) {
                at--;
            }
            return at;
        }

        function count() {
            const messages = rows.filter(row => row.channel !== null).length;
            $("#empty").prop("hidden", rows.length > 0);
            $("#count").text(messages === 0 ? ""
                : rows.length >= SHOWN ? "the newest " + messages
                : messages + (messages === 1 ? " message" : " messages"));
            jump.prop("hidden", unread === 0)
                .text(unread + (unread === 1 ? " new message" : " new messages") + " ↓");
            document.title = (unseen ? "(" + unseen + ") " : "") + title;
        }

        function read() {
            unread = 0;
            count();
        }

        scroller.on("scroll", () => unread && atEnd() && read());
        jump.on("click", () => {
            toEnd();
            read();
            scroller.trigger("focus");
        });
        $(document).on("visibilitychange", () => {
            unseen = 0;
            count();
        });
        /* The end stays in view also when the inbox changes its size. */
        let wasAtEnd = true;
        scroller.on("scroll", () => {
            wasAtEnd = atEnd();
        });
        new window.ResizeObserver(() => wasAtEnd && toEnd()).observe(scroller[0]);

        return {
            add(messages, how) {
                const live = !how.history;
                const end = steadily(() => {
                    const tail = document.createDocumentFragment();
                    messages.slice(-SHOWN).forEach(message => {
                        const row = {
                            channel: message.channel,
                            time: message.time,
                            element: line(message, live)
                        };
                        const at = placeOf(message, how.merge);
                        if (at === rows.length) {
                            tail.append(row.element);
                        } else {
                            list.append(tail);
                            list[0].insertBefore(row.element, rows[at].element);
                        }
                        rows.splice(at, 0, row);
                    });
                    list.append(tail);
                    trim();
                });
                if (live) {
                    unread += end ? 0 : messages.length;
                    unseen += document.hidden ? messages.length : 0;
                }
                count();
            },

            /* A line across the inbox. Without a message since the last one, it replaces that one. */
            notice(text) {
                const last = rows[rows.length - 1];
                if (last && last.channel === null) {
                    $(last.element).text(text);
                    return;
                }
                steadily(() => {
                    const element = $("<li class=notice>").text(text).appendTo(list)[0];
                    rows.push({ channel: null, time: 0, element: element });
                    trim();
                });
                count();
            },

            /* Removes the messages of all other channels. */
            keep(channels) {
                steadily(() => {
                    for (let i = rows.length - 1; i >= 0; i--) {
                        if (rows[i].channel !== null && !channels.includes(rows[i].channel)) {
                            rows.splice(i, 1)[0].element.remove();
                        }
                    }
                });
                if (!rows.some(row => row.channel !== null)) {
                    rows.splice(0).forEach(row => row.element.remove());
                    unread = 0;
                }
                count();
            },

            /* Screen readers do not read the history; they read what comes later, in a pause. */
            speak(on) {
                const live = on ? "polite" : "off";
                if (scroller.attr("aria-live") !== live) {
                    scroller.attr("aria-live", live);
                }
            }
        };
    }

    /* The channels to choose from. The address keeps the chosen ones: …/#main,news */
    function picks(changed) {
        const known = OFFERED.slice();
        let picked = [];

        function fromAddress() {
            const names = window.location.hash.slice(1).split(",");
            return Array.from(new Set(names.filter(name => CHANNEL.test(name))))
                .slice(0, MOST_CHANNELS);
        }

        function box(name) {
            const input = $("<input type=checkbox>").val(name);
            input.prop("checked", picked.includes(name)).on("change", () => {
                set(input.prop("checked") ? picked.concat(name)
                    : picked.filter(other => other !== name));
            });
            return $("<label class=pick>").addClass(tint(name))
                .append(input, $("<span>").text(name));
        }

        function set(names) {
            if (names.length > MOST_CHANNELS) {
                hint("No more than " + MOST_CHANNELS + " channels at once.");
                show();
                return false;
            }
            names.filter(name => !known.includes(name)).forEach(name => known.push(name));
            picked = known.filter(name => names.includes(name));
            hint("");
            show();
            try {
                window.history.replaceState(null, "", "#" + picked.join(","));
            } catch {
                /* Refused: too many changes in a short time. The choice is valid anyway. */
            }
            changed(picked);
            return true;
        }

        /* Existing boxes are kept; otherwise the keyboard focus would be lost. */
        function show() {
            const shown = $("#channels");
            known.forEach(name => {
                const there = shown.find("input").filter((i, input) => input.value === name);
                if (there.length) {
                    there.prop("checked", picked.includes(name));
                } else {
                    shown.append(box(name));
                }
            });
        }

        function hint(text) {
            $("#add-hint").text(text);
        }

        $("#add").on("submit", event => {
            const name = $("#add-name").val().trim();
            event.preventDefault();
            if (!CHANNEL.test(name)) {
                hint("A channel's name has 1 to 64 letters A–Z a–z, digits, dots, _ and -.");
            } else if (set(picked.includes(name) ? picked : picked.concat(name))) {
                $("#add-name").val("");
            }
        });
        $("#add-name").on("input", () => hint(""));
        $(window).on("hashchange", () => set(fromAddress()));

        return {
            start() {
                const names = fromAddress();
                set(names.length ? names : PICKED_AT_FIRST);
            }
        };
    }

    /* Why it was refused: Encke says it; if the web server refused it, this says it more plainly. */
    function reason(failure) {
        return /^403\b/.test(failure.message)
            ? "this server does not take messages from here. Its configuration says who may publish."
            : failure.message;
    }

    /*
     * The box to write in. A text that was not stored stays there. Perhaps it was stored, and only
     * the answer was lost: then it keeps its key, so that it is stored once if it is sent again.
     */
    function composer(chosen) {
        const text = $("#text");
        const to = $("#to");
        let unsure = {};            /* the text that was perhaps stored: {channel, message, once} */

        function say(kind, words) {
            $("#sent").attr("class", "hint " + kind).text(words);
        }

        function busy(on) {
            $("#submit, #random").attr("aria-disabled", on ? "true" : null);
            text.prop("readonly", on);
            $("#send").toggleClass("busy", on);
        }

        /* If message is undefined, the server makes one up. */
        function send(message) {
            if ($("#send").hasClass("busy")) {
                return;
            }
            const channel = to.val();
            if (!channel) {
                say("bad", "Pick a channel first.");
                return;
            }
            busy(true);
            say("pending", "Sending…");
            const again = unsure.message === message && unsure.channel === channel;
            window.Encke.create({
                base: BASE,
                channel: channel,
                message: message,
                once: again ? unsure.once : undefined
            }).then(answer => {
                if (message !== undefined) {
                    text.val("");
                }
                unsure = {};
                say("good", "Stored in " + channel + " as " + answer.id);
            }, failure => {
                if (failure.unsure) {
                    unsure = { channel: channel, message: message, once: failure.once };
                }
                const advice = failure.once ? "Send it again: it is stored once."
                    : "Look before you send again.";
                say("bad", failure.unsure ? "Perhaps not stored: " + failure.message + ". " + advice
                    : "Not stored (" + failure.status + "): " + reason(failure));
            }).finally(() => busy(false));
        }

        $("#send").on("submit", event => {
            event.preventDefault();
            if (text.val() === "") {
                say("", "Write something first, or press Random: the server makes a message up.");
                text.trigger("focus");
            } else {
                send(text.val());
            }
        });
        $("#random").on("click", () => send(undefined));
        /* Enter sends the message if there is a real keyboard. On a phone it starts a new line. */
        if (window.matchMedia("(pointer: fine)").matches) {
            text.attr("placeholder", "Write a message, Enter sends it");
            text.on("keydown", event => {
                /* While an input method composes a character, Enter means something else. */
                if (event.key === "Enter" && !event.shiftKey && !event.originalEvent.isComposing) {
                    event.preventDefault();
                    $("#send").trigger("submit");
                }
            });
        }
        to.on("change", () => chosen(to.val()));

        return {
            offer(channels) {
                const was = to.val();
                to.empty().append(channels.map(name => $("<option>").val(name).text(name)[0]));
                to.val(channels.includes(was) ? was : channels[0]);
                to.prop("disabled", channels.length === 0);
                chosen(to.val());
            }
        };
    }

    /* The command for a terminal, with the address of this page. */
    function terminal() {
        const line = $("#curl");
        const copy = $("#copy");

        /* navigator.clipboard exists only over HTTPS and on localhost. */
        if (window.navigator.clipboard) {
            copy.prop("hidden", false).on("click", () => {
                const say = said => {
                    copy.text(said);
                    window.setTimeout(() => copy.text("Copy"), 2000);
                };
                window.navigator.clipboard.writeText(line.text())
                    .then(() => say("Copied"), () => say("Not allowed"));
            });
        }

        return {
            show(channel) {
                const url = new URL(BASE + "create", document.baseURI).href;
                const word = /^[\w.:/~%-]+$/.test(url) ? url : "'" + url.replace(/'/g, "%27") + "'";
                line.text("curl -d msg=hello "
                    + (channel && channel !== "main" ? "-d channel=" + channel + " " : "") + word);
            }
        };
    }

    function board() {
        const messages = inbox();
        const state = panel("#state", { retry: () => reader.retry(), focus: "#inbox" });
        const curl = terminal();
        const writer = composer(channel => curl.show(channel));
        const wish = new URLSearchParams(window.location.search).get("by");
        const reader = new window.Encke.Reader({
            base: BASE,
            channels: [],
            transport: Object.hasOwn(window.Encke.transports, wish) ? wish : "auto",
            onmessages(fresh, how) {
                messages.add(fresh, how);
            },
            onreset() {
                messages.notice("A gap: the server could not go on from the last id. What follows"
                    + " is all that it still has. Some messages may be missing here.");
            },
            onstate(now) {
                messages.speak(now.caughtUp);
                state.show(now);
            }
        });
        const channels = picks(picked => {
            messages.keep(picked);
            reader.setChannels(picked);
            writer.offer(picked);
        });

        channels.start();
        reader.start();
        leaving(() => reader.stop(), () => reader.start());
    }

    board();
})(window);
