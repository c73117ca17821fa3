"""What was measured: each figure of each round, and what can be said of them all.

A turn of a contestant is a few rounds. A ratio is of what two contestants did in the same turn,
one right after the other: so what disturbed one has most likely disturbed the other as well.
"""
import collections
import csv
import statistics

Figure = collections.namedtuple("Figure", "scenario case contestant turn round name value")
Spread = collections.namedtuple("Spread", "median least most")


def spread(values):
    """Their Spread; None if there are none."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values)) if values else None


class Results:
    """Figures in the order in which they were measured.

    A `case` is what a scenario was run with (8000 holds, a kind of stream), or empty. A `row` is
    (scenario, case, contestant).
    """

    def __init__(self):
        self.figures = []
        self.turns = {}  # (row, name): {turn: [value, ...]}

    def add(self, row, turn, round, name, value):
        self.figures.append(Figure(*row, turn, round, name, value))
        self.turns.setdefault((row, name), {}).setdefault(turn, []).append(value)

    def add_csv(self, row, turn, text):
        """What the bench's programs print with --csv: lines of round,figure,value."""
        for line in text.splitlines():
            round, name, value = line.split(",")
            self.add(row, turn, int(round), name, float(value))

    def values(self, row, name):
        return [value for turn in self.turns.get((row, name), {}).values() for value in turn]

    def spread(self, row, name):
        """Of all rounds of all turns; None if the row has no such figure."""
        return spread(self.values(row, name))

    def ratio(self, row, name, to_row, to_name=None):
        """The Spread, over the turns, of what one row's median is to the other's in that turn."""
        ours = self.turns.get((row, name), {})
        theirs = self.turns.get((to_row, to_name or name), {})
        return spread(
            statistics.median(ours[turn]) / statistics.median(theirs[turn])
            for turn in ours
            if turn in theirs and statistics.median(theirs[turn]) > 0
        )

    def wrong(self, row):
        """How many errors occurred in a row."""
        return int(sum(self.values(row, "errors")))

    def rows(self, scenario):
        """Those of a scenario, case by case, in the order in which they were first measured."""
        rows = dict.fromkeys(figure[:3] for figure in self.figures if figure.scenario == scenario)
        cases = list(dict.fromkeys(case for _, case, _ in rows))
        return sorted(rows, key=lambda row: cases.index(row[1]))

    def errors(self):
        """(row, kind, how many) of each kind of error that occurred."""
        counts = collections.Counter()
        for figure in self.figures:
            if figure.name.startswith("error_"):
                counts[figure[:3], figure.name.removeprefix("error_")] += figure.value
        return [(row, kind, int(count)) for (row, kind), count in counts.items()]

    def write_csv(self, file):
        """Every figure of every round, as CSV."""
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Figure._fields)
        rows.writerows([*figure[:-1], f"{figure.value:.6g}"] for figure in self.figures)
