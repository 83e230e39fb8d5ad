// Package lespay measures what the service of each server is worth to a light
// client: how much was served, and how fast and how well. It is what a server
// pool chooses by.
//
// # What is measured
//
// A [ValueTracker] has a [NodeValueTracker] for each server. Every verified
// answer goes there with [NodeValueTracker.Served], every request that came to
// nothing with [NodeValueTracker.Failed]; each request has one outcome. An
// outcome adds the worth of its requests to a distribution over response time,
// the [ResponseTimeStats]. What a distribution is worth depends on the timeout
// one has in mind: [TimeoutWeights] counts an answer fully if it came at once,
// not at all if it came at the timeout, and against the server if it came later
// or never.
//
// Requests of different types are made comparable by the reference basket: how
// much of each type is used, and what one of it is worth in average requests.
// It follows what servers charge ([NodeValueTracker.UpdateCosts]) in proportion
// to how much they are used. A server's prices change how types compare with
// each other, never how much that server counts.
//
// All amounts decay exponentially, by inflation of what is added rather than by
// shrinking what is there; [ExpiredValue] and [Expirer] explain it and are
// exported, since the server's side of the protocol counts in the same way.
//
// # The law
//
//   - The global statistics are the sum of the servers'. Both get the same
//     whole numbers, are stored in one batch, and a server that is forgotten is
//     subtracted. Each bin may differ by one unit (a millionth of an average
//     request) per server and per halving. A database written by other software
//     keeps the difference it came with.
//   - A crash loses what was counted since the last update, and nothing else.
//   - A store that fails loses nothing while the process lives: the next update
//     tries again. One error is logged per update.
//   - Records that cannot be used are logged and count as absent; those of
//     other servers are not affected.
//   - Reading statistics never writes, and a server in memory is never read
//     from the store.
//
// # The caller's duties
//
// Register a server when it connects and Unregister it when it leaves, pass the
// cost table it announces, report each request once and only after its answer
// was verified, and Stop the tracker before closing the store. Whatever is done
// otherwise is survived: it is logged once per server, and what can be counted
// is counted.
//
// # Concurrency
//
// All methods of [ValueTracker], [NodeValueTracker], [Expirer] and
// [PrivateClientAPI] may be called from anywhere at any time; the other types
// are plain values. Served, Failed, UpdateCosts and RtStats of a registered
// server take that server's lock and nothing else. Register and GetNode wait
// for a read of the store if the server is not in memory; others do not wait
// for them.
//
// No lock is held during I/O or encoding except saveMu, which is there to keep
// two updates apart. The lock order is ValueTracker.saveMu, ValueTracker.mu,
// NodeValueTracker.mu; the locks of index, Expirer and memoryRecords are
// innermost.
//
// # Stored format
//
// After the configured prefix there are two kinds of keys. Values are RLP, a
// version number (1) followed by a list:
//
//	"vt:"          mappings, mapping of the basket, reference basket,
//	               response times, log offset, time of saving (ns since 1970)
//	"vtNode:"‖id   response times, mapping of the basket, basket
//
// A mapping is a list of request names; a basket is
// [[[amount, value], …], exponent] with one item per name; response times are
// [[32 bins], exponent]. It is the format of go-ethereum v1.13.5, whose
// databases load with their statistics, and the other way round.
package lespay
