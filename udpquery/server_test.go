package udpquery

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/lespool/lespool/internal/testutil"
	"github.com/stretchr/testify/require"
)

func TestRegister(t *testing.T) {
	s := NewServer(0)
	require.ErrorIs(t, s.Register(nil, "les", ""), ErrNoService)
	require.ErrorIs(t, s.Register(&scripted{}, "les:x", ""), ErrServiceID)
	require.NoError(t, s.Register(echo("first"), "les", "light client service"))
	require.ErrorIs(t, s.Register(echo("second"), "les", ""), ErrServiceTaken)
	require.NoError(t, s.Register(echo("other"), "other", ""))
	require.Equal(t, "first", string(s.Serve(nodeID(1), "10.0.0.1", one("les"))[0]))
	require.Equal(t, "other", string(s.Serve(nodeID(1), "10.0.0.1", one("other"))[0]))
	s.Stop()
	require.ErrorIs(t, s.Register(echo(""), "late", ""), ErrStopped)
}

func TestServerConfig(t *testing.T) {
	for _, bad := range []time.Duration{-1, maxDelay + 1} {
		_, err := NewServerFromConfig(ServerConfig{DelayPerRequest: bad})
		require.ErrorContains(t, err, "DelayPerRequest")
		NewServer(bad).Stop() // takes the nearest
	}
	s, err := NewServerFromConfig(ServerConfig{})
	require.NoError(t, err)
	s.Stop()
}

// What services get as address is what they know the client by on TCP: its IP
// address, whichever port or zone it came from, or the id of a local node.
func TestAddressOfService(t *testing.T) {
	id := nodeID(1)
	for from, want := range map[string]string{
		"10.0.0.1:30303": "10.0.0.1", "10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1": "10.0.0.1",
		"[::ffff:10.0.0.1]:1": "10.0.0.1", "[2001:db8::1%eth0]:30303": "2001:db8::1", "fe80::1%eth0": "fe80::1",
		"127.0.0.1:30303": id.String(), "[::1]:30303": id.String(), "::ffff:127.0.0.1": id.String(),
		"": id.String(), "localhost": id.String(), "1.2.3": id.String(),
	} {
		var got string
		s := NewServer(0)
		require.NoError(t, s.Register(&scripted{handle: func(call call) []byte { got = call.address; return nil }}, "les", ""))
		require.NotNil(t, s.Serve(id, from, one("les")))
		require.Equal(t, want, got, from)
		if addr, err := net.ResolveUDPAddr("udp", from); err == nil && addr.IP != nil && from != "localhost" {
			got = ""
			require.NotNil(t, s.ServeEncoded(id, addr, one("les").Encode()))
			require.Equal(t, want, got, from)
		}
		s.Stop()
	}
	s := NewServer(0)
	defer s.Stop()
	require.NotNil(t, s.ServeEncoded(id, nil, one("les").Encode()))
	require.NotNil(t, s.ServeEncoded(id, &net.UDPAddr{IP: []byte{1, 2, 3}}, one("les").Encode()))
	require.Nil(t, s.ServeNode(nil, nil, one("les").Encode()))
	require.NotNil(t, s.ServeNode(testutil.PublicNode(1), nil, one("les").Encode()))
}

// Each request stands for itself; a batch without requests, or with too many, is
// not answered at all.
func TestBatches(t *testing.T) {
	s := NewServer(0)
	defer s.Stop()
	require.NoError(t, s.Register(&scripted{handle: func(call call) []byte {
		if call.name == "fail" {
			panic("on purpose")
		}
		return []byte(call.name + string(call.data))
	}}, "les", ""))
	batch := Requests{{"les", "a", []byte("1")}, {"none", "b", nil}, {"les", "fail", nil}, {"les", "c", nil}}
	require.Equal(t, Replies{[]byte("a1"), nil, nil, []byte("c")}, s.Serve(nodeID(1), "", batch))
	require.Nil(t, s.Serve(nodeID(1), "", nil))
	require.Nil(t, s.Serve(nodeID(1), "", make(Requests, MaxRequestLength+1)))
	require.Len(t, s.Serve(nodeID(1), "", make(Requests, MaxRequestLength)), MaxRequestLength)
}

