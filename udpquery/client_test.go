package udpquery

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/lespool/lespool/internal/testutil"
	"github.com/stretchr/testify/require"
)

func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		response []byte
		err      error
		answer   Answer
		query    int
	}{
		"a slot":              {Replies{CapacityQueryReply{100}.Encode()}.Encode(), nil, Yes, 1},
		"full":                {Replies{CapacityQueryReply{0}.Encode()}.Encode(), nil, No, 0},
		"no number":           {Replies{CapacityQueryReply{}.Encode()}.Encode(), nil, Silent, -1},
		"two numbers":         {Replies{CapacityQueryReply{1, 1}.Encode()}.Encode(), nil, Silent, -1},
		"no reply":            {Replies{nil}.Encode(), nil, Silent, -1},
		"no replies":          {Replies{}.Encode(), nil, Silent, -1},
		"not served":          {nil, nil, Silent, -1},
		"nonsense":            {[]byte("nonsense"), nil, Silent, -1},
		"a reply too many":    {Replies{CapacityQueryReply{5}.Encode(), {1}}.Encode(), nil, Yes, 1},
		"nonsense as number":  {Replies{[]byte("nonsense")}.Encode(), nil, Silent, -1},
		"transport gave up":   {nil, errors.New("timeout"), Silent, -1},
		"error with response": {Replies{CapacityQueryReply{1}.Encode()}.Encode(), errors.New("timeout"), Silent, -1},
	} {
		c := newTestClient(t, &fakeTransport{talk: func(*enode.Node, []byte) ([]byte, error) { return test.response, test.err }}, ClientConfig{Fresh: -1})
		require.Equal(t, test.answer, c.Ask(t.Context(), server(1)), name)
		require.Equal(t, test.query, c.Query(server(1)), name)
	}
}

// A server without the entry "les", or with a version below 1, is not asked: the
// client may dial it and see.
func TestUnasked(t *testing.T) {
	tr := &fakeTransport{}
	c := newTestClient(t, tr, ClientConfig{})
	for _, n := range []*enode.Node{testutil.PublicNode(1), testutil.PublicNode(2, LesEntry{Version: 0})} {
		require.Equal(t, Unasked, c.Ask(t.Context(), n))
		require.Equal(t, 1, c.Query(n))
	}
	require.Empty(t, tr.logged())
	require.Equal(t, Silent, c.Ask(t.Context(), nil))
	require.Equal(t, -1, c.Query(nil))
}

// A node that is known by its URL has no record. It is asked for one first, at
// the address where it is to be dialed, and the pool is told the record.
func TestRecordIsFetched(t *testing.T) {
	record := server(1)
	url := enode.NewV4(record.Pubkey(), record.IP(), record.TCP(), record.UDP())
	require.Zero(t, url.Seq())
	local := testutil.Node(1, 1, "192.168.1.1", LesEntry{Version: 1})

	var told []*enode.Node
	tr := &fakeTransport{enr: func(*enode.Node) (*enode.Node, error) { return record, nil }}
	c := newTestClient(t, tr, ClientConfig{
		DialNode: func(n *enode.Node) *enode.Node { return local },
		OnRecord: func(n *enode.Node) { told = append(told, n) },
	})
	require.Equal(t, Yes, c.Ask(t.Context(), url))
	require.Equal(t, []string{"enr 192.168.1.1", "talk 192.168.1.1"}, tr.logged())
	require.Equal(t, []*enode.Node{record}, told)

	other := server(2)
	for name, test := range map[string]struct {
		record *enode.Node
		err    error
	}{
		"none": {nil, nil}, "error": {nil, errors.New("timeout")}, "of another node": {other, nil},
		"seq 0": {url, nil}, "without les": {testutil.PublicNode(1), nil},
	} {
		tr := &fakeTransport{enr: func(*enode.Node) (*enode.Node, error) { return test.record, test.err }}
		c := newTestClient(t, tr, ClientConfig{})
		require.Equal(t, Unasked, c.Ask(t.Context(), url), name)
		require.NotContains(t, tr.logged(), "talk 11.0.1.7", name)
	}
	c = newTestClient(t, talkOnly{tr}, ClientConfig{})
	require.Equal(t, Unasked, c.Ask(t.Context(), url), "the transport cannot fetch records")
	require.Equal(t, Yes, c.Ask(t.Context(), record), "but the record came by another way")
}

