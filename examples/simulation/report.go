package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

// classNames are the names of the classes, sybils behind the last one.
func classNames() (names []string) {
	for _, class := range simnet.Default(0).Classes {
		names = append(names, class.Name)
	}
	return append(names, "sybils")
}

// lines prints how a run goes on.
type lines struct {
	out    io.Writer
	before simnet.Record
	begun  bool
}

func newLines(out io.Writer) *lines { return &lines{out: out} }

var columns = []string{"time", "good", "average", "poor", "sybils", "median", "90%", "failed", "dials", "wasted", "queries", "dropped"}

// show prints who is connected, and what has happened since the last line.
func (l *lines) show(s sample) {
	if !l.begun {
		l.begun = true
		fmt.Fprintln(l.out, aligned(columns))
	}
	now, before := &s.record, &l.before
	answers := now.Answers.Since(before.Answers)
	cells := []string{clockTime(s.at)}
	for _, count := range s.connected {
		cells = append(cells, fmt.Sprint(count))
	}
	cells = append(cells,
		milliseconds(answers.Quantile(0.5)), milliseconds(answers.Quantile(0.9)),
		percent(now.Lost-before.Lost, answers.Count+now.Lost-before.Lost),
		fmt.Sprint(now.Dials-before.Dials), fmt.Sprint(now.Wasted-before.Wasted),
		fmt.Sprint(now.Queries-before.Queries), fmt.Sprint(now.Drops-before.Drops))
	fmt.Fprintln(l.out, aligned(cells))
	l.before = s.record
}

func aligned(cells []string) string {
	var line strings.Builder
	for i, cell := range cells {
		fmt.Fprintf(&line, "%*s", max(len(columns[i]), 6)+1, cell)
	}
	return strings.TrimLeft(line.String(), " ")
}

// clockTime writes a time as hours, minutes and, if need be, seconds.
func clockTime(d time.Duration) string {
	if d < time.Hour {
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

func milliseconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

func percent(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

// table tells what a run of some length came to.
func (s sample) table(length time.Duration) string {
	r := &s.record
	var text strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "%-28s%s\n", name, fmt.Sprintf(format, args...))
	}
	for _, k := range []int{1, wanted} {
		name := map[int]string{1: "first server after", wanted: fmt.Sprintf("%d servers after", wanted)}[k]
		if m, ok := r.First(k); ok {
			row(name, "%.1f s, %d dials and %d queries", m.At.Seconds(), m.Dials, m.Queries)
		} else {
			row(name, "never")
		}
	}
	var shares []string
	for class, name := range classNames() {
		shares = append(shares, fmt.Sprintf("%s %.1f%%", name, 100*r.Share(class)))
	}
	row("connected time", "%s", strings.Join(shares, ", "))
	row("time with fewer servers", "%.2f%% (with none %.2f%%)",
		100*float64(r.ShortOf)/float64(length), 100*float64(r.Without)/float64(length))
	row("answers", "mean %d ms, half within %d ms, 90%% within %d ms", r.Answers.Mean().Milliseconds(),
		r.Answers.Quantile(0.5).Milliseconds(), r.Answers.Quantile(0.9).Milliseconds())
	row("requests without answer", "%s of %d", percent(r.Lost, r.Lost+r.Answers.Count), r.Lost+r.Answers.Count)
	row("sessions", "%d (%d ended by the server, %d by the pool)", len(r.Sessions), r.Ended, r.Drops)
	row("dials", "%d (%d led to no session)", r.Dials, r.Wasted)
	row("UDP queries", "%d", r.Queries)
	return text.String()
}