func TestRepliesThatDoNotFit(t *testing.T) {
	lines := captureLog(t)
	s := NewServer(0)
	defer s.Stop()
	require.NoError(t, s.Register(&scripted{handle: func(call call) []byte { return bytes.Repeat([]byte{1}, 300) }}, "les", ""))
	batch := Requests{{"les", "", nil}, {"les", "", nil}, {"les", "", nil}, {"les", "", nil}, {"les", "", nil}}
	for range 3 {
		var replies Replies
		message := s.ServeEncoded(nodeID(1), nil, batch.Encode())
		require.LessOrEqual(t, len(message), maxMessage)
		require.NoError(t, replies.Decode(message))
		require.Len(t, replies, 5)
		for i, reply := range replies {
			require.Len(t, reply, map[bool]int{true: 300}[i < 3])
		}
	}
	require.Equal(t, 1, lines("packet is full"))
}

func TestPanicsAreLoggedNowAndThen(t *testing.T) {
	lines := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, 0)
		require.NoError(t, s.Register(&scripted{handle: func(call) []byte { panic("on purpose") }}, "les", ""))
		for range 10 {
			require.Equal(t, Replies{nil}, s.Serve(nodeID(1), "", one("les")))
		}
		require.Equal(t, 1, lines("on purpose"))
		time.Sleep(panicLogInterval)
		s.Serve(nodeID(1), "", one("les"))
		require.Equal(t, 2, lines("on purpose"))
	})
}

// A service that ends its goroutine takes its own reply with it, nothing else.
func TestServiceThatExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, 0)
		require.NoError(t, s.Register(&scripted{handle: func(call call) []byte {
			time.Sleep(time.Millisecond)
			if call.name == "exit" {
				runtime.Goexit()
			}
			return []byte("ok")
		}}, "les", ""))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				name := []string{"exit", "stay"}[i%2]
				replies := s.Serve(nodeID(i), fmt.Sprint("10.0.0.", i), Requests{{"les", name, nil}})
				require.Equal(t, i%2 == 1, replies != nil)
			})
		}
		wg.Wait()
	})
}

// The first answer leaves at once, and the rate holds over time: the delay is
// not slept before the reply.
func TestDelaySpacesBatches(t *testing.T) {
	const delay = 10 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, delay)
		require.NoError(t, s.Register(echo("x"), "les", ""))
		start := time.Now()
		require.NotNil(t, s.Serve(nodeID(1), "", make(Requests, 5)))
		require.Zero(t, time.Since(start))
		for i := range 100 {
			require.NotNil(t, s.Serve(nodeID(1), "", one("les")))
			require.Equal(t, time.Duration(5+i)*delay, time.Since(start))
		}
	})
}

// A service hangs. Everybody gets an answer within 400 ms, even if it is none,
// and when the service comes to itself the next ones are served.
func TestNobodyWaitsLongerThan400ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, 0)
		hang := make(chan struct{})
		handled := 0
		require.NoError(t, s.Register(&scripted{handle: func(call) []byte { handled++; <-hang; return []byte("x") }}, "les", ""))
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				require.Nil(t, s.Serve(nodeID(i), fmt.Sprint("10.0.0.", i), Requests{{"les", "", nil}, {"les", "", nil}}))
				require.Equal(t, maxWait+time.Duration(i)*time.Millisecond, time.Since(start))
			})
		}
		wg.Wait()
		synctest.Wait()
		require.Equal(t, 1, handled, "the batch of a caller who gave up is not continued")
		close(hang)
		synctest.Wait()
		require.Equal(t, 1, handled)
		require.NotNil(t, s.Serve(nodeID(1), "", one("les")))
	})
}

