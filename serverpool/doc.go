// Package serverpool gives a light client its servers. It turns a stream of
// discovered nodes into a stream of nodes to dial next, and learns from what
// becomes of these.
//
// The nodes come from any number of enode.Iterators (DNS, discv4, discv5,
// lists). Each can be asked by one cheap UDP packet whether it has room before a
// TCP connection is paid for. What every server's service was worth is kept in a
// database, so that good servers are tried first after a restart, and servers
// that are full or dead are left alone for longer and longer.
//
// # Use
//
// Make a pool with [New] (or, from an existing light client, [NewServerPool]),
// add sources, give [ServerPool.Iterator] to p2p as DialCandidates and
// [ServerPool.Dialer] as its Dialer, and call Start. Call RegisterNode when a
// server is connected and UnregisterNode when it has gone; in between tell the
// tracker that RegisterNode returned what each request brought. Stop the pool
// before the p2p server.
//
// # Life of a node
//
//	sources, known servers                    trusted servers
//	          │ admitted                             │
//	          ▼                                      │
//	       query ───────── no, silence ──────┐       │
//	          │ yes, takes no queries        │       │
//	          ▼                              │       │
//	       canDial ◄─────────────────────────┼───────┘
//	          │ given out by Next            │
//	          ▼                              ▼
//	       dialed ── refused, no time ──► redialWait ──► forgotten, or known
//	          │ RegisterNode                 ▲           and chosen again
//	          ▼                              │
//	       connected ──── UnregisterNode ────┘
//
// Without a query function candidates get canDial at once. A node that has query,
// canDial, dialed, connected or redialWait is in the dial process, and no source
// can make it a candidate again.
//
//	flag           set by                     cleared by                    timeout
//	hasValue       weight ≥ 100               weight < 100                  none; stored
//	query          a candidate                its answer, RegisterNode      5 s, then silence
//	canDial        yes, no query taken        Next, RegisterNode            10 s, then redialWait
//	dialed         Next                       RegisterNode, failure         that of dialTimeout
//	dialTimeout    Next, dial, connection     RegisterNode, failure         10 s to be dialed, 16 s for the
//	                                                                        dial, 16 s for the handshakes; 30 s
//	                                                                        in all where dials are not seen
//	connected      RegisterNode               UnregisterNode                none
//	redialWait     the end of an attempt,     its timeout, RegisterNode     10 s … 2,000 h, see redial.go;
//	               a ban                                                    a ban's length
//	alwaysConnect  Start for trusted URLs,    SetTrusted                    none
//	               SetTrusted
//	acquainted     a no that it can be        a broken promise, silence,    none; the latest 256 nodes
//	               believed by                later ones
//	resting        with acquainted            with acquainted               2 min; 15 min where all are dialed unasked
//
// # Policies
//
// Each is in a file of its own: redial.go how long a server is left alone,
// weight.go what it is worth, timeout.go how long to wait for an answer,
// querylimit.go how many queries are made, verdict.go what their answers are
// worth, acquaintances.go who is asked again without being found again, netcap.go
// how many servers of one network there are and what share of the dials it gets,
// patience.go how long a dial may take that nothing speaks for, choose.go which
// connected server is worth replacing, bans.go how long a ban lasts, floor.go
// when waits are cut short. These know neither clock nor lock nor randomness. In
// which order sources are served is in mix.go, which has a lock of its own.
//
// # Choosing
//
// With [Config.Disconnect] the pool keeps looking for better servers. It judges
// each connected one by its answers of the last minutes, on a scale that falls with
// the logarithm of the time and where a failure counts as 10 s, and knows what the
// servers gave that it has tried lately. When one gives less than a place should
// give (choose.go has the model), the pool asks for a candidate, slowly, and when
// one has promised room has the application drop the server. Servers that were
// replaced are left alone for half an hour.
//
// In every pool known servers that gave less than that come last when one is missing,
// as long as there is time to find a better one.
//
// Where servers are dialed unasked, for want of a query function or of an answer to
// any query, nobody promises room. Then it takes some dozen dials to fill a place, and
// a server is dropped first, once in two hours at most. Those that were there but full
// are dialed before strangers.
//
// # Sensitivity
//
// How a day in a simulated network moves when that is another one: 2,000 servers of
// which one in ten is good, half are average and the rest poor, 95% of them full
// at a time; medians of fifteen seeds, by
//
//	go run ./examples/simulation -scenario sensitivity -runs 15
//
//	network                   1st server  5th server  on good  on poor  mean answer  failed  dials/h  wasted/h  queries/h  dropped/h
//	as it is                       5.5 s      15.1 s      76%       5%       218 ms    1.4%      5.8       0.3        137        4.0
//	half the servers               2.4 s      14.4 s      78%       4%       197 ms    1.2%      5.8       0.3        132        4.2
//	double the servers             2.9 s      20.0 s      73%       5%       220 ms    1.4%      5.6       0.3        135        4.1
//	half as many good ones         5.5 s      15.1 s      33%       5%       266 ms    1.8%      5.5       0.3        129        3.8
//	double as many good ones       5.5 s      15.1 s      88%       3%       157 ms    0.9%      5.2       0.3        125        3.5
//	half the latencies             3.5 s      15.3 s      74%       4%        99 ms    1.2%      5.8       0.3        133        4.1
//	double the latencies           6.0 s      19.0 s      76%       4%       428 ms    1.6%      5.8       0.4        138        4.0
//	half as often room             5.6 s      35.3 s      42%       7%       320 ms    2.1%      4.2       0.7        165        2.1
//	double as often room           1.8 s       9.8 s      87%       2%       145 ms    0.9%      8.0       0.5        102        6.1
//
// Of the constants in choose.go, replace.go, verdict.go, querylimit.go,
// acquaintances.go and patience.go hope, hopeSpread, searchRate, searchBurst,
// searchRest, blindRate, blindStart, choosy, minQueries, acquaintanceRest, blindRest
// and minPatience were settled with an eye on such networks; the others come from
// elsewhere.
//
// # Seeing and deciding
//
// [ServerPool.Status] tells what the pool is doing and why it has no more servers,
// in numbers, in lists of nodes with the reason of each, and in a line of words,
// which is also logged once a minute while no server is connected. [Events] are
// functions that are told of everything that happens to nodes. Ban, Unban,
// SetTrusted and Forget decide about single nodes while the pool runs. All of it
// is there by JSON-RPC, see [PrivateClientAPI].
//
// # Concurrency
//
// All methods may be called from any goroutine. Changes of nodes' states are
// operations of one [nodestate.NodeStateMachine]; its callbacks may take the
// pool's mutex, and nothing starts an operation with that held. Each source is
// read by a goroutine of its own. Each query, each filling of a set and each call
// of Config.Disconnect has one while it takes, and the events that wait to be
// told have one together; they end when there was nothing to do for 10 to 20 ms.
// [NewStepped] makes a pool without any. The order of
// locks is: registering, an operation's turn, the mix's, an iterator's or a
// source's, the pool's, the fill set's or that of waiting events, and those of
// package lespay last.
//
// # Storage
//
// The entries are those of existing light clients: under DBKey and "ns:" the
// nodes of the state machine (setup version 2; field 0 is the RLP list
// [[base, exp], waitStart, waitEnd] with unix seconds, field 3 the record of the
// local address), under TrackerKey the service values of package lespay. New
// are ledgers of bounded size, under DBKey and "x:", a letter, ":" and a node's id
// (see ledgerKind): "x:h:" the histories of nodes without value (see
// storedMemory), "x:b:" bans (see storedBan), "x:u:" how nodes behaved when they
// were asked (see storedConduct). They can be deleted without harm, are written
// together, and are on disk 10 s after a change.
package serverpool
