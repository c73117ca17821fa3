"""The tables that a scenario declares, and how they are laid out.

A table has a line for each row of results (case and contestant) and a column for each figure that
its scenario wants to show, by default the median of all rounds of all turns.
"""
import dataclasses
import textwrap
from typing import Callable

from results import spread


@dataclasses.dataclass(frozen=True)
class Column:
    """A figure, by the name that the load generator gives it, and how it is shown."""

    label: str
    figure: str
    decimals: int = 1
    spread: bool = False  # with the least and the most behind it
    to: str = ""  # the ratio to what this contestant did in the same turn
    of: Callable = None  # instead of the median: sum or max, of all rounds
    alias: str = ""  # the figure by the name that another program gives it
    plus: str = ""  # a figure that is added, where there is one

    def of_row(self, results, row):
        """All that was measured of it in this row."""
        values = results.values(row, self.figure) or results.values(row, self.alias)
        more = results.values(row, self.plus)
        return [sum(parts) for parts in zip(values, more)] if values and more else values or more

    def ratio(self, results, row):
        """What it is to that of the contestant `to`: a Spread, or None."""
        other = (*row[:2], self.to)
        name = self.figure if results.values(other, self.figure) else self.alias
        return results.ratio(row, self.figure, other, name)

    def cell(self, results, row):
        values = self.of_row(results, row)
        if self.of and values:
            return f"{self.of(values):.{self.decimals}f}"
        value = self.ratio(results, row) if self.to else spread(values)
        return shown(value, self.decimals, self.spread)


def shown(value, decimals, with_spread=True):
    """A Spread as text: MEDIAN (LEAST-MOST), or the median only."""
    if value is None:
        return "-"
    median, least, most = (f"{number:.{decimals}f}" for number in value)
    return f"{median} ({least}-{most})" if with_spread and least != most else median


ERRORS = Column("errors", "errors", 0, of=sum)


@dataclasses.dataclass(frozen=True)
class Section:
    """One table: of the rows of a scenario that have any of its figures.

    Title and note may have {options} of the run in them; `cases` says what its cases are.
    """

    title: str
    columns: tuple
    cases: str = ""
    table: str = ""  # of the results, if they are not under the scenario's own name
    note: str = ""

    def lines(self, results, scenario, options):
        rows = [
            row
            for row in results.rows(self.table or scenario)
            if any(column.of_row(results, row) for column in self.columns)
        ]
        if not rows:
            return
        yield ""
        yield self.title.format_map(vars(options))
        head = [self.cases, "", *(column.label for column in self.columns)]
        cells = [head] + [self.line(results, row) for row in rows]
        yield from aligned(without_repeats(cells))
        if self.note:
            yield from textwrap.wrap(f"({self.note.format_map(vars(options))})", 100)

    def line(self, results, row):
        return [row[1], row[2], *(column.cell(results, row) for column in self.columns)]


def without_repeats(lines):
    """The same lines, but a case that is that of the line above is not said again."""
    above = None
    for case, *rest in lines:
        yield ["" if case == above else case, *rest]
        above = case


def aligned(lines):
    """Lines of cells as text; a column without any text below its head is left out."""
    columns = [pad(column) for column in zip(*lines) if any(column[1:])]
    for line in zip(*columns):
        yield ("  " + "  ".join(line)).rstrip()


def pad(cells):
    """Cells of one width: words to the left, numbers to the right, spreads by their medians."""
    words = any(letter.isalpha() for cell in cells[1:] for letter in cell)
    spreads = any("(" in cell for cell in cells[1:])
    if spreads and not words:
        medians = [cell.partition(" ")[0] for cell in cells[1:]]
        width = max(map(len, medians))
        cells = [cells[0], *(" " * (width - len(m)) + c for m, c in zip(medians, cells[1:]))]
    width = max(map(len, cells))
    return [cell.ljust(width) if words or spreads else cell.rjust(width) for cell in cells]


def error_lines(results):
    """The errors that occurred, by kind."""
    errors = results.errors()
    if errors:
        yield ""
        yield "Errors, by kind:"
    for row, kind, count in errors:
        yield f"  {' '.join(filter(None, row))}: {count} {kind}"
