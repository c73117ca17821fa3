/*
 * ladder.js: which transport to read by, where that is left open; and what a web server in front
 * of Encke makes of each.
 *
 * Nobody can know beforehand. A proxy may refuse a WebSocket, or keep a stream in its buffer until
 * it ends, and an answer says nothing of either. So it is tried, best first, and what was found out
 * is remembered for all Readers of the page.
 */
(function (window) {
    "use strict";

    const { carry, transports } = window.Encke;

    /*
     * "auto":
     *
     *   websocket     nobody buffers what was upgraded, and it takes none of the six connections
     *                 that a browser opens to one host over HTTP/1.1
     *   events        the stream that proxies know by its type and pass on
     *   streaming     where somebody dislikes that type
     *   long-polling  an ordinary answer; always there, so always the last
     *
     * Not iframe: it gets through where streaming does, and leaves the page loading for ever.
     */
    const AUTO = ["websocket", "events", "streaming", "long-polling"];
    const LAST = "long-polling";

    /* So often in a row one that is known to work may break until it is the next one's turn. */
    const BREAKS_MOST = 5;
    /* One that does not carry is passed over for so long, and the next time for twice as long. */
    const SHUN_FIRST_MS = 600000;
    const SHUN_MOST_MS = 8 * 3600000;

    /* Base and name -> { works, shunUntil, shunMs }, for the whole page. */
    const known = new Map();

    class Ladder {
        /* wish: "auto"; a list of names, best first; or one name, and then there is no other. */
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

        /* After so many breaks in a row, is it the next one's turn? */
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

        /* Another network may carry what this one did not. */
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
     * Asks once by a transport and sees how the answer comes. Resolves to { verdict, why }:
     *
     *   "works"      its first words come long before its end
     *   "buffered"   they come, but not before the end
     *   "refused"    there is no such stream; `why` has the failure's text
     *   "silent"     nothing came in ten seconds
     *
     * The stream is asked to end by itself after two seconds. So it is not a slow line that is
     * taken for a buffer: what counts is the time between first words and end.
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
