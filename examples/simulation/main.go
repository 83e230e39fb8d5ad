package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

type options struct {
	servers  int
	hours    float64
	seed     uint64
	scenario string
	runs     int
	plot     string
}

func (o *options) length() time.Duration { return time.Duration(o.hours * float64(time.Hour)) }

func main() {
	opt, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	if err := run(opt, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "simulation:", err)
		os.Exit(1)
	}
}

// The shortest run has samples at different times, the longest one is a hundred
// years and fits in a time.Duration.
const (
	minHours = 0.001
	maxHours = 100 * 365 * 24
)

func parseFlags(args []string, stderr io.Writer) (opt options, err error) {
	fs := flag.NewFlagSet("simulation", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&opt.servers, "servers", 2000, "`servers` in the network, beside dead records")
	fs.Float64Var(&opt.hours, "hours", 24, "simulated `hours`")
	fs.Uint64Var(&opt.seed, "seed", 1, "decides what the servers are like and when; the same one gives the same result")
	fs.StringVar(&opt.scenario, "scenario", scenarios[0].name, "`name` of what happens")
	fs.IntVar(&opt.runs, "runs", 5, "`seeds`, from -seed on, for each line of the scenario "+sensitivity)
	fs.StringVar(&opt.plot, "plot", "", "`file` for a picture of the run (SVG)")
	fs.Usage = func() {
		fmt.Fprintln(stderr, "usage: simulation [flags]")
		fs.PrintDefaults()
		fmt.Fprintln(stderr, "scenarios:")
		for _, s := range scenarios {
			fmt.Fprintf(stderr, "  %-12s %s\n", s.name, s.title)
		}
		fmt.Fprintf(stderr, "  %-12s the first one in networks that differ by half and by double, as a table\n", sensitivity)
	}
	if err := fs.Parse(args); err != nil {
		return opt, err
	}
	if err := opt.validate(fs.Args()); err != nil {
		fmt.Fprintln(stderr, "simulation:", err)
		return opt, err
	}
	return opt, nil
}

func (o *options) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("flags only, no arguments such as %q", rest[0])
	case !(o.hours >= minHours && o.hours <= maxHours):
		return fmt.Errorf("-hours is %v, not between %v and %v", o.hours, minHours, maxHours)
	case o.servers < 1 || o.servers > 1e7:
		return fmt.Errorf("-servers is %d, not between 1 and 10,000,000", o.servers)
	case o.runs < 1:
		return fmt.Errorf("-runs is %d, below 1", o.runs)
	case o.scenario == sensitivity && o.plot != "":
		return errors.New("-plot draws one run, not the scenario " + sensitivity)
	case o.scenario == sensitivity:
		return nil
	}
	_, err := findScenario(o.scenario)
	return err
}

// run simulates what the options say.
func run(opt options, out io.Writer) error {
	if opt.scenario == sensitivity {
		return runSensitivity(opt, out)
	}
	sc, err := findScenario(opt.scenario)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s (%s)\n\n", capital(sc.title), opt.describe())
	w, err := newWorld(sc, sc.network(opt.servers, opt.seed, opt.length()))
	if err != nil {
		return err
	}
	history, err := w.play(opt.length(), newLines(out).show)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s", history.last().table(opt.length()))
	if sc.again > 0 {
		again, err := w.play(sc.again, func(sample) {})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\nafter the start again, %v:\n%s", sc.again, again.last().table(sc.again))
	}
	if opt.plot == "" {
		return nil
	}
	return os.WriteFile(opt.plot, []byte(drawing(capital(sc.title), opt.describe(), history)), 0o644)
}

// describe names what decides a run beside its scenario.
func (o *options) describe() string {
	return fmt.Sprintf("%d servers, seed %d, %v hours", o.servers, o.seed, o.hours)
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// sample is how things stand at a time.
type sample struct {
	at        time.Duration
	record    simnet.Record
	connected []int // by class, sybils behind the last one
}

// history is the samples of a run, in order.
type history []sample

func (h history) last() sample { return h[len(h)-1] }

const (
	samples   = 144 // in a run: one for 10 minutes of a day
	reporting = 6   // samples for each line that is printed
)

// play runs the client for a while and ends it as the scenario says.
func (w *world) play(length time.Duration, show func(sample)) (h history, err error) {
	client, stop, err := w.start()
	if err != nil {
		return nil, err
	}
	step := length / samples
	for k := range samples {
		w.clock.Run(step)
		h = append(h, w.sample(client, step*time.Duration(k+1)))
		if (k+1)%reporting == 0 {
			show(h.last())
		}
	}
	if w.sc.crash {
		err = w.crash()
	}
	stop()
	return h, err
}

func (w *world) sample(client *simnet.Client, at time.Duration) sample {
	s := sample{at: at, record: client.Record()}
	s.connected = make([]int, len(s.record.Connected))
	for _, n := range client.Sessions() {
		class, sybil := w.net.Class(w.net.Index(n.ID()))
		if sybil {
			class = len(s.connected) - 1
		}
		s.connected[class]++
	}
	return s
}
