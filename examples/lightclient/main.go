package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	network  networkConfig
	client   clientConfig
	duration time.Duration
	json     bool
}

func main() {
	opt, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "lightclient:", err)
		stop()
		os.Exit(1)
	}
}

func parseFlags(args []string, stderr io.Writer) (opt options, err error) {
	fs := flag.NewFlagSet("lightclient", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&opt.network.Servers, "servers", defaultServers, "light `servers` that run")
	fs.Float64Var(&opt.network.Full, "full", 0.8, "`share` of servers without a free slot")
	fs.Uint64Var(&opt.network.Seed, "seed", 1, "decides what the servers are like, and their addresses")
	fs.DurationVar(&opt.duration, "duration", 20*time.Second, "how long to run")
	fs.StringVar(&opt.client.Datadir, "datadir", "", "`directory` that keeps what the client learns; a second run with the same one dials known servers first (default: a temporary one)")
	fs.BoolVar(&opt.client.NoQuery, "noquery", false, "dial servers without asking them by UDP first")
	fs.BoolVar(&opt.json, "json", false, "print the summary as a JSON object, everything else to standard error")
	if err := fs.Parse(args); err != nil {
		return opt, err
	}
	if fs.NArg() > 0 {
		err := fmt.Errorf("lightclient: flags only, no arguments such as %q", fs.Arg(0))
		fmt.Fprintln(stderr, err)
		return opt, err
	}
	return opt, nil
}

// run starts the network and the client, shows what happens until the time is
// up or the context ends, and prints the summary.
func run(ctx context.Context, opt options, stdout, stderr io.Writer) error {
	screen := stdout
	if opt.json {
		screen = stderr
	}
	network, err := startNetwork(ctx, opt.network)
	if err != nil {
		return err
	}
	defer network.Close()
	client, err := startLightClient(network, opt.client)
	if err != nil {
		return err
	}
	watch(ctx, client, newDisplay(screen), opt.duration)
	client.stop()
	sum := client.summary()
	if opt.json {
		return json.NewEncoder(stdout).Encode(sum)
	}
	_, err = fmt.Fprint(screen, "\n", sum.text())
	return err
}

// watch shows the state of the client every second.
func watch(ctx context.Context, client *lightClient, d *display, duration time.Duration) {
	defer d.end()
	end := time.NewTimer(duration)
	defer end.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for n := 1; ; n++ {
		select {
		case <-second.C:
			d.show(n, client.summary())
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
