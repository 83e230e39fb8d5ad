// Package disk has tests only: that a light client's database goes over from
// go-ethereum v1.13.5's pool to this project's and back.
//
// Both pools fill databases by the same script, in virtual time, and both open
// what either wrote; they must say the same of it (script_test.go, facts_test.go).
// A database of each side is kept in testdata, as a list of keys and values in
// hex, with what its own side said of it, so that a change of format is noticed:
//
//	go test -run Golden -update ./dropin/disk
//
// writes them anew. Then the databases are damaged, byte by byte: entries, of
// which only the damaged one may be lost (damage_test.go), and the files of LevelDB,
// which may not open any more, but do no harm (files_test.go). With -short the
// entries' bytes are flipped in one way instead of three, and of the files a sample
// of the bytes is damaged; all of it takes some minutes.
//
// Two differences are known and allowed for. Of a server that never answered,
// v1.13.5 says that all its answers came within 5 ms, ours that nothing is known
// (10 s). And v1.13.5's iterator runs while Start is still resuming waits, so that
// it sometimes gives out a server that should wait.
package disk
