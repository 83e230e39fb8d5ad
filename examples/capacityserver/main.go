package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	if err := tell(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// price is what the client of the story pays: tokens for three hours at a capacity
// of 500, if it makes no requests.
const price = int64(3*time.Hour) * 500 / 1_000_000

// tell runs the story and writes what happens.
func tell(out io.Writer) error {
	srv, err := startServer()
	if err != nil {
		return err
	}
	defer srv.close()
	node := srv.p2p.Self()
	fmt.Fprintf(out, "a server has %d slots, and a capacity of %d\n", slots, totalCapacity)

	var free []*lightClient
	for i := range slots {
		c, err := startClient(fmt.Sprintf("free client %d", i+1))
		if err != nil {
			return err
		}
		defer c.close()
		free = append(free, c)
		capacity, err := c.connect(node)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s connects and has %d\n", c.name, capacity)
	}

	payer, err := startClient("paying client")
	if err != nil {
		return err
	}
	defer payer.close()
	offers, err := payer.ask(node, 0, price)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "a client asks by UDP: it would get %d now, and %d with %d tokens\n", offers[0], offers[1], price)
	if err := srv.sell(payer.id(), price); err != nil {
		return err
	}
	capacity, err := payer.connect(node)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "it buys them, connects and has %d\n", capacity)
	if _, err := srv.pool.SetCapacity(payer.p2p.Self(), 500, 0, true); err != nil {
		return err
	}
	if capacity, err = payer.next(); err != nil {
		return err
	}
	fmt.Fprintf(out, "it asks for more and has %d\n", capacity)
	if err := farewell(out, free); err != nil {
		return err
	}
	report(out, srv)
	return nil
}

// farewell waits until one of the free clients has been sent away.
func farewell(out io.Writer, free []*lightClient) error {
	var sent *lightClient
	select {
	case <-free[0].gone:
		sent = free[0]
	case <-free[1].gone:
		sent = free[1]
	case <-free[2].gone:
		sent = free[2]
	case <-time.After(patience):
		return errors.New("no free client has to go")
	}
	fmt.Fprintf(out, "%s has to go\n", sent.name)
	return nil
}

// report writes the state of the pool.
func report(out io.Writer, srv *lightServer) {
	status := srv.pool.Status()
	fmt.Fprintf(out, "%d clients have %d of %d\n", status.ActiveClients, status.ActiveCapacity, status.MaxCapacity)
	for _, c := range status.Clients {
		if c.Exhausted != nil {
			left := time.Duration(*c.Exhausted * float64(time.Second))
			fmt.Fprintf(out, "the paying one has %d, for another %v\n", c.Capacity, left.Round(time.Minute))
		}
	}
}
