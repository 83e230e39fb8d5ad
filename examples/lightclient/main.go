package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"
)

func main() {
	var cfg networkConfig
	flag.IntVar(&cfg.Servers, "servers", defaultServers, "light `servers` that run")
	flag.Float64Var(&cfg.Full, "full", 0.8, "`share` of servers without a free slot")
	flag.Uint64Var(&cfg.Seed, "seed", 1, "decides what the servers are like, and their addresses")
	duration := flag.Duration("duration", time.Minute, "how long to run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, cfg, *duration); err != nil {
		fmt.Fprintln(os.Stderr, "lightclient:", err)
		stop()
		os.Exit(1)
	}
}

// run starts the network, describes it, and keeps it up for the duration.
func run(ctx context.Context, cfg networkConfig, duration time.Duration) error {
	n, err := startNetwork(ctx, cfg)
	if err != nil {
		return err
	}
	defer n.Close()
	fmt.Println(n.TreeURL())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "server\taddress\tclients\tUDP\tin DNS\tclass\tlatency\treliability")
	for _, p := range n.Plans() {
		fmt.Fprintf(w, "%d\t%s\t%v\t%v\t%v\t%s\t%v\t%.3f\n", p.Index, p.addr(), p.Admission, p.UDP,
			p.InDNS, p.Class, p.Latency.Round(time.Millisecond), p.Reliability)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	pause(ctx, duration)
	return nil
}
