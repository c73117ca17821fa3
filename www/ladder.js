/*
 * ladder.js: chooses the transport if the page leaves it open, and probes which transports the web
 * server in front of Encke passes on.
 *
 * This cannot be known in advance. A proxy may refuse a WebSocket, or buffer a stream until it
 * ends, and no header says so. So the transports are tried, the best first, and what was found out
 * is remembered for all Readers of the page.
 */
(function (window) {
    "use strict";

    const { carry, transports } = window.Encke;

    /*
     * "auto":
     *
     *   websocket     no proxy buffers it, and it takes none of the six connections that a browser
     *                 opens to one host over HTTP/1.1
     *   events        a stream that proxies know by its content type and pass on
     *   streaming     for proxies that do not pass that type on
     *   long-polling  an ordinary answer, which always works; so it is always the last
     *
     * Not iframe: it gets through where streaming does, and the page seems to load all the time.
     */
    const AUTO = ["websocket", "events", "streaming", "long-polling"];
    const LAST = "long-polling";

    /* A transport that has worked may break this often in a row; then the next one is used. */
    const BREAKS_MOST = 5;
    /* A transport that does not work is not used for this long, and next time for twice as long. */
    const SHUN_FIRST_MS = 600000;
    const SHUN_MOST_MS = 8 * 3600000;

    /* Base and name -> { works, shunUntil, shunMs }, for the whole page. */
    const known = new Map();

    class Ladder {
        /* wish: "auto"; a list of names, the best first; or one name, and then no other is used. */
        constructor(base, wish) {
            const names = wish === "auto" ? AUTO : [].concat(wish);
            const unknown = names.find(name => !transports[name]);
            if (unknown !== undefined) {
                throw new Error("Encke has no transport \"" + unknown + "\"");
            }
            this.base = base;
            this.rungs = names;
            if (Array.isArray(wish)) {
                this.rungs = names.filter(name => name !== LAST).concat(LAST);
            }
        }

        pick() {
            return this.rungs.find(name => this.about(name).shunUntil <= Date.now())
                || this.rungs[this.rungs.length - 1];
        }

        works(name) {
            this.about(name).works = true;
        }

        /* After this many breaks in a row, should the next transport be used? */
        givesUp(name, breaks) {
            return name !== this.rungs[this.rungs.length - 1]
                && (breaks >= BREAKS_MOST || !this.about(name).works);
        }

        shun(name) {
            const about = this.about(name);
            about.works = false;
            about.shunUntil = Date.now() + about.shunMs;
            about.shunMs = Math.min(SHUN_MOST_MS, 2 * about.shunMs);
        }

        /* Another network may pass on what this one did not. */
        forgive() {
            this.rungs.forEach(name => known.delete(this.base + " " + name));
        }

        about(name) {
            const key = this.base + " " + name;
            if (!known.has(key)) {
                known.set(key, { works: false, shunUntil: 0, shunMs: SHUN_FIRST_MS });
            }
            return known.get(key);
        }
    }

    /*
     * Makes one request by a transport and sees how the answer comes. Resolves to { verdict, why }:
     *
     *   "works"      the first bytes come long before the end
     *   "buffered"   they come only at the end
     *   "refused"    there is no such stream; `why` has the failure's text
     *   "silent"     nothing came within ten seconds
     *
     * The stream is told to end after two seconds. What counts is the time between the first bytes
     * and the end, so a slow connection is not mistaken for a buffer.
     */
    const PROBE_S = 2;
    const APART_MS = 700;
    const PROBE_MOST_MS = 10000;

    function probe({ base = "comet/", name }) {
        return new Promise(resolve => {
            let carrier = null;
            let spoken = false;
            const streams = name !== LAST;
            const finish = (verdict, why = "") => {
                window.clearTimeout(timer);
                carrier.abort();
                resolve({ verdict: verdict, why: why });
            };
            let timer = window.setTimeout(finish, PROBE_MOST_MS, "silent");

            carrier = carry(name, {
                base: base,
                query: new URLSearchParams({
                    channel: "probe", id: "now", timeout: streams ? PROBE_S : 0
                })
            }, {
                alive() {},
                answer() {
                    if (!spoken && streams) {
                        window.clearTimeout(timer);
                        timer = window.setTimeout(finish, APART_MS, "works");
                    }
                    spoken = true;
                },
                end(failure) {
                    if (failure) {
                        finish("refused", failure.message);
                    } else {
                        finish(!spoken ? "refused" : streams ? "buffered" : "works");
                    }
                }
            });
        });
    }

    Object.assign(window.Encke, { Ladder: Ladder, probe: probe, AUTO: AUTO });
})(window);
