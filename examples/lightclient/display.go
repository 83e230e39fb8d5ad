package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// display shows how a run goes on, a line a second; on a terminal the line is
// drawn again in its place.
type display struct {
	w        io.Writer
	terminal bool
	lines    int
}

// headerEvery is how many lines stand below a header where lines are not
// redrawn.
const headerEvery = 20

// wordsEvery is the time in seconds after which it is said again why there is no
// server.
const wordsEvery = 5

var columns = []string{"time", "seen", "asked", "no", "silent", "dialed", "refused", "connected", "served", "median"}

func newDisplay(w io.Writer) *display {
	d := &display{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		d.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return d
}

// show draws the state after so many seconds.
func (d *display) show(seconds int, s summary) {
	if d.lines == 0 || !d.terminal && d.lines%headerEvery == 0 {
		fmt.Fprintln(d.w, strings.Join(padded(columns), " "))
	} else if d.terminal {
		fmt.Fprint(d.w, "\r\033[K")
	}
	d.lines++
	if s.Connected == 0 && seconds%wordsEvery == 0 {
		fmt.Fprintln(d.w, s.Words)
	}
	fmt.Fprint(d.w, strings.Join(padded([]string{
		fmt.Sprintf("%ds", seconds), fmt.Sprint(s.Seen), fmt.Sprint(s.Asked), fmt.Sprint(s.SaidNo),
		fmt.Sprint(s.Silent), fmt.Sprint(s.Dialed), fmt.Sprint(s.Refused), fmt.Sprint(s.Connected),
		fmt.Sprint(s.RequestsServed), fmt.Sprintf("%dms", s.MedianAnswerMs),
	}), " "))
	if !d.terminal {
		fmt.Fprintln(d.w)
	}
}

// end leaves the line that was redrawn.
func (d *display) end() {
	if d.terminal && d.lines > 0 {
		fmt.Fprintln(d.w)
	}
}

func padded(cells []string) []string {
	out := make([]string, len(cells))
	for i, cell := range cells {
		out[i] = fmt.Sprintf("%*s", max(len(columns[i]), 6), cell)
	}
	return out
}

// text is the summary for people.
func (s summary) text() string {
	var b strings.Builder
	first := "none"
	if s.FirstConnectionMs >= 0 {
		first = fmt.Sprintf("after %d ms", s.FirstConnectionMs)
	}
	fmt.Fprintf(&b, "servers seen       %d\n", s.Seen)
	fmt.Fprintf(&b, "asked by UDP       %d (yes %d, no %d, silent %d)\n", s.Asked, s.SaidYes, s.SaidNo, s.Silent)
	fmt.Fprintf(&b, "dialed by TCP      %d (refused %d)\n", s.Dialed, s.Refused)
	fmt.Fprintf(&b, "connected          %d (the first one %s)\n", s.Connected, first)
	fmt.Fprintf(&b, "requests served    %d (failed %d, median answer %d ms)\n", s.RequestsServed, s.RequestsFailed, s.MedianAnswerMs)
	fmt.Fprintf(&b, "known servers      %d (from earlier runs %d; dialed before any other: %d)\n", s.KnownServers, s.RestoredServers, s.KnownDialedFirst)
	fmt.Fprintf(&b, "status             %s\n", s.Words)
	fmt.Fprintf(&b, "last of each node  %s\n", counted(s.Outcomes))
	for _, c := range s.Servers {
		fmt.Fprintf(&b, "connected to       %s, found by %s: half of the answers within %v, 90%% within %v\n", c.ID.TerminalString(), c.Source,
			time.Duration(c.MedianAnswer).Round(time.Millisecond), time.Duration(c.Percentile90).Round(time.Millisecond))
	}
	return b.String()
}

// counted lists counters, the largest first.
func counted(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%d %s", counts[name], name))
	}
	return strings.Join(parts, ", ")
}