// A flood from one address, of many nodes and ports, leaves the honest clients at
// other addresses their service.
func TestFloodFromOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, 10*time.Millisecond)
		require.NoError(t, s.Register(echo("x"), "les", ""))
		var wg sync.WaitGroup
		for i := range 900 {
			wg.Go(func() { s.ServeEncoded(nodeID(i), udpAddr(fmt.Sprint("10.9.9.9:", 1000+i)), one("les").Encode()) })
		}
		synctest.Wait()
		var served atomic.Int32
		for i := range 10 {
			wg.Go(func() {
				if s.ServeEncoded(nodeID(1000+i), udpAddr(fmt.Sprintf("10.0.0.%d:30303", i)), one("les").Encode()) != nil {
					served.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 10, served.Load())
	})
}

// Clients of value are served first; the service that knows the values may be
// asked by many at once, and may panic.
func TestValueIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, 10*time.Millisecond)
		require.NoError(t, s.Register(&valuing{scripted: scripted{handle: func(call) []byte { return []byte("x") }}}, "les", ""))
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() { s.Serve(nodeID(i), fmt.Sprintf("10.1.%d.%d", i/250, i%250), one("les")) })
		}
		synctest.Wait()
		served := 0
		for range 20 {
			if s.Serve(payer, "10.0.0.1", one("les")) != nil {
				served++
			}
		}
		require.Equal(t, 20, served)
		require.NotNil(t, s.Serve(panicker, "10.0.0.2", one("les")))
		wg.Wait()
	})
}

func TestHandlersAreNeverConcurrent(t *testing.T) {
	s := NewServer(0)
	defer s.Stop()
	var inside, calls atomic.Int32
	require.NoError(t, s.Register(&scripted{handle: func(call) []byte {
		require.EqualValues(t, 1, inside.Add(1))
		runtime.Gosched()
		inside.Add(-1)
		calls.Add(1)
		return nil
	}}, "les", ""))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for range 20 {
				require.NotNil(t, s.Serve(nodeID(i), "", Requests{{"les", "", nil}, {"les", "", nil}}))
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 2000, calls.Load())
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, time.Hour)
		hang := make(chan struct{})
		require.NoError(t, s.Register(&scripted{handle: func(call) []byte { <-hang; return []byte("x") }}, "les", ""))
		var wg sync.WaitGroup
		start := time.Now()
		answers := make([]Replies, 10)
		for i := range answers {
			wg.Go(func() { answers[i] = s.Serve(nodeID(i), "", one("les")) })
			synctest.Wait()
		}
		var stops sync.WaitGroup
		for range 3 {
			stops.Go(s.Stop)
		}
		synctest.Wait()
		close(hang) // and not before
		stops.Wait()
		wg.Wait()
		require.Zero(t, time.Since(start))
		for i, replies := range answers {
			require.Equal(t, i == 0, replies != nil, "the one in service is served, the rest is dropped")
		}
		require.Nil(t, s.Serve(nodeID(1), "", one("les")))
		require.Nil(t, s.ServeEncoded(nodeID(1), nil, one("les").Encode()))
		s.Stop()
	})
}

// A service that hangs for good holds up Stop for a second, and the caller whose
// batch it has for 400 ms.
func TestStopWhileServiceHangs(t *testing.T) {
	lines := captureLog(t)
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, 0)
		hang := make(chan struct{})
		defer close(hang)
		require.NoError(t, s.Register(&scripted{handle: func(call) []byte { <-hang; return nil }}, "les", ""))
		start := time.Now()
		done := make(chan time.Duration, 1)
		go func() {
			s.Serve(nodeID(1), "", one("les"))
			done <- time.Since(start)
		}()
		synctest.Wait()
		s.Stop()
		require.Equal(t, stopWait, time.Since(start))
		require.Equal(t, maxWait, <-done)
		require.Equal(t, 1, lines("still busy"))
	})
}