// The hooks may be set when the pool exists, and may panic or return nothing.
func TestHooks(t *testing.T) {
	tr := &fakeTransport{}
	c := newTestClient(t, tr, ClientConfig{Fresh: -1, DialNode: func(*enode.Node) *enode.Node { return nil }})
	require.Equal(t, Yes, c.Ask(t.Context(), server(1)))
	c.SetHooks(func(*enode.Node) *enode.Node { return server(2) }, nil)
	require.Equal(t, Yes, c.Ask(t.Context(), server(1)))
	require.Equal(t, []string{"talk 11.0.1.7", "talk 11.0.2.7"}, tr.logged())
	c.SetHooks(func(*enode.Node) *enode.Node { panic("on purpose") }, nil)
	require.Equal(t, Silent, c.Ask(t.Context(), server(1)))
	require.Nil(t, c.Send(server(1), one("les")))
}

// Packets are lost, most often those of the first contact: a try that fails is
// made again, once, while time is left.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			attempts, lost int
			takes          time.Duration // per try
			tries          int
			answer         Answer
			elapsed        time.Duration
		}{
			{0, 1, 700 * time.Millisecond, 2, Yes, 1400 * time.Millisecond},
			{0, 2, 700 * time.Millisecond, 2, Silent, 1400 * time.Millisecond},
			{1, 1, 700 * time.Millisecond, 1, Silent, 700 * time.Millisecond},
			{5, 4, 700 * time.Millisecond, 3, Silent, 2 * time.Second},
			{2, 1, 2500 * time.Millisecond, 1, Silent, 2 * time.Second},
		} {
			tries := 0
			c := newBubbleClient(t, &fakeTransport{talk: func(*enode.Node, []byte) ([]byte, error) {
				time.Sleep(test.takes)
				if tries++; tries <= test.lost {
					return nil, errors.New("timeout")
				}
				return yes, nil
			}}, ClientConfig{Attempts: test.attempts})
			start := time.Now()
			require.Equal(t, test.answer, c.Ask(t.Context(), server(1)))
			require.Equal(t, test.elapsed, time.Since(start))
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.Equal(t, test.tries, tries)
			c.Close()
		}
	})
}

// The same server is not asked twice within five seconds, whatever it said.
func TestAnswersAreRemembered(t *testing.T) {
	for name, response := range map[string][]byte{"yes": yes, "silent": nil} {
		t.Run(name, func(t *testing.T) {
			clock := new(testutil.Clock)
			clock.Run(time.Hour)
			tr := &fakeTransport{talk: func(*enode.Node, []byte) ([]byte, error) { return response, nil }}
			c := newTestClient(t, tr, ClientConfig{Clock: clock, CacheSize: 2})
			first := c.Ask(t.Context(), server(1))
			clock.Run(5*time.Second - 1)
			require.Equal(t, first, c.Ask(t.Context(), server(1)))
			require.Len(t, tr.logged(), 1)
			clock.Run(1)
			require.Equal(t, first, c.Ask(t.Context(), server(1)))
			require.Len(t, tr.logged(), 2)

			c.Ask(t.Context(), server(2))
			c.Ask(t.Context(), server(3)) // no room for the first one's answer any more
			require.Len(t, tr.logged(), 4)
			require.Equal(t, 2, c.mu.answers.Len())
			c.Ask(t.Context(), server(1))
			require.Len(t, tr.logged(), 5)
			require.Equal(t, 1, clock.Timers(), "one alarm for all")
			clock.Run(time.Hour)
			require.Zero(t, clock.Timers())
			c.Ask(t.Context(), server(1))
			c.Close()
			require.Zero(t, clock.Timers(), "Close leaves no alarm")
		})
	}
}

func TestConcurrentQuestionsAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan []byte)
		tr := &fakeTransport{talk: func(*enode.Node, []byte) ([]byte, error) { return <-answer, nil }}
		c := newBubbleClient(t, tr, ClientConfig{})
		defer c.Close()
		var yeses atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if c.Ask(t.Context(), server(1)) == Yes {
					yeses.Add(1)
				}
			})
		}
		impatient, cancel := context.WithCancel(t.Context())
		wg.Go(func() { require.Equal(t, Silent, c.Ask(impatient, server(1))) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		answer <- yes
		wg.Wait()
		require.EqualValues(t, 20, yeses.Load(), "one who left does not spoil it for the others")
		require.Len(t, tr.logged(), 1)
		require.Equal(t, Silent, c.Ask(impatient, server(2)))
		require.Len(t, tr.logged(), 1, "nobody waits, nothing is asked")
	})
}

