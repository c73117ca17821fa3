"""The plot: how the cost of a fan-out grows with those that wait, as an SVG, by gnuplot."""
import shutil
import subprocess

from processes import Failure

LAST = "last answer, ms (less is better)"

#: What is plotted of which scenario, side by side.
PANELS = (
    # scenario, figure, title, x, y
    ("fanout", "last_ms", "One publish, all answered", "held long polls", LAST),
    ("workers", "last_ms", "The same, nginx with two workers", "held long polls", LAST),
    ("create", "requests_a_second", "Creates", "publishers", "a second (more is better)"),
)

#: Any of these must be measured.
SCENARIOS = tuple(dict.fromkeys(about[0] for about in PANELS))

#: A colour for each contestant, the same in each panel: darker behind nginx. Floors are dashed.
STYLES = {
    "nginx+encke": ("#c8201e", ""),
    "encke": ("#f09890", ""),
    "lighttpd+encke": ("#e08a1e", ""),
    "nginx+nchan": ("#1f5fbf", ""),
    "nginx+tornado": ("#1d7a46", ""),
    "tornado": ("#8cc6a2", ""),
    "nginx+gevent": ("#7a3f9d", ""),
    "gevent": ("#c6a4d8", ""),
    "nginx+holder": ("#555555", "dashtype 2"),
    "lighttpd+holder": ("#a0a0a0", "dashtype 2"),
    "nginx+hello": ("#8a6d3b", "dashtype 2"),
}
IN_MEMORY = ("nchan", "tornado", "gevent")  # and Encke on the disk

WIDTH, HEIGHT = 440, 480
CAPTION = "lines: medians; bars: from the least to the most; dashed: floors"

SCRIPT = """\
set terminal svg size {width},{height} dynamic font "sans-serif,12" background "white"
set multiplot layout 1,{panels} margins screen {left},{right},0.32,0.92 spacing screen {gap}
set logscale xy
set grid ytics linetype 1 linecolor rgb "#d8d8d8" linewidth 1
set border 3 linecolor rgb "#606060"
set tics nomirror
set format y "%.0s%c"
set key at graph 0.5,-0.17 center top vertical maxrows 5 reverse Left samplen 2 font ",10.5"
set label 1 "{caption}" at screen 0.5,0.05 center noenhanced font ",10.5" textcolor rgb "#505050"
"""

PANEL = """\
set title "{title}" font ",13"
set xlabel "{x}" offset 0,0.4
set ylabel "{y}"
set xtics ({tics})
set xrange [{least}:{most}]
{data}
plot {curves}
unset label 1
"""


def curve(number, name):
    """gnuplot's plots of one: a line of medians, and bars from the least to the most."""
    colour, dashes = STYLES[name]
    style = f'linecolor rgb "{colour}"'
    title = f"{name}, in memory" if name.endswith(IN_MEMORY) else name
    yield f'$curve{number} with linespoints {style} {dashes} linewidth 2 pt 7 ps 0.5 title "{title}"'
    yield f"$curve{number} using 1:3:(0):($4-$3) with vectors nohead {style} notitle"


def panel(results, scenario, figure, title, x, y):
    """gnuplot's commands for one; nothing if there is nothing to plot."""
    curves = {}
    for row in results.rows(scenario):
        spread = results.spread(row, figure)
        if spread and row[2] in STYLES:
            curves.setdefault(row[2], []).append((int(row[1]), *spread))
    if not curves:
        return ""
    at = sorted({point[0] for points in curves.values() for point in points})
    data, plots = [], []
    for number, name in enumerate(filter(curves.get, STYLES)):
        lines = "\n".join(" ".join(map(str, point)) for point in sorted(curves[name]))
        data.append(f"$curve{number} << EOD\n{lines}\nEOD")
        plots += curve(number, name)
    return PANEL.format(
        title=title, x=x, y=y, data="\n".join(data), curves=", ".join(plots),
        tics=", ".join(f'"{count}" {count}' for count in at),
        least=at[0] * 0.8, most=at[-1] * 1.25,
    )  # fmt: skip


def write_svg(results, file, machine):
    """Plots what there is; `machine` says what it was measured on, and when."""
    panels = list(filter(None, (panel(results, *about) for about in PANELS)))
    if not panels:
        raise Failure(f"nothing of {', '.join(SCENARIOS)} was measured")
    width = WIDTH * len(panels)
    script = SCRIPT.format(
        width=width, height=HEIGHT, panels=len(panels), caption=f"{CAPTION}\\n{machine}",
        left=70 / width, right=1 - 20 / width, gap=80 / width,
    )  # fmt: skip
    script += "".join(panels)
    done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"gnuplot can't plot: {done.stderr.strip()}")
    file.write_text(done.stdout)


def check(scenarios):
    """That something of these can be plotted."""
    if not set(SCENARIOS).intersection(scenarios):
        raise Failure(f"nothing to plot: --svg shows the scenarios {', '.join(SCENARIOS)}")
    if not shutil.which("gnuplot"):
        raise Failure("--svg needs gnuplot, which is not installed: run deploy/packages bench")