// Every call of Serve returns, whatever races with Stop.
func TestStopRaces(t *testing.T) {
	for seed := range uint64(20) {
		s := NewServer(time.Duration(seed%3) * 100 * time.Microsecond)
		require.NoError(t, s.Register(echo("x"), "les", ""))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 20 {
					s.Serve(nodeID(i), "", one("les"))
				}
			})
		}
		time.AfterFunc(time.Duration(seed)*50*time.Microsecond, s.Stop)
		wg.Wait()
		s.Stop()
		require.Nil(t, s.mu.alarm)
	}
}

// Whatever bytes come from wherever, the server answers with nothing or with a
// decodable batch of as many replies.
func FuzzServer(f *testing.F) {
	seedVectors(f, "request_batch")
	s := NewServer(0)
	f.Cleanup(s.Stop)
	pool := &emptyPool{}
	if err := s.Register(&scripted{handle: func(c call) []byte {
		switch c.name {
		case "panic":
			panic("on purpose")
		case "echo":
			return bytes.Repeat(c.data, 100)
		}
		return pool.Handle(c.id, c.address, c.name, c.data)
	}}, "les", ""); err != nil {
		f.Fatal(err)
	}
	f.Add(Requests{{"les", "panic", nil}, {"les", "echo", []byte("123456789012345")}}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		var id enode.ID
		copy(id[:], data)
		ip := data[:min(len(data), []int{0, 4, 16, 7}[len(data)%4])]
		response := s.ServeEncoded(id, &net.UDPAddr{IP: ip}, data)
		var batch Requests
		if batch.Decode(data) != nil || len(batch) == 0 {
			require.Empty(t, response)
			return
		}
		var replies Replies
		require.NoError(t, replies.Decode(response))
		require.Len(t, replies, len(batch))
		require.LessOrEqual(t, len(response), maxMessage)
	})
}

func BenchmarkServe(b *testing.B) {
	s := NewServer(0)
	defer s.Stop()
	_ = s.Register(&emptyPool{}, "les", "")
	message, from := preNegotiation(b), udpAddr("10.0.0.1:30303")
	b.ReportAllocs()
	for b.Loop() {
		s.ServeEncoded(nodeID(1), from, message)
	}
}

// BenchmarkServeCrowd is the same while a thousand nodes send one batch each all
// the time.
func BenchmarkServeCrowd(b *testing.B) {
	s := NewServer(0)
	defer s.Stop()
	_ = s.Register(&emptyPool{}, "les", "")
	message := preNegotiation(b)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			from := &net.UDPAddr{IP: binary.BigEndian.AppendUint32(nil, 0x0a000000+uint32(i))}
			for left.Add(-1) >= 0 {
				s.ServeEncoded(nodeID(i), from, message)
			}
		})
	}
	wg.Wait()
}

// ---------------------------------------------------------------------------

type call struct {
	id            enode.ID
	address, name string
	data          []byte
}

type scripted struct{ handle func(call) []byte }

func (s *scripted) Handle(id enode.ID, address, name string, data []byte) []byte {
	return s.handle(call{id, address, name, data})
}

func echo(reply string) Service {
	return &scripted{handle: func(call) []byte { return []byte(reply) }}
}

var payer, panicker = nodeID(5001), nodeID(5002)

type valuing struct{ scripted }

func (*valuing) NodeValue(id enode.ID) float64 {
	if id == panicker {
		panic("on purpose")
	}
	if id == payer {
		return 1e12
	}
	return 0
}

func one(service string) Requests { return Requests{{service, "", nil}} }

// newTestServer makes a server inside a synctest bubble, where it stops in time.
func newTestServer(t *testing.T, delay time.Duration) *Server {
	s, err := NewServerFromConfig(ServerConfig{
		DelayPerRequest: delay, Clock: testutil.NewBubbleClock(), Rand: rand.New(rand.NewPCG(1, 2)),
	})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

func preNegotiation(t testing.TB) []byte {
	var batch Requests
	_, err := batch.Add(DefaultService, CapacityQueryName, &CapacityQueryReq{Bias: 180, AddTokens: make([]IntOrInf, 1)})
	require.NoError(t, err)
	return batch.Encode()
}