// The transport hangs. The question is given up in time; another one does not
// pile up a second call; and when the answer comes after all, it is used.
func TestTransportHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan []byte)
		tr := &fakeTransport{talk: func(*enode.Node, []byte) ([]byte, error) { return <-answer, nil }}
		c := newBubbleClient(t, tr, ClientConfig{})
		defer c.Close()
		for i := range 10 {
			start := time.Now()
			require.Equal(t, Silent, c.Ask(t.Context(), server(1)))
			require.Equal(t, []time.Duration{2 * time.Second, 0}[min(i, 1)], time.Since(start))
			time.Sleep(10 * time.Second)
		}
		require.Len(t, tr.logged(), 1)
		answer <- yes
		synctest.Wait()
		require.Equal(t, Yes, c.Ask(t.Context(), server(1)))
		require.Len(t, tr.logged(), 1)
	})
}

// Close ends those who wait at once. What the transport does afterwards is
// nobody's concern: no hook is called, nothing is sent.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		tr := &fakeTransport{
			talk: func(*enode.Node, []byte) ([]byte, error) { <-hang; return nil, errors.New("closed") },
			enr:  func(*enode.Node) (*enode.Node, error) { <-hang; return server(2), nil },
		}
		c := newBubbleClient(t, tr, ClientConfig{OnRecord: func(*enode.Node) { t.Error("called after Close") }})
		url := enode.NewV4(server(2).Pubkey(), server(2).IP(), 1, 1)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { require.Equal(t, Silent, c.Ask(context.Background(), server(1))) })
		wg.Go(func() { require.Equal(t, -1, c.Query(server(1))) })
		wg.Go(func() { require.Equal(t, -1, c.Query(url)) })
		wg.Go(func() { require.Nil(t, c.Send(server(1), one("les"))) })
		synctest.Wait()
		require.Len(t, tr.logged(), 3)
		c.Close()
		wg.Wait()
		require.Zero(t, time.Since(start))
		require.Equal(t, Silent, c.Ask(context.Background(), server(3)))
		require.Nil(t, c.Send(server(3), one("les")))
		close(hang)
		synctest.Wait()
		require.Len(t, tr.logged(), 3)
		c.Close()
	})
}

func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &fakeTransport{}
		c := newBubbleClient(t, tr, ClientConfig{})
		defer c.Close()
		require.Equal(t, CapacityQueryReply{100}.Encode(), c.Send(server(1), one("les"))[0])
		require.NotNil(t, c.Send(server(1), one("les")), "is not remembered")
		require.Len(t, tr.logged(), 2)
		require.Nil(t, c.Send(nil, one("les")))
		require.Nil(t, c.Send(server(1), nil))
		require.Nil(t, c.Send(server(1), make(Requests, MaxRequestLength+1)))
		require.Nil(t, c.Send(server(1), one(strings.Repeat("x", maxMessage))))
		require.Len(t, tr.logged(), 2)

		tr.talk = func(*enode.Node, []byte) ([]byte, error) { time.Sleep(time.Hour); return yes, nil }
		start := time.Now()
		require.Nil(t, c.Send(server(1), one("les")))
		require.Equal(t, 2*time.Second, time.Since(start))
		time.Sleep(2 * time.Hour)
	})
}

func TestTransportPanics(t *testing.T) {
	for _, misbehave := range []func(){func() { panic("on purpose") }, runtime.Goexit} {
		c := newTestClient(t, &fakeTransport{talk: func(*enode.Node, []byte) ([]byte, error) { misbehave(); return yes, nil }}, ClientConfig{})
		require.Equal(t, Silent, c.Ask(t.Context(), server(1)))
		require.Nil(t, c.Send(server(1), one("les")))
	}
	var missing *fakeTransport // as discv5 before the start of a p2p server
	c := newTestClient(t, missing, ClientConfig{})
	require.Equal(t, Silent, c.Ask(t.Context(), server(1)))
}

