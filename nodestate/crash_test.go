package nodestate_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	. "github.com/lespool/lespool/nodestate"
)

// The variables tell the test binary that it is the process to be killed, and
// how many rounds to play (default 5; 50 or more make the long variant).
const (
	crashDir    = "NODESTATE_CRASH_DIR"
	crashRounds = "NODESTATE_CRASH_ROUNDS"
)

// A process writes nodes, says which flush it has behind it, and is killed at a
// random moment. The database opens, nothing in it is damaged, and all that
// was flushed is there. Each round goes on with what the last one left.
func TestKilledProcessLosesOneInterval(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	rounds := 5
	if text := os.Getenv(crashRounds); text != "" {
		_, err := fmt.Sscan(text, &rounds)
		require.NoError(t, err)
	}
	dir := filepath.Join(t.TempDir(), "db")
	rnd := rand.New(rand.NewPCG(1, 2))
	flushed := uint64(0)
	for round := range rounds {
		flushed = max(flushed, killRandomly(t, dir, 20+rnd.IntN(200)))
		db, err := leveldb.New(dir, 16, 16, "", false)
		require.NoError(t, err, "round %d", round)
		s := newSchema()
		ns := begin(t, s.Setup, Config{Store: db})
		require.Zero(t, ns.Stats().BadEntries)
		for i := uint64(1); i <= flushed; i++ {
			v, ok := s.num.Get(ns.NodeStateMachine, node(i))
			require.True(t, ok, "round %d: node %d of %d is lost", round, i, flushed)
			require.Equal(t, i, v)
		}
		ns.Stop()
		require.NoError(t, db.Close())
	}
	require.NotZero(t, flushed)
	t.Logf("%d kills, %d nodes flushed before the last", rounds, flushed)
}

// killRandomly starts the writer and kills it after it has reported a number of
// flushes. It returns the last node that was reported as flushed.
func killRandomly(t *testing.T, dir string, reports int) (flushed uint64) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLosesOneInterval$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var i uint64
		if _, err := fmt.Sscanf(lines.Text(), "flushed %d", &i); err == nil {
			flushed = i
		}
		if reports--; reports == 0 {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait(), "the writer ended by itself")
	return flushed
}

// writeUntilKilled adds nodes and has them flushed in virtual time.
func writeUntilKilled(t *testing.T, dir string) {
	db, err := leveldb.New(dir, 16, 16, "", false)
	require.NoError(t, err)
	s := newSchema()
	ns := lay(t, s.Setup, Config{Store: db, FlushInterval: time.Second})
	require.NoError(t, ns.Start())
	last := uint64(0)
	ns.ForEach(none, none, func(n *enode.Node, _ Flags) {
		v, _ := s.num.Get(ns.NodeStateMachine, n)
		last = max(last, v)
	})
	for i := last + 1; i < 1<<30; i++ {
		require.NoError(t, ns.SetState(node(i), s.a, none, 0))
		require.NoError(t, s.num.Set(ns.NodeStateMachine, node(i), i))
		if i%3 == 0 {
			ns.clock.Run(time.Second)
			fmt.Println("flushed", i)
		}
	}
}
