package disk

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

var update = flag.Bool("update", false, "write the databases of testdata anew")

// pause is the time between the end of the client and the next start: the shortest
// waits are over by then. v1.13.5 resumes them; this project does not if the last
// session was a good one.
const pause = time.Minute

type entry struct{ key, value []byte }

// database is the contents of one, in the order of the keys.
type database []entry

func (d database) open(t testing.TB) *memorydb.Database {
	db := memorydb.New()
	for _, e := range d {
		if err := db.Put(e.key, e.value); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// value returns the one of a key, which has to be there.
func (d database) value(t testing.TB, key []byte) []byte {
	for _, e := range d {
		if bytes.Equal(e.key, key) {
			return e.value
		}
	}
	t.Fatalf("no entry %q", key)
	return nil
}

func contents(t testing.TB, db ethdb.Iteratee) (d database) {
	it := db.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		d = append(d, entry{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if it.Error() != nil {
		t.Fatal(it.Error())
	}
	return d
}

// side fills databases.
type side struct {
	name          string
	fill, open    opener // for the script, and as existing clients do
	trackerServes func(*testing.T, ethdb.KeyValueStore, []*enode.Node)
}

var sides = []side{
	{"v1.13.5", openTheirs, openTheirs, theirTrackerServes},
	{"lespool", openAsking, openOurs, ourTrackerServes},
}

// filled has a side fill a LevelDB. It returns its directory, and the unix time at
// which the client starts again.
func (s side) filled(t *testing.T) (dir string, again int64) {
	dir = t.TempDir()
	withLevelDB(t, dir, func(db ethdb.KeyValueStore) {
		synctest.Test(t, func(t *testing.T) {
			fill(t, db, s.fill, s.trackerServes)
			again = time.Now().Add(pause).Unix()
		})
	})
	return dir, again
}

// withLevelDB opens a LevelDB, outside of virtual time: the predecessor leaves
// iterators open, which the garbage collector releases from there.
func withLevelDB(t *testing.T, dir string, f func(ethdb.KeyValueStore)) {
	db, err := leveldb.New(dir, 16, 16, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f(db)
}

// says returns what a side says of a database that it opens at a unix time.
func (s side) says(t *testing.T, d database, at int64) (said facts) {
	inBubble(t, at, func(t *testing.T) { said = collect(t, d.open(t), s.open) })
	return said
}

// inBubble calls f in virtual time, at a unix time.
func inBubble(t *testing.T, at int64, f func(*testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(at, 0)))
		f(t)
	})
}

// What one pool wrote the other opens, and both say the same of it.
func TestBothOpenWhatEitherWrote(t *testing.T) {
	for _, writer := range sides {
		t.Run(writer.name, func(t *testing.T) {
			dir, again := writer.filled(t)
			var said []facts
			var d database
			for _, reader := range sides {
				here := t.TempDir()
				if err := os.CopyFS(here, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				withLevelDB(t, here, func(db ethdb.KeyValueStore) {
					d = contents(t, db)
					inBubble(t, again, func(t *testing.T) { said = append(said, collect(t, db, reader.open)) })
				})
			}
			wait := storedWait(t, d, servers[failing], again)
			said[1].require(t, said[0], wait)
			said[0].requireScript(t)
			said[1].requireScript(t)
			requireWeights(t, d, again)
		})
	}
}

// The databases of testdata are what the sides wrote, and both read them as they
// were meant.
func TestGoldenDatabases(t *testing.T) {
	for _, writer := range sides {
		t.Run(writer.name, func(t *testing.T) {
			if *update {
				dir, again := writer.filled(t)
				var g golden
				withLevelDB(t, dir, func(db ethdb.KeyValueStore) { g.database = contents(t, db) })
				g.facts = writer.says(t, g.database, again)
				g.write(t, writer.name)
			}
			g := readGolden(t, writer.name)
			g.facts.requireScript(t)
			for _, reader := range sides {
				t.Run("by "+reader.name, func(t *testing.T) {
					wait := storedWait(t, g.database, servers[failing], g.facts.At)
					reader.says(t, g.database, g.facts.At).require(t, g.facts, wait)
				})
			}
		})
	}
}

// What ours writes today has the keys and the structure of what it wrote then. (The
// order in which servers come, and with it every number, is up to chance.)
func TestOurFormatHasNotChanged(t *testing.T) {
	dir, _ := sides[1].filled(t)
	var now database
	withLevelDB(t, dir, func(db ethdb.KeyValueStore) { now = contents(t, db) })
	then := readGolden(t, sides[1].name).database
	if len(now) != len(then) {
		t.Fatalf("%d entries, there were %d", len(now), len(then))
	}
	for i := range now {
		if !bytes.Equal(now[i].key, then[i].key) {
			t.Errorf("key %q, there was %q", now[i].key, then[i].key)
		}
		if is, was := structure(t, now[i].value), structure(t, then[i].value); is != was {
			t.Errorf("%q: %s, there was %s", now[i].key, is, was)
		}
	}
}

// structure shows the lists in a value, with x for each string or number.
func structure(t *testing.T, value []byte) (s string) {
	for len(value) > 0 {
		kind, content, rest, err := rlp.Split(value)
		switch {
		case err != nil:
			t.Fatal(err)
		case kind == rlp.List:
			s += "(" + structure(t, content) + ")"
		default:
			s += "x"
		}
		value = rest
	}
	return s
}

// golden is a database of testdata.
type golden struct {
	database
	facts facts
}

func readGolden(t testing.TB, name string) (g golden) {
	text, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		k, err1 := hex.DecodeString(key)
		v, err2 := hex.DecodeString(value)
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %s", name, line)
		}
		g.database = append(g.database, entry{k, v})
	}
	said, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(said, &g.facts); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g golden) write(t testing.TB, name string) {
	var text strings.Builder
	for _, e := range g.database {
		fmt.Fprintf(&text, "%x %x\n", e.key, e.value)
	}
	said, err := json.Marshal(&g.facts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/"+name+".txt", []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/"+name+".json", append(said, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