func TestClientConfig(t *testing.T) {
	_, err := NewClient(nil, ClientConfig{})
	require.ErrorContains(t, err, "Transport")
	for field, cfg := range map[string]ClientConfig{
		"Service": {Service: "a:b"}, "Timeout": {Timeout: -1}, "Attempts": {Attempts: -1}, "CacheSize": {CacheSize: -1},
	} {
		_, err := NewClient(&fakeTransport{}, cfg)
		require.ErrorContains(t, err, "ClientConfig."+field)
	}
	asked := make(chan Requests, 1)
	tr := &fakeTransport{talk: func(_ *enode.Node, message []byte) ([]byte, error) {
		var batch Requests
		require.NoError(t, batch.Decode(message))
		asked <- batch
		return yes, nil
	}}
	for _, test := range []struct {
		cfg     ClientConfig
		service string
		bias    uint64
	}{
		{ClientConfig{}, "les", 180},
		{ClientConfig{Service: "x", Bias: 90*time.Second + time.Millisecond}, "x", 90},
		{ClientConfig{Bias: -1}, "les", 0},
	} {
		newTestClient(t, tr, test.cfg).Query(server(1))
		batch := <-asked
		var q CapacityQueryReq
		require.NoError(t, q.Decode(batch[0].Params))
		require.Equal(t, test.service, batch[0].Service)
		require.Equal(t, CapacityQueryName, batch[0].Name)
		require.Equal(t, CapacityQueryReq{Bias: test.bias, AddTokens: make([]IntOrInf, 1)}, q)
	}
}

func TestAnswerStrings(t *testing.T) {
	for a, want := range map[Answer]string{Silent: "silent", No: "no", Yes: "yes", Unasked: "unasked", 7: "Answer(7)"} {
		require.Equal(t, want, a.String())
	}
}

// Whatever a server sends back, the client makes one of the answers of it.
func FuzzResponse(f *testing.F) {
	seedVectors(f, "reply_batch")
	f.Add(yes)
	var response []byte
	c, err := NewClient(&fakeTransport{talk: func(*enode.Node, []byte) ([]byte, error) { return response, nil }}, ClientConfig{Fresh: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	f.Fuzz(func(t *testing.T, data []byte) {
		response = data
		answer := c.Ask(t.Context(), server(1))
		var replies Replies
		var capacities CapacityQueryReply
		if replies.Decode(data) == nil && replies.Get(0, &capacities) == nil && len(capacities) == 1 {
			require.Equal(t, capacities[0] > 0, answer == Yes)
			require.Equal(t, capacities[0] == 0, answer == No)
		} else {
			require.Equal(t, Silent, answer)
		}
	})
}

func BenchmarkAskRemembered(b *testing.B) {
	c, _ := NewClient(&fakeTransport{}, ClientConfig{})
	defer c.Close()
	n := server(1)
	b.ReportAllocs()
	for b.Loop() {
		c.Ask(b.Context(), n)
	}
}

func BenchmarkAsk(b *testing.B) {
	c, _ := NewClient(talkOnly{silentTransport{}}, ClientConfig{Fresh: -1})
	defer c.Close()
	n := server(1)
	b.ReportAllocs()
	for b.Loop() {
		c.Ask(b.Context(), n)
	}
}

// ---------------------------------------------------------------------------

var yes = Replies{CapacityQueryReply{100}.Encode()}.Encode()

// fakeTransport says yes and has no records, unless told otherwise. It notes
// what it is asked.
type fakeTransport struct {
	talk func(*enode.Node, []byte) ([]byte, error)
	enr  func(*enode.Node) (*enode.Node, error)

	mu  sync.Mutex
	log []string
}

func (f *fakeTransport) note(what string, n *enode.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, what+" "+n.IP().String())
}

func (f *fakeTransport) logged() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

func (f *fakeTransport) TalkRequest(n *enode.Node, protocol string, request []byte) ([]byte, error) {
	f.note("talk", n)
	if protocol != "vfx" {
		return nil, nil
	}
	if f.talk == nil {
		return yes, nil
	}
	return f.talk(n, request)
}

func (f *fakeTransport) RequestENR(n *enode.Node) (*enode.Node, error) {
	f.note("enr", n)
	if f.enr == nil {
		return nil, errors.New("no record")
	}
	return f.enr(n)
}

// talkOnly hides all but the one method.
type talkOnly struct{ Transport }

type silentTransport struct{}

func (silentTransport) TalkRequest(*enode.Node, string, []byte) ([]byte, error) { return yes, nil }

func server(i uint64) *enode.Node { return testutil.PublicNode(i, LesEntry{Version: Version}) }

func newTestClient(t *testing.T, tr Transport, cfg ClientConfig) *Client {
	c, err := NewClient(tr, cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// newBubbleClient makes a client inside a synctest bubble. The test closes it.
func newBubbleClient(t *testing.T, tr Transport, cfg ClientConfig) *Client {
	cfg.Clock = testutil.NewBubbleClock()
	c, err := NewClient(tr, cfg)
	require.NoError(t, err)
	return c
}
