"""The plot: how the cost of a fan-out grows with those that wait, as an SVG, by gnuplot."""
import shutil
import subprocess

from processes import Failure

#: What is plotted of which scenario, side by side.
PANELS = (
    # scenario, figure, title, x, y
    ("fanout", "last_ms", "One publish, all answered", "held long polls", "last answer, ms"),
    ("workers", "last_ms", "nginx with two workers", "held long polls", "last answer, ms"),
    ("create", "requests_a_second", "Creates", "publishers", "a second"),
)

#: Any of these must be measured.
SCENARIOS = tuple(dict.fromkeys(about[0] for about in PANELS))

WIDTH, HEIGHT = 440, 450

SCRIPT = """\
set terminal svg size {width},{height} dynamic font "sans-serif,12" background "white"
set multiplot layout 1,{panels}
set logscale xy
set grid ytics linecolor rgb "#dddddd"
set border 3
set tics nomirror
set bmargin 10
set format y "%.0s%c"
set key bmargin center horizontal reverse Left samplen 1.5 font ",11"
"""

PANEL = """\
set title "{title}"
set xlabel "{x}"
set ylabel "{y}"
set xtics ({tics})
set xrange [{least}:{most}]
{data}
plot {curves}
"""

#: One a contestant, so that it looks the same in each panel.
COLOURS = {
    "nginx+encke": "#c03020",
    "nginx+nchan": "#2060c0",
    "nginx+holder": "#808080",
    "lighttpd+encke": "#e09020",
    "nginx+tornado": "#208040",
    "nginx+gevent": "#80b040",
    "encke": "#f0a0a0",
    "tornado": "#80c0a0",
    "gevent": "#c0e080",
    "nginx+hello": "#808080",
}


def panel(results, scenario, figure, title, x, y):
    """gnuplot's commands for one; nothing if there is nothing to plot."""
    curves = {}
    for row in results.rows(scenario):
        spread = results.spread(row, figure)
        if spread and row[2] in COLOURS:
            curves.setdefault(row[2], []).append((int(row[1]), *spread))
    if not curves:
        return ""
    at = sorted({point[0] for points in curves.values() for point in points})
    data, plots = [], []
    for number, (name, points) in enumerate(curves.items()):
        lines = "\n".join(" ".join(map(str, point)) for point in sorted(points))
        data.append(f"$curve{number} << EOD\n{lines}\nEOD")
        colour = f'linecolor rgb "{COLOURS[name]}"'
        plots.append(f'$curve{number} with linespoints {colour} linewidth 2 pt 7 ps 0.5 title "{name}"')
        plots.append(f"$curve{number} using 1:3:(0):($4-$3) with vectors nohead {colour} notitle")
    return PANEL.format(
        title=title, x=x, y=y, data="\n".join(data), curves=", ".join(plots),
        tics=", ".join(f'"{count}" {count}' for count in at),
        least=at[0] * 0.8, most=at[-1] * 1.25,
    )  # fmt: skip


def write_svg(results, file):
    """Plots what there is. Bars go from the least to the most of all rounds, lines by medians."""
    panels = list(filter(None, (panel(results, *about) for about in PANELS)))
    if not panels:
        raise Failure(f"nothing of {', '.join(SCENARIOS)} was measured")
    script = SCRIPT.format(width=WIDTH * len(panels), height=HEIGHT, panels=len(panels))
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
