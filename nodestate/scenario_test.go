package nodestate_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// The files testdata/*.txt tell a story for each guarantee of the package: a
// line is a command, an indented one is what happened then, and "#" begins the
// narration. After an intended change of behaviour write the traces anew with
//
//	go test ./nodestate -run TestScenarios -rewrite
//
// and read the difference.
//
// Commands:
//
//	flags a b* c            define flags, the star means persistent
//	fields v*               define fields of numbers
//	on a,b NAME: ACTS       subscribe to flags; the acts, separated by ";", are
//	on =v NAME: ACTS        made in the callback, on its node
//	start, stop, crash      crash drops the machine, not its store
//	set N +a -b 5s          SetState of node N; or "set N@seq" with a newer record
//	put N v=1, drop N v     set and clear a field
//	timeout N a 5s          AddTimeout
//	operation ACT; ACT      several, in one operation
//	wait 5s, persist N      let time pass; store a node
//	show                    all nodes
//
// In the acts of a subscriber the node is written as "it", and an act that
// begins with "if a" is made when the flag has just come.
var rewrite = flag.Bool("rewrite", false, "write the traces in testdata anew")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 10, "a story for each guarantee")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
			got := newStory(t).tell(string(want))
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(want), got)
			require.Contains(t, got, "\n  ", "nothing ever happens")
		})
	}
}

// ---------------------------------------------------------------------------

type story struct {
	*testing.T
	store  *testutil.FaultyStore
	define [][]string // words of the defining commands
	on     []string   // subscriptions
	setup  *Setup
	flags  map[string]Flags
	fields map[string]Field[uint64]
	names  map[enode.ID]string
	table  *table
	trace
}

func newStory(t *testing.T) *story {
	return &story{T: t, store: testutil.NewFaultyStore(), names: make(map[enode.ID]string)}
}

// tell plays a script and returns it with the trace as it is now.
func (s *story) tell(script string) string {
	var out strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue // of the old trace
		}
		out.WriteString(line)
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		s.command(line)
		for _, happened := range s.take() {
			out.WriteString("  " + happened + "\n")
		}
	}
	return out.String()
}

func (s *story) command(line string) {
	w := strings.Fields(line)
	switch w[0] {
	case "flags", "fields":
		s.define = append(s.define, w)
	case "on":
		s.on = append(s.on, strings.TrimPrefix(line, "on "))
	case "start":
		s.start()
	case "stop":
		s.table.Stop()
	case "crash":
		s.crash()
	case "wait":
		s.table.clock.Run(s.duration(w[1]))
	case "persist":
		s.report(s.table.Persist(s.node(w[1], nil)))
	case "show":
		s.show()
	case "operation":
		s.report(s.table.Operation(func(op Op) {
			for act := range strings.SplitSeq(strings.TrimPrefix(line, "operation "), ";") {
				s.act(op, strings.Fields(act), nil)
			}
		}))
	default:
		s.report(s.table.Operation(func(op Op) { s.act(op, w, nil) }))
	}
}

func (s *story) report(err error) {
	if err != nil {
		s.add("%v", err)
	}
}

func (s *story) start() {
	s.setup = new(Setup)
	s.flags, s.fields = map[string]Flags{"offline": s.setup.OfflineFlag()}, make(map[string]Field[uint64])
	for _, w := range s.define {
		for _, word := range w[1:] {
			name, persistent := strings.CutSuffix(word, "*")
			switch {
			case w[0] == "flags" && persistent:
				s.flags[name] = s.setup.NewPersistentFlag(name)
			case w[0] == "flags":
				s.flags[name] = s.setup.NewFlag(name)
			case persistent:
				s.fields[name] = NewPersistentField(s.setup, name, RLPCodec[uint64]())
			default:
				s.fields[name] = NewField[uint64](s.setup, name)
			}
		}
	}
	s.table = lay(s.T, s.setup, Config{Store: s.store})
	for _, on := range s.on {
		s.subscribe(on)
	}
	s.report(s.table.Start())
}

