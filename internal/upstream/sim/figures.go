package main

import (
	"fmt"
	"math"
)

// figure is something that is measured in every run.
type figure struct {
	name   string
	title  string
	unit   unit
	higher bool // more is better
	free   bool // without limit: theirs has nothing like it
}

type unit int

const (
	seconds unit = iota
	share        // of 1
	perHour
	perSecond
	number
	megabytes
)

func (u unit) String(v float64) string {
	switch u {
	case share:
		return fmt.Sprintf("%.1f%%", 100*v)
	case perHour:
		return fmt.Sprintf("%.1f/h", v)
	case perSecond:
		return fmt.Sprintf("%.0f/s", v)
	case number:
		return fmt.Sprintf("%.0f", v)
	case megabytes:
		return fmt.Sprintf("%.1f MB", v/1e6)
	}
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f s", v)
	default:
		return fmt.Sprintf("%.1f s", v)
	}
}

var figures = []figure{
	{name: "first", title: "1st server", unit: seconds},
	{name: "fifth", title: "5th server", unit: seconds},
	{name: "fifthdials", title: "dials until then", unit: number},
	{name: "fifthqueries", title: "UDP queries until then", unit: number},
	{name: "survivors", title: "of servers not poor, known after", unit: share, higher: true},
	{name: "good", title: "time on the good 10%", unit: share, higher: true},
	{name: "sybils", title: "time on sybils", unit: share},
	{name: "crowded", title: "dials in the /24", unit: share},
	{name: "answer", title: "mean answer", unit: seconds},
	{name: "answer90", title: "90% of answers within", unit: seconds},
	{name: "lost", title: "requests not answered", unit: share},
	{name: "short", title: "time below 5 servers", unit: share},
	{name: "dials", title: "dials", unit: perHour},
	{name: "wasted", title: "wasted dials", unit: perHour},
	{name: "queries", title: "UDP queries", unit: perHour},
	{name: "speedstart", title: "candidates in the first 9 s", unit: perSecond, higher: true},
	{name: "speed", title: "candidates in 90 s", unit: perSecond, higher: true},
	{name: "memory", title: "memory", unit: megabytes},
	{name: "drops", title: "servers dropped by the pool", unit: perHour, free: true},
}

// Figures that are shown for scenarios of a kind.
var (
	ofAStart = []string{"first", "fifth", "fifthdials", "fifthqueries", "dials", "wasted", "queries"}
	ofALong  = []string{"first", "fifth", "good", "answer", "answer90", "lost", "short", "dials", "wasted", "queries", "drops"}
)

// target is what is asked of a figure in a scenario. Every other figure has
// otherLimit.
type target struct {
	ratio   float64 // ours divided by theirs, at most (at least where more is better)
	atMost  float64 // of ours, if not 0
	atLeast float64 // of ours, if not 0
}

const otherLimit = 1.10

// targets by scenario and figure.
var targets = map[[2]string]target{
	{"cold", "first"}:        {ratio: 1.0},
	{"cold", "fifth"}:        {ratio: 0.95},
	{"list", "first"}:        {ratio: 0.5},
	{"list", "fifth"}:        {ratio: 0.4},
	{"day", "good"}:          {atLeast: 0.6},
	{"day", "answer"}:        {ratio: 0.6},
	{"day", "wasted"}:        {ratio: 0.5},
	{"day", "queries"}:       {ratio: 3},
	{"restart", "first"}:     {ratio: 0.6},
	{"restart", "fifth"}:     {ratio: 0.6},
	{"crash", "fifth"}:       {ratio: 0.3},
	{"crash", "survivors"}:   {atLeast: 0.95},
	{"noudp", "fifth"}:       {ratio: 0.35},
	{"sybils", "sybils"}:     {atMost: 0.1},
	{"sybilsday", "sybils"}:  {atMost: 0.1},
	{"sybilsday", "queries"}: {ratio: 3},
	{"sybilshalf", "sybils"}: {atMost: 0.05},
	{"crowd", "crowded"}:     {atMost: 0.2},
	{"speed", "speed"}:       {ratio: 3},
}

// targetOf returns what is asked of a side.
func targetOf(scenario, side string, f figure) target {
	if t, ok := targets[[2]string{scenario, f.name}]; ok && side == "ours" {
		return t
	}
	if f.higher {
		return target{ratio: 1 / otherLimit}
	}
	return target{ratio: otherLimit}
}

// text writes the target for the table.
func (t target) text(f figure) string {
	switch {
	case f.free:
		return ""
	case t.atMost > 0:
		return "≤ " + f.unit.String(t.atMost)
	case t.atLeast > 0:
		return "≥ " + f.unit.String(t.atLeast)
	case f.higher:
		return fmt.Sprintf("≥ ×%.2f", t.ratio)
	default:
		return fmt.Sprintf("≤ ×%.2f", t.ratio)
	}
}

// met tells whether the target is met.
func (t target) met(f figure, ours, ratio float64) bool {
	switch {
	case f.free:
		return true
	case t.atMost > 0:
		return ours <= t.atMost
	case t.atLeast > 0:
		return ours >= t.atLeast
	case f.higher:
		return ratio >= t.ratio
	default:
		return ratio <= t.ratio
	}
}

// quotient is ours divided by theirs; two that are as good as nothing are
// equal.
func quotient(ours, theirs float64) float64 {
	const nothing = 1e-9
	switch {
	case ours < nothing && theirs < nothing:
		return 1
	case theirs < nothing:
		return math.Inf(1)
	default:
		return ours / theirs
	}
}
