package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

// variation changes a network.
type variation struct {
	name string
	edit func(c *simnet.Config)
}

// variations of the network: what it is made for, and by half and by double what
// a rule might have been tuned to without being meant to.
var variations = []variation{
	{"as it is", func(*simnet.Config) {}},
	{"half the servers", func(c *simnet.Config) { c.Servers = (c.Servers + 1) / 2 }},
	{"double the servers", func(c *simnet.Config) { c.Servers *= 2 }},
	{"half as many good ones", func(c *simnet.Config) { shareOfGood(c, 0.5) }},
	{"double as many good ones", func(c *simnet.Config) { shareOfGood(c, 2) }},
	{"half the latencies", func(c *simnet.Config) { latencies(c, 0.5) }},
	{"double the latencies", func(c *simnet.Config) { latencies(c, 2) }},
	{"half as often room", func(c *simnet.Config) { c.Full = 1 - (1-c.Full)/2 }},
	{"double as often room", func(c *simnet.Config) { c.Full = 1 - (1-c.Full)*2 }},
}

// shareOfGood multiplies the share of the good class; the others share the rest
// as before.
func shareOfGood(c *simnet.Config, factor float64) {
	rest := (1 - factor*c.Classes[simnet.Good].Share) / (1 - c.Classes[simnet.Good].Share)
	for i := range c.Classes {
		if i == simnet.Good {
			c.Classes[i].Share *= factor
		} else {
			c.Classes[i].Share *= rest
		}
	}
}

// latencies multiplies round trips and the times that servers take.
func latencies(c *simnet.Config, factor float64) {
	c.Latency *= factor
	c.SybilThink = time.Duration(factor * float64(c.SybilThink))
	for i := range c.Classes {
		class := &c.Classes[i]
		class.ThinkMin = time.Duration(factor * float64(class.ThinkMin))
		class.ThinkMax = time.Duration(factor * float64(class.ThinkMax))
	}
}

// outcome is one figure of a run.
type outcome struct {
	name   string
	format string
	of     func(r *simnet.Record, length time.Duration) float64
}

var outcomes = []outcome{
	{"1st server", "%.1f s", func(r *simnet.Record, l time.Duration) float64 { return reached(r, 1, l) }},
	{"5th server", "%.1f s", func(r *simnet.Record, l time.Duration) float64 { return reached(r, wanted, l) }},
	{"on good", "%.0f%%", func(r *simnet.Record, _ time.Duration) float64 { return 100 * r.Share(simnet.Good) }},
	{"on poor", "%.0f%%", func(r *simnet.Record, _ time.Duration) float64 { return 100 * r.Share(simnet.Poor) }},
	{"mean answer", "%.0f ms", func(r *simnet.Record, _ time.Duration) float64 {
		return float64(r.Answers.Mean()) / float64(time.Millisecond)
	}},
	{"failed", "%.1f%%", func(r *simnet.Record, _ time.Duration) float64 {
		return 100 * float64(r.Lost) / float64(max(r.Lost+r.Answers.Count, 1))
	}},
	{"dials/h", "%.1f", func(r *simnet.Record, l time.Duration) float64 { return float64(r.Dials) / l.Hours() }},
	{"wasted/h", "%.1f", func(r *simnet.Record, l time.Duration) float64 { return float64(r.Wasted) / l.Hours() }},
	{"queries/h", "%.0f", func(r *simnet.Record, l time.Duration) float64 { return float64(r.Queries) / l.Hours() }},
	{"dropped/h", "%.1f", func(r *simnet.Record, l time.Duration) float64 { return float64(r.Drops) / l.Hours() }},
}

// reached returns after how many seconds there were k servers, at the latest the
// length of the run.
func reached(r *simnet.Record, k int, length time.Duration) float64 {
	if m, ok := r.First(k); ok {
		return m.At.Seconds()
	}
	return length.Seconds()
}

// runSensitivity prints a line of medians for each variation of the network.
func runSensitivity(opt options, out io.Writer) error {
	fmt.Fprintf(out, "%s, %d servers, %v, medians of %d seeds from %d on\n\n",
		scenarios[0].title, opt.servers, opt.length(), opt.runs, opt.seed)
	head := []string{"network"}
	for _, o := range outcomes {
		head = append(head, o.name)
	}
	fmt.Fprintln(out, markdown(head))
	fmt.Fprintln(out, "|---|"+strings.Repeat("---:|", len(outcomes)))
	for _, v := range variations {
		cells, err := v.line(opt)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, markdown(append([]string{v.name}, cells...)))
	}
	return nil
}

func (v *variation) line(opt options) (cells []string, err error) {
	values := make([][]float64, len(outcomes))
	for k := range opt.runs {
		config := scenarios[0].network(opt.servers, opt.seed+uint64(k), opt.length())
		v.edit(&config)
		w, err := newWorld(scenarios[0], config)
		if err != nil {
			return nil, err
		}
		h, err := w.play(opt.length(), func(sample) {})
		if err != nil {
			return nil, err
		}
		last := h.last()
		for i, o := range outcomes {
			values[i] = append(values[i], o.of(&last.record, opt.length()))
		}
	}
	for i, o := range outcomes {
		cells = append(cells, fmt.Sprintf(o.format, median(values[i])))
	}
	return cells, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

func markdown(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }
