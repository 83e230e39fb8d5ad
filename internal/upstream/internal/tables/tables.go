// Package tables makes the tables that the commands of this module print.
package tables

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Row is a line of a table, a cell a column.
type Row []string

// Median returns the median of at least one value.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// Ratio writes a ratio.
func Ratio(q float64) string { return strconv.FormatFloat(q, 'f', 2, 64) }

// Machine describes where something ran.
func Machine(cpu string) string {
	return fmt.Sprintf("%s, %d cores, %s %s/%s, %s", cpu, runtime.NumCPU(), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format(time.DateOnly))
}

// Format writes a table in Markdown, with columns that line up as plain text
// too: names to the left, figures to the right. An empty table is empty text.
func Format(table []Row) string {
	if len(table) < 2 {
		return ""
	}
	widths := make([]int, len(table[0]))
	for _, cells := range table {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for n, cells := range table {
		for i, cell := range cells {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 || i == len(cells)-1 {
				text.WriteString("| " + cell + space + " ")
			} else {
				text.WriteString("| " + space + cell + " ")
			}
		}
		text.WriteString("|\n")
		if n == 0 {
			for i, width := range widths {
				text.WriteString("|" + strings.Repeat("-", width+1))
				text.WriteString(map[bool]string{true: "-", false: ":"}[i == 0 || i == len(widths)-1])
			}
			text.WriteString("|\n")
		}
	}
	return text.String()
}
