// Package dnstest is a DNS server for tests and examples: it listens on
// loopback, by UDP and TCP, and answers TXT queries from a map, such as the one
// that a signed tree of node records (EIP-1459) is published as. It is apart
// from package testutil so that the tests which need no DNS don't link it.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

const (
	// maxString is what fits into one string of a TXT record. Resolvers join
	// the strings of a record without a separator.
	maxString = 255
	// ttl of every answer in seconds. Resolvers that cache serve an outdated
	// record for longer when it grows; that of Go does not cache.
	ttl = 60
	// portTries is how many UDP ports are tried until the same TCP port is free
	// too. More tries help on a machine that has few ports left.
	portTries = 10
)

// Server answers TXT queries. Its methods may be called concurrently.
type Server struct {
	addr    string
	servers [2]*dns.Server // UDP, TCP
	running sync.WaitGroup
	close   func() error

	mu struct {
		sync.RWMutex
		txt map[string]string // by lower-case name with the final dot
	}
}

// Start serves the records, a map from domain name to text, on a free port of
// 127.0.0.1. Names may be in any case, with or without the final dot.
func Start(records map[string]string) (*Server, error) {
	pc, l, err := listen()
	if err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	s := &Server{addr: pc.LocalAddr().String()}
	s.close = sync.OnceValue(s.shutdown)
	s.Set(records)
	s.servers[0] = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(s.serve)}
	s.servers[1] = &dns.Server{Listener: l, Handler: dns.HandlerFunc(s.serve)}
	started := make(chan struct{}, len(s.servers))
	failed := make(chan error, len(s.servers))
	for _, srv := range s.servers {
		srv.NotifyStartedFunc = func() { started <- struct{}{} }
		s.running.Go(func() {
			if err := srv.ActivateAndServe(); err != nil {
				failed <- err
			}
		})
	}
	for range s.servers {
		select {
		case <-started:
		case err := <-failed:
			err = errors.Join(err, pc.Close(), l.Close())
			s.running.Wait()
			return nil, fmt.Errorf("dnstest: %w", err)
		}
	}
	return s, nil
}

// listen opens a UDP and a TCP socket with the same port number.
func listen() (net.PacketConn, net.Listener, error) {
	var lastErr error
	for range portTries {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		l, err := net.Listen("tcp4", pc.LocalAddr().String())
		if err == nil {
			return pc, l, nil
		}
		lastErr = errors.Join(err, pc.Close())
	}
	return nil, nil, lastErr
}

// Addr returns the address, host and port, of both the UDP and the TCP socket.
func (s *Server) Addr() string { return s.addr }

// Set replaces all records.
func (s *Server) Set(records map[string]string) {
	txt := make(map[string]string, len(records))
	for name, text := range records {
		txt[key(name)] = text
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.txt = txt
}

// Resolver returns a resolver that asks this server and no other.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, s.addr)
		},
	}
}

// Close ends the server and returns when its goroutines are gone. Calls after
// the first do nothing and return the same.
func (s *Server) Close() error { return s.close() }

func (s *Server) shutdown() error {
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.Shutdown())
	}
	s.running.Wait()
	return errors.Join(errs...)
}

// The names of a record tree are base32, in upper case on one side and in
// lower case on the other; resolvers may change the case as they like.
func key(name string) string { return strings.ToLower(dns.Fqdn(name)) }

func (s *Server) serve(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	if len(query.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
	} else {
		s.answer(reply, query.Question[0])
	}
	size := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		reply.SetEdns0(opt.UDPSize(), false)
	}
	if _, ok := w.LocalAddr().(*net.TCPAddr); ok {
		size = dns.MaxMsgSize
	}
	reply.Truncate(size) // sets the bit that makes a resolver come back by TCP
	_ = w.WriteMsg(reply)
}

func (s *Server) answer(reply *dns.Msg, q dns.Question) {
	s.mu.RLock()
	text, ok := s.mu.txt[key(q.Name)]
	s.mu.RUnlock()
	switch {
	case !ok:
		reply.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeTXT || q.Qtype == dns.TypeANY:
		hdr := dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl}
		reply.Answer = []dns.RR{&dns.TXT{Hdr: hdr, Txt: split(text)}}
	}
}

// split cuts a text into strings which a TXT record can hold, with backslashes
// escaped as package dns wants them.
func split(text string) []string {
	parts := make([]string, 0, len(text)/maxString+1)
	for len(text) > maxString {
		parts, text = append(parts, text[:maxString]), text[maxString:]
	}
	parts = append(parts, text)
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], `\`, `\\`)
	}
	return parts
}