// subscribe takes "a,b NAME: ACTS" or "=v NAME: ACTS".
func (s *story) subscribe(on string) {
	head, acts, _ := strings.Cut(on, ":")
	what, name, _ := strings.Cut(head, " ")
	table := s.table
	react := func(op Op, n *enode.Node, now Flags, text string) {
		if s.table != table {
			return // a machine that has crashed
		}
		s.add("%4gs %s: node %s %s", time.Duration(table.clock.Now()).Seconds(), name, s.names[n.ID()], text)
		for act := range strings.SplitSeq(acts, ";") {
			w := strings.Fields(act)
			if len(w) > 2 && w[0] == "if" {
				if !now.HasAll(s.set(w[1])) {
					continue
				}
				w = w[2:]
			}
			s.act(op, w, n)
		}
	}
	if field, ok := strings.CutPrefix(what, "="); ok {
		s.field(field).Subscribe(table.NodeStateMachine, func(op Op, n *enode.Node, st Flags, from, to Value[uint64]) {
			react(op, n, st, fmt.Sprintf("%v %s: %s→%s", st, field, show(from), show(to)))
		})
		return
	}
	table.SubscribeState(s.set(what), func(op Op, n *enode.Node, from, to Flags) {
		react(op, n, to.AndNot(from), fmt.Sprintf("%v→%v", from, to))
	})
}

func (s *story) act(op Op, w []string, it *enode.Node) {
	if len(w) == 0 {
		return
	}
	n := s.node(w[1], it)
	switch w[0] {
	case "set":
		var set, reset Flags
		var timeout time.Duration
		for _, word := range w[2:] {
			switch word[0] {
			case '+':
				set = set.Or(s.set(word[1:]))
			case '-':
				reset = reset.Or(s.set(word[1:]))
			default:
				timeout = s.duration(word)
			}
		}
		op.SetState(n, set, reset, timeout)
	case "put":
		name, value, _ := strings.Cut(w[2], "=")
		v, err := strconv.ParseUint(value, 10, 64)
		require.NoError(s, err)
		s.field(name).SetIn(op, n, v)
	case "drop":
		s.field(w[2]).ClearIn(op, n)
	case "timeout":
		op.AddTimeout(n, s.set(w[2]), s.duration(w[3]))
	default:
		s.Fatalf("unknown command %q", w)
	}
}

// node finds "3", "3@5" (in its 5th record) or "it".
func (s *story) node(word string, it *enode.Node) *enode.Node {
	if word == "it" {
		return it
	}
	number, seq, found := strings.Cut(word, "@")
	if !found {
		seq = "1"
	}
	i, err := strconv.ParseUint(number, 10, 64)
	require.NoError(s, err)
	k, err := strconv.ParseUint(seq, 10, 64)
	require.NoError(s, err)
	n := nodeSeq(i, k)
	s.names[n.ID()] = number
	return n
}

func (s *story) set(list string) (set Flags) {
	for name := range strings.SplitSeq(list, ",") {
		f, ok := s.flags[name]
		require.True(s, ok, "flag %q", name)
		set = set.Or(f)
	}
	return set
}

func (s *story) field(name string) Field[uint64] {
	f, ok := s.fields[name]
	require.True(s, ok, "field %q", name)
	return f
}

func (s *story) duration(word string) time.Duration {
	d, err := time.ParseDuration(word)
	require.NoError(s, err)
	return d
}

func (s *story) show() {
	ns := s.table.NodeStateMachine
	for n, st := range ns.All(none, none) {
		line := fmt.Sprintf("node %s, record %d: %v", s.names[n.ID()], n.Seq(), st)
		for _, w := range s.define {
			for _, word := range w[1:] {
				name := strings.TrimSuffix(word, "*")
				if f, ok := s.fields[name]; ok && w[0] == "fields" {
					v, ok := f.Get(ns, n)
					line += fmt.Sprintf(" %s=%s", name, show(Value[uint64]{V: v, Ok: ok}))
				}
			}
		}
		s.add("%s", line)
	}
	if ns.Stats().Nodes == 0 {
		s.add("nothing")
	}
}

// crash goes on with a copy of the store.
func (s *story) crash() {
	image := testutil.NewFaultyStore()
	it := s.store.Database.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		require.NoError(s, image.Put(it.Key(), it.Value()))
	}
	old := s.table
	s.table = nil
	old.Stop()
	s.store = image
}
