package main

import (
	"fmt"
	"slices"

	"github.com/lespool/lespool/internal/upstream/internal/tables"
)

// run names one simulation.
type run struct {
	scenario, side string
	seed           uint64
}

// results are the figures of runs by name.
type results map[run]map[string]float64

// compare makes the table of one of our sides beside theirs. Scenarios without
// results on both sides are left out.
func (r results) compare(side string, seeds []uint64) []tables.Row {
	table := []tables.Row{{"scenario", "figure", "theirs", "ours", "ratio", "of the seeds", "target", ""}}
	for _, sc := range scenarios {
		title := sc.title
		for _, f := range figures {
			if !slices.Contains(sc.shown(), f.name) {
				continue
			}
			row, ok := r.line(&sc, side, f, seeds)
			if !ok {
				continue
			}
			table = append(table, append(tables.Row{title}, row...))
			title = ""
		}
	}
	return table
}

// over is the verdict on a figure that misses its target.
const over = "over"

// summary counts the verdicts of a table.
func summary(table []tables.Row) string {
	missed, judged := 0, 0
	for _, row := range table[1:] {
		switch row[len(row)-1] {
		case over:
			missed++
			judged++
		case "ok":
			judged++
		}
	}
	return fmt.Sprintf("%d of %d figures within their limits.", judged-missed, judged)
}

// line is a row without its first cell.
func (r results) line(sc *scenario, side string, f figure, seeds []uint64) (tables.Row, bool) {
	var their, our, ratios []float64
	for _, seed := range seeds {
		a, okA := r[run{sc.name, "theirs", seed}][f.name]
		b, okB := r[run{sc.name, side, seed}][f.name]
		if okA && okB {
			their, our = append(their, a), append(our, b)
			ratios = append(ratios, quotient(b, a))
		}
	}
	if len(ratios) == 0 {
		return nil, false
	}
	theirs, ours, ratio := tables.Median(their), tables.Median(our), tables.Median(ratios)
	t := targetOf(sc.name, side, f)
	verdict := "ok"
	switch {
	case f.free:
		verdict = ""
	case !t.met(f, ours, ratio):
		verdict = over
	}
	return tables.Row{
		f.title, f.unit.String(theirs), f.unit.String(ours), tables.Ratio(ratio),
		fmt.Sprintf("%s–%s", tables.Ratio(slices.Min(ratios)), tables.Ratio(slices.Max(ratios))),
		t.text(f), verdict,
	}, true
}
