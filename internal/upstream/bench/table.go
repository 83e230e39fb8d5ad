package main

import (
	"fmt"
	"strconv"

	"github.com/lespool/lespool/internal/upstream/internal/tables"
)

// row is a line of a table, a cell a column.
type row = tables.Row

// verdict compares a ratio with its target, and allocations with none.
func verdict(w work, ratio, allocs float64) string {
	switch {
	case ratio > w.target:
		return "over"
	case w.noAllocs && allocs > 0:
		return "over (allocates)"
	default:
		return "ok"
	}
}

// costTable compares the sides work by work. Works without results on both
// sides are left out.
func costTable(works []work, r results) []row {
	table := []row{{"work", "theirs", "ours", "ratio", "of the pairs", "target", "allocs", ""}}
	for _, w := range works {
		their, ok1 := r.median("Theirs"+w.benchmark, w.unit)
		our, ok2 := r.median("Ours"+w.benchmark, w.unit)
		if !ok1 || !ok2 {
			continue
		}
		theirAllocs, _ := r.median("Theirs"+w.benchmark, allocsPerOp)
		ourAllocs, counted := r.median("Ours"+w.benchmark, allocsPerOp)
		allocs := ""
		if counted && !w.once && !w.part {
			allocs = fmt.Sprintf("%.0f → %.0f", theirAllocs, ourAllocs)
		}
		low, high := pairs(r["Theirs"+w.benchmark][w.unit], r["Ours"+w.benchmark][w.unit])
		table = append(table, row{
			w.name, quantity(their, w.unit), quantity(our, w.unit), ratio(our / their),
			ratio(low) + "–" + ratio(high), "≤ " + strconv.FormatFloat(w.target, 'f', -1, 64),
			allocs, verdict(w, our/their, ourAllocs),
		})
	}
	return table
}

// pairs returns the lowest and the highest ratio of the runs that followed each
// other.
func pairs(theirs, ours []float64) (low, high float64) {
	for i := range min(len(theirs), len(ours)) {
		q := ours[i] / theirs[i]
		if i == 0 || q < low {
			low = q
		}
		high = max(high, q)
	}
	return low, high
}

// growthTable shows what becomes of a call's time when there are more nodes.
func growthTable(r results) []row {
	head := row{"time of a call, nodes:"}
	for _, size := range sizes {
		head = append(head, grouped(size))
	}
	table := []row{append(head, "growth", "limit", "")}
	floor, ok := growthLine(r, "Floor", floorGrowth, "bare map look-up")
	if !ok {
		return nil
	}
	table = append(table, append(floor.cells, ratio(floor.growth), "", "the floor"))
	for _, g := range growings {
		if line, ok := growthLine(r, "Ours", g.benchmark, "ours: "+g.name); ok {
			limit := floor.growth * g.limit
			table = append(table, append(line.cells, ratio(line.growth), "≤ "+ratio(limit), growthVerdict(line.growth, limit)))
		}
		if line, ok := growthLine(r, "Theirs", g.benchmark, "theirs: "+g.name); ok {
			table = append(table, append(line.cells, ratio(line.growth), "", ""))
		}
	}
	return table
}

func growthVerdict(growth, limit float64) string {
	if growth > limit {
		return "over"
	}
	return "ok"
}

type growthCells struct {
	cells  row
	growth float64 // time with the most nodes divided by that with the fewest
}

func growthLine(r results, side, benchmark, name string) (line growthCells, ok bool) {
	line.cells = row{name}
	var times []float64
	for _, size := range sizes {
		t, ok := r.median(fmt.Sprintf("%s%s/%s/%s", side, growthBenchmark, size, benchmark), nsPerOp)
		if !ok {
			return line, false
		}
		times = append(times, t)
		line.cells = append(line.cells, quantity(t, nsPerOp))
	}
	line.growth = times[len(times)-1] / times[0]
	return line, true
}

// floorTable shows the floors that were measured.
func floorTable(r results) []row {
	table := []row{{"floor", "time"}}
	for _, f := range floors {
		if t, ok := r.median("Floor"+f.benchmark, nsPerOp); ok {
			table = append(table, row{f.name, quantity(t, nsPerOp)})
		}
	}
	return table
}

func ratio(q float64) string {
	if q < 0.001 {
		return "< 0.001"
	}
	if q < 0.1 {
		return strconv.FormatFloat(q, 'f', 3, 64)
	}
	return tables.Ratio(q)
}

// quantity writes a value with three digits or so, and a unit that suits it.
func quantity(v float64, unit string) string {
	if unit != nsPerOp {
		return fmt.Sprintf("%.0f B", v)
	}
	for _, step := range []string{"ns", "µs", "ms"} {
		switch {
		case v < 10:
			return fmt.Sprintf("%.2g %s", v, step)
		case v < 9999.5:
			return fmt.Sprintf("%.0f %s", v, step)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.1f s", v)
}

// grouped writes a whole number with commas.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
