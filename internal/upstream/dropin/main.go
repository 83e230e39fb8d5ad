package main

import (
	"fmt"
	"os"

	"github.com/ethereum/go-ethereum/metrics"
)

// report collects what happened, as lines of a behaviour, a tab, and what came of it.
type report struct{ lines []string }

func (r *report) add(behaviour string, outcome any) {
	r.lines = append(r.lines, fmt.Sprintf("%s\t%v", behaviour, outcome))
}

func main() {
	metrics.Enabled = true
	var r report
	if err := runPlay(&r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	runMisuse(&r)
	for _, line := range r.lines {
		fmt.Println(line)
	}
}
